"""Commands of a person at the terminal: `check` looks at both neighbors, `replay` puts dead letters back."""

__all__ = ["check", "replay"]
