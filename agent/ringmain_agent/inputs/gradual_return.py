"""Gradual return of a limit that ends or rises: it stays for a random delay, then rises over a ramp. Pure."""

from msgspec import Struct


class GradualReturn(Struct, frozen=True, kw_only=True):
    """Return of a limit from `from_kw`; it begins at the monotonic instant `begins_s` and takes `ramp_s`."""

    from_kw: float
    begins_s: float
    ramp_s: float
    of_controllable: bool = False

    def is_over(self, now_s: float) -> bool:
        """True once the limit has returned."""
        return now_s >= self.begins_s + self.ramp_s

    def limit_kw(self, target_kw: float, now_s: float) -> float:
        """The limit on its way to a target; never above the target."""
        if self.is_over(now_s):
            return target_kw
        share = max(now_s - self.begins_s, 0.0) / self.ramp_s if self.ramp_s > 0 else 0.0
        return min(target_kw, self.from_kw + (target_kw - self.from_kw) * share)
