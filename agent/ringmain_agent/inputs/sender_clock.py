"""The clock of a sender beside the monotonic clock of the agent: which values come late, how far its time is off. Pure.

A live sender's time runs beside the monotonic clock at a constant offset. A value from a queue, or a repetition of a broker,
stands out by its larger offset: it is late by the difference. An offset that stays for a minute is the sender's new time.
"""

from typing import Final

from msgspec import Struct

PUNCTUAL_MS: Final = 2000.0
"""Values at most this late are punctual: networks and cycles take time."""
LEARNED_S: Final = 60.0
"""A sender whose values stay equally late for this time has set its clock back."""
FIRST_LATE_MAX_MS: Final = 60_000.0
"""Before anything is known of a sender, a value that is later than this by a trusted clock is late."""
FOLLOWED_SHARE: Final = 0.02


class SenderClock(Struct, frozen=True):
    """Offset of punctual values (receipt minus the sender's time), and that of late ones, if they come."""

    offset_ms: float
    late_ms: float = 0.0
    late_since_s: float | None = None


def heard(before: SenderClock | None, *, at_ms: int, received_s: float, wall_ms: float | None) -> tuple[SenderClock, float]:
    """The clock of a sender after one value, and by how many ms this value is late.

    Args:
        before: What is known of the sender.
        at_ms: Its time of the value.
        received_s: Monotonic receipt.
        wall_ms: Receipt by the wall clock, if that is trusted.
    """
    offset_ms = 1000 * received_s - at_ms
    if before is None:
        before = SenderClock(offset_ms)
        if wall_ms is not None and wall_ms - at_ms > FIRST_LATE_MAX_MS:
            before = SenderClock(1000 * received_s - wall_ms)
    late_ms = offset_ms - before.offset_ms
    if late_ms <= 0:
        return SenderClock(offset_ms), 0.0
    if late_ms <= PUNCTUAL_MS:  # follows the drift of quartzes
        return SenderClock(before.offset_ms + FOLLOWED_SHARE * late_ms), 0.0
    if before.late_since_s is None or abs(offset_ms - before.late_ms) > PUNCTUAL_MS:
        return SenderClock(before.offset_ms, offset_ms, received_s), late_ms
    if received_s - before.late_since_s >= LEARNED_S:
        return SenderClock(offset_ms), 0.0
    return before, late_ms
