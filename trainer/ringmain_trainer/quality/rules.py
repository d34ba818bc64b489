"""Data quality of step values: rules that mark what cannot be true, pure and in NumPy.

Each value gets a bit set of `Mark`; each rule tells its findings with interval and reason. Nothing is filled or mended
here: `masked` takes marked values out, so that they are gaps for training and history alike. Rules about time stamps and
clocks are in `quality_clock`, reading the history and the report in `quality_report`.

The rules look at one signal at a time and go in this order, each on what the earlier ones left: limits, units, dead
channel, flat lines, spikes, jumps, sign. A rule that needs a scale takes the range P99 - P1 of what is left.
"""

from collections.abc import Iterable, Sequence
from enum import IntFlag, StrEnum
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ringmain_protocol.messages import Quality
from ringmain_trainer.config.trainer import QualityConfig, SignalKind

Marks = NDArray[np.int16]
Bools = NDArray[np.bool_]
Values = NDArray[np.float64]

_DAY_S: Final = 86400
_DAYS_MIN: Final = 4
"""Rules that compare days want so many of them."""

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
"""Words of what rests and starts by order: it stands still, jumps and is at zero for days, and nothing is wrong."""
_WEATHER: Final = frozenset((SignalKind.TEMPERATURE, SignalKind.WIND_SPEED, SignalKind.SHARE, SignalKind.PRICE))
_AT_REST: Final = frozenset((SignalKind.PV, SignalKind.RADIATION, SignalKind.WIND))
_GUSTY: Final = frozenset((SignalKind.RADIATION, SignalKind.WIND, SignalKind.WIND_SPEED))
"""Clouds and gusts make spikes of their own; what is impossible is outside the limits."""


class Mark(IntFlag):
    """What is wrong with a value. `GAP`: there is none. The numbers are stored; new ones are added at the end."""

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


Span = tuple[int, int, str]
"""First row, one past the last, reason."""


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
    """What a signal measures: `quality.kinds`, else from the words and the unit in its name."""
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
    found = next((kind for ending, kind in endings.items() if signal.endswith(ending)), None)
    return found or (SignalKind.LOAD if power else SignalKind.OTHER)


def check(values: NDArray[np.floating], signals: Sequence[str], grid: Grid, config: QualityConfig) -> Checked:
    """Marks and summary of step values.

    Args:
        values: `(n_steps, n_signals)`, NaN where there is none.
        signals: Names of the columns.
        grid: When they are.
        config: Parameters of the rules.
    """
    marks = np.zeros(values.shape, np.int16)
    summaries = []
    for column, signal in enumerate(signals):
        marks[:, column], summary = check_signal(values[:, column].astype(np.float64), signal, grid, config)
        summaries.append(summary)
    return Checked(marks, summaries)


def check_signal(values: Values, signal: str, grid: Grid, config: QualityConfig) -> tuple[Marks, SignalQuality]:
    """Marks `(n_steps,)` and summary of one signal."""
    kind = kind_of(signal, config)
    made = _Rules(values, signal, kind, grid, config)
    made.gaps()
    made.limits()
    made.units()
    made.dead()
    made.flat()
    made.spikes_and_jumps()
    made.sign()
    marks = made.marks
    counts = {mark.name.lower(): int(((marks & mark) != 0).sum()) for mark in Mark if mark.name}
    good = int((marks == 0).sum())
    summary = SignalQuality(
        signal=signal,
        kind=kind,
        steps=len(values),
        good=good,
        good_share=good / max(1, len(values)),
        marked={name: count for name, count in counts.items() if count},
        findings=sorted(made.findings, key=lambda one: (-one.count, one.from_s)),
    )
    return marks, summary


def masked(values: NDArray[np.float32], checked: Checked, config: QualityConfig) -> NDArray[np.float32]:
    """The values with NaN wherever a mark of `quality.mask` stands; what was a gap stays one."""
    return np.where((checked.marks & mask_bits(config)) != 0, np.float32(np.nan), values)


def mask_bits(config: QualityConfig) -> int:
    """The marks whose values are taken out, as one number; none when the rules are switched off."""
    return sum(int(Mark[name.upper()]) for name in config.mask) if config.enabled else 0


