"""Marks of values, findings, and the kinds and limits of signals. Pure.

Each value has a bit set of `Mark`. `masked` takes marked values out: they are gaps for training and history alike.
"""

from collections.abc import Sequence
from enum import IntFlag, StrEnum
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ringmain_protocol.messages import Quality
from ringmain_trainer.config.trainer import QualityConfig, SignalKind

Marks = NDArray[np.int16]

_POWER: Final = ("_kw", "_kvar", "_kva", "_w", "_a")
_CONTROLLED: Final = frozenset(
    (
        "battery",
        "boiler",
        "charger",
        "chargers",
        "charging",
        "electrolyzer",
        "ev",
        "setpoint",
        "station",
        "storage",
        "vehicles",
    )
)
"""Words of equipment that rests and starts by order: it may stand still, jump and be at zero for days."""


class Mark(IntFlag):
    """A fault of a value. `GAP`: there is none. The numbers are stored; new ones are added at the end."""

    GAP = 1
    RANGE = 2
    UNIT = 4
    DEAD = 8
    FLAT = 16
    SPIKE = 32
    JUMP = 64
    SIGN = 128


class Severity(StrEnum):
    """`error`: do not train on it before somebody has looked; `warning`: taken out; `note`: good to know."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that a rule has found, `[from_s, to_s)` in UTC seconds; `count` values are concerned."""

    signal: str
    rule: str
    severity: Severity
    reason: str
    from_s: int
    to_s: int
    count: int


class SignalQuality(Struct, frozen=True, kw_only=True):
    """Summary of one signal: steps by mark, what is left good, and the findings, longest first."""

    signal: str
    kind: str
    steps: int
    good: int
    good_share: float
    marked: dict[str, int]
    findings: list[Finding]


class Grid(NamedTuple):
    """When the values are: the first START and the step."""

    start_s: int
    step_s: int

    def at_s(self, row: int) -> int:
        """START of a row."""
        return self.start_s + self.step_s * row


class Checked(NamedTuple):
    """`marks` `(n_steps, n_signals)`, and a summary per signal."""

    marks: Marks
    signals: list[SignalQuality]


def kind_of(signal: str, config: QualityConfig) -> SignalKind:
    """The kind of a signal: from `quality.kinds`, else from the words and the unit in its name."""
    if signal in config.kinds:
        return config.kinds[signal]
    words = signal.split("_")
    if _CONTROLLED & set(words):
        return SignalKind.OTHER
    power = signal.endswith(_POWER)
    if power and ("pv" in words or "solar" in words):
        return SignalKind.PV
    if power and "wind" in words:
        return SignalKind.WIND
    endings = {
        "_w_per_m2": SignalKind.RADIATION,
        "_m_per_s": SignalKind.WIND_SPEED,
        "_degc": SignalKind.TEMPERATURE,
        "_pct": SignalKind.SHARE,
        "_per_kwh": SignalKind.PRICE,
        "_per_mwh": SignalKind.PRICE,
    }
    by_unit = next((kind for ending, kind in endings.items() if signal.endswith(ending)), None)
    return by_unit or (SignalKind.LOAD if power else SignalKind.OTHER)


def masked(values: NDArray[np.float32], checked: Checked, config: QualityConfig) -> NDArray[np.float32]:
    """The values with NaN wherever a mark of `quality.mask` stands; what was a gap stays one."""
    return np.where((checked.marks & mask_bits(config)) != 0, np.float32(np.nan), values)


def mask_bits(config: QualityConfig) -> int:
    """The marks of `quality.mask`, as one number; none when the rules are switched off."""
    return sum(int(Mark[name.upper()]) for name in config.mask) if config.enabled else 0


def masked_counts(marks: Marks, signals: Sequence[str], config: QualityConfig) -> dict[str, int]:
    """Number of values that each mark takes out, by `signal.mark`."""
    names = config.mask if config.enabled else ()
    counts = {
        f"{signal}.{name}": int(((marks[:, column] & Mark[name.upper()]) != 0).sum())
        for column, signal in enumerate(signals)
        for name in names
    }
    return {name: count for name, count in counts.items() if count}


def plausible(name: str, values: NDArray[np.float32], config: QualityConfig) -> NDArray[np.float32]:
    """A series known ahead, with NaN for what is outside its limits; the other rules are for what was measured."""
    low, high = limits_of(name, config) if config.enabled else (None, None)
    if low is None or high is None:
        return values
    return np.where((values < low) | (values > high), np.float32(np.nan), values)


def limits_of(signal: str, config: QualityConfig) -> tuple[float | None, float | None]:
    """Limits of a signal: by its own name, else by the longest ending that is configured."""
    if signal in config.limits:
        return config.limits[signal]
    endings = [ending for ending in config.limits if ending.startswith("_") and signal.endswith(ending)]
    return config.limits[max(endings, key=len)] if endings else (None, None)


def quality_of(marks: Marks) -> NDArray[np.int8]:
    """The three words of the protocol: good, suspect (any mark), missing (a gap)."""
    suspect = np.where(marks != 0, Quality.SUSPECT, Quality.GOOD)
    return np.where((marks & Mark.GAP) != 0, Quality.MISSING, suspect).astype(np.int8)


def names_of(mark: int) -> str:
    """The marks of a value in words, `flat,spike`."""
    return ",".join(str(one.name).lower() for one in Mark if one & mark)
