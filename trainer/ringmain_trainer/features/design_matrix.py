"""The design matrix: features and targets of the training forecasts, in order of issue.

A fit always takes the first forecasts and predicts later ones. Nothing is shuffled, and a horizon lies between the two, so
that no target is in both.
"""

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from ringmain_trainer.arrays import Bools, Floats, Ints, Values
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.trainer import TrainingConfig
from ringmain_trainer.features.examples import Examples, Window

_FOLD_FORECASTS_MIN: Final = 10


class Design(NamedTuple):
    """Features `(N, horizon_steps, columns)` of N forecasts in order of issue, names of the columns, and the examples."""

    features: Floats
    columns: tuple[str, ...]
    data: Examples
    window: Window

    def take(self, chosen: Bools) -> "Design":
        """The chosen forecasts."""
        return Design(self.features[chosen], self.columns, self.data.take(chosen), self.window)


class Fold(NamedTuple):
    """Fit on the first `train` forecasts, score on those from `first` to before `last`."""

    train: int
    first: int
    last: int


def as_rows(features: Floats) -> Values:
    """Features `(N, horizon_steps, columns)` as rows for scikit-learn: float32 values, float64 arithmetic."""
    return features.reshape(-1, features.shape[2]).astype(np.float64)


def held_out(data: Examples, window: Window, training: TrainingConfig) -> tuple[Bools, Bools]:
    """The examples before the held-out days, and those on them; their targets do not overlap."""
    at = data.issued_at_s
    span_s = min(training.held_out_days * DAY_S, training.held_out_share * float(at[-1] - at[0]))
    late = at >= at[-1] - span_s
    early = at + window.horizon_steps * window.step_s <= at[late][0]
    return early, late


def time_folds(issued_at_s: Ints, window: Window, count: int) -> list[Fold]:
    """The second half of the time in `count` blocks, each fitted on all that ends before it; fewer with too little data."""
    if len(issued_at_s) < 2 * _FOLD_FORECASTS_MIN:
        return []
    middle = (int(issued_at_s[0]) + int(issued_at_s[-1])) // 2
    edges = np.linspace(middle, int(issued_at_s[-1]) + 1, count + 1)
    ends = issued_at_s + window.horizon_steps * window.step_s
    folds = []
    for begin, end in pairwise(edges):
        first, last = (int(row) for row in np.searchsorted(issued_at_s, (begin, end)))
        if first < last:
            folds.append(Fold(int((ends <= issued_at_s[first]).sum()), first, last))
    return [fold for fold in folds if fold.train >= _FOLD_FORECASTS_MIN]
