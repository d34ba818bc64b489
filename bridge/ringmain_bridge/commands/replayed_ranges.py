"""Replayed offsets of a partition as ascending, disjoint ranges, with a short text form."""

from bisect import bisect_right
from typing import Self


class Ranges:
    """A set of numbers from 0 on."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._ranges, number, key=lambda r: r[0])
        return at > 0 and number <= self._ranges[at - 1][1]

    def add(self, first: int, last: int) -> None:
        """Add the numbers from first to last, both included."""
        if self._ranges and self._ranges[-1][1] < first:  # the common case
            if self._ranges[-1][1] + 1 == first:
                self._ranges[-1] = (self._ranges[-1][0], last)
            else:
                self._ranges.append((first, last))
            return
        merged = []
        for a, b in self._ranges:
            if b + 1 < first or a > last + 1:
                merged.append((a, b))
            else:
                first, last = min(first, a), max(last, b)
        self._ranges = sorted([*merged, (first, last)])

    def first_gap(self, length: int) -> tuple[int, str]:
        """The lowest missing number, and the ranges above it as text of at most this length.

        Ranges beyond that length are left out, the highest first.
        """
        begin, above = 0, self._ranges
        if above and above[0][0] == 0:
            begin, above = above[0][1] + 1, above[1:]
        text = ""
        for a, b in above:
            part = ("," if text else "") + (str(a) if a == b else f"{a}-{b}")
            if len(text) + len(part) > length:
                break
            text += part
        return begin, text

    @classmethod
    def parse(cls, text: str) -> Self:
        """The ranges in a text; malformed parts are ignored."""
        ranges = cls()
        for part in text.split(","):
            first, _, last = part.partition("-")
            if first.isdecimal() and (last or first).isdecimal():
                ranges.add(int(first), int(last or first))
        return ranges
