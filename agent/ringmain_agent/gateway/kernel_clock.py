"""The machine's two clocks, read together, and the kernel's word that its wall clock is synchronized."""

import ctypes
import os
import time
from pathlib import Path
from typing import Final, NamedTuple

TIMESYNCD: Final = Path("/run/systemd/timesync/synchronized")
STA_UNSYNC: Final = 0x40
TIME_ERROR: Final = 5
_STATUS_OFFSET: Final = 5 * ctypes.sizeof(ctypes.c_long)
"""Of `status` in struct timex: behind `modes`, padded to a long, and four longs."""
_TIMEX_BYTES: Final = 512
_READ_TOGETHER_S: Final = 0.05
_READS: Final = 5


class ClockReading(NamedTuple):
    """Wall clock and monotonic clock of one moment."""

    now_ms: int
    now_s: float


def read_clocks() -> ClockReading:
    """Both clocks; read again if the process was interrupted in between, which would look like a step of the clock."""
    reading = ClockReading(0, 0.0)
    for _ in range(_READS):
        before_s = time.monotonic()
        reading = ClockReading(time.time_ns() // 1_000_000, time.monotonic())
        if reading.now_s - before_s < _READ_TOGETHER_S:
            break
    return reading


def kernel_synchronized() -> bool:
    """True if the kernel holds its clock for synchronized; where it may not be asked, if systemd-timesyncd once did."""
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # struct timex, larger than on any machine; mode 0 only reads
    try:
        state = int(ctypes.CDLL(None).adjtimex(buffer))
    except (OSError, AttributeError):
        state = -1
    if state == -1:
        return os.path.lexists(TIMESYNCD)
    status = ctypes.c_int.from_buffer(buffer, _STATUS_OFFSET).value
    return state != TIME_ERROR and not status & STA_UNSYNC
