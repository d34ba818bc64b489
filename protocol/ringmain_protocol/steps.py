"""Step values: one definition for training and edge.

A step is `[start, start + step)`, stamped with its START. A reading holds from its own instant until the next reading of
that signal, for at most `hold_s`. The value of a flow (power, price, speed) is the time-weighted mean over the step, of a
state (energy, temperature, share) the value at its END; in float64, then cast to float32.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from ringmain_protocol.messages import Quality

COVERAGE_MIN: Final = 0.5
"""Smallest covered share of a step; a mean over less is missing."""

_STATE_SUFFIXES: Final = ("_kwh", "_degc", "_pu")
_FLOAT32: Final = struct.Struct("<f")


class Reading(NamedTuple):
    """One value of one signal, in our unit and sign; `value` is `None` if the sender reports none."""

    signal: str
    at_ms: int
    value: float | None
    quality: int = Quality.GOOD


class StepValue(NamedTuple):
    """The value of one signal for one step; `value` is exactly a float32 number, or `None` if missing."""

    signal: str
    start_ms: int
    value: float | None
    quality: int


def is_state(signal: str) -> bool:
    """Whether the signal is a state (value at the end of the step) and not a flow (mean over the step)."""
    return signal.endswith(_STATE_SUFFIXES)


def float32(value: float) -> float:
    """The float32 number nearest to the value.

    Raises:
        OverflowError: If the value is beyond the range of float32.
    """
    return float(_FLOAT32.unpack(_FLOAT32.pack(value))[0])


def step_start_ms(at_ms: int, step_s: int) -> int:
    """START of the step that holds the instant."""
    return at_ms - at_ms % (1000 * step_s)


def step_value(signal: str, readings: Sequence[Reading], *, start_ms: int, step_s: int, hold_s: float) -> StepValue:
    """The step value of one signal.

    Args:
        signal: Name of the signal; its unit decides between mean and end value.
        readings: Readings of this signal in order of time; those from before the step count while they hold.
        start_ms: START of the step.
        step_s: Length of the step.
        hold_s: Time for which a reading holds if no other follows.
    """
    end_ms, hold_ms = start_ms + 1000 * step_s, round(1000 * hold_s)
    covered_ms, weighted, last, suspect = 0, 0.0, None, False
    for i, reading in enumerate(readings):
        until = min(readings[i + 1].at_ms if i + 1 < len(readings) else end_ms, reading.at_ms + hold_ms, end_ms)
        since = max(reading.at_ms, start_ms)
        if until <= since or reading.value is None or reading.quality == Quality.MISSING:
            continue
        covered_ms += until - since
        weighted += reading.value * (until - since)
        suspect = suspect or reading.quality == Quality.SUSPECT
        last = reading.value if until == end_ms else None
    value = last if is_state(signal) else weighted / covered_ms if covered_ms >= COVERAGE_MIN * 1000 * step_s else None
    if value is None or not math.isfinite(value):
        return StepValue(signal, start_ms, None, Quality.MISSING)
    try:
        value = float32(value)
    except OverflowError:
        return StepValue(signal, start_ms, None, Quality.MISSING)
    whole = covered_ms == 1000 * step_s or is_state(signal)
    return StepValue(signal, start_ms, value, Quality.GOOD if whole and not suspect else Quality.SUSPECT)


def hold_within(readings: Iterable[Reading], *, start_ms: int, hold_s: float) -> list[Reading]:
    """Readings that can still count for a step from `start_ms` on; the others may be dropped when a step closes."""
    kept = list(readings)
    first = 0
    for i, reading in enumerate(kept):
        if reading.at_ms <= start_ms:
            first = i
    return [r for r in kept[first:] if r.at_ms >= start_ms - round(1000 * hold_s)]
