"""Control of each cycle, pure: measurements and the newest plan come in, limited setpoints and the next state leave."""

__all__ = ["balance", "failsafe", "limits", "regulate", "restored_state", "rule"]
