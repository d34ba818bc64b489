"""Step history of a site in memory: readings come in, closed steps and windows for the forecast leave.

Pure: no file and no clock; the state file keeps it over a restart.
"""

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ringmain_agent.inputs.feeds import READING_AHEAD_MAX_S, READING_BEHIND_MAX_S, is_plausible
from ringmain_protocol.messages import Quality
from ringmain_protocol.steps import Reading, StepValue, hold_within, step_start_ms, step_value

MAX_OPEN_READINGS: Final = 20_000
"""Most readings of one signal in an open step; a further reading replaces the latest."""

SET_BACK_S: Final = 3600
"""Time for which the clock may run more than a month behind before the history starts over."""

_NAN: Final = float("nan")


class StepHistory:
    """Readings of the open step, newest value of each signal, and the last `steps_kept` closed steps.

    * Each reading is stored once. One that is older than the signal's latest, and outside the open step or already in it, is
      counted as a duplicate.
    * Each step closes once, in order; a later reading of a closed step is only recorded.
    * A reading with an implausible time is only recorded; it changes neither steps nor newest values.
    * When the clock jumps back, a latest reading that now lies more than five minutes in the future stops being the latest,
      and no step closes until the clock catches up. If the clock stays more than a month behind for an hour, the history
      starts over (a gateway may boot in 1970 and learn the time a minute later).
    """

    def __init__(self, hold_s: Mapping[str, float], *, step_s: int, steps_kept: int) -> None:
        """An empty history; `hold_s` is the longest time that a reading of each signal holds."""
        self.newest: dict[str, Reading] = {}
        self.open_readings: dict[str, list[Reading]] = {signal: [] for signal in hold_s}
        self.open_start_ms: int | None = None
        self._hold_s = dict(hold_s)
        self._step_s = step_s
        self._kept = steps_kept
        self._values: dict[str, array[float]] = {}
        self._set_back_ms: int | None = None

    def restore(self, *, open_start_ms: int | None, newest: Iterable[Reading], readings: Iterable[Reading]) -> None:
        """Restore the state from the state file; `restore_steps` restores closed steps."""
        self.open_start_ms = open_start_ms
        self.newest = {r.signal: r for r in newest if r.signal in self._hold_s}
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

    def accept(self, readings: Iterable[Reading], *, now_ms: int) -> tuple[list[Reading], int]:
        """Add readings; returns the accepted ones and the number of duplicates."""
        accepted, repeated = [], 0
        for reading in readings:
            signal, at_ms = reading.signal, reading.at_ms
            if not is_plausible(at_ms, now_ms):
                accepted.append(reading)
                continue
            if self.open_start_ms is None:
                self.open_start_ms = step_start_ms(at_ms, self._step_s)
            if self._is_newest(reading, now_ms):
                self.newest[signal] = reading
                self._open(reading, self.open_start_ms)
            elif at_ms >= self.open_start_ms and self._is_new(reading):
                self._open(reading, self.open_start_ms)
            else:
                repeated += 1
                continue
            accepted.append(reading)
        return accepted, repeated

    def close_steps(self, *, now_ms: int) -> list[StepValue]:
        """Close every step that has ended; returns their values in order of time, including missing ones."""
        if self.open_start_ms is None:
            return []
        step_ms = 1000 * self._step_s
        end_ms = step_start_ms(now_ms, self._step_s)
        if self.open_start_ms - end_ms <= 1000 * READING_BEHIND_MAX_S:
            self._set_back_ms = None
        elif self._set_back_ms is None or now_ms < self._set_back_ms:
            self._set_back_ms = now_ms
        elif now_ms - self._set_back_ms >= 1000 * SET_BACK_S:
            self._start_over(end_ms, now_ms)
        if end_ms - self.open_start_ms > self._kept * step_ms:  # after a long time off, none of its steps is closed
            self.open_start_ms = end_ms - self._kept * step_ms
        closed = []
        while self.open_start_ms + step_ms <= end_ms:
            for signal in self._hold_s:
                if signal in self.newest:
                    closed.append(self._close(signal, self.open_start_ms))
                elif signal in self._values:  # imported, without a reading since
                    self._append(signal, None)
            self.open_start_ms += step_ms
        return closed

    def window(self, signal: str, steps: int) -> bytes:
        """The last closed steps of a signal as float32 little endian, NaN where missing; the last is the newest."""
        values = self._values.get(signal, array("f"))
        missing = max(0, steps - len(values))
        return (array("f", [_NAN]) * missing + values[len(values) - (steps - missing) :]).tobytes()

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

    def _is_newest(self, reading: Reading, now_ms: int) -> bool:
        newest = self.newest.get(reading.signal)
        return newest is None or reading.at_ms > newest.at_ms or newest.at_ms - now_ms > 1000 * READING_AHEAD_MAX_S

    def _is_new(self, reading: Reading) -> bool:
        opened = self.open_readings[reading.signal]
        index = bisect_left(opened, reading.at_ms, key=_at)
        is_duplicate = index < len(opened) and opened[index].at_ms == reading.at_ms
        return not is_duplicate and len(opened) < MAX_OPEN_READINGS

    def _open(self, reading: Reading, open_start_ms: int) -> None:
        """Add a reading to the open step; of earlier readings only the last one stays."""
        opened = self.open_readings[reading.signal]
        if len(opened) >= MAX_OPEN_READINGS:
            opened.pop()
        insort(opened, reading, key=_at)
        while len(opened) > 1 and opened[1].at_ms <= open_start_ms:
            del opened[0]

    def _start_over(self, open_start_ms: int, now_ms: int) -> None:
        """Drop everything except readings with a plausible time by the present clock."""
        self.open_start_ms = open_start_ms
        self.newest = {s: reading for s, reading in self.newest.items() if is_plausible(reading.at_ms, now_ms)}
        self._values.clear()
        for opened in self.open_readings.values():
            opened[:] = [reading for reading in opened if is_plausible(reading.at_ms, now_ms)]

    def _close(self, signal: str, start_ms: int) -> StepValue:
        hold_s = self._hold_s[signal]
        step = step_value(signal, self.open_readings[signal], start_ms=start_ms, step_s=self._step_s, hold_s=hold_s)
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
