"""Training examples: windows of step values, and of each series the part known at the time of issue.

Gaps stay NaN: the feature graph fills those of the inputs, and a gap in the targets is never filled.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ringmain_trainer.arrays import Bools, Floats, Ints
from ringmain_trainer.config.trainer import TrainingConfig
from ringmain_trainer.history.site_reader import SeriesHistory, StepTable

Inputs = dict[str, Floats | Ints]
"""Inputs of a model file: `history`, `known_future`, `issued_at_s`."""


class Window(NamedTuple):
    """Shape of a model: length of its steps, steps of history, steps ahead."""

    step_s: int
    history_steps: int
    horizon_steps: int


def window_of(training: TrainingConfig) -> Window:
    """Shape of the models of a configuration."""
    return Window(training.step_s, training.history_steps, training.horizon_steps)


class Examples(NamedTuple):
    """Inputs of a model for N issue times, and the targets `(N, horizon_steps)`, NaN for gaps."""

    inputs: Inputs
    targets: Floats

    def take(self, chosen: Bools | Ints) -> "Examples":
        """The chosen examples."""
        return Examples({name: value[chosen] for name, value in self.inputs.items()}, self.targets[chosen])

    @property
    def issued_at_s(self) -> Ints:
        """Issue times."""
        return self.inputs["issued_at_s"].astype(np.int64)


def known_future(history: SeriesHistory, issued_at_s: Ints, window: Window) -> Floats:
    """A series for the steps from each issue time on, `(N, horizon_steps)`; each step from the newest issue then known."""
    starts = issued_at_s[:, None] + window.step_s * np.arange(window.horizon_steps)
    known = np.full(starts.shape, np.nan, np.float32)
    if not history.issues:
        return known
    issued, start, step = (np.array(column, np.int64) for column in list(zip(*history.issues, strict=True))[:3])
    length = np.array([len(issue.values) for issue in history.issues])
    offset = np.cumsum(length) - length
    values = np.concatenate([*(issue.values for issue in history.issues), np.full(1, np.nan, np.float32)])
    reach = np.maximum.accumulate(start + step * length)  # the latest end of an issue and all older ones
    newest = np.searchsorted(issued, issued_at_s, side="right") - 1
    open_rows = np.arange(len(starts))
    while len(open_rows):
        open_rows = open_rows[(newest[open_rows] >= 0) & (reach[newest[open_rows]] > issued_at_s[open_rows])]
        of = newest[open_rows, None]
        row = (starts[open_rows] - start[of]) // step[of]
        inside = (row >= 0) & (row < length[of])
        of_issue = np.where(inside, values[np.clip(offset[of] + row, 0, len(values) - 1)], np.nan)
        known[open_rows] = np.where(np.isnan(known[open_rows]), of_issue, known[open_rows])
        newest[open_rows] -= 1
        open_rows = open_rows[np.isnan(known[open_rows]).any(axis=1)]
    return known


def examples(steps: StepTable, series: Iterable[SeriesHistory], window: Window, rows: Iterable[int]) -> Examples:
    """Inputs and targets of forecasts issued at the START of the given rows of the grid.

    Rows before the grid are NaN, as are targets beyond its end.
    """
    n, step_s = len(steps.values), window.step_s
    chosen = np.fromiter(rows, np.int64)
    past = chosen[:, None] + np.arange(-window.history_steps, 0)
    ahead = chosen[:, None] + np.arange(window.horizon_steps)
    history = steps.values[np.clip(past, 0, n - 1)]
    history[(past < 0) | (past >= n)] = np.nan
    targets = steps.values[np.clip(ahead, 0, n - 1), 0]
    targets[ahead >= n] = np.nan
    issued_at_s = steps.start_s + step_s * chosen
    columns = [known_future(one, issued_at_s, window) for one in series]
    nothing = np.zeros((len(chosen), window.horizon_steps, 0), np.float32)
    future = np.stack(columns, axis=2) if columns else nothing
    return Examples({"history": history, "known_future": future, "issued_at_s": issued_at_s}, targets)


def training_rows(steps: StepTable, window: Window, *, every: int, share_min: float) -> list[int]:
    """Rows at which training forecasts are issued: one every `every` steps.

    Each has a whole horizon of grid ahead, at least `share_min` of the target in its window, and at least one target to
    learn from. If `every` has no common factor with a day, the rows go through all times of day.
    """
    finite = np.isfinite(steps.values[:, 0])
    count = np.concatenate([[0], np.cumsum(finite)])
    rows = np.arange(window.history_steps, len(finite) - window.horizon_steps + 1, every)
    share = (count[rows] - count[rows - window.history_steps]) / window.history_steps
    targets = count[rows + window.horizon_steps] - count[rows]
    return [int(row) for row in rows[(share >= share_min) & (targets > 0)]]
