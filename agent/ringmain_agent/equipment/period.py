"""The time for which a power is chosen: a step of a schedule, or the present cycle. Pure."""

from collections.abc import Mapping
from typing import NamedTuple


class Period(NamedTuple):
    """The time for which a power is chosen.

    In a schedule the power stays for all of it and `valid_h` is 0. In the cycle the power is chosen again long before, and
    `valid_h` is the longest time that a setpoint stays in force without a successor.
    """

    at_ms: int
    duration_h: float
    time_zone: str
    ambient_degc: Mapping[str, float]
    """Of the air around equipment, by its name."""
    valid_h: float = 0.0

    @property
    def end_ms(self) -> int:
        """The instant after it."""
        return self.at_ms + round(3_600_000 * self.duration_h)
