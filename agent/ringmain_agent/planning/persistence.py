"""Seasonal persistence: the value at the same time of an earlier day, with the spread of its past errors. Pure.

It replaces a model that cannot be used, and is the benchmark of every model.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ringmain_agent.errors import ForecastError
from ringmain_agent.planning.arrays import Array
from ringmain_agent.site.site import DAY_S

SEASONS_DAYS: Final = (1, 7)
"""Yesterday and the same day of last week; the season with the smaller error in the history is used."""
WINDOW_S: Final = 3600
"""Errors up to this much earlier and later count for a time of day."""
SAMPLES_MIN: Final = 8


def seasonal_persistence(history: Array, *, step_s: int, horizon_steps: int, quantiles: Sequence[float]) -> Array:
    """Quantiles of the steps after the history.

    Args:
        history: Step values, oldest first, NaN where missing, shape `(history_steps,)`.
        step_s: Length of a step; divides a day.
        horizon_steps: Number of steps to forecast.
        quantiles: Rising; 0.5 is one of them.

    Returns:
        Shape `(horizon_steps, quantiles)`, finite, non-decreasing along the quantiles. Another day
        with a value fills each gap of the chosen season; the median of the history fills the rest.

    Raises:
        ForecastError: If the history is empty.
    """
    finite = history[np.isfinite(history)]
    if not len(finite):
        raise ForecastError("there is no history")
    day = DAY_S // step_s
    errors = {days: _errors(history, days * day) for days in SEASONS_DAYS}
    supported = {days: error for days, error in errors.items() if np.isfinite(error).sum() >= day // 2}
    season = min(supported, key=lambda days: float(np.nanmean(np.abs(supported[days]))), default=SEASONS_DAYS[0])
    lead = np.arange(horizon_steps)
    median = np.full(horizon_steps, np.nan)
    for days in (season, *SEASONS_DAYS, *range(2, len(history) // day + 1)):
        lag = days * day * (lead // (days * day) + 1)
        index = len(history) + lead - lag
        value = np.where(index >= 0, history[np.maximum(index, 0)], np.nan)
        median = np.where(np.isfinite(median), median, value)
    median = np.where(np.isfinite(median), median, np.median(finite))
    sample = supported.get(season, finite - np.median(finite))
    spread = _spread(sample, day, max(WINDOW_S // step_s, 1), quantiles)
    return median[:, None] + spread[lead % day]


def _errors(history: Array, lag: int) -> Array:
    return history[lag:] - history[:-lag] if len(history) > lag else np.full(0, np.nan)


def _spread(errors: Array, day: int, window: int, quantiles: Sequence[float]) -> Array:
    """Quantiles of the errors about their median for each time of day, beginning with that of the first lead."""
    rows = np.concatenate([np.full(-len(errors) % day, np.nan), errors]).reshape(-1, day)
    around = np.concatenate([np.roll(rows, shift, axis=1) for shift in range(-window, window + 1)])
    ordered = np.sort(around, axis=0)  # NaN goes to the end
    count = np.isfinite(ordered).sum(axis=0)
    position = np.maximum(count - 1, 0)[:, None] * np.asarray(quantiles)
    below = position.astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0)[:, None])
    slot = np.arange(day)[:, None]
    low, high = ordered[below, slot], ordered[above, slot]
    values = low + (high - low) * (position - below)
    values[count < SAMPLES_MIN] = np.quantile(errors[np.isfinite(errors)], quantiles)
    spread: Array = values - values[:, [list(quantiles).index(0.5)]]
    return spread
