"""Switching operations of tap changers and capacitor banks, counted per local day from measured positions. Pure."""

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from msgspec import Struct

from ringmain_agent.site.nameplates import CapacitorBank, TapChanger


class Operations(Struct, frozen=True, kw_only=True):
    """Operations `done` on a local `day`, and the position after the last one."""

    position: int | None = None
    day: int = 0
    done: int = 0


def count_operations(
    operations: Operations, measured: float | None, *, time_zone: str, now_ms: int, clock_trusted: bool = True
) -> Operations:
    """The operations after a measured position; an unknown position counts as unchanged.

    Only a trusted clock begins a new day: one that jumps to and fro must not allow more operations.
    """
    day = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(time_zone)).toordinal()
    if not clock_trusted and operations.day:
        day = operations.day
    done = 0 if day > operations.day else operations.done
    if measured is None or not math.isfinite(measured):
        return Operations(position=operations.position, day=day, done=done)
    position = round(measured)
    moved = 0 if operations.position is None else abs(position - operations.position)
    return Operations(position=position, day=day, done=done + moved)


def operations_left(operations: Operations, switched: CapacitorBank | TapChanger) -> int:
    """Operations that are left today."""
    return max(switched.operations_per_day - operations.done, 0)
