"""A model of one site and signal: one estimator or a blend, calibrated on held-out days, then fitted on all.

Everything is in order of time. Folds choose hyper-parameters and weights. A model of all days before the held-out ones then
forecasts these; its errors give the calibration and the metrics. Arrays in, arrays and fitted pipelines out.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from ringmain_trainer.arrays import Floats, Values
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.recipe import Recipe
from ringmain_trainer.errors import TooLittleDataError
from ringmain_trainer.features.design_matrix import Design, Fold, as_rows, held_out, time_folds
from ringmain_trainer.features.examples import Examples, Window
from ringmain_trainer.features.feature_graph import WEEK_PEAK
from ringmain_trainer.models.calibration import conformal_shifts
from ringmain_trainer.models.estimators import Fitter, Settings, fitters
from ringmain_trainer.models.metrics import Forecasts, coverage, mae, pinball, rmse
from ringmain_trainer.workers import one_thread

RANGE_MARGIN: Final = 0.25
"""Forecasts stay within the range of the history, widened by this share of it on both sides."""

PERSISTENCE: Final = {"yesterday": 1, "last_week": 7}
"""Seasonal persistence by name: whole days before the target."""

_REST_SHARE: Final = 0.005
"""Below this share of its range the target is at rest: PV at night, with the consumption of its inverters."""
_REST_TRUE: Final = 0.999


class Limits(NamedTuple):
    """The range that a forecast is clamped to."""

    low: float
    high: float


class ZeroOutput(NamedTuple):
    """The forecast is zero where this column of the features is at most `threshold`: PV at night."""

    column: int
    threshold: float


class Member(Struct, frozen=True, kw_only=True):
    """One estimator of a blend: a pipeline that gives the median, or one for each quantile.

    `offsets` `(horizon_steps, quantiles)` are added to its values, before the quantiles are put in order. `settings` are its
    hyper-parameters.
    """

    name: str
    pipelines: tuple[Pipeline, ...]
    offsets: Floats
    weight: float = 1.0
    settings: dict[str, Any] = {}


class FittedModel(Struct, frozen=True, kw_only=True):
    """A trained model: the weighted mean of its members, plus `shifts` `(horizon_steps, quantiles)`, in order and clamped.

    `metrics` are in the unit of the target, on the held-out days, of the model fitted on the days before; its quantiles are
    calibrated on the other half of the held-out days. `mae_yesterday` and `mae_last_week` are those of persistence.
    `held_out` are the forecasts behind these metrics.
    """

    members: tuple[Member, ...]
    shifts: Floats
    limits: Limits
    metrics: dict[str, float]
    rest: ZeroOutput | None = None
    held_out: Forecasts | None = None


def predict(model: FittedModel, features: Floats) -> Values:
    """Forecasts by scikit-learn, in order and clamped: `(N, horizon_steps, quantiles)`."""
    return _finished(model, blended(model.members, features, model.shifts.shape[1]) + model.shifts, features)


def blended(members: Iterable[Member], features: Floats, count: int) -> Values:
    """The weighted mean of the members, `(N, horizon_steps, count)`."""
    rows, shape = as_rows(features), features.shape[:2]
    total = np.zeros((*shape, count))
    for member in members:
        curves = np.stack([pipeline.predict(rows).reshape(shape) for pipeline in member.pipelines], axis=2)
        total += member.weight * np.maximum.accumulate(curves + member.offsets, axis=2)
    return total


def fit_model(design: Design, recipe: Recipe) -> FittedModel:
    """Choose on folds, calibrate and score on the held-out days, fit on all.

    Args:
        design: Features and examples, in order of issue.
        recipe: Estimators with their grids and weights, folds and quantiles.

    Raises:
        TooLittleDataError: If there is nothing to learn from before the held-out days, or nothing to score on.
    """
    with one_thread():
        return _fit_model(design, recipe)


def _fit_model(design: Design, recipe: Recipe) -> FittedModel:
    model, training, data, window = recipe.model, recipe.training, design.data, design.window
    early, late = held_out(data, window, training)
    train, count = int(early.sum()), len(late)
    if not np.isfinite(data.targets[early]).any():
        raise TooLittleDataError("too little data: nothing is left before the held-out days")
    truth = data.targets[late].astype(np.float64)
    if not np.isfinite(truth).any():
        raise TooLittleDataError("too little data: the held-out days have no value")
    folds = time_folds(data.issued_at_s[early], window, training.folds)
    chosen = [
        _choose(name, fitters(name, design, recipe.estimators, training.quantiles), folds, design, model.weights == "fitted")
        for name in model.estimators
    ]
    weights = _weights(chosen, folds, design) if model.weights == "fitted" else [1 / len(chosen)] * len(chosen)
    trial = _members(chosen, weights, train, design, training.quantiles)
    before = FittedModel(
        members=trial,
        shifts=np.zeros((window.horizon_steps, len(training.quantiles)), np.float32),
        limits=limits_of(data.take(early)),
        metrics={},
        rest=zero_output_of(design, train),
    )
    curves = np.maximum.accumulate(blended(trial, design.features[late], len(training.quantiles)), axis=2)
    scored = _scored(before, curves, design.take(late), training.quantiles)
    metrics = _metrics(scored)
    if len(chosen) > 1:
        for one, weight in zip(chosen, weights, strict=True):
            metrics[f"weight_{one.name}"] = weight
    for one in chosen:
        grid = next(iter(one.fitters.values())).candidates
        tried = {key for key in grid[0] if len({str(candidate[key]) for candidate in grid}) > 1}
        metrics |= {
            f"{one.name}_{k}": float(v) for k, v in one.settings.items() if k in tried and isinstance(v, int | float)
        }
    rest = zero_output_of(design, count)
    return FittedModel(
        members=_members(chosen, weights, count, design, training.quantiles),
        shifts=conformal_shifts(curves, _generating(rest, design.features[late], truth), window, training.quantiles),
        limits=limits_of(data),
        metrics=metrics,
        rest=rest,
        held_out=scored,
    )


class _Chosen(NamedTuple):
    """One estimator with its chosen settings, and its medians on the folds if weights are fitted."""

    name: str
    fitters: dict[str, Fitter]
    candidate: int
    settings: Settings
    medians: list[Values]


def _choose(name: str, by_seed: dict[str, Fitter], folds: list[Fold], design: Design, score: bool) -> _Chosen:  # noqa: FBT001
    """The candidate with the smallest absolute error over all folds; the one in the middle if there is no fold.

    The first seed chooses for all.
    """
    fitter = next(iter(by_seed.values()))
    grid = fitter.candidates
    if not folds or (len(grid) == 1 and not score):
        return _Chosen(name, by_seed, len(grid) // 2, grid[len(grid) // 2], [])
    medians = [list(fitter.medians(fold.train, fold.first, fold.last)) for fold in folds]
    truths = [design.data.targets[fold.first : fold.last] for fold in folds]
    missed = [
        sum(float(np.nansum(np.abs(of_fold[i] - truth))) for of_fold, truth in zip(medians, truths, strict=True))
        for i in range(len(grid))
    ]
    best = int(np.argmin(missed))
    return _Chosen(name, by_seed, best, grid[best], [of_fold[best] for of_fold in medians])


def _weights(chosen: list[_Chosen], folds: list[Fold], design: Design) -> list[float]:
    """Weights from 0 that add up to 1, with the smallest squared error on the folds; equal ones without folds."""
    if not folds:
        return [1 / len(chosen)] * len(chosen)
    truth = np.concatenate([design.data.targets[fold.first : fold.last].ravel() for fold in folds])
    known = np.isfinite(truth)
    errors = np.stack([np.concatenate([part.ravel() for part in one.medians])[known] for one in chosen], axis=1)
    errors -= truth[known, None]
    products = errors.T @ errors / max(1, len(errors))
    best, least = np.full(len(chosen), 1 / len(chosen)), np.inf
    for size in range(1, len(chosen) + 1):
        for subset in combinations(range(len(chosen)), size):
            # the minimum on the plane where these add up to 1; it counts if none is negative
            inside = products[np.ix_(subset, subset)]
            direction = np.linalg.lstsq(inside, np.ones(size), rcond=None)[0]
            part = direction / direction.sum() if direction.sum() > 0 else direction
            missed = float(part @ inside @ part)
            if direction.sum() > 0 and (part >= 0).all() and missed < least:
                least, best = missed, np.zeros(len(chosen))
                best[list(subset)] = part
    return [float(weight) for weight in best]


def _members(
    chosen: list[_Chosen], weights: list[float], train: int, design: Design, quantiles: tuple[float, ...]
) -> tuple[Member, ...]:
    """All members with a weight, fitted on the first `train` forecasts; the seeds of an estimator share its weight."""
    nothing = np.zeros((design.window.horizon_steps, len(quantiles)), np.float32)
    return tuple(
        Member(
            name=name,
            pipelines=fitter.fit(train, one.candidate),
            offsets=nothing,
            weight=weight / len(one.fitters),
            settings=one.settings,
        )
        for one, weight in zip(chosen, weights, strict=True)
        for name, fitter in one.fitters.items()
        if weight > 0
    )


def _scored(model: FittedModel, curves: Values, design: Design, quantiles: tuple[float, ...]) -> Forecasts:
    """Forecasts of each half of the held-out days, with the quantiles calibrated on the other half."""
    features, data, window = design.features, design.data, design.window
    truth = data.targets.astype(np.float64)
    final = np.empty_like(curves)
    generating = _generating(model.rest, features, truth)
    for scored, calibrating in _halves(data.issued_at_s, window):
        shifts = conformal_shifts(curves[calibrating], generating[calibrating], window, quantiles)
        final[scored] = _finished(model, curves[scored] + shifts, features[scored])
    naive = {name: persistence(data.inputs["history"], window, days) for name, days in PERSISTENCE.items()}
    return Forecasts(data.issued_at_s, window.step_s, quantiles, final, truth, naive)


def _metrics(scored: Forecasts) -> dict[str, float]:
    truth, levels = scored.actual, scored.levels
    metrics = {
        "mae": mae(scored.median, truth),
        "rmse": rmse(scored.median, truth),
        "pinball": pinball(scored.quantiles, truth, levels),
        "coverage": coverage(scored.quantiles, truth),
        "held_out_forecasts": float(len(truth)),
    }
    metrics |= {f"mae_{name}": mae(naive, truth) for name, naive in scored.persistence.items()}
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def _finished(model: FittedModel, curves: Values, features: Floats) -> Values:
    """Curves in order, clamped, and zero at rest."""
    clamped = np.clip(np.maximum.accumulate(curves, axis=2), *model.limits)
    return clamped if model.rest is None else np.where(_at_rest(model.rest, features)[:, :, None], 0.0, clamped)


def _at_rest(rest: ZeroOutput, features: Floats) -> NDArray[np.bool_]:
    return np.asarray(features[:, :, rest.column] <= np.float32(rest.threshold))


def _generating(rest: ZeroOutput | None, features: Floats, truth: Values) -> Values:
    """The truth where the forecast is not set to zero: nights must not calibrate the band of the days."""
    return truth if rest is None else np.where(_at_rest(rest, features), np.nan, truth)


def _halves(issued_at_s: NDArray[np.int64], window: Window) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """The forecasts of each half, and those that calibrate them: of the other half, with targets wholly outside."""
    late = later_half(issued_at_s)
    early, middle = ~late, issued_at_s[late][0]
    ends = issued_at_s + window.horizon_steps * window.step_s
    pairs = []
    for scored, other in ((early, late & (issued_at_s >= ends[early].max(initial=0))), (late, early & (ends <= middle))):
        if scored.any():
            pairs.append((scored, other if other.any() else ~scored if (~scored).any() else scored))
    return pairs


def later_half(issued_at_s: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The later half of the held-out forecasts: their calibration knows no later day."""
    later: NDArray[np.bool_] = issued_at_s >= issued_at_s[len(issued_at_s) // 2]
    return later


def limits_of(data: Examples) -> Limits:
    """The range of the target with a margin. A target that never was positive is never forecast positive; negative alike."""
    values = np.concatenate([data.targets.ravel(), data.inputs["history"][:, :, 0].ravel()])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    margin = RANGE_MARGIN * (high - low)
    wide = Limits(
        low - margin if low < 0 else max(0.0, low - margin), high + margin if high > 0 else min(0.0, high + margin)
    )
    return Limits(float(np.float32(wide.low)), float(np.float32(wide.high)))


def zero_output_of(design: Design, count: int) -> ZeroOutput | None:
    """Where the week before says that the target of the first `count` forecasts is at rest, as PV at night; None if never.

    Only for a target of one sign. All but one in a thousand of its values at rest must be as small as in the week before.
    """
    if WEEK_PEAK not in design.columns:
        return None
    targets = design.data.targets[:count]
    known = np.isfinite(targets)
    values = np.abs(targets[known])
    one_sign = bool((targets[known] >= 0).all() or (targets[known] <= 0).all())
    if not one_sign or not len(values):
        return None
    column = design.columns.index(WEEK_PEAK)
    threshold = float(np.float32(_REST_SHARE * np.quantile(values, 0.99)))
    at_rest = design.features[:count, :, column][known] <= threshold
    if at_rest.mean() < 0.05 or (values[at_rest] <= 2 * threshold).mean() < _REST_TRUE:
        return None
    return ZeroOutput(column, threshold)


def persistence(history: NDArray[np.float32] | NDArray[np.int64], window: Window, days: int) -> Values:
    """The target whole days earlier, `(N, horizon_steps)`; where that is after the issue, the next older whole day."""
    day, lead = DAY_S // window.step_s, np.arange(window.horizon_steps)
    rows = np.maximum(0, window.history_steps + lead - day * np.maximum(days, lead // day + 1))
    return history[:, rows, 0].astype(np.float64)
