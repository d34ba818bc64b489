"""Step history of a site in memory: readings come in, closed steps and windows for the forecast leave.

Pure: no file and no clock; the state file keeps it over a restart.
"""

import math
from array import array
from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ringmain_agent.inputs.feeds import READING_AHEAD_MAX_S, READING_BEHIND_MAX_S, is_plausible
from ringmain_agent.inputs.sender_clock import SenderClock, heard
from ringmain_protocol.messages import Quality
from ringmain_protocol.steps import Reading, StepValue, hold_within, step_start_ms, step_value

MAX_OPEN_READINGS: Final = 20_000
"""Most readings of one signal in an open step; a further reading replaces the latest."""

SET_BACK_S: Final = 3600
"""Time for which the clock may run more than a month behind before the history starts over."""

LATE_WAITS_MS: Final = 3000
UNKNOWN_AGE_MS: Final = 10 * 365 * 86_400_000
"""Age of a value of unknown age: older than any value that still counts."""

_NAN: Final = float("nan")


class Receipt(NamedTuple):
    """Receipt of a message, by both clocks; a retained one may be old."""

    at_ms: int
    at_s: float
    retained: bool = False


class StepHistory:
    """Readings of the open step, newest value of each signal, and the last `steps_kept` closed steps.

    * Each reading is stored once. One that came earlier than the signal's newest, and is outside the open step or already in
      it, is counted as a duplicate.
    * The newest value is the last that came. Its age counts from its receipt (`heard_ms`), longer if it came late by the
      sender's own clock; the clock of the agent does not matter. The sender's time counts for step values only.
    * A late value replaces a punctual one only after `LATE_WAITS_MS` without another.
    * Each step closes once, in order; a later reading of a closed step is only recorded. A step in which the clock moved has
      the mean of the readings stamped in it, and is suspect.
    * A reading with an implausible time, and every reading while the clock is in doubt, stays out of the steps.
    * When the clock jumps back, no step closes until it catches up. If it stays more than a month behind for an hour, the
      history starts over (a new gateway may run ahead for years, and learn the time later).
    """

    def __init__(
        self, hold_s: Mapping[str, float], *, step_s: int, steps_kept: int, timed: Container[str] = frozenset()
    ) -> None:
        """An empty history; a reading of each signal holds for `hold_s`, and those of `timed` have their sender's time."""
        self.newest: dict[str, Reading] = {}
        self.heard_ms: dict[str, int] = {}
        """Receipt of each newest value, less its lateness, by the present clock."""
        self.sender_clocks: dict[str, SenderClock] = {}
        self.open_readings: dict[str, list[Reading]] = {signal: [] for signal in hold_s}
        self.open_start_ms: int | None = None
        self._hold_s = dict(hold_s)
        self._step_s = step_s
        self._kept = steps_kept
        self._timed = timed
        self._received_ms: dict[str, int] = {}
        self._restored = False
        self._values: dict[str, array[float]] = {}
        self._set_back_ms: int | None = None
        self._suspect: set[int] = set()

    def restore(self, *, open_start_ms: int | None, newest: Iterable[Reading], readings: Iterable[Reading]) -> None:
        """Restore the state from the state file; `restore_steps` restores closed steps."""
        self.open_start_ms = open_start_ms
        self.newest = {r.signal: r for r in newest if r.signal in self._hold_s}
        self._restored = True
        for reading in readings:
            if reading.signal in self.open_readings:
                insort(self.open_readings[reading.signal], reading, key=_at)
                del self.open_readings[reading.signal][:-MAX_OPEN_READINGS]

    def restore_steps(self, steps: Iterable[tuple[str, int, float | None]]) -> None:
        """Closed steps `(signal, start_ms, value)` from file, in any order; those outside the window are ignored."""
        if self.open_start_ms is None:
            return
        for signal, start_ms, value in steps:
            index = self._kept - (self.open_start_ms - start_ms) // (1000 * self._step_s)
            if 0 <= index < self._kept and value is not None:
                self._column(signal)[index] = value

    def move_clock(self, moved_ms: int, *, now_ms: int, in_doubt: bool = False) -> None:
        """The wall clock was set: ages stay as they are; the steps of the old and of an undoubted new time are suspect."""
        self.heard_ms = {signal: at_ms + moved_ms for signal, at_ms in self.heard_ms.items()}
        self._received_ms = {signal: at_ms + moved_ms for signal, at_ms in self._received_ms.items()}
        if self.open_start_ms is not None:
            self._suspect.add(self.open_start_ms)
        if not in_doubt:
            self._suspect.add(step_start_ms(now_ms, self._step_s))

    def accept(
        self,
        readings: Sequence[Reading],
        *,
        now_ms: int,
        receipts: Sequence[Receipt] | None = None,
        clock_trusted: bool = True,
        in_doubt: bool = False,
    ) -> tuple[list[Reading], int]:
        """Add readings; returns the accepted ones and the number of duplicates.

        Args:
            readings: In the order of arrival.
            now_ms: The present.
            receipts: One for each reading; without them, each came at its own time.
            clock_trusted: The wall clock may tell how old a retained or kept value is.
            in_doubt: The clock is no good for stamping steps.
        """
        if receipts is None:
            own_ms = [r.at_ms if is_plausible(r.at_ms, now_ms) else now_ms for r in readings]
            receipts = [Receipt(at_ms, at_ms / 1000) for at_ms in own_ms]
        self._age_restored(now_ms, clock_trusted=clock_trusted)
        accepted, repeated = [], 0
        for reading, receipt in zip(readings, receipts, strict=True):
            is_plausible_now = is_plausible(reading.at_ms, now_ms) and not in_doubt
            if is_plausible_now and self.open_start_ms is None:
                self.open_start_ms = step_start_ms(reading.at_ms, self._step_s)
            is_newest = self._take_newest(reading, receipt, now_ms=now_ms, clock_trusted=clock_trusted)
            if is_plausible_now and self.open_start_ms is not None:
                if not self._is_new(reading, self.open_start_ms, is_newest=is_newest):
                    repeated += 1
                    continue
                self._open(reading, self.open_start_ms)
            accepted.append(reading)
        return accepted, repeated

    def close_steps(self, *, now_ms: int, in_doubt: bool = False) -> list[StepValue]:
        """Close every step that has ended; returns their values in order of time, including missing ones.

        While the clock is in doubt none closes.
        """
        if self.open_start_ms is None or in_doubt:
            return []
        step_ms = 1000 * self._step_s
        end_ms = step_start_ms(now_ms, self._step_s)
        self._catch_up(self.open_start_ms, end_ms, now_ms)
        closed = []
        while self.open_start_ms + step_ms <= end_ms:
            for signal in self._hold_s:
                if signal in self.newest:
                    closed.append(self._close(signal, self.open_start_ms))
                elif signal in self._values:  # imported, without a reading since
                    self._append(signal, None)
            self.open_start_ms += step_ms
        if closed:
            self._suspect = {start_ms for start_ms in self._suspect if start_ms >= self.open_start_ms}
        return closed

    def window(self, signal: str, steps: int, *, end_ms: int | None = None) -> bytes:
        """The steps of a signal up to `end_ms`, by default the closed ones, as float32 little endian, NaN where missing."""
        values = self._values.get(signal, array("f"))
        if end_ms is not None and self.open_start_ms is not None:
            ahead = (end_ms - self.open_start_ms) // (1000 * self._step_s)
            if ahead > 0:
                values = values[min(ahead, len(values)) :] + array("f", [_NAN]) * min(ahead, len(values))
            elif ahead < 0:
                values = values[: max(len(values) + ahead, 0)]
        missing = max(0, steps - len(values))
        return (array("f", [_NAN]) * missing + values[len(values) - (steps - missing) :]).tobytes()

    def closed_steps(self) -> Iterator[StepValue]:
        """All closed steps with a value."""
        if self.open_start_ms is None:
            return
        for signal, values in self._values.items():
            for index, value in enumerate(values):
                if not math.isnan(value):
                    start_ms = self.open_start_ms - 1000 * self._step_s * (self._kept - index)
                    yield StepValue(signal, start_ms, value, Quality.GOOD)

    def closed_value(self, signal: str, start_ms: int) -> float | None:
        """The value of a closed step, or None if missing or outside the window."""
        values = self._values.get(signal)
        if values is None or self.open_start_ms is None:
            return None
        index = self._kept - (self.open_start_ms - start_ms) // (1000 * self._step_s)
        if not 0 <= index < self._kept:
            return None
        value = values[index]
        return value if value == value else None  # noqa: PLR0124  NaN is missing

    def _age_restored(self, now_ms: int, *, clock_trusted: bool) -> None:
        """Ages of the values from before a restart: by the clock if it is trusted, else too old to count."""
        if not self._restored:
            return
        self._restored = False
        for signal, reading in self.newest.items():
            known = clock_trusted and reading.at_ms <= now_ms
            self.heard_ms[signal] = self._received_ms[signal] = reading.at_ms if known else now_ms - UNKNOWN_AGE_MS

    def _take_newest(self, reading: Reading, receipt: Receipt, *, now_ms: int, clock_trusted: bool) -> bool:
        """Make the reading the newest if it came last; False otherwise."""
        signal, late_ms = reading.signal, 0.0
        if signal in self._timed:
            known_clock = self.sender_clocks.get(signal)
            clock, late_ms = heard(
                known_clock,
                at_ms=reading.at_ms,
                received_s=receipt.at_s,
                wall_ms=float(receipt.at_ms) if clock_trusted else None,
            )
            if not receipt.retained:
                self.sender_clocks[signal] = clock
            elif known_clock is None:
                late_ms = max(receipt.at_ms - reading.at_ms, 0) if clock_trusted else UNKNOWN_AGE_MS
        heard_ms = receipt.at_ms - round(late_ms)
        before = self.newest.get(signal)
        if before is not None:
            waited = receipt.at_ms - self._received_ms.get(signal, receipt.at_ms) >= LATE_WAITS_MS
            known_ms = self.heard_ms.get(signal, heard_ms - 1)
            is_ahead = known_ms > now_ms + 1000 * READING_AHEAD_MAX_S
            is_later = heard_ms > known_ms or is_ahead or (waited and not receipt.retained)
            if not is_later or (signal in self._timed and reading.at_ms == before.at_ms):
                return False
        self.newest[signal] = reading
        self.heard_ms[signal], self._received_ms[signal] = heard_ms, receipt.at_ms
        return True

    def _is_new(self, reading: Reading, open_start_ms: int, *, is_newest: bool) -> bool:
        """False for a repetition: already in the open step, or old and outside it; and for old ones beyond the room."""
        opened = self.open_readings[reading.signal]
        index = bisect_left(opened, reading.at_ms, key=_at)
        if index < len(opened) and opened[index].at_ms == reading.at_ms:
            return False
        return is_newest or (reading.at_ms >= open_start_ms and len(opened) < MAX_OPEN_READINGS)

    def _open(self, reading: Reading, open_start_ms: int) -> None:
        """Add a reading to the open step; of earlier readings only the last one stays."""
        opened = self.open_readings[reading.signal]
        if len(opened) >= MAX_OPEN_READINGS:
            opened.pop()
        insort(opened, reading, key=_at)
        while len(opened) > 1 and opened[1].at_ms <= open_start_ms:
            del opened[0]

    def _catch_up(self, open_start_ms: int, end_ms: int, now_ms: int) -> None:
        """Start over if the clock stays far behind; after a long time off, close none of its steps."""
        if open_start_ms - end_ms <= 1000 * READING_BEHIND_MAX_S:
            self._set_back_ms = None
        elif self._set_back_ms is None or now_ms < self._set_back_ms:
            self._set_back_ms = now_ms
        elif now_ms - self._set_back_ms >= 1000 * SET_BACK_S:
            self._start_over(end_ms, now_ms)
            return
        self.open_start_ms = max(open_start_ms, end_ms - self._kept * 1000 * self._step_s)

    def _start_over(self, open_start_ms: int, now_ms: int) -> None:
        """Drop everything except readings with a plausible time by the present clock."""
        self.open_start_ms = open_start_ms
        self._values.clear()
        self._suspect.clear()
        for opened in self.open_readings.values():
            opened[:] = [reading for reading in opened if is_plausible(reading.at_ms, now_ms)]

    def _close(self, signal: str, start_ms: int) -> StepValue:
        hold_s = self._hold_s[signal]
        step = step_value(signal, self.open_readings[signal], start_ms=start_ms, step_s=self._step_s, hold_s=hold_s)
        if start_ms in self._suspect and step.quality == Quality.GOOD:
            step = step._replace(quality=Quality.SUSPECT)
        self._append(signal, step.value)
        next_ms = start_ms + 1000 * self._step_s
        self.open_readings[signal] = hold_within(self.open_readings[signal], start_ms=next_ms, hold_s=hold_s)
        return step

    def _append(self, signal: str, value: float | None) -> None:
        column = self._column(signal)
        del column[0]
        column.append(_NAN if value is None else value)

    def _column(self, signal: str) -> "array[float]":
        return self._values.setdefault(signal, array("f", [_NAN]) * self._kept)


def _at(reading: Reading) -> int:
    return reading.at_ms


def columns(readings: Sequence[Reading]) -> dict[str, list[object]]:
    """The four parallel arrays of a message from readings."""
    return {
        "signals": [r.signal for r in readings],
        "at_ms": [r.at_ms for r in readings],
        "values": [r.value for r in readings],
        "quality": [r.quality for r in readings],
    }


def step_columns(steps: Sequence[StepValue]) -> dict[str, list[object]]:
    """The four parallel arrays of a message from step values."""
    return {
        "signals": [s.signal for s in steps],
        "at_ms": [s.start_ms for s in steps],
        "values": [s.value for s in steps],
        "quality": [Quality.MISSING if s.value is None else s.quality for s in steps],
    }
