"""Possible setpoints of an equipment: an interval, and a minimum power below which it is off. Pure."""

from typing import Final

from msgspec import Struct

from ringmain_agent.equipment.interval import ROUNDING, Interval


class SetpointRange(Struct, frozen=True):
    """Possible setpoints: the interval, without powers between 0 and `power_min_kw`."""

    interval: Interval
    power_min_kw: float = 0.0

    def at_most(self, power_kw: float) -> float:
        """The highest possible power up to a bound; without one, the lowest possible power."""
        power_kw = self.interval.clamp(power_kw)
        if not 0 < power_kw < self.power_min_kw:
            return power_kw
        if power_kw >= self.power_min_kw - ROUNDING and self.interval.holds(self.power_min_kw):
            return self.power_min_kw
        return max(self.interval.least, 0.0)

    def possible(self, power_kw: float) -> bool:
        """True for a possible setpoint."""
        return self.interval.holds(power_kw) and abs(self.at_most(power_kw) - power_kw) <= ROUNDING

    def up_to(self, power_kw: float) -> "SetpointRange":
        """The range up to a power."""
        interval = self.interval
        return SetpointRange(Interval(interval.least, interval.clamp(power_kw, interval.most)), self.power_min_kw)


OFF: Final = SetpointRange(Interval(0.0, 0.0))
