"""Every cycle, pure: measurements and the newest plan come in, limited setpoints and the state of the next cycle leave."""

__all__ = ["limits", "regulate", "rule"]
