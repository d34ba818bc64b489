"""A range of values, and its restriction by one control after the other: safety first, wishes last. Pure."""

import math
from typing import Final

from msgspec import Struct


class Interval(Struct, frozen=True):
    """From `least` to `most`, both included; never empty.

    Invariants:
        * no order of restrictions widens it: the result lies inside it.
    """

    least: float
    most: float

    def intersect_or_nearest_end(self, other: "Interval") -> "Interval":
        """The part of it inside another interval; one that lies outside leaves the end that is nearest to it."""
        if other.least <= self.least <= self.most <= other.most:
            return self
        least, most = self.clamp(other.least, self.least), self.clamp(other.most, self.most)
        return Interval(min(least, most), most)

    def clamp(self, value: float, otherwise: float = 0.0) -> float:
        """The value in it that is nearest; a value that is no number becomes `otherwise`, clamped as well."""
        if self.least <= value <= self.most:
            return value
        if math.isnan(value):
            value = otherwise
        return min(max(value, self.least), self.most)

    def holds(self, value: float) -> bool:
        """True for a value in it, within rounding."""
        return self.least - ROUNDING <= value <= self.most + ROUNDING


ROUNDING: Final = 1e-6
ANYTHING: Final = Interval(-math.inf, math.inf)


def at_most(most: float) -> Interval:
    """Everything up to a value."""
    return Interval(-math.inf, most)
