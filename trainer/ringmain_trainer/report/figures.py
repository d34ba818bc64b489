"""Figures of the report: profiles, duration, weather response, scores by lead time, calibration. Pure: arrays to arrays.

Days and times of day are those of the site's own clock. Values keep their sign: positive is drawn from the network.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes  # type: ignore[import-untyped]

from ringmain_trainer.calendar import DAY_S, SATURDAY
from ringmain_trainer.clock_tables import utc_offsets
from ringmain_trainer.history.site_reader import SeriesHistory
from ringmain_trainer.models import metrics

Values = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_EPOCH: Final = date(1970, 1, 1)
_BANDS: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
_DAY_SHARE_MIN: Final = 0.8
"""A day counts for daily means and days drawn on their own when so much of it is there."""


class DayType(StrEnum):
    """Days that are alike."""

    WORKDAY = "workday"
    WEEKEND = "weekend"
    HOLIDAY = "holiday"


class LocalDays(NamedTuple):
    """Values `(days, slots)` by the site's clock; `dates` and `types` by day. NaN where there is none."""

    values: Values
    dates: list[date]
    types: list[DayType]


class KeyFigures(NamedTuple):
    """In the unit of the signal, energy in unit hours; instants in UTC seconds, START of their step."""

    mean: float
    high: float
    high_at_s: int
    low: float
    low_at_s: int
    load_factor: float
    drawn_h: float
    fed_in_h: float
    hours: float
    missing_share: float


class Band(NamedTuple):
    """Percentiles 10, 25, 50, 75, 90 over a profile, `(5, slots)`, and of how many days."""

    percentiles: Values
    days: int


class Response(NamedTuple):
    """A signal along another one: middles of the bins, percentiles 10, 50, 90 `(3, bins)`."""

    at: Values
    percentiles: Values


class Slope(NamedTuple):
    """A robust line (Theil and Sen) through daily means on one side of a temperature, and of how many days."""

    per_degree: float
    days: int


class Scored(NamedTuple):
    """Forecasts that were scored, with what happened.

    `quantiles` `(N, horizon, Q)` at `levels`; `targets` and the two persistences `(N, horizon)`.
    """

    levels: tuple[float, ...]
    issued_at_s: Ints
    step_s: int
    quantiles: Values
    targets: Values
    yesterday: Values
    last_week: Values

    @property
    def median(self) -> Values:
        """The middle of the forecast."""
        return self.quantiles[:, :, self.levels.index(0.5)]


class Scores(NamedTuple):
    """The forecast's scores, the errors of both persistences, and what is saved against the better of them."""

    forecast: metrics.Scores
    coverage_nominal: float
    mae_yesterday: float
    mae_last_week: float

    @property
    def mae_persistence(self) -> float:
        """The better persistence; NaN if there is none."""
        known = [one for one in (self.mae_yesterday, self.mae_last_week) if np.isfinite(one)]
        return min(known, default=float("nan"))

    @property
    def skill(self) -> float:
        """Share of the error of the better persistence that is saved."""
        return metrics.skill(self.forecast.mae, self.mae_persistence)


def local_days(values: Values, start_s: int, step_s: int, time_zone: str, holidays: Sequence[str]) -> LocalDays:
    """Values by local day and time of day; an hour that comes twice counts with its mean, one that is left out is NaN."""
    at = start_s + step_s * np.arange(len(values))
    years = [datetime.fromtimestamp(int(one), UTC).year for one in (at[0], at[-1])]
    changes, offsets = utc_offsets(time_zone, years[0] - 1, years[1] + 1)
    local = at + offsets[np.searchsorted(changes, at, side="right")]
    day, slot = local // DAY_S, local % DAY_S // step_s
    first, count, slots = int(day[0]), int(day[-1] - day[0]) + 1, DAY_S // step_s
    known = np.isfinite(values)
    place = ((day - first) * slots + slot)[known]
    total = np.bincount(place, values[known], count * slots)
    seen = np.bincount(place, minlength=count * slots)
    table = np.where(seen > 0, total / np.maximum(seen, 1), np.nan).reshape(count, slots)
    dates = [_EPOCH + timedelta(days=first + i) for i in range(count)]
    free = {date.fromisoformat(text) for text in holidays}
    return LocalDays(table, dates, [_day_type(one, free) for one in dates])


