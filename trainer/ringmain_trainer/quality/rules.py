"""Data quality of step values: rules that mark values which cannot be true. Pure.

Each rule takes the values of one signal, the marks so far and the signal's settings, and gives new marks and findings with
interval and reason. They go in this order, each on the values that the earlier ones left: gaps, limits, units, dead channel,
flat lines, spikes, jumps, sign. A rule that needs a scale takes the range P99 - P1 of what is left. Nothing is filled or
mended here. Rules about time stamps and clocks are in `clock_faults`; `site_quality` reads the history.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ringmain_trainer.arrays import Bools, Values
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.trainer import QualityConfig, SignalKind
from ringmain_trainer.quality.arrays import DAYS_MIN, by_day, days_of_other_size, quantile_of, runs, spread_of, towards
from ringmain_trainer.quality.marks import Checked, Finding, Grid, Mark, Marks, Severity, SignalQuality, kind_of, limits_of

_WEATHER: Final = frozenset((SignalKind.TEMPERATURE, SignalKind.WIND_SPEED, SignalKind.SHARE, SignalKind.PRICE))
_AT_REST: Final = frozenset((SignalKind.PV, SignalKind.RADIATION, SignalKind.WIND))
_GUSTY: Final = frozenset((SignalKind.RADIATION, SignalKind.WIND, SignalKind.WIND_SPEED))
"""Clouds and gusts make spikes of their own; impossible values are outside the limits."""

Span = tuple[int, int, str]
"""First row, one past the last, reason."""


class Settings(NamedTuple):
    """A signal under check: its name and kind, the instants of its values, and the parameters of the rules."""

    signal: str
    kind: SignalKind
    grid: Grid
    config: QualityConfig


Verdict = tuple[Marks, list[Finding]]
Rule = Callable[[Values, Marks, Settings], Verdict]


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
    settings = Settings(signal, kind_of(signal, config), grid, config)
    marks: Marks = np.zeros(len(values), np.int16)
    findings: list[Finding] = []
    for rule in RULES:
        new, listed = rule(values, marks, settings)
        marks = marks | new
        findings += listed
    counts = {mark.name.lower(): int(((marks & mark) != 0).sum()) for mark in Mark if mark.name}
    good = int((marks == 0).sum())
    summary = SignalQuality(
        signal=signal,
        kind=settings.kind,
        steps=len(values),
        good=good,
        good_share=good / max(1, len(values)),
        marked={name: count for name, count in counts.items() if count},
        findings=sorted(findings, key=lambda one: (-one.count, one.from_s)),
    )
    return marks, summary


def gaps(values: Values, marks: Marks, settings: Settings) -> Verdict:
    """Steps without a value; a gap at the same hours of every day is listed once."""
    missing = ~np.isfinite(values)
    if not missing.any():
        return _nothing(marks)
    days = by_day(missing.astype(np.float64), settings.grid)
    by_slot = np.nanmean(days, axis=0) if len(days) >= DAYS_MIN else np.zeros(1)
    share, last = float(missing.mean()), len(missing)
    spans: Iterable[Span]
    if by_slot.max() > 0.9 and by_slot.min() < 0.1:
        severity = Severity.NOTE
        spans = [(0, last, f"{int(missing.sum()) / last:.0%} empty, always at the same hours, as at night")]
    else:
        severity = Severity.WARNING if share > settings.config.gap_share_max else Severity.NOTE
        spans = (
            (a, b, f"nothing for {_hours(b - a, settings.grid)}" + (", to the end" if b == last else ""))
            for a, b in _runs(missing)
        )
    return _bits(Mark.GAP, missing), _findings(values, settings, "gap", severity, spans)


def limits(values: Values, marks: Marks, settings: Settings) -> Verdict:
    """Values outside what the quantity, or the nameplate, allows."""
    low, high = limits_of(settings.signal, settings.config)
    if low is None or high is None:
        return _nothing(marks)
    left = _left(values, marks)
    outside = (left < low) | (left > high)
    spans = ((a, b, f"outside {low:g} to {high:g}: {_extreme(values[a:b]):g}") for a, b in _runs(outside))
    return _bits(Mark.RANGE, outside), _findings(values, settings, "range", Severity.WARNING, spans)


def units(values: Values, marks: Marks, settings: Settings) -> Verdict:
    """Days whose size is a thousand or a million times that of the others, or a thousandth or millionth."""
    if settings.kind not in {SignalKind.LOAD, SignalKind.PV, SignalKind.WIND}:
        return _nothing(marks)
    left = _left(values, marks)
    days = np.abs(by_day(left, settings.grid))
    usual, power = days_of_other_size(days, settings.config.unit_tolerance)
    jump = power != 0
    if not jump.any():
        return _nothing(marks)
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
                wrong[row] |= towards(beyond[row], back=True)
        for row in (last - 1, last):
            if row < len(days):
                wrong[row] |= towards(beyond[row], back=False)
        if last - first == 1:
            wrong[first] |= beyond[first] & np.isfinite(days[first])
    before = settings.grid.start_s % DAY_S // settings.grid.step_s
    flagged = wrong.ravel()[before : before + len(left)] & np.isfinite(left)
    spans = []
    for a, b in _runs(flagged | _between(left, flagged)):
        around = np.abs(np.flatnonzero(jump) - (a + before) // days.shape[1])
        times = 10.0 ** (3 * int(power[jump][around.argmin()]))
        spans.append((a, b, f"{times:g} times the size of other days: a wrong unit, kW for MW or the like"))
    return _bits(Mark.UNIT, flagged), _findings(values, settings, "unit", Severity.ERROR, spans)


def dead(values: Values, marks: Marks, settings: Settings) -> Verdict:
    """A channel with hardly ever anything but one value, and never more than a flicker."""
    left = _left(values, marks)
    there = np.isfinite(left)
    known, config = left[there], settings.config
    if len(known) * settings.grid.step_s < DAY_S or settings.kind in {SignalKind.OTHER, SignalKind.PRICE}:
        return _nothing(marks)
    distinct, counts = np.unique(known[:: max(1, len(known) // 4096)], return_counts=True)
    if len(distinct) > config.dead_values_max:
        return _nothing(marks)
    level = distinct[counts.argmax()]
    share = float((known == level).mean())
    if share < config.dead_share or len(np.unique(known)) > config.dead_values_max:
        return _nothing(marks)
    text = f"dead channel: {share:.0%} of the values are {level:g}, the largest is {known.max():g}"
    return _bits(Mark.DEAD, there), _findings(values, settings, "dead", Severity.ERROR, [(0, len(there), text)])


def flat(values: Values, marks: Marks, settings: Settings) -> Verdict:
    """One value for longer than such a signal stands still; at rest (PV at night) for longer than a night."""
    left, (signal, kind, grid, config) = _left(values, marks), settings
    spread = spread_of(left)
    if kind == SignalKind.OTHER or not spread > 0:
        return _nothing(marks)
    hours = config.flat_h
    if kind == SignalKind.PV:
        hours = config.flat_pv_h
    elif kind in _WEATHER or kind == SignalKind.RADIATION:
        hours = config.flat_weather_h
    same = np.abs(np.diff(left)) <= 1e-6 * spread
    edges = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
    first, length = edges[:-1], np.diff(edges)
    needed = np.full(len(first), max(4, hours * 3600 / grid.step_s))
    level = left[first]
    if kind in _AT_REST:
        at_rest = np.abs(level) <= config.rest_share * spread
        rest_h = config.flat_calm_h if kind == SignalKind.WIND else config.flat_rest_h
        needed[at_rest] = np.maximum(needed[at_rest], rest_h * 3600 / grid.step_s)
    elif kind == SignalKind.SHARE:  # overcast for days
        low, high = limits_of(signal, config)
        needed[(level == low) | (np.abs(level - (high or 0)) <= 0.01 * spread)] = np.inf
    long = length >= needed
    spans = (
        (int(a), int(a + n), f"stands at {value:g} for {_hours(int(n), grid)}")
        for a, n, value in zip(first[long], length[long], level[long], strict=True)
    )
    return _bits(Mark.FLAT, np.repeat(long, length)), _findings(values, settings, "flat", Severity.WARNING, spans)


def spikes(values: Values, marks: Marks, settings: Settings) -> Verdict:
    """A value alone far from both neighbors."""
    left, config = _left(values, marks), settings.config
    spread = spread_of(left)
    if len(left) < 3 or settings.kind in {SignalKind.PRICE, SignalKind.OTHER, *_GUSTY} or not spread > 0:
        return _nothing(marks)
    change = np.diff(left)
    there_and_back = np.where(change[:-1] * change[1:] < 0, np.minimum(np.abs(change[:-1]), np.abs(change[1:])), 0.0)
    restless = quantile_of(there_and_back, 0.95)
    limit = max(config.spike_share * spread, config.spike_factor * restless)
    spike = np.concatenate([[False], there_and_back > limit, [False]])
    if spike.mean() > config.spike_rare:
        return _nothing(marks)
    # the neighbor of a spike goes there and back as well: of a row of them the farthest from the median is it
    spike = _farthest(left, spike)
    spans = ((a, b, f"{left[a]:g} between {left[a - 1]:g} and {left[b]:g}") for a, b in _runs(spike))
    return _bits(Mark.SPIKE, spike), _findings(values, settings, "spike", Severity.WARNING, spans)


def jumps(values: Values, marks: Marks, settings: Settings) -> Verdict:
    """A step between two values that is rarely as large: listed, and not taken out."""
    left, config = _left(values, marks), settings.config
    spread = spread_of(_left(values, marks & ~Mark.SPIKE))
    if len(left) < 3 or settings.kind in {SignalKind.PRICE, SignalKind.OTHER} or not spread > 0:
        return _nothing(marks)
    size = np.concatenate([[0.0], np.abs(np.diff(left))])
    jump = size > config.jump_share * spread
    if jump.mean() > config.jump_rare:
        return _nothing(marks)
    largest_first = sorted(np.flatnonzero(jump), key=lambda row: -size[row])
    spans = ((int(a), int(a) + 1, f"from {left[a - 1]:g} to {left[a]:g} in one step") for a in largest_first)
    return _bits(Mark.JUMP, jump), _findings(values, settings, "jump", Severity.NOTE, spans)


def sign(values: Values, marks: Marks, settings: Settings) -> Verdict:
    """Whole days with the other sign, in a signal that has one sign; PV that is positive from begin to end."""
    if settings.kind not in {SignalKind.LOAD, SignalKind.PV, SignalKind.WIND}:
        return _nothing(marks)
    left, grid = _left(values, marks), settings.grid
    days = by_day(left, grid)
    up, down = np.nansum(np.maximum(days, 0), axis=1), np.nansum(np.maximum(-days, 0), axis=1)
    total = up + down
    usual = float(np.median(total[total > 0])) if (total > 0).any() else 0.0
    large = total > 0.1 * usual
    pure = np.where(total > 0, (up - down) / np.where(total > 0, total, 1), 0)
    one_sided = large & (np.abs(pure) >= settings.config.sign_share)
    if large.sum() < DAYS_MIN or one_sided.sum() < 0.85 * large.sum():
        return _nothing(marks)
    positive = one_sided & (pure > 0)
    generates = settings.kind in {SignalKind.PV, SignalKind.WIND}
    if generates and positive.sum() > 0.9 * one_sided.sum():
        text = "positive throughout: generation is negative here (positive is drawn from the network); turn the sign round"
        return np.zeros_like(marks), _findings(values, settings, "sign", Severity.ERROR, [(0, len(left), text)])
    mostly_positive = not generates and positive.sum() * 2 >= one_sided.sum()
    flipped = one_sided & (positive != mostly_positive)
    if not flipped.any() or flipped.sum() > 0.25 * one_sided.sum():
        return _nothing(marks)
    before = grid.start_s % DAY_S // grid.step_s
    wrong = np.repeat(flipped, days.shape[1])[before : before + len(left)]
    opposite = left < 0 if mostly_positive else left > 0
    wrong = (wrong | _beside(left, wrong, opposite, DAY_S // grid.step_s)) & np.isfinite(left)
    if not generates:
        wrong = _sudden(left, wrong)
    spans = ((a, b, "the other sign than on all other days") for a, b in _runs(wrong | _between(left, wrong)))
    return _bits(Mark.SIGN, wrong), _findings(values, settings, "sign", Severity.ERROR, spans)


RULES: Final[tuple[Rule, ...]] = (gaps, limits, units, dead, flat, spikes, jumps, sign)


def _left(values: Values, marks: Marks) -> Values:
    """The values that no earlier rule has taken out; a jump takes none."""
    return np.where((marks & ~Mark.JUMP) != 0, np.nan, values)


def _bits(mark: Mark, chosen: Bools) -> Marks:
    return np.where(chosen, int(mark), 0).astype(np.int16)


def _nothing(marks: Marks) -> Verdict:
    return np.zeros_like(marks), []


def _findings(values: Values, settings: Settings, rule: str, severity: Severity, spans: Iterable[Span]) -> list[Finding]:
    """Findings for spans of rows, the longest of them."""
    longest = sorted(spans, key=lambda one: one[0] - one[1])[: settings.config.findings_max]
    return [
        Finding(
            signal=settings.signal,
            rule=rule,
            severity=severity,
            reason=reason,
            from_s=settings.grid.at_s(first),
            to_s=settings.grid.at_s(last),
            count=int(np.isfinite(values[first:last]).sum()) if rule != "gap" else last - first,
        )
        for first, last, reason in longest
    ]


def _runs(mask: Bools) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in zip(*runs(mask), strict=True)]


def _between(left: Values, flagged: Bools) -> Bools:
    """Gaps between flagged values of one run."""
    index = np.where(np.isfinite(left) | flagged, np.arange(len(flagged)), -1)
    last = np.maximum.accumulate(index)
    return (index < 0) & (last >= 0) & flagged[np.maximum(last, 0)]


def _beside(left: Values, wrong: Bools, opposite: Bools, day: int) -> Bools:
    """Runs of the opposite sign that touch a wrong day: the flip was not at midnight."""
    touching = np.zeros(len(wrong), bool)
    allowed = opposite | ~np.isfinite(left)
    for first, last in _runs(wrong):
        before = towards(allowed[:first], back=True)
        behind = towards(allowed[last:], back=False)
        touching[max(0, first - day) : first] |= before[max(0, first - day) :]
        touching[last : last + day] |= behind[:day]
    return touching


def _sudden(left: Values, wrong: Bools) -> Bools:
    """Without the runs that begin or end near zero: there the signal itself went through zero."""
    usual, sudden = np.nanmedian(np.abs(left)), wrong.copy()
    for first, last in _runs(wrong | _between(left, wrong)):
        borders = [left[[row - 1, row]] for row in (first, last) if 0 < row < len(wrong)]
        sizes = [np.nanmin(np.abs(pair)) for pair in borders if np.isfinite(pair).any()]
        if sizes and min(sizes) < 0.5 * usual:
            sudden[first:last] = False
    return sudden


def _farthest(left: Values, chosen: Bools) -> Bools:
    """Of each run of neighbors the one farthest from the median around it."""
    best = np.zeros(len(chosen), bool)
    for first, last in _runs(chosen):
        around = left[max(0, first - 4) : last + 4]
        away = np.abs(left[first:last] - np.median(around[np.isfinite(around)]))
        best[first + int(away.argmax())] = True
    return best


def _extreme(values: Values) -> float:
    return float(values[np.abs(values).argmax()])


def _hours(steps: int, grid: Grid) -> str:
    hours = steps * grid.step_s / 3600
    return f"{hours:.3g} h" if hours < 100 else f"{hours / 24:.3g} days"
