"""The session with the broker: packets come in, messages leave; acknowledgments go back in order."""

__all__ = ["client", "reader", "session"]