def key_figures(values: Values, start_s: int, step_s: int) -> KeyFigures | None:
    """Peak, energy, load factor, span, missing share; None if there is no value."""
    known = np.isfinite(values)
    if not known.any():
        return None
    high, low = int(np.nanargmax(values)), int(np.nanargmin(values))
    mean, hour = float(np.nanmean(values)), step_s / 3600
    largest = max(abs(float(values[high])), abs(float(values[low])))
    return KeyFigures(
        mean=mean,
        high=float(values[high]),
        high_at_s=start_s + step_s * high,
        low=float(values[low]),
        low_at_s=start_s + step_s * low,
        load_factor=abs(mean) / largest if largest else float("nan"),
        drawn_h=float(np.nansum(np.maximum(values, 0)) * hour),
        fed_in_h=float(np.nansum(np.maximum(-values, 0)) * hour),
        hours=len(values) * hour,
        missing_share=float(1 - known.mean()),
    )


def daily_bands(days: LocalDays) -> dict[DayType, Band]:
    """Percentiles over the time of day for each type of day that occurs."""
    types = np.array([one.value for one in days.types])
    bands = {}
    for kind in DayType:
        rows = days.values[types == kind.value]
        rows = rows[np.isfinite(rows).any(axis=1)]
        if len(rows):
            bands[kind] = Band(percentiles(rows, _BANDS), len(rows))
    return bands


