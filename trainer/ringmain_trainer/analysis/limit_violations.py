"""The risk that a limit is violated in the hours ahead: a classifier on the features of the forecasts. Pure.

Each step of each training forecast is a row of the features known at issue; its class is whether the value of that step was
outside the limits. Everything is in order of time: classifier and threshold are chosen on folds of the first days, each
scored by a fit on the days before it; precision, recall and F1 are measured on the last days. A horizon lies between the
fitted and the scored forecasts: no step is in both.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import onnx
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ringmain_model.session import open_session, run_in_blocks
from ringmain_trainer.analysis.onnx_files import splice
from ringmain_trainer.arrays import Bools, Floats, Values
from ringmain_trainer.config.recipe import Recipe
from ringmain_trainer.config.trainer import AnalysisConfig
from ringmain_trainer.errors import TooLittleDataError
from ringmain_trainer.features.design_matrix import Fold, as_rows, time_folds
from ringmain_trainer.features.examples import Examples, Window, examples, window_of
from ringmain_trainer.features.feature_graph import (
    FEATURES,
    FeatureSpec,
    GraphWriter,
    add_features,
    feature_model,
    value_info,
)
from ringmain_trainer.features.feature_spec import feature_spec
from ringmain_trainer.features.site_data import SiteData
from ringmain_trainer.models.fit import persistence

CLASSIFIERS: Final = ("logistic_regression", "hist_gradient_boosting")
RISK: Final = "risk"
HORIZON_RISK: Final = "horizon_risk"
NO_LIMIT: Final = 1e30
"""A limit that nothing reaches."""

_TEST_SHARE: Final = 0.2
_FOLDS: Final = 3
_EVENTS_MIN: Final = 20
_LEVELS: Final = 200
_WEIGHT_MAX: Final = 30
_NEARLY: Final = 0.9


class Limit(Struct, frozen=True, kw_only=True):
    """A range that values should stay in, and its source."""

    low: float
    high: float
    source: str


class RiskScore(Struct, frozen=True, kw_only=True):
    """Scores of a threshold, on days that neither classifier nor threshold had seen."""

    threshold: float
    precision: float
    recall: float
    f1: float
    events: int
    cases: int


class Violations(NamedTuple):
    """The classifier fitted on all days, its scores by step and by horizon, and the data it was made from."""

    estimator: Any
    name: str
    limit: Limit
    by_step: RiskScore
    by_horizon: RiskScore
    persistence_f1: float
    average_precision: float
    spec: FeatureSpec
    features: Floats
    data: Examples


class _Cases(NamedTuple):
    """Scores and events, both `(cases,)`."""

    scores: Values
    events: Bools


def limit_of(signal: str, values: NDArray[np.floating], config: AnalysisConfig) -> Limit:
    """The limits of a signal: configured, else a quantile of its history as the upper one."""
    if signal in config.limits:
        low, high = config.limits[signal]
        return Limit(low=low, high=high, source="analysis.limits")
    known = values[np.isfinite(values)]
    high = float(np.quantile(known, config.limit_quantile)) if len(known) else NO_LIMIT
    text = f"no limit in analysis.limits: the quantile {config.limit_quantile:g} of the history stands in"
    return Limit(low=-NO_LIMIT, high=high, source=text)


def outside(values: NDArray[np.floating], limit: Limit) -> Bools:
    """Where a limit is violated; a gap is not."""
    return np.asarray((values > limit.high) | (values < limit.low))


def fit_violations(
    recipe: Recipe, analysis: AnalysisConfig, data: SiteData, rows: Sequence[int], *, now: datetime
) -> Violations:
    """Choose on folds, score on the last days, fit on all days.

    Raises:
        TooLittleDataError: If violations, or steps without one, are too few in a part of the time.
    """
    window, model = window_of(recipe.training), recipe.model
    kept = _thinned(rows, analysis.violation_rows_max // window.horizon_steps)
    samples = examples(data.steps, (data.series[name] for name in model.series), window, kept)
    limit = limit_of(model.signal, data.steps.values[:, 0], analysis)
    known = np.isfinite(samples.targets)
    events = outside(samples.targets, limit)
    first, test = _split(samples, window)
    for name, chosen in (("first", first), ("last", test)):
        _refuse_rare(events[chosen], known[chosen], name, limit)
    # violations are too few to learn from what `training.features` adds
    spec = msgspec.structs.replace(feature_spec(recipe, samples, time_zone=data.time_zone, now=now), groups=())
    features = run_in_blocks(open_session(feature_model(spec)), samples.inputs, FEATURES)
    folds = time_folds(samples.issued_at_s[first], window, _FOLDS)
    folded = {name: _folded_scores(name, features[first], events[first], known[first], folds) for name in CLASSIFIERS}
    scored = np.isfinite(folded[CLASSIFIERS[0]]) & known[first]
    _refuse_rare(events[first], scored, "middle", limit)
    precisions = {name: float(average_precision_score(events[first][scored], folded[name][scored])) for name in CLASSIFIERS}
    name = max(CLASSIFIERS, key=lambda one: precisions[one])
    scores = _scores(fit_classifier(name, features[first], events[first], known[first]), features[test])
    by_step = _score(
        _Cases(folded[name][scored], events[first][scored]), _Cases(scores[known[test]], events[test][known[test]])
    )
    whole = [_highest(folded[name], events[first], scored), _highest(scores, events[test], known[test])]
    by_horizon = _score(*whole)
    naive = outside(persistence(samples.inputs["history"][test], window, 1), limit)
    return Violations(
        estimator=fit_classifier(name, features, events, known),
        name=name,
        limit=limit,
        by_step=by_step,
        by_horizon=by_horizon,
        persistence_f1=_f1(naive[known[test]], events[test][known[test]])[2],
        average_precision=precisions[name],
        spec=spec,
        features=features,
        data=samples,
    )


def violations_model(fitted: Violations) -> onnx.ModelProto:
    """Inputs of a forecast to `risk` `[batch, horizon_steps]` and `horizon_risk` `[batch]`, the highest of them.

    Raises:
        ExportError: If the classifier cannot be converted.
    """
    g = GraphWriter()
    columns, horizon = fitted.features.shape[2], fitted.spec.window.horizon_steps
    rows = g("Reshape", add_features(g, fitted.spec), g.ints(-1, columns))
    names = splice(g, fitted.estimator, rows, as_rows(fitted.features[:1]), "risk_")
    risk = g("Reshape", g("Gather", names[1], g.ints(1), axis=1), g.ints(-1, horizon), name=RISK)
    g("ReduceMax", risk, g.ints(1), keepdims=0, name=HORIZON_RISK)
    file = g.model(fitted.spec, [value_info(RISK, "batch", horizon), value_info(HORIZON_RISK, "batch")])
    onnx.checker.check_model(file, full_check=True)
    return file


def expected_risk(fitted: Violations, features: Floats) -> dict[str, Values]:
    """The values of scikit-learn, by output of the file."""
    scores = _scores(fitted.estimator, features)
    return {RISK: scores, HORIZON_RISK: scores.max(axis=1)}


def _thinned(rows: Sequence[int], most: int) -> Sequence[int]:
    return rows[:: max(1, -(-len(rows) // max(1, most)))]


def _split(data: Examples, window: Window) -> tuple[Bools, Bools]:
    """The first forecasts, without those whose steps reach into the last days; and the last ones."""
    at = data.issued_at_s
    begin = at[-1] - _TEST_SHARE * (at[-1] - at[0])
    return np.asarray(at + window.horizon_steps * window.step_s <= begin), np.asarray(at >= begin)


def _folded_scores(name: str, features: Floats, events: Bools, known: Bools, folds: Sequence[Fold]) -> Values:
    """Scores of each fold by a fit on the forecasts before it; NaN before the first fold."""
    scores = np.full(events.shape, np.nan)
    for fold in folds:
        early = slice(0, fold.train)
        seen = events[early] & known[early]
        if seen.any() and (known[early] & ~events[early]).any():
            estimator = fit_classifier(name, features[early], events[early], known[early])
            scores[fold.first : fold.last] = _scores(estimator, features[fold.first : fold.last])
    return scores


def _highest(scores: Values, events: Bools, known: Bools) -> _Cases:
    """One case per forecast: the highest score of its horizon, and whether a limit was violated in it."""
    seen = known.any(axis=1)
    violated = np.asarray((events & known).any(axis=1))
    return _Cases(np.where(known, scores, -1.0).max(axis=1)[seen], violated[seen])


def _refuse_rare(events: Bools, known: Bools, when: str, limit: Limit) -> None:
    count, of = int((events & known).sum()), int(known.sum())
    if count < _EVENTS_MIN or of - count < _EVENTS_MIN:
        shares = f"{count} of {of} steps of the {when} days are outside, {_EVENTS_MIN} of either kind are needed"
        limits = f"limit {limit.low:g} to {limit.high:g}" if limit.low > -NO_LIMIT else f"limit {limit.high:.6g}"
        raise TooLittleDataError(f"{limits} ({limit.source}): {shares}")


def fit_classifier(name: str, features: Floats, events: Bools, known: Bools) -> Any:  # noqa: ANN401  scikit-learn has no stubs
    """One of `CLASSIFIERS` on the steps that are known; both classes weigh about the same."""
    chosen = known.ravel()
    x, y = as_rows(features)[chosen], events.ravel()[chosen].astype(np.int64)
    if name == CLASSIFIERS[0]:
        regression = LogisticRegression(C=0.001, class_weight="balanced", max_iter=1000, tol=1e-3)
        return make_pipeline(StandardScaler(), regression).fit(x, y)
    # class_weight makes scikit-learn 1.9 bin by weighted quantiles, forty times slower: rows of the rare class come again
    again = np.repeat(np.arange(len(y)), np.where(y == 1, _weight_of_events(y), 1))
    trees = HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.08,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )
    with threadpool_limits(limits=1):  # sums have one order, and two threads on a busy machine wait for each other
        return trees.fit(x[again], y[again])


def _weight_of_events(y: NDArray[np.int64]) -> int:
    """Repetitions of an event that make both classes weigh about the same."""
    count = int(y.sum())
    return max(1, min(_WEIGHT_MAX, round((len(y) - count) / max(1, count))))


def _scores(estimator: Any, features: Floats) -> Values:  # noqa: ANN401  scikit-learn has no stubs
    scores: Values = estimator.predict_proba(as_rows(features))[:, 1].reshape(features.shape[:2])
    return scores


def _score(choose: _Cases, test: _Cases) -> RiskScore:
    """The threshold chosen on the folds, and its scores on the last days.

    It is the lowest threshold with nearly the best F1: an unannounced violation costs more than a false alarm, and the
    scores of the next fit differ somewhat.
    """
    levels = np.unique(np.quantile(choose.scores, np.linspace(0, 1, _LEVELS)))
    f1_by_level = np.array([_f1(choose.scores >= level, choose.events)[2] for level in levels])
    threshold = float(levels[f1_by_level >= _NEARLY * f1_by_level.max()].min())
    precision, recall, f1 = _f1(test.scores >= threshold, test.events)
    return RiskScore(
        threshold=threshold,
        precision=precision,
        recall=recall,
        f1=f1,
        events=int(test.events.sum()),
        cases=len(test.events),
    )


def _f1(predicted: Bools, events: Bools) -> tuple[float, float, float]:
    """Precision, recall and F1; 0 if nothing was predicted or nothing happened."""
    hits = int((predicted & events).sum())
    precision = hits / int(predicted.sum()) if predicted.any() else 0.0
    recall = hits / int(events.sum()) if events.any() else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if hits else 0.0
