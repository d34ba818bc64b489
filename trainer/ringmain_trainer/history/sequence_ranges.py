"""Sets of numbers in little room: sequences as inclusive ranges, so that years of messages are a handful; newest issues."""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import Final

NEWEST: Final = 32
"""So many of the newest issues of a series are remembered."""


class Ranges:
    """A set of whole numbers.

    - A number is in the set exactly if it was added.
    - The ranges are in order, do not touch, and hold each number once.
    """

    __slots__ = ("_first", "_last")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._first = array("q")
        self._last = array("q")
        for first, last in sorted(ranges):
            if self._last and first <= self._last[-1] + 1:
                self._last[-1] = max(self._last[-1], last)
            else:
                self._first.append(first)
                self._last.append(last)

    def add(self, number: int) -> bool:
        """Put the number into the set; whether it was new."""
        last = self._last
        if last and number == last[-1] + 1:  # the usual case: the next one
            last[-1] = number
            return True
        i = bisect_right(self._first, number)
        if i and number <= last[i - 1]:
            return False
        before = i > 0 and last[i - 1] == number - 1
        after = i < len(last) and self._first[i] == number + 1
        if before and after:
            last[i - 1] = last.pop(i)
            del self._first[i]
        elif before:
            last[i - 1] = number
        elif after:
            self._first[i] = number
        else:
            self._first.insert(i, number)
            last.insert(i, number)
        return True

    def __contains__(self, number: int) -> bool:
        i = bisect_right(self._first, number)
        return i > 0 and number <= self._last[i - 1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._first, self._last, strict=True))

    def __len__(self) -> int:
        """Number of ranges, not of sequences."""
        return len(self._first)


class Newest:
    """The newest of a set of whole numbers that do not follow on each other, as the instants of issue of a series."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._numbers = array("q", sorted(set(numbers))[-NEWEST:])

    def add(self, number: int) -> bool | None:
        """Put the number into the set; whether it was new, None if it is older than all that are remembered."""
        numbers = self._numbers
        if not numbers or number > numbers[-1]:
            numbers.append(number)
        else:
            i = bisect_left(numbers, number)
            if numbers[i] == number:
                return False
            if i == 0 and len(numbers) == NEWEST:
                return None
            insort(numbers, number)
        if len(numbers) > NEWEST:
            del numbers[0]
        return True

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)
