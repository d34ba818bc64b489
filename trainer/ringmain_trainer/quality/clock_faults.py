"""Faults of clocks, seen by the sun, by people's mornings and in the time stamps themselves. Pure.

Three independent witnesses. The middle of the light day stands still in UTC but for the equation of time (a quarter of an
hour, slowly): PV or radiation that jumps by an hour was stamped by another clock. Mornings move by an hour in UTC when
legal time changes: load that stays where it was carries local stamps that were taken as UTC. And the stamps of a file have
holes, doubles and steps back where a clock was changed.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from ringmain_trainer.arrays import Values
from ringmain_trainer.calendar import DAY_S, SATURDAY
from ringmain_trainer.clock_tables import utc_offsets
from ringmain_trainer.config.trainer import QualityConfig, SignalKind
from ringmain_trainer.quality.arrays import by_day, spread_of
from ringmain_trainer.quality.marks import Finding, Grid, Severity, kind_of

Ints = NDArray[np.int64]

_HOUR_S: Final = 3600
_THURSDAY: Final = 3  # the weekday of 1 January 1970, Monday = 0
_SUN_DAYS: Final = 10
_CLOCK_MAX_MIN: Final = 130.0
"""A light day that moves further was not seen whole."""
_MORNING_H: Final = (2, 11)
_TIGHT_MIN: Final = 5.5
"""Mornings that scatter by more minutes than this do not show a shift of an hour."""
_STAYS_MIN: Final = 10.0
"""Mornings that move by fewer minutes than this, in the mean of all clock changes, do not follow legal time."""


class ClockChange(NamedTuple):
    """A change of legal time: the instant, by how much the clock is put on, and the UTC offset before."""

    at_s: int
    by_s: int
    offset_s: int


class Moved(NamedTuple):
    """A shift to later and its scatter from day to day, in minutes."""

    minutes: float
    scatter: float


def clock_changes(time_zone: str, from_s: int, to_s: int) -> list[ClockChange]:
    """The changes of legal time within an interval."""
    first, last = (int(np.datetime64(at, "s").astype("datetime64[Y]").astype(int)) + 1970 for at in (from_s, to_s))
    at, offsets = utc_offsets(time_zone, first, last)
    steps = np.diff(offsets)
    changes = (ClockChange(int(a), int(b), int(c)) for a, b, c in zip(at, steps, offsets[:-1], strict=True) if b)
    return [one for one in changes if from_s < one.at_s < to_s]


def check_clock(
    values: NDArray[np.floating], signals: Sequence[str], grid: Grid, time_zone: str, config: QualityConfig
) -> list[Finding]:
    """Faults of the clock of step values in UTC, `(n_steps, n_signals)`, seen by sun and mornings."""
    changes = clock_changes(time_zone, grid.start_s, grid.at_s(len(values)))
    findings: list[Finding] = []
    for column, signal in enumerate(signals):
        one = values[:, column].astype(np.float64)
        match kind_of(signal, config):
            case SignalKind.PV | SignalKind.RADIATION:
                findings += _sun(one, signal, grid, changes, config)
            case SignalKind.LOAD:
                findings += _mornings(one, signal, grid, changes, config)
            case _:
                pass
    return findings


def light_middle_min(values: Values, grid: Grid) -> tuple[Ints, Values]:
    """Middle of the light day in minutes after UTC midnight, by the UTC instant of a start at night; NaN if unclear.

    Days begin in the darkest hour, so that one light day is one row in every time zone.
    """
    size = np.abs(values)
    spread = spread_of(size)
    days = by_day(size, grid)
    with np.errstate(invalid="ignore"):
        lit = np.nan_to_num(days, nan=0.0) > 0.02 * spread
    by_slot = lit.mean(axis=0)
    day = days.shape[1]
    smooth = np.convolve(np.tile(by_slot, 3), np.ones(day // 4) / (day // 4), "same")[day : 2 * day]
    dark = int(smooth.argmin())
    turned = np.roll(lit.ravel(), -dark).reshape(-1, day)
    there = np.roll(np.isfinite(days).ravel(), -dark).reshape(-1, day)
    turned[-1, day - dark :] = False  # rolled in from the first day
    first, last = turned.argmax(axis=1), day - 1 - turned[:, ::-1].argmax(axis=1)
    clear = (turned.sum(axis=1) >= 4 * _HOUR_S // grid.step_s) & (turned.sum(axis=1) <= 0.8 * day)
    # sunrise and sunset have to be seen: the hours around both are there
    seen = there.mean(axis=1) > 0.9
    lighter = np.where(turned, 1.0, 0.0).sum(axis=1) >= 0.6 * (last - first + 1)
    middle = np.where(clear & lighter & (seen | (first > 0)), (first + last + 1) / 2 * grid.step_s / 60, np.nan)
    start = grid.start_s - grid.start_s % DAY_S + dark * grid.step_s
    return start + DAY_S * np.arange(len(middle), dtype=np.int64), middle


def _sun(values: Values, signal: str, grid: Grid, changes: Sequence[ClockChange], config: QualityConfig) -> list[Finding]:
    """Days at which the middle of the light day jumps."""
    n = _SUN_DAYS
    if len(values) * grid.step_s < 2 * n * DAY_S:
        return []
    begins, middle = light_middle_min(values, grid)
    windows = np.lib.stride_tricks.sliding_window_view(middle, n)
    usual = np.where(np.isfinite(windows).sum(axis=1) >= n // 2, _nanmedian(windows), np.nan)
    scatter = _nanmedian(np.abs(windows - usual[:, None]))
    shift, restless = np.full(len(middle), np.nan), np.full(len(middle), np.inf)
    inside = slice(n, len(middle) - n + 1)
    shift[inside] = usual[n:] - usual[:-n]
    restless[inside] = np.maximum(np.maximum(scatter[n:], scatter[:-n]), grid.step_s / 120)
    legal = np.array([any(abs(one.at_s - at) <= 2 * DAY_S for one in changes) for at in begins])
    asked = np.where(legal, config.clock_shift_min, 1.5 * config.clock_shift_min)
    clear = np.nan_to_num(np.abs(shift), nan=0.0) / (3 * restless)
    size = np.nan_to_num(np.abs(shift), nan=0.0)
    large = (size >= asked) & (size <= _CLOCK_MAX_MIN) & (clear >= 1)
    findings = []
    while large.any():
        first = int(large.argmax())
        rows = first + np.flatnonzero(large[first : first + 2 * n])
        with_legal = bool(legal[rows].any())
        rows = rows[legal[rows]] if with_legal else rows[size[rows] >= 0.9 * size[rows].max()]
        row = int(rows[len(rows) // 2])  # the shift of medians is large on both sides of the day itself
        by, at_s = float(shift[row]), int(begins[row])
        if with_legal:
            instants = np.array([one.at_s for one in changes])
            at_s = int(instants[np.abs(instants - at_s).argmin()])
        when = "at a change of legal time: local stamps" if with_legal else "with no change of legal time: a clock was set"
        findings.append(
            Finding(
                signal=signal,
                rule="clock",
                severity=Severity.ERROR,
                reason=f"the light day moves by {by:+.0f} min {when}",
                from_s=at_s,
                to_s=at_s + DAY_S,
                count=1,
            )
        )
        large[first : row + n] = False
    return findings


def morning_min(values: Values, grid: Grid, offset_s: int) -> tuple[Ints, Values]:
    """When the morning is half way up, in minutes after midnight of the fixed offset, by weekday; NaN at weekends."""
    days = by_day(values, Grid(grid.start_s + offset_s, grid.step_s))
    first = (grid.start_s + offset_s) // DAY_S
    numbers = first + np.arange(len(days), dtype=np.int64)
    begin, end = (hour * _HOUR_S // grid.step_s for hour in _MORNING_H)
    part = days[:, begin:end]
    whole = np.isfinite(part).all(axis=1)
    filled = np.where(np.isfinite(part), part, 0.0)
    low = filled.argmin(axis=1)
    column = np.arange(part.shape[1])
    rising = np.where(column >= low[:, None], filled, -np.inf)
    high, least = rising.max(axis=1), filled.min(axis=1)
    middle = least + 0.5 * (high - least)
    at = (rising >= middle[:, None]).argmax(axis=1)
    before = np.maximum(at - 1, 0)
    rows = np.arange(len(part))
    rise = filled[rows, at] - filled[rows, before]
    usable = whole & (at > 0) & (rise > 0) & ((numbers + _THURSDAY) % 7 < SATURDAY)
    share = (middle - filled[rows, before]) / np.where(rise > 0, rise, 1)
    minutes = (begin + before + share) * grid.step_s / 60
    return numbers, np.where(usable, minutes, np.nan)


def _mornings(
    values: Values, signal: str, grid: Grid, changes: Sequence[ClockChange], config: QualityConfig
) -> list[Finding]:
    """Mornings that stay where they were, in UTC, over all clock changes, one forward and one back at least."""
    if len({one.by_s > 0 for one in changes}) < 2:
        return []  # holidays and daylight move mornings as well; forward and back they cancel
    moves = [(change, morning_shift(values, grid, change, config.clock_days)) for change in changes]
    responses = [(-60 * m.minutes * 60 / change.by_s, change) for change, m in moves if m and m.scatter <= _TIGHT_MIN]
    if len({one.by_s > 0 for _, one in responses}) < 2:
        return []
    mean = float(np.mean([response for response, _ in responses]))
    if abs(mean) >= _STAYS_MIN:
        return []
    text = f"mornings move by {mean:.0f} min in UTC when legal time moves by 60: local stamps taken as UTC, or a fixed clock"
    return [
        Finding(
            signal=signal,
            rule="clock",
            severity=Severity.WARNING,
            reason=text,
            from_s=responses[0][1].at_s,
            to_s=responses[-1][1].at_s,
            count=len(responses),
        )
    ]


def morning_shift(values: Values, grid: Grid, change: ClockChange, days: int) -> Moved | None:
    """The shift of mornings after a clock change, in UTC; None if there are too few of them."""
    numbers, minutes = morning_min(values, grid, change.offset_s)
    day = (change.at_s + change.offset_s) // DAY_S
    before = minutes[(numbers >= day - days) & (numbers < day)]
    after = minutes[(numbers > day) & (numbers <= day + days)]
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if min(len(before), len(after)) < 4:
        return None
    apart = np.concatenate([before - np.median(before), after - np.median(after)])
    return Moved(float(np.median(after) - np.median(before)), 1.4826 * float(np.median(np.abs(apart))))


def check_stamps(stamps_s: Ints, step_s: int, time_zone: str | None = None, *, signal: str = "") -> list[Finding]:
    """Faults of the time stamps of one channel, in the order of the file and as they stand there.

    Args:
        stamps_s: Seconds of the stamps read as if they were UTC, whatever clock they are of.
        step_s: Spacing that they should have.
        time_zone: Whose changes of legal time to look at.
        signal: Goes into the findings.
    """
    if not len(stamps_s):
        return []
    findings = [*_order(stamps_s, step_s), *_doubles(stamps_s), *_off_grid(stamps_s, step_s)]
    if time_zone is not None:
        findings += _wall_clock(stamps_s, step_s, time_zone)
    return [structs.replace(one, signal=signal) for one in findings]


def _order(stamps_s: Ints, step_s: int) -> list[Finding]:
    back = np.flatnonzero(np.diff(stamps_s) < 0) + 1
    if not len(back):
        return []
    midnight = stamps_s[back] % DAY_S == 0
    previous = stamps_s[back - 1]
    old_day = midnight & (previous - stamps_s[back] == DAY_S - step_s)
    findings = []
    if old_day.any():
        text = f"{int(old_day.sum())} rows of midnight stand behind the last of their day: they carry the day that ended"
        findings.append(_stamp_finding("midnight", Severity.ERROR, text, stamps_s[back[old_day]]))
    others = back[~old_day & (stamps_s[back - 1] != stamps_s[back])]
    if len(others):
        text = f"{len(others)} stamps are earlier than the one before"
        findings.append(_stamp_finding("order", Severity.WARNING, text, stamps_s[others]))
    return findings


def _doubles(stamps_s: Ints) -> list[Finding]:
    distinct, count = np.unique(stamps_s, return_counts=True)
    twice = distinct[count > 1]
    if not len(twice):
        return []
    text = f"{len(twice)} stamps are there {'twice' if count.max() == 2 else f'up to {count.max()} times'}"
    return [_stamp_finding("duplicate", Severity.WARNING, text, twice)]


def _off_grid(stamps_s: Ints, step_s: int) -> list[Finding]:
    off = stamps_s[stamps_s % step_s != 0]
    if not len(off):
        return []
    return [_stamp_finding("grid", Severity.WARNING, f"{len(off)} stamps are not on whole steps of {step_s} s", off)]


def _wall_clock(stamps_s: Ints, step_s: int, time_zone: str) -> list[Finding]:
    """Holes and doubles that a wall clock makes when it is changed, and stamps that it never shows."""
    distinct, count = np.unique(stamps_s, return_counts=True)
    findings = []
    for change in clock_changes(time_zone, int(distinct[0]) - DAY_S, int(distinct[-1]) + DAY_S):
        wall_s = change.at_s + change.offset_s
        first, last = sorted((wall_s, wall_s + change.by_s))
        inside = (distinct >= first) & (distinct < last)
        around = ((distinct >= first - 4 * step_s) & (distinct < first)).any(), (distinct >= last).any()
        if not all(around):
            continue
        hours = f"{np.datetime64(first, 's')} to {np.datetime64(last, 's')}".replace("T", " ")
        if change.by_s > 0:
            if not inside.any():
                text = f"the hour {hours} is missing: a wall clock of {time_zone}, put forward"
                findings.append(_stamp_finding("wall_clock", Severity.ERROR, text, np.array([first, last - step_s])))
            else:
                not_there = f"{hours} does not exist on a wall clock of {time_zone}, but is here"
                text = f"{not_there}: these are no local stamps, or somebody filled them"
                findings.append(_stamp_finding("no_such_time", Severity.NOTE, text, distinct[inside]))
        elif inside.any() and (count[inside] > 1).all():
            text = f"the hour {hours} is there twice: a wall clock of {time_zone}, put back"
            findings.append(_stamp_finding("wall_clock", Severity.ERROR, text, distinct[inside]))
    return findings


def _stamp_finding(rule: str, severity: Severity, reason: str, stamps_s: Ints) -> Finding:
    return Finding(
        signal="",
        rule=rule,
        severity=severity,
        reason=reason,
        from_s=int(stamps_s.min()),
        to_s=int(stamps_s.max()),
        count=len(stamps_s),
    )


def _nanmedian(windows: Values) -> Values:
    """Median of what is there in each window; the upper middle of an even count."""
    ordered = np.sort(windows, axis=1)
    count = np.isfinite(windows).sum(axis=1)
    return np.where(count > 0, ordered[np.arange(len(windows)), np.maximum(0, count // 2 - (count % 2 == 0))], np.nan)
