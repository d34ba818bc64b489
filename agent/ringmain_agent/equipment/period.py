"""The period of a power: a step of a schedule, or the present cycle. Pure."""

from collections.abc import Mapping
from typing import NamedTuple


class Period(NamedTuple):
    """The period of a power.

    In a schedule the power lasts for the whole period, and `valid_h` is 0. In the cycle the next cycle replaces the power;
    `valid_h` is the longest time that a setpoint stays in force without a successor.
    """

    at_ms: int
    duration_h: float
    time_zone: str
    ambient_degc: Mapping[str, float]
    """Ambient temperature of each equipment, by name."""
    valid_h: float = 0.0

    @property
    def end_ms(self) -> int:
        """END of the period."""
        return self.at_ms + round(3_600_000 * self.duration_h)