def masked_counts(marks: Marks, signals: Sequence[str], config: QualityConfig) -> dict[str, int]:
    """How many values each mark takes out, by `signal.mark`."""
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


def runs(mask: Bools) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one past the last row of each run of True."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def spread_of(values: Values) -> float:
    """P99 - P1 of what is there; the whole range where most values are the same; 0 if there is none."""
    found = values[np.isfinite(values)]
    if not len(found):
        return 0.0
    n = len(found) - 1
    low, high = round(0.01 * n), round(0.99 * n)
    ordered = np.partition(found, (0, low, high, n)) if n else found
    return float(ordered[high] - ordered[low]) or float(ordered[n] - ordered[0])


def by_day(values: Values, grid: Grid) -> Values:
    """Values `(days, steps of a day)` by UTC day, NaN before the first and behind the last."""
    day = _DAY_S // grid.step_s
    before = grid.start_s % _DAY_S // grid.step_s
    behind = -(before + len(values)) % day
    return np.concatenate([np.full(before, np.nan), values, np.full(behind, np.nan)]).reshape(-1, day)


def day_quantile(days: Values, share: float) -> Values:
    """A quantile of each row, by rank; NaN for rows without a value."""
    ordered = np.sort(days, axis=1)  # NaN goes to the end
    count = np.isfinite(days).sum(axis=1)
    rank = np.maximum(0, np.round(share * (count - 1)).astype(np.int64))
    return np.where(count > 0, ordered[np.arange(len(days)), rank], np.nan)


