"""Commands at the terminal: `check` examines broker and Kafka, `replay` writes dead letters to their proper topics."""

__all__ = ["check", "replay"]
