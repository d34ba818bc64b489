"""A range of values; controls restrict it one after the other, safety first. Pure."""

import math
from typing import Final

from msgspec import Struct


class Interval(Struct, frozen=True):
    """From `least` to `most`, both included; never empty.

    Invariants:
        * a restriction never widens it: the result lies inside.
    """

    least: float
    most: float

    def intersect_or_nearest_end(self, other: "Interval") -> "Interval":
        """The intersection with another interval; without an intersection, the end nearest to the other."""
        if other.least <= self.least <= self.most <= other.most:
            return self
        least, most = self.clamp(other.least, self.least), self.clamp(other.most, self.most)
        return Interval(min(least, most), most)

    def clamp(self, value: float, default: float = 0.0) -> float:
        """The nearest value inside; a value that is not a number becomes `default`, clamped as well."""
        if self.least <= value <= self.most:
            return value
        if math.isnan(value):
            value = default
        return min(max(value, self.least), self.most)

    def holds(self, value: float) -> bool:
        """True for a value inside, within rounding."""
        return self.least - ROUNDING <= value <= self.most + ROUNDING


ROUNDING: Final = 1e-6
ANYTHING: Final = Interval(-math.inf, math.inf)


def at_most(most: float) -> Interval:
    """All values up to this one."""
    return Interval(-math.inf, most)
