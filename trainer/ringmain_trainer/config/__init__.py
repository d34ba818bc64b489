"""The trainer's TOML: a file comes in, typed tables leave, or every problem of the file at once."""

__all__ = ["estimators", "evaluation", "recipe", "trainer"]
