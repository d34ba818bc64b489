"""Scores of forecasts by quantiles. Pure; a value that is missing (NaN) in forecast or truth is not counted.

With truth y, forecast f, quantile forecast f_q at level q, e = y - f_q, means over all known values:

| name | formula | source |
|---|---|---|
| MAE | mean of abs(y - f) | |
| RMSE | square root of the mean of (y - f)^2 | |
| norm | P99(y) - P1(y) | OpenSTEF benchmark Liander 2024, as are the next five |
| rMAE | MAE of the median / norm | |
| pinball | mean of max(q * e, (q - 1) * e) | Koenker and Bassett 1978 |
| rCRPS | 2 * sum of w_q * pinball_q / norm, weights add up to 1 | twice the pinball loss is the CRPS when levels are dense |
| peak-weighted rCRPS | the same, each value with weight clip(abs(y) / P99(abs(y)), 0.1, 1) | |
| coverage | share of y between the outermost quantiles, both included | |
| peak time, peak size | by day: hours between the peaks; absolute difference of their heights | |
| skill | 1 - loss / loss of persistence | Murphy 1988 |

A point forecast that is given for all levels, which lie around 0.5 evenly, has an rCRPS equal to its rMAE.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ringmain_trainer.arrays import Ints, Values
from ringmain_trainer.calendar import DAY_S

PEAK_WEIGHT_MIN: Final = 0.1
_PEAK_SHARE_MIN: Final = 0.8
"""Share of a day that must be known for its peak to count."""


class Forecasts(NamedTuple):
    """Forecasts and the measured values: quantiles `(N, steps, Q)`, truth and persistences by name `(N, steps)`."""

    issued_at_s: Ints
    step_s: int
    levels: tuple[float, ...]
    quantiles: Values
    actual: Values
    persistence: Mapping[str, Values] = {}

    def take(self, chosen: NDArray[np.bool_]) -> "Forecasts":
        """The chosen forecasts."""
        return self._replace(
            issued_at_s=self.issued_at_s[chosen],
            quantiles=self.quantiles[chosen],
            actual=self.actual[chosen],
            persistence={name: values[chosen] for name, values in self.persistence.items()},
        )

    @property
    def median(self) -> Values:
        """The middle of the forecast."""
        return np.asarray(self.quantiles[:, :, self.levels.index(0.5)])


class Scores(Struct, frozen=True, kw_only=True):
    """Scores of forecasts, in the unit of the signal where they are not shares; NaN where there is nothing to score."""

    forecasts: int
    values: int
    mae: float
    rmse: float
    bias: float
    rmae: float
    pinball: float
    rcrps: float
    rcrps_peak: float
    coverage: float
    peak_time_h: float
    peak_size: float


def scores(quantiles: Any, actual: Any, levels: Sequence[float], *, step_s: int, norm: float | None = None) -> Scores:  # noqa: ANN401  arrays of floats
    """All scores of forecasts `(N, steps, quantiles)` against measured values `(N, steps)`.

    Args:
        quantiles: Forecasts at `levels`.
        actual: Truth, NaN for gaps.
        levels: They hold 0.5.
        step_s: Length of a step.
        norm: P99 - P1 that shares refer to; that of `actual` if not given. For a part of the leads give that of all.
    """
    curves, truth = np.asarray(quantiles, np.float64), np.asarray(actual, np.float64)
    median = curves[..., list(levels).index(0.5)]
    known = np.isfinite(truth) & np.isfinite(curves).all(axis=-1)
    scale = spread(truth) if norm is None else norm
    time_h, size = peak_errors(median, truth, step_s)
    return Scores(
        forecasts=int(known.any(axis=1).sum()),
        values=int(known.sum()),
        mae=mae(median, truth),
        rmse=rmse(median, truth),
        bias=mean(median - truth),
        rmae=_share(mae(median, truth), scale),
        pinball=pinball(curves, truth, levels),
        rcrps=_share(crps(curves, truth, levels), scale),
        rcrps_peak=_share(crps(curves, truth, levels, peaks=True), scale),
        coverage=coverage(curves, truth),
        peak_time_h=mean(time_h),
        peak_size=mean(size),
    )


def mae(forecast: Values, actual: Values) -> float:
    """Mean absolute error."""
    return mean(np.abs(forecast - actual))


def rmse(forecast: Values, actual: Values) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(mean((forecast - actual) ** 2)))


def spread(actual: Values) -> float:
    """P99 - P1 of the known values: the norm of shares."""
    known = actual[np.isfinite(actual)]
    if not len(known):
        return float("nan")
    low, high = np.quantile(known, [0.01, 0.99])
    return float(high - low)


def rmae(forecast: Values, actual: Values) -> float:
    """Mean absolute error as a share of P99 - P1."""
    return _share(mae(forecast, actual), spread(actual))


def pinball_losses(quantiles: Values, actual: Values, levels: Sequence[float]) -> Values:
    """The loss of each quantile of each value, `(..., quantiles)`."""
    errors = actual[..., None] - quantiles
    at = np.asarray(levels, np.float64)
    return np.asarray(np.maximum(at * errors, (at - 1) * errors))


def pinball(quantiles: Values, actual: Values, levels: Sequence[float]) -> float:
    """Mean pinball loss over values and quantiles."""
    return mean(pinball_losses(quantiles, actual, levels).mean(axis=-1))


def crps(
    quantiles: Values,
    actual: Values,
    levels: Sequence[float],
    *,
    weights: Sequence[float] | None = None,
    peaks: bool = False,
) -> float:
    """Twice the weighted sum of the pinball losses; in the unit of the signal.

    Args:
        quantiles: Forecasts at `levels`.
        actual: Truth.
        levels: Probabilities.
        weights: Of the levels, adding up to 1; equal ones if not given. `interval_weights` are the other usual ones.
        peaks: Weight values by their size.
    """
    per_level = np.full(len(levels), 1 / len(levels)) if weights is None else np.asarray(weights, np.float64)
    losses = 2 * pinball_losses(quantiles, actual, levels) @ per_level
    if not peaks:
        return mean(losses)
    counted = np.where(np.isfinite(losses), peak_weights(actual), np.nan)
    total = float(np.nansum(counted))
    return float(np.nansum(losses * counted)) / total if total > 0 else float("nan")


def rcrps(quantiles: Values, actual: Values, levels: Sequence[float], *, peaks: bool = False) -> float:
    """CRPS as a share of P99 - P1; with `peaks` weighted by the size of the value."""
    return _share(crps(quantiles, actual, levels, peaks=peaks), spread(actual))


def interval_weights(levels: Sequence[float]) -> list[float]:
    """The part of the probabilities 0 to 1 that is nearest to each level."""
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(levels)), 1.0]
    return [b - a for a, b in pairwise(edges)]


def peak_weights(actual: Values) -> Values:
    """`clip(abs(y) / P99(abs(y)), 0.1, 1)`; all 1 where there is nothing but zeros."""
    size = np.abs(actual)
    known = size[np.isfinite(size)]
    top = float(np.quantile(known, 0.99)) if len(known) else 0.0
    return (
        np.clip(np.minimum(size, top) / top, PEAK_WEIGHT_MIN, 1.0) if top > 0 else np.where(np.isfinite(size), 1.0, np.nan)
    )


def coverage(quantiles: Values, actual: Values) -> float:
    """Share of the truth within the outermost quantiles, both included.

    Values for which they are equal, as of PV at night, are not counted, unless they are equal everywhere.
    """
    inside = (quantiles[..., 0] <= actual) & (actual <= quantiles[..., -1])
    wide = quantiles[..., 0] < quantiles[..., -1]
    known = np.isfinite(actual) & np.isfinite(quantiles).all(axis=-1) & (wide | ~wide.any())
    return mean(np.where(known, inside.astype(np.float64), np.nan))


def peak_errors(forecast: Values, actual: Values, step_s: int) -> tuple[Values, Values]:
    """Hours between the peaks and the absolute difference of their heights, for each row `(N, steps)` and its first day.

    The peak is the largest value; the lowest where the signal is mostly below zero, as of PV. NaN for a day with gaps.
    """
    day = max(1, DAY_S // step_s)
    median, truth = forecast[:, :day], actual[:, :day]
    known = np.isfinite(median) & np.isfinite(truth)
    enough = known.mean(axis=1) >= _PEAK_SHARE_MIN
    sign = 1.0 if not known.any() or np.abs(np.max(truth[known])) >= np.abs(np.min(truth[known])) else -1.0
    median, truth = (np.where(known, sign * one, -np.inf) for one in (median, truth))
    at, where = median.argmax(axis=1), truth.argmax(axis=1)
    time_h = np.where(enough, np.abs(at - where) * step_s / 3600, np.nan)
    height = np.full(len(median), np.nan)
    rows = np.flatnonzero(enough)
    height[rows] = np.abs(median[rows, at[rows]] - truth[rows, where[rows]])
    return time_h, height


def skill(loss: float, of_persistence: float) -> float:
    """Share of the loss of persistence that is saved; below 0 it is worse than persistence."""
    return 1 - _share(loss, of_persistence)


def lead_blocks(horizon_steps: int, step_s: int, block_h: float) -> list[tuple[str, slice]]:
    """Leads in blocks of `block_h` hours, named by them: `0-4 h`."""
    size = max(1, round(block_h * 3600 / step_s))
    blocks = []
    for first in range(0, horizon_steps, size):
        last = min(first + size, horizon_steps)
        blocks.append((f"{first * step_s / 3600:g}-{last * step_s / 3600:g} h", slice(first, last)))
    return blocks


def by_day(losses: Values, issued_at_s: Ints, step_s: int) -> dict[int, float]:
    """Mean loss of each UTC day (days since 1970) on which the values are valid, of losses `(N, steps)`.

    A day counts if it has a quarter of the values of the fullest: the first and the last one often hold a few hours.
    """
    days = (issued_at_s[:, None] + step_s * np.arange(losses.shape[1])) // DAY_S
    known = np.isfinite(losses)
    if not known.any():
        return {}
    first = int(days[known].min())
    place = days[known] - first
    total, count = np.bincount(place, losses[known]), np.bincount(place)
    return {first + int(i): float(total[i] / count[i]) for i in np.flatnonzero(4 * count >= count.max())}


def mean(values: Values) -> float:
    """Mean of the known values; NaN if there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _share(value: float, of: float) -> float:
    return value / of if of > 0 else float("nan")
