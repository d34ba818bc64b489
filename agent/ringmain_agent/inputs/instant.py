"""The present instant by both clocks."""

from typing import NamedTuple


class Instant(NamedTuple):
    """`now_ms` by the wall clock, which `clock_trusted` vouches for; `now_s` by the monotonic clock, for durations."""

    now_ms: int
    now_s: float
    clock_trusted: bool = True
