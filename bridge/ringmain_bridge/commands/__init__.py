"""Commands of a person at the terminal: a configuration comes in, findings (`check`) or revived records (`replay`) leave."""

__all__ = ["check", "replay"]
