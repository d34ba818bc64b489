"""The specification of a model's feature graph, taken from its recipe and the examples it is trained on."""

from datetime import UTC, datetime
from typing import Final

import numpy as np

from ringmain_trainer.arrays import FLOAT32_MAX, Floats, Ints
from ringmain_trainer.config.recipe import Recipe
from ringmain_trainer.features.examples import Examples, window_of
from ringmain_trainer.features.feature_graph import FeatureSpec

YEARS_AHEAD: Final = 6
"""Clock tables reach this many years beyond the year of the training, or of its newest data if that is later."""


def feature_spec(recipe: Recipe, data: Examples, *, time_zone: str, now: datetime) -> FeatureSpec:
    """The feature graph of a model; its typical values are the medians of the examples.

    Args:
        recipe: Signals, series, lags, holidays and groups of features.
        data: The examples of the training.
        time_zone: Of the site.
        now: Decides, with the newest example, how far the clock tables reach.
    """
    window, model = window_of(recipe.training), recipe.model
    first_s = int(data.issued_at_s[0]) - window.history_steps * window.step_s
    last_s = int(data.issued_at_s[-1]) + window.horizon_steps * window.step_s
    first, last = (datetime.fromtimestamp(at, UTC).year for at in (first_s, last_s))
    return FeatureSpec(
        signals=tuple(model.history),
        series=tuple(model.series),
        typical_signals=_medians(data.inputs["history"]),
        typical_series=_medians(data.inputs["known_future"]),
        range_series=_ranges(data.inputs["known_future"]),
        range_signals=_ranges(data.inputs["history"]),
        time_zone=time_zone,
        holidays=recipe.holidays,
        years=(first, max(last, now.year) + YEARS_AHEAD),
        window=window,
        lag_days=recipe.training.lag_days,
        groups=recipe.training.features,
    )


def _ranges(values: Floats | Ints) -> tuple[tuple[float, float], ...]:
    """Low and high of each column, widened on both sides by the whole range: nonsense of a sender stays out."""
    ranges = []
    for column in np.moveaxis(values, 2, 0):
        seen = column[np.isfinite(column)]
        low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 0.0)
        ranges.append((max(2 * low - high, -FLOAT32_MAX), min(2 * high - low, FLOAT32_MAX)))
    return tuple(ranges)


def _medians(values: Floats | Ints) -> tuple[float, ...]:
    """The median of each column; 0 for a column without a value."""
    columns = (column[np.isfinite(column)] for column in np.moveaxis(values, 2, 0))
    return tuple(float(np.median(column)) if len(column) else 0.0 for column in columns)
