"""A model of one site and signal: scaled Ridge on the features, quantiles from what it got wrong on days it had not seen.

Pure: arrays in, arrays and a fitted pipeline out.
"""

from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ringmain_trainer.config import TrainingConfig
from ringmain_trainer.dataset import Examples, Floats, Window
from ringmain_trainer.runtime import as_rows

RANGE_MARGIN: Final = 0.25
"""Forecasts stay within the range of the history, widened by this share of it on both sides."""

_DAY_S: Final = 86400
_BLOCK_S: Final = 4 * 3600
"""Leads that share one spread."""


class Limits(NamedTuple):
    """What a forecast is clamped to."""

    low: float
    high: float


class Member(Struct, frozen=True, kw_only=True):
    """One estimator of a blend: a pipeline that gives the median, or one for each quantile.

    `offsets` `(horizon_steps, quantiles)` are added to what it says, before the quantiles are put in order.
    """

    name: str
    pipelines: tuple[Pipeline, ...]
    offsets: Floats
    weight: float = 1.0


class FittedModel(Struct, frozen=True, kw_only=True):
    """What was trained: the weighted mean of its members, plus `shifts` `(horizon_steps, quantiles)`, in order and clamped.

    `metrics` are in the unit of the target, on the held-out days: `mae` of the model fitted on the days before, and of
    yesterday's and last week's values; `coverage` is the share between the outer quantiles.
    """

    members: tuple[Member, ...]
    shifts: Floats
    limits: Limits
    metrics: dict[str, float]


def predict(model: FittedModel, features: Floats) -> NDArray[np.float64]:
    """What scikit-learn says, put in order and clamped: `(N, horizon_steps, quantiles)`."""
    rows, shape = as_rows(features), features.shape[:2]
    blended = np.zeros((*shape, model.shifts.shape[1]))
    for member in model.members:
        curves = np.stack([pipeline.predict(rows).reshape(shape) for pipeline in member.pipelines], axis=2)
        blended += member.weight * np.maximum.accumulate(curves + member.offsets, axis=2)
    return np.clip(np.maximum.accumulate(blended + model.shifts, axis=2), *model.limits)


def fit_model(features: Floats, data: Examples, window: Window, training: TrainingConfig) -> FittedModel:
    """Choose the penalty, take the spread, fit on all.

    The spread is taken about the median of the errors: the bias of the model without the held-out days is not that of the
    final one.
    """
    early, late = held_out(data, window, training)
    truth = data.targets[late].astype(np.float64)
    tried = []
    for alpha in training.alphas:
        pipeline = _fit(features[early], data.targets[early], alpha)
        median = pipeline.predict(as_rows(features[late])).reshape(truth.shape)
        tried.append((float(np.nanmean(np.abs(median - truth))), alpha, median))
    mae, alpha, median = min(tried, key=lambda one: one[0])
    offsets = spread_by_lead(truth - median, window, training.quantiles)
    limits = limits_of(data)
    inside = (truth >= median + offsets[:, 0]) & (truth <= median + offsets[:, -1])
    known = np.isfinite(truth)
    metrics = {"mae": mae, "alpha": alpha, "coverage": float(inside[known].mean()), "held_out_forecasts": float(len(truth))}
    for name, days in (("mae_yesterday", 1), ("mae_last_week", 7)):
        error = np.abs(persistence(data.inputs["history"][late], window, days) - truth)
        if np.isfinite(error).any():
            metrics[name] = float(np.nanmean(error))
    pipeline = _fit(features, data.targets, alpha)
    ridge = Member(name="ridge", pipelines=(pipeline,), offsets=offsets)
    return FittedModel(members=(ridge,), shifts=np.zeros_like(offsets), limits=limits, metrics=metrics)


def held_out(data: Examples, window: Window, training: TrainingConfig) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which examples are fitted on first, and which are held out after them; their targets do not overlap."""
    at = data.issued_at_s
    span_s = min(training.held_out_days * _DAY_S, training.held_out_share * float(at[-1] - at[0]))
    late = at >= at[-1] - span_s
    early = at + window.horizon_steps * window.step_s <= at[late][0]
    return early, late


def spread_by_lead(errors: NDArray[np.float64], window: Window, quantiles: tuple[float, ...]) -> Floats:
    """Quantiles of errors `(N, horizon_steps)` about their median, by blocks of leads; `(horizon_steps, quantiles)`."""
    block = max(1, _BLOCK_S // window.step_s)
    offsets = np.zeros((window.horizon_steps, len(quantiles)), np.float32)
    everything = errors[np.isfinite(errors)]
    for first in range(0, window.horizon_steps, block):
        part = errors[:, first : first + block]
        found = part[np.isfinite(part)]
        found = found if len(found) else everything
        offsets[first : first + block] = np.quantile(found, quantiles) - np.median(found)
    return offsets


def limits_of(data: Examples) -> Limits:
    """The range of the target with a margin; what never was positive stays so, and what never was negative."""
    values = np.concatenate([data.targets.ravel(), data.inputs["history"][:, :, 0].ravel()])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    margin = RANGE_MARGIN * (high - low)
    wide = Limits(
        low - margin if low < 0 else max(0.0, low - margin), high + margin if high > 0 else min(0.0, high + margin)
    )
    return Limits(float(np.float32(wide.low)), float(np.float32(wide.high)))


def persistence(history: NDArray[np.float32] | NDArray[np.int64], window: Window, days: int) -> NDArray[np.float64]:
    """The target whole days before, `(N, horizon_steps)`; where that is still to come, the next older whole day."""
    day, lead = _DAY_S // window.step_s, np.arange(window.horizon_steps)
    rows = np.maximum(0, window.history_steps + lead - day * np.maximum(days, lead // day + 1))
    return history[:, rows, 0].astype(np.float64)


def _fit(features: Floats, targets: Floats, alpha: float) -> Pipeline:
    known = np.isfinite(targets.ravel())
    pipeline: Pipeline = make_pipeline(StandardScaler(), Ridge(alpha=alpha))
    return pipeline.fit(as_rows(features)[known], targets.ravel()[known].astype(np.float64))
