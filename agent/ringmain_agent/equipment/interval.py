"""What is left of a range after one control after the other has restricted it: safety first, wishes last. Pure."""

import math
from typing import Final

from msgspec import Struct


class Interval(Struct, frozen=True):
    """From `least` to `most`, both included; never empty.

    Invariants:
        * no order of wishes widens it: what is narrowed lies inside what it was.
    """

    least: float
    most: float

    def intersect_or_nearest_end(self, wish: "Interval") -> "Interval":
        """What the wish leaves of it; a wish that lies outside leaves the end that is nearest to it."""
        least, most = self.clamp(wish.least, self.least), self.clamp(wish.most, self.most)
        return Interval(min(least, most), most)

    def clamp(self, value: float, otherwise: float = 0.0) -> float:
        """The value in it that is nearest; what is no number becomes `otherwise`, or what is nearest to that."""
        if math.isnan(value):
            value = otherwise
        return min(max(value, self.least), self.most)

    def holds(self, value: float) -> bool:
        """Whether a value lies in it, but for rounding."""
        return self.least - ROUNDING <= value <= self.most + ROUNDING


ROUNDING: Final = 1e-6
ANYTHING: Final = Interval(-math.inf, math.inf)


def at_most(most: float) -> Interval:
    """Everything up to a value."""
    return Interval(-math.inf, most)


def at_least(least: float) -> Interval:
    """Everything from a value on."""
    return Interval(least, math.inf)