def weekly_band(days: LocalDays) -> Band:
    """Percentiles over the week, Monday first, at most one value per hour."""
    slots = days.values.shape[1]
    per_hour = max(1, slots // 24)
    hourly = _nanmean(days.values.reshape(len(days.values), slots // per_hour, per_hour), axis=2)
    weekdays = np.array([one.weekday() for one in days.dates])
    parts = [percentiles(hourly[weekdays == weekday], _BANDS) for weekday in range(7)]
    return Band(np.concatenate(parts, axis=1), len(days.dates))


def duration(values: Values, points: int = 400) -> tuple[Values, Values]:
    """Share of the time in percent, and the value that is reached or passed for so long; few points for a long curve."""
    known = np.sort(values[np.isfinite(values)])[::-1]
    if not len(known):
        return np.zeros(0), np.zeros(0)
    grid = (1 - np.cos(np.linspace(0, np.pi, points))) / 2  # dense at both ends: there it is steep
    rows = np.unique(np.round(grid * (len(known) - 1)).astype(np.int64))
    return 100 * rows / max(1, len(known) - 1), known[rows]


def response(along: Values, values: Values, *, bins: int = 24, count_min: int = 20) -> Response:
    """Percentiles of the values in bins of equal width along another quantity, where there are enough of them."""
    known = np.isfinite(along) & np.isfinite(values)
    if known.sum() < 2 * count_min:
        return Response(np.zeros(0), np.zeros((3, 0)))
    x, y = along[known], values[known]
    low, high = np.quantile(x, [0.001, 0.999])
    edges = np.linspace(low, high, bins + 1)
    place = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, bins - 1)
    kept = [i for i in range(bins) if (place == i).sum() >= count_min]
    middles = (edges[:-1] + edges[1:]) / 2
    curve = [np.quantile(y[place == i], [0.1, 0.5, 0.9]) for i in kept]
    return Response(middles[kept], np.array(curve).T.reshape(3, -1))


def running_median(along: Values, values: Values, *, points: int = 30, share: float = 0.12, count_min: int = 8) -> Response:
    """Percentiles of the nearest values along another quantity: a curve that single odd days do not move."""
    known = np.isfinite(along) & np.isfinite(values)
    if known.sum() < 2 * count_min:
        return Response(np.zeros(0), np.zeros((3, 0)))
    order = np.argsort(along[known], kind="stable")
    x, y = along[known][order], values[known][order]
    near = max(count_min, round(share * len(x)))
    low, high = np.quantile(x, [0.02, 0.98])
    middles = np.linspace(low, high, points)
    begins = np.clip(np.searchsorted(x, middles) - near // 2, 0, len(x) - near)
    curve = [np.quantile(y[begin : begin + near], [0.1, 0.5, 0.9]) for begin in begins]
    return Response(middles, np.array(curve).T)


def slopes(temperature_degc: Values, values: Values, balance_degc: float = 15.0) -> dict[str, Slope]:
    """Change of daily means per degree below (`cold`) and above (`warm`) a temperature, where there are ten days."""
    known = np.isfinite(temperature_degc) & np.isfinite(values)
    by_side = {}
    for name, side in (("cold", temperature_degc < balance_degc), ("warm", temperature_degc >= balance_degc)):
        x, y = temperature_degc[known & side], values[known & side]
        if len(x) >= 10 and np.ptp(x) > 3:
            by_side[name] = Slope(float(theilslopes(y, x).slope), len(x))
    return by_side


def daily_means(days: LocalDays) -> Values:
    """Mean of each day that is nearly whole, NaN for the others."""
    whole = np.isfinite(days.values).mean(axis=1) >= _DAY_SHARE_MIN
    return np.where(whole, _nanmean(days.values, axis=1), np.nan)


def percentiles(rows: Values, shares: Sequence[float]) -> Values:
    """Quantiles of each column without its gaps, `(shares, columns)`; NaN for a column that holds nothing."""
    quantiles = np.full((len(shares), rows.shape[1]), np.nan)
    there = np.isfinite(rows).any(axis=0)
    if there.any():
        quantiles[:, there] = np.nanquantile(rows[:, there], shares, axis=0)
    return quantiles


def newest_known(history: SeriesHistory, start_s: int, step_s: int, count: int) -> Values:
    """A series on a grid as it was forecast last before each step: the nearest to a measurement that there is."""
    values = np.full(count, np.nan)
    for issue in history.issues:  # in order of issue: the later overwrites what lies ahead of it
        first = max(0, -(-(issue.issued_at_s - start_s) // step_s))
        at = start_s + step_s * np.arange(first, count)
        row = (at - issue.start_s) // issue.step_s
        inside = (row >= 0) & (row < len(issue.values))
        if inside.any():
            taken = issue.values[row[inside]]
            values[first + np.flatnonzero(inside)] = taken
    return values


def scores(scored: Scored) -> Scores | None:
    """All figures of the forecasts; None if nothing of what happened is known."""
    if not np.isfinite(scored.targets).any():
        return None
    levels, truth = scored.levels, scored.targets
    return Scores(
        forecast=metrics.scores(scored.quantiles, truth, levels, step_s=scored.step_s),
        coverage_nominal=levels[-1] - levels[0],
        mae_yesterday=metrics.mae(scored.yesterday, truth),
        mae_last_week=metrics.mae(scored.last_week, truth),
    )


def errors_by_lead(scored: Scored) -> dict[str, Values]:
    """Mean absolute error at each lead of the forecast and both persistences; and the forecast's 90th percentile."""
    truth = scored.targets
    off = np.abs(scored.median - truth)
    return {
        "forecast": _nanmean(off, axis=0),
        "forecast, P90": percentiles(off, (0.9,))[0],
        "yesterday": _nanmean(np.abs(scored.yesterday - truth), axis=0),
        "last week": _nanmean(np.abs(scored.last_week - truth), axis=0),
    }


def reliability(scored: Scored) -> tuple[Values, float]:
    """Share of what happened that lies below each quantile, and the share of the values that this could be said of.

    What is equal to a quantile counts half. Where the whole band is one value, which then happened, as PV at night, nothing
    can be said.
    """
    truth, quantiles = scored.targets, scored.quantiles
    certain = (quantiles[:, :, 0] == quantiles[:, :, -1]) & (truth == quantiles[:, :, 0])
    known = np.isfinite(truth)
    uncertain = known & ~certain
    if not uncertain.any():
        return np.full(len(scored.levels), np.nan), 0.0
    y, q = truth[uncertain][:, None], quantiles[uncertain]
    return ((y < q) + 0.5 * (y == q)).mean(axis=0), float(uncertain.sum() / known.sum())


def coverage_by_lead(scored: Scored) -> Values:
    """Share between the outer quantiles, by lead."""
    inside = (scored.targets >= scored.quantiles[:, :, 0]) & (scored.targets <= scored.quantiles[:, :, -1])
    return _nanmean(np.where(np.isfinite(scored.targets), inside, np.nan), axis=0)


def worst_and_typical(scored: Scored) -> tuple[int, int] | None:
    """Rows of the forecast with the largest error and of the one in the middle, of those that are nearly known."""
    known = np.isfinite(scored.targets).mean(axis=1) >= _DAY_SHARE_MIN
    rows = np.flatnonzero(known)
    if not len(rows):
        return None
    off = _nanmean(np.abs(scored.median - scored.targets)[rows], axis=1)
    order = rows[np.argsort(off, kind="stable")]
    return int(order[-1]), int(order[len(order) // 2])


def _nanmean(values: Values, axis: int) -> Values:
    """Mean without gaps; NaN, without a warning, where there is nothing."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    mean: Values = np.where(known, values, 0.0).sum(axis=axis) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)


def _day_type(day: date, holidays: set[date]) -> DayType:
    if day in holidays:
        return DayType.HOLIDAY
    return DayType.WEEKEND if day.weekday() >= SATURDAY else DayType.WORKDAY
