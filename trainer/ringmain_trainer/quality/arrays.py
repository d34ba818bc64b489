"""Arrays of one signal: runs, spread, days. Pure NumPy."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringmain_trainer.arrays import Bools, Values
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.quality.marks import Grid

DAYS_MIN: Final = 4
"""Rules that compare days want at least this many."""


def runs(mask: Bools) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one past the last row of each run of True."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def spread_of(values: Values) -> float:
    """P99 - P1 of what is there; the whole range where most values are the same; 0 if there is none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0
    n = len(known) - 1
    low, high = round(0.01 * n), round(0.99 * n)
    ordered = np.partition(known, (0, low, high, n)) if n else known
    return float(ordered[high] - ordered[low]) or float(ordered[n] - ordered[0])


def by_day(values: Values, grid: Grid) -> Values:
    """Values `(days, steps of a day)` by UTC day, NaN before the first and behind the last."""
    day = DAY_S // grid.step_s
    before = grid.start_s % DAY_S // grid.step_s
    behind = -(before + len(values)) % day
    return np.concatenate([np.full(before, np.nan), values, np.full(behind, np.nan)]).reshape(-1, day)


def day_quantile(days: Values, share: float) -> Values:
    """A quantile of each row, by rank; NaN for rows without a value."""
    ordered = np.sort(days, axis=1)  # NaN goes to the end
    count = np.isfinite(days).sum(axis=1)
    rank = np.maximum(0, np.round(share * (count - 1)).astype(np.int64))
    return np.where(count > 0, ordered[np.arange(len(days)), rank], np.nan)


def towards(allowed: Bools, *, back: bool) -> Bools:
    """The part of a row that is allowed without a break up to its end (`back`) or from its begin."""
    row = allowed[::-1] if back else allowed
    kept = np.logical_and.accumulate(row)
    return kept[::-1] if back else kept


def quantile_of(values: Values, share: float) -> float:
    """A quantile of the values that are there, by rank; 0 if there is none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0
    rank = round(share * (len(known) - 1))
    return float(np.partition(known, rank)[rank])


def _changes(days: Values) -> NDArray[np.int64]:
    """Number of changes of the value, by day."""
    changes: NDArray[np.int64] = (np.diff(days, axis=1) != 0).sum(axis=1) - np.isnan(np.diff(days, axis=1)).sum(axis=1)
    return changes


def days_of_other_size(days: Values, tolerance: float) -> tuple[float, NDArray[np.int64]]:
    """The usual size of a day in decades, and by how many thousandfolds each day is off, 0 for all that is not clear."""
    power = np.zeros(len(days), np.int64)
    count = np.isfinite(days).sum(axis=1)
    if (count > 0).sum() < DAYS_MIN:
        return 0.0, power
    size = day_quantile(days, 0.9)
    known = np.isfinite(size) & (size > 0) & (count >= 0.5 * np.median(count)) & (_changes(days) >= 0.1 * count)
    if known.sum() < DAYS_MIN:
        return 0.0, power
    decades = np.log10(size[known])
    usual = _mode(decades)
    off = decades - usual
    thousands = np.round(off / 3)
    near = np.abs(off - 3 * thousands) < np.log10(tolerance)
    power[known] = np.where(near, thousands, 0).astype(np.int64)
    return usual, power


def _mode(decades: Values) -> float:
    """The size of most days: the median of those within a decade of the median; of two clusters the larger."""
    ordered = np.sort(decades)
    count = np.searchsorted(ordered, ordered + 1.0) - np.arange(len(ordered))
    first = int(count.argmax())
    return float(np.median(ordered[first : first + int(count[first])]))
