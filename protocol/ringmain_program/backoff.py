"""Delay before the next attempt. Pure: random numbers and time come from the caller."""

from random import Random
from typing import Final

FIRST_S: Final = 1.0
LONGEST_S: Final = 30.0
STABLE_S: Final = 60.0


class BackOff:
    """Doubling delays, each shortened at random to between a half and the whole: a fleet does not reconnect all at once."""

    def __init__(self, random: Random, *, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._random = random
        self._first_s = self._delay_s = first_s
        self._longest_s = longest_s

    def next_s(self, *, stable_for_s: float = 0.0) -> float:
        """The next delay. Only a stable minute resets it: a server that accepts and closes at once gets longer delays, too.

        Args:
            stable_for_s: Time for which the last connection lasted.
        """
        if stable_for_s >= STABLE_S:
            self.reset()
        delay_s = self._delay_s
        self._delay_s = min(2 * delay_s, self._longest_s)
        return delay_s * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start again with the first delay."""
        self._delay_s = self._first_s