class _Rules:
    """The rules on one signal; `left` are the values that no rule has taken yet."""

    def __init__(self, values: Values, signal: str, kind: SignalKind, grid: Grid, config: QualityConfig) -> None:
        self.values = values
        self.left = values.copy()
        self.signal = signal
        self.kind = kind
        self.grid = grid
        self.config = config
        self.marks: Marks = np.zeros(len(values), np.int16)
        self.findings: list[Finding] = []

    def gaps(self) -> None:
        """What is not there; a gap at the same hours of every day is told once."""
        missing = ~np.isfinite(self.values)
        self.left[missing] = np.nan
        self.marks[missing] |= Mark.GAP
        if not missing.any():
            return
        days = by_day(missing.astype(np.float64), self.grid)
        by_slot = np.nanmean(days, axis=0) if len(days) >= _DAYS_MIN else np.zeros(1)
        if by_slot.max() > 0.9 and by_slot.min() < 0.1:
            count = int(missing.sum())
            text = f"{count / len(missing):.0%} empty, always at the same hours, as at night"
            self._found("gap", Severity.NOTE, [(0, len(missing), text)])
            return
        share = float(missing.mean())
        severity = Severity.WARNING if share > self.config.gap_share_max else Severity.NOTE
        last = len(missing)
        texts = (
            (a, b, f"nothing for {self._hours(b - a)}" + (", to the end" if b == last else ""))
            for a, b in self._runs(missing)
        )
        self._found("gap", severity, texts)

    def limits(self) -> None:
        """Outside what the quantity, or the nameplate, allows."""
        low, high = limits_of(self.signal, self.config)
        if low is None or high is None:
            return
        outside = (self.left < low) | (self.left > high)
        if outside.any():
            text = f"outside {low:g} to {high:g}"
            spans = ((a, b, f"{text}: {self._extreme(a, b):g}") for a, b in self._runs(outside))
            self._take(Mark.RANGE, outside, Severity.WARNING, spans)

    def units(self) -> None:
        """Days whose size is a thousand or a million times that of the others, or a thousandth or millionth."""
        if self.kind not in {SignalKind.LOAD, SignalKind.PV, SignalKind.WIND}:
            return
        days = np.abs(by_day(self.left, self.grid))
        usual, power = _days_of_other_size(days, self.config.unit_tolerance)
        jump = power != 0
        if not jump.any():
            return
        wrong = np.zeros(days.shape, bool)
        for first, last in zip(*runs(jump), strict=True):
            factor = 10.0 ** (3 * int(power[first]))
            # the days at both ends, and those beside them, may be wrong in part: up to the half-way size
            middle = 10 ** (usual + 1.5 * np.sign(power[first]))
            beyond = days > middle if factor > 1 else days < middle
            beyond |= ~np.isfinite(days) | (days < 0.001 * 10**usual)  # nothing is nothing in every unit
            wrong[first + 1 : last - 1] = True
            for row in (first - 1, first):
                if row >= 0:
                    wrong[row] |= _towards(beyond[row], back=True)
            for row in (last - 1, last):
                if row < len(days):
                    wrong[row] |= _towards(beyond[row], back=False)
            if last - first == 1:
                wrong[first] |= beyond[first] & np.isfinite(days[first])
        before = self.grid.start_s % _DAY_S // self.grid.step_s
        flagged = wrong.ravel()[before : before + len(self.left)] & np.isfinite(self.left)
        spans = []
        for a, b in self._runs(flagged | self._between(flagged)):
            around = np.abs(np.flatnonzero(jump) - (a + before) // days.shape[1])
            nearest = int(power[jump][around.argmin()])
            spans.append(
                (a, b, f"{10.0 ** (3 * nearest):g} times the size of other days: a wrong unit, kW for MW or the like")
            )
        self._take(Mark.UNIT, flagged, Severity.ERROR, spans)

    def dead(self) -> None:
        """Hardly ever anything but one value, and never more than a flicker."""
        found = self.left[np.isfinite(self.left)]
        if len(found) * self.grid.step_s < _DAY_S:
            return
        distinct, counts = np.unique(found[:: max(1, len(found) // 4096)], return_counts=True)
        if len(distinct) > self.config.dead_values_max:
            return
        share = float((found == distinct[counts.argmax()]).mean())
        if share < self.config.dead_share or len(np.unique(found)) > self.config.dead_values_max:
            return
        if self.kind in {SignalKind.OTHER, SignalKind.PRICE}:
            return
        text = f"dead channel: {share:.0%} of the values are {distinct[counts.argmax()]:g}, the largest is {found.max():g}"
        there = np.isfinite(self.left)
        self._take(Mark.DEAD, there, Severity.ERROR, [(0, len(there), text)])

    def flat(self) -> None:
        """One value for longer than such a signal stands still; at rest (PV at night) for longer than a night."""
        hours, config = self.config.flat_h, self.config
        if self.kind == SignalKind.OTHER:
            return
        if self.kind == SignalKind.PV:
            hours = config.flat_pv_h
        elif self.kind in _WEATHER or self.kind == SignalKind.RADIATION:
            hours = config.flat_weather_h
        spread = spread_of(self.left)
        if not spread > 0:
            return
        same = np.abs(np.diff(self.left)) <= 1e-6 * spread
        edges = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
        first, length = edges[:-1], np.diff(edges)
        needed = np.full(len(first), max(4, hours * 3600 / self.grid.step_s))
        level = self.left[first]
        if self.kind in _AT_REST:
            at_rest = np.abs(level) <= config.rest_share * spread
            rest_h = config.flat_calm_h if self.kind == SignalKind.WIND else config.flat_rest_h
            needed[at_rest] = np.maximum(needed[at_rest], rest_h * 3600 / self.grid.step_s)
        elif self.kind == SignalKind.SHARE:  # overcast for days
            low, high = limits_of(self.signal, config)
            needed[(level == low) | (np.abs(level - (high or 0)) <= 0.01 * spread)] = np.inf
        long = length >= needed
        if not long.any():
            return
        flat = np.repeat(long, length)
        spans = (
            (int(a), int(a + n), f"stands at {value:g} for {self._hours(int(n))}")
            for a, n, value in zip(first[long], length[long], level[long], strict=True)
        )
        self._take(Mark.FLAT, flat, Severity.WARNING, spans)

    def spikes_and_jumps(self) -> None:
        """A value alone far from both neighbors; and a step between two values that is rarely as large."""
        if len(self.left) < 3 or self.kind in {SignalKind.PRICE, SignalKind.OTHER}:
            return
        spread = spread_of(self.left)
        if not spread > 0:
            return
        change = np.diff(self.left)
        there_and_back = np.where(change[:-1] * change[1:] < 0, np.minimum(np.abs(change[:-1]), np.abs(change[1:])), 0.0)
        restless = _share_of_found(there_and_back, 0.95)
        limit = max(self.config.spike_share * spread, self.config.spike_factor * restless)
        spike = np.concatenate([[False], there_and_back > limit, [False]])
        if self.kind not in _GUSTY and spike.any() and spike.mean() <= self.config.spike_rare:
            # the neighbor of a spike goes there and back as well: of a row of them the farthest from the median is it
            spike = self._farthest(spike)
            spans = (
                (a, b, f"{self.left[a]:g} between {self.left[a - 1]:g} and {self.left[b]:g}") for a, b in self._runs(spike)
            )
            self._take(Mark.SPIKE, spike, Severity.WARNING, spans)
            change = np.diff(self.left)
        jump = np.concatenate([[False], np.abs(change) > self.config.jump_share * spread])
        if jump.any() and jump.mean() <= self.config.jump_rare:
            spans = (
                (int(a), int(a) + 1, f"from {self.left[a - 1]:g} to {self.left[a]:g} in one step")
                for a in np.flatnonzero(jump)
            )
            sized = sorted(spans, key=lambda one: -abs(self.left[one[0]] - self.left[one[0] - 1]))
            self._take(Mark.JUMP, jump, Severity.NOTE, sized)

    def sign(self) -> None:
        """Whole days with the other sign, in a signal that has one sign; PV that is positive from begin to end."""
        if self.kind not in {SignalKind.LOAD, SignalKind.PV, SignalKind.WIND}:
            return
        days = by_day(self.left, self.grid)
        up, down = np.nansum(np.maximum(days, 0), axis=1), np.nansum(np.maximum(-days, 0), axis=1)
        total = up + down
        usual = float(np.median(total[total > 0])) if (total > 0).any() else 0.0
        large = total > 0.1 * usual
        pure = np.where(total > 0, (up - down) / np.where(total > 0, total, 1), 0)
        one_sided = large & (np.abs(pure) >= self.config.sign_share)
        if large.sum() < _DAYS_MIN or one_sided.sum() < 0.85 * large.sum():
            return
        positive = one_sided & (pure > 0)
        generates = self.kind in {SignalKind.PV, SignalKind.WIND}
        if generates and positive.sum() > 0.9 * one_sided.sum():
            text = (
                "positive throughout: generation is negative here (positive is drawn from the network); turn the sign round"
            )
            self._found("sign", Severity.ERROR, [(0, len(self.left), text)])
            return
        mostly_positive = not generates and positive.sum() * 2 >= one_sided.sum()
        flipped = one_sided & (positive != mostly_positive)
        if not flipped.any() or flipped.sum() > 0.25 * one_sided.sum():
            return
        before = self.grid.start_s % _DAY_S // self.grid.step_s
        wrong = np.repeat(flipped, days.shape[1])[before : before + len(self.left)]
        opposite = self.left < 0 if mostly_positive else self.left > 0
        wrong = wrong | self._beside(wrong, opposite)
        wrong &= np.isfinite(self.left)
        if not generates:
            self._only_sudden(wrong)
        if not wrong.any():
            return
        spans = ((a, b, "the other sign than on all other days") for a, b in self._runs(wrong | self._between(wrong)))
        self._take(Mark.SIGN, wrong, Severity.ERROR, spans)

    def _take(self, mark: Mark, chosen: Bools, severity: Severity, spans: Iterable[Span]) -> None:
        """Mark values and tell it; the later rules see only what is told as a note."""
        self.marks[chosen] |= mark
        self._found(str(mark.name).lower(), severity, spans)
        if severity != Severity.NOTE:
            self.left[chosen] = np.nan

    def _found(self, rule: str, severity: Severity, spans: Iterable[Span]) -> None:
        """Findings for spans of rows, the longest of them."""
        longest = sorted(spans, key=lambda one: one[0] - one[1])[: self.config.findings_max]
        self.findings += [
            Finding(
                signal=self.signal,
                rule=rule,
                severity=severity,
                reason=reason,
                from_s=self.grid.at_s(first),
                to_s=self.grid.at_s(last),
                count=int(np.isfinite(self.values[first:last]).sum()) if rule != "gap" else last - first,
            )
            for first, last, reason in longest
        ]

    def _runs(self, mask: Bools) -> list[tuple[int, int]]:
        return [(int(a), int(b)) for a, b in zip(*runs(mask), strict=True)]

    def _between(self, flagged: Bools) -> Bools:
        """Gaps between flagged values of one run."""
        index = np.where(np.isfinite(self.left) | flagged, np.arange(len(flagged)), -1)
        last = np.maximum.accumulate(index)
        return (index < 0) & (last >= 0) & flagged[np.maximum(last, 0)]

    def _beside(self, wrong: Bools, opposite: Bools) -> Bools:
        """Runs of the opposite sign that touch a wrong day: the flip was not at midnight."""
        found = np.zeros(len(wrong), bool)
        allowed = opposite | ~np.isfinite(self.left)
        for first, last in self._runs(wrong):
            before = _towards(allowed[:first], back=True)
            behind = _towards(allowed[last:], back=False)
            day = _DAY_S // self.grid.step_s
            found[max(0, first - day) : first] |= before[max(0, first - day) :]
            found[last : last + day] |= behind[:day]
        return found

    def _only_sudden(self, wrong: Bools) -> None:
        """Leave runs out that begin or end near zero: there the signal itself went through zero."""
        usual = np.nanmedian(np.abs(self.left))
        for first, last in self._runs(wrong | self._between(wrong)):
            borders = [row for row in (first, last) if 0 < row < len(wrong)]
            sizes = [
                np.nanmin(np.abs(self.left[[row - 1, row]]))
                for row in borders
                if np.isfinite(self.left[[row - 1, row]]).any()
            ]
            if sizes and min(sizes) < 0.5 * usual:
                wrong[first:last] = False

    def _farthest(self, chosen: Bools) -> Bools:
        """Of each run of neighbors the one farthest from the median around it."""
        best = np.zeros(len(chosen), bool)
        for first, last in self._runs(chosen):
            around = self.left[max(0, first - 4) : last + 4]
            away = np.abs(self.left[first:last] - np.median(around[np.isfinite(around)]))
            best[first + int(away.argmax())] = True
        return best

    def _extreme(self, first: int, last: int) -> float:
        part = self.values[first:last]
        return float(part[np.abs(part).argmax()])

    def _hours(self, steps: int) -> str:
        hours = steps * self.grid.step_s / 3600
        return f"{hours:.3g} h" if hours < 100 else f"{hours / 24:.3g} days"


def _towards(allowed: Bools, *, back: bool) -> Bools:
    """The part of a row that is allowed without a break up to its end (`back`) or from its begin."""
    row = allowed[::-1] if back else allowed
    kept = np.logical_and.accumulate(row)
    return kept[::-1] if back else kept


def _changes(days: Values) -> NDArray[np.int64]:
    """How often the value changes, by day."""
    changes: NDArray[np.int64] = (np.diff(days, axis=1) != 0).sum(axis=1) - np.isnan(np.diff(days, axis=1)).sum(axis=1)
    return changes


def _days_of_other_size(days: Values, tolerance: float) -> tuple[float, NDArray[np.int64]]:
    """The usual size of a day in decades, and by how many thousandfolds each day is off, 0 for all that is not clear."""
    power = np.zeros(len(days), np.int64)
    count = np.isfinite(days).sum(axis=1)
    if (count > 0).sum() < _DAYS_MIN:
        return 0.0, power
    size = day_quantile(days, 0.9)
    known = np.isfinite(size) & (size > 0) & (count >= 0.5 * np.median(count)) & (_changes(days) >= 0.1 * count)
    if known.sum() < _DAYS_MIN:
        return 0.0, power
    decades = np.log10(size[known])
    usual = _mode(decades)
    off = decades - usual
    thousands = np.round(off / 3)
    near = np.abs(off - 3 * thousands) < np.log10(tolerance)
    power[known] = np.where(near, thousands, 0).astype(np.int64)
    return usual, power


def _share_of_found(values: Values, share: float) -> float:
    found = values[np.isfinite(values)]
    if not len(found):
        return 0.0
    rank = round(share * (len(found) - 1))
    return float(np.partition(found, rank)[rank])


def _mode(decades: Values) -> float:
    """The size of most days: the median of those within a decade of the median; of two clusters the larger."""
    ordered = np.sort(decades)
    count = np.searchsorted(ordered, ordered + 1.0) - np.arange(len(ordered))
    first = int(count.argmax())
    return float(np.median(ordered[first : first + int(count[first])]))
