"""The site's TOML: a file comes in, typed tables and the `Site` leave, or every problem of the file at once."""

__all__ = ["agent", "feed", "leaving", "local_limit", "outbox", "output"]
