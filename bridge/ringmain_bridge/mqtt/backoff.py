"""How long to wait before the next attempt. Pure: chance and time are given."""

from random import Random
from typing import Final

FIRST_S: Final = 1.0
LONGEST_S: Final = 30.0
STABLE_S: Final = 60.0


class BackOff:
    """Doubling delays from 1 s to 30 s, each shortened by chance to between a half and the whole.

    They start again only after a stable minute: a broker that accepts and hangs up must not be hammered.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._delay_s = FIRST_S

    def next_s(self, *, stable_for_s: float = 0.0) -> float:
        """The next delay; `stable_for_s` is how long the last attempt was good for."""
        if stable_for_s >= STABLE_S:
            self._delay_s = FIRST_S
        delay_s = self._delay_s
        self._delay_s = min(2 * delay_s, LONGEST_S)
        return delay_s * self._random.uniform(0.5, 1.0)
