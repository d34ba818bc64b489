"""The design matrix: what the feature graph made of the training forecasts, and what then happened.

Training always takes the first so many forecasts and predicts later ones: nothing is shuffled, and between the two lies a
horizon, so that no target is in both.
"""

from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ringmain_trainer.config.trainer import TrainingConfig
from ringmain_trainer.features.dataset import Examples, Floats, Window

_DAY_S: Final = 86400
_FOLD_FORECASTS_MIN: Final = 10


class Design(NamedTuple):
    """Features `(N, horizon_steps, columns)` of N forecasts in order of issue, the names of the columns, the examples."""

    features: Floats
    columns: tuple[str, ...]
    data: Examples
    window: Window

    def take(self, chosen: NDArray[np.bool_]) -> "Design":
        """The chosen forecasts."""
        return Design(self.features[chosen], self.columns, self.data.take(chosen), self.window)


class Fold(NamedTuple):
    """Fit on the first `train` forecasts, judge on those from `first` to before `last`."""

    train: int
    first: int
    last: int


def as_rows(features: Floats) -> NDArray[Any]:
    """Features `(N, horizon, columns)` as rows for scikit-learn: float32 values, float64 arithmetic."""
    return features.reshape(-1, features.shape[2]).astype(np.float64)


def held_out(data: Examples, window: Window, training: TrainingConfig) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which examples are fitted on first, and which are held out after them; their targets do not overlap."""
    at = data.issued_at_s
    span_s = min(training.held_out_days * _DAY_S, training.held_out_share * float(at[-1] - at[0]))
    late = at >= at[-1] - span_s
    early = at + window.horizon_steps * window.step_s <= at[late][0]
    return early, late


def time_folds(issued_at_s: NDArray[np.int64], window: Window, count: int) -> list[Fold]:
    """The second half of the time in blocks, each with all that ends before it begins; fewer where there is too little."""
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
