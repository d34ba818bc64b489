"""Seasonal persistence: what happened at this time of day before, with the spread of how that missed in the past. Pure.

What stands in when no model can be used, and what every model is measured against.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ringmain_agent.errors import ForecastError
from ringmain_agent.site.site import DAY_S

SEASONS_DAYS: Final = (1, 7)
"""Yesterday and the same day of last week: the one that missed less in the history is taken."""
WINDOW_S: Final = 3600
"""Misses of this much earlier and later count for a time of day."""
SAMPLES_MIN: Final = 8

Array = npt.NDArray[np.float64]


def seasonal_persistence(history: Array, *, step_s: int, horizon_steps: int, quantiles: Sequence[float]) -> Array:
    """Quantiles of the steps after the history.

    Args:
        history: Step values, oldest first, NaN where missing, shape `(history_steps,)`.
        step_s: Length of a step; divides a day.
        horizon_steps: How many steps to look ahead.
        quantiles: Rising, with 0.5 among them.

    Returns:
        Shape `(horizon_steps, quantiles)`, finite, non-decreasing along the quantiles. Where the chosen season has a gap,
        the nearest other day that has a value stands in for it, and last the median of the history.

    Raises:
        ForecastError: If the history holds nothing at all.
    """
    finite = history[np.isfinite(history)]
    if not len(finite):
        raise ForecastError("there is no history")
    day = DAY_S // step_s
    misses = {days: _misses(history, days * day) for days in SEASONS_DAYS}
    supported = {days: miss for days, miss in misses.items() if np.isfinite(miss).sum() >= day // 2}
    season = min(supported, key=lambda days: float(np.nanmean(np.abs(supported[days]))), default=SEASONS_DAYS[0])
    lead = np.arange(horizon_steps)
    median = np.full(horizon_steps, np.nan)
    for days in (season, *SEASONS_DAYS, *range(2, len(history) // day + 1)):
        lag = days * day * (lead // (days * day) + 1)
        index = len(history) + lead - lag
        there = np.where(index >= 0, history[np.maximum(index, 0)], np.nan)
        median = np.where(np.isfinite(median), median, there)
    median = np.where(np.isfinite(median), median, np.median(finite))
    sample = supported.get(season, finite - np.median(finite))
    spread = _spread(sample, day, max(WINDOW_S // step_s, 1), quantiles)
    return median[:, None] + spread[lead % day]


def _misses(history: Array, lag: int) -> Array:
    return history[lag:] - history[:-lag] if len(history) > lag else np.full(0, np.nan)


def _spread(misses: Array, day: int, window: int, quantiles: Sequence[float]) -> Array:
    """Quantiles of the misses about their median for each time of day, the first being that of the first lead."""
    rows = np.concatenate([np.full(-len(misses) % day, np.nan), misses]).reshape(-1, day)
    around = np.concatenate([np.roll(rows, shift, axis=1) for shift in range(-window, window + 1)])
    ordered = np.sort(around, axis=0)  # NaN goes to the end
    count = np.isfinite(ordered).sum(axis=0)
    position = np.maximum(count - 1, 0)[:, None] * np.asarray(quantiles)
    below = position.astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0)[:, None])
    slot = np.arange(day)[:, None]
    low, high = ordered[below, slot], ordered[above, slot]
    values = low + (high - low) * (position - below)
    values[count < SAMPLES_MIN] = np.quantile(misses[np.isfinite(misses)], quantiles)
    spread: Array = values - values[:, [list(quantiles).index(0.5)]]
    return spread
