"""Every estimator that the guard lets through, converted and compared on float32 rows: this is where it was seen."""

from typing import Any

import numpy as np
import pytest
import skl2onnx
from numpy.typing import NDArray
from sklearn import (
    cluster,
    compose,
    decomposition,
    ensemble,
    impute,
    linear_model,
    neural_network,
    pipeline,
    preprocessing,
    tree,
)
from sklearn.base import BaseEstimator

from ringmain_model.session import open_session
from ringmain_trainer.errors import ExportError
from ringmain_trainer.export.skl2onnx_fix import VERSION, install_converter_fix
from ringmain_trainer.export.supported_estimators import CONVERTS, REFUSED, parts_of, refuse_wrong_conversion
from ringmain_trainer.features.feature_graph import OPSETS

RNG = np.random.default_rng(0)
COLUMNS = 5
ROWS = np.round(RNG.normal(10, 4, size=(400, COLUMNS)), 1).astype(np.float32)
ROWS[:, 4] = RNG.integers(0, 7, len(ROWS))
TARGETS = 3 * ROWS[:, 0] - ROWS[:, 1] ** 2 / 10 + (ROWS[:, 4] > 4) + RNG.normal(0, 0.2, len(ROWS))
CLASSES = (np.median(TARGETS) < TARGETS).astype(np.int64)
FRESH = np.round(RNG.normal(10, 5, size=(500, COLUMNS)), 1).astype(np.float32)
FRESH[:, 4] = RNG.integers(0, 7, len(FRESH))
FEW: dict[str, Any] = {"n_estimators": 5, "max_depth": 5, "random_state": 0}


def made(transformer: Any) -> BaseEstimator:
    return pipeline.make_pipeline(transformer, linear_model.Ridge())


def one_hot() -> compose.ColumnTransformer:
    encoder = preprocessing.OneHotEncoder(categories=[np.arange(7.0)], handle_unknown="ignore", sparse_output=False)
    return compose.ColumnTransformer([("weekday", encoder, [4])], remainder="passthrough", sparse_threshold=0.0)


REGRESSORS: dict[str, BaseEstimator] = {
    "Pipeline, ColumnTransformer, OneHotEncoder": made(one_hot()),
    "FeatureUnion": made(pipeline.FeatureUnion([("a", preprocessing.StandardScaler()), ("b", decomposition.PCA(2))])),
    "StandardScaler": made(preprocessing.StandardScaler()),
    "RobustScaler": made(preprocessing.RobustScaler()),
    "MinMaxScaler": made(preprocessing.MinMaxScaler()),
    "MaxAbsScaler": made(preprocessing.MaxAbsScaler()),
    "Normalizer": made(preprocessing.Normalizer()),
    "PolynomialFeatures": made(preprocessing.PolynomialFeatures(2)),
    "PCA": made(decomposition.PCA(3)),
    "OrdinalEncoder": made(
        compose.ColumnTransformer([("code", preprocessing.OrdinalEncoder(), [4])], remainder="passthrough")
    ),
    "KBinsDiscretizer": made(preprocessing.KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf")),
    "SimpleImputer": made(impute.SimpleImputer()),
    "LinearRegression": linear_model.LinearRegression(),
    "Ridge": linear_model.Ridge(),
    "RidgeCV": linear_model.RidgeCV(),
    "Lasso": linear_model.Lasso(0.1),
    "ElasticNet": linear_model.ElasticNet(0.1),
    "HuberRegressor": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.HuberRegressor()),
    "BayesianRidge": linear_model.BayesianRidge(),
    "SGDRegressor": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.SGDRegressor(random_state=0)),
    "TweedieRegressor": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.TweedieRegressor()),
    "PoissonRegressor": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.PoissonRegressor()),
    "QuantileRegressor": linear_model.QuantileRegressor(quantile=0.9, alpha=0.01),
    "MLPRegressor": pipeline.make_pipeline(
        preprocessing.StandardScaler(), neural_network.MLPRegressor(hidden_layer_sizes=(8,), tol=1e9, random_state=0)
    ),
    "DecisionTreeRegressor": tree.DecisionTreeRegressor(max_depth=5),
    "ExtraTreeRegressor": tree.ExtraTreeRegressor(max_depth=5),
    "RandomForestRegressor": ensemble.RandomForestRegressor(**FEW),
    "ExtraTreesRegressor": ensemble.ExtraTreesRegressor(**FEW),
    "GradientBoostingRegressor": ensemble.GradientBoostingRegressor(loss="quantile", alpha=0.9, **FEW),
    "HistGradientBoostingRegressor": ensemble.HistGradientBoostingRegressor(loss="quantile", quantile=0.1, max_iter=9),
}

CLASSIFIERS: dict[str, BaseEstimator] = {
    "LogisticRegression": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
    "DecisionTreeClassifier": tree.DecisionTreeClassifier(max_depth=5),
    "ExtraTreeClassifier": tree.ExtraTreeClassifier(max_depth=5),
    "RandomForestClassifier": ensemble.RandomForestClassifier(**FEW),
    "ExtraTreesClassifier": ensemble.ExtraTreesClassifier(**FEW),
    "GradientBoostingClassifier": ensemble.GradientBoostingClassifier(**FEW),
    "HistGradientBoostingClassifier": ensemble.HistGradientBoostingClassifier(max_iter=9),
}


def converted(estimator: Any, rows: NDArray[np.float32]) -> list[NDArray[Any]]:
    """What the guard lets through, as a session answers: in one call, and one by one the same but for the last bits."""
    refuse_wrong_conversion(estimator, ROWS)
    install_converter_fix()
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    session = open_session(skl2onnx.to_onnx(estimator, ROWS[:1], target_opset=OPSETS, options=options))
    found = session.run(None, {session.get_inputs()[0].name: rows})
    ones = [session.run(None, {session.get_inputs()[0].name: row[None]}) for row in rows[:50]]
    for i, whole in enumerate(found):
        np.testing.assert_allclose(np.concatenate([one[i] for one in ones]), whole[:50], rtol=1e-5, atol=1e-5)
    return [np.asarray(one) for one in found]


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_that_passes_the_guard_converts_rightly(name: str) -> None:
    estimator = REGRESSORS[name].fit(ROWS.astype(np.float64), TARGETS + 40)
    (found,) = converted(estimator, FRESH)
    expected = estimator.predict(FRESH.astype(np.float64))
    assert np.abs(found.ravel() - expected).max() <= 2e-5 * np.ptp(np.quantile(TARGETS, [0.01, 0.99]))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_that_passes_the_guard_converts_rightly(name: str) -> None:
    estimator = CLASSIFIERS[name].fit(ROWS.astype(np.float64), CLASSES)
    labels, shares = converted(estimator, FRESH)
    expected = estimator.predict_proba(FRESH.astype(np.float64))
    assert np.abs(shares - expected).max() <= 2e-5
    clear = np.abs(expected[:, 0] - 0.5) > 1e-4
    np.testing.assert_array_equal(labels[clear], estimator.predict(FRESH.astype(np.float64))[clear])


def test_an_isolation_forest_converts_rightly() -> None:
    estimator = ensemble.IsolationForest(n_estimators=20, random_state=0).fit(ROWS.astype(np.float64))
    labels, scores = converted(estimator, FRESH)
    expected = estimator.decision_function(FRESH.astype(np.float64))
    assert np.abs(scores.ravel() - expected).max() <= 2e-5
    clear = np.abs(expected) > 1e-4
    np.testing.assert_array_equal(labels.ravel()[clear], estimator.predict(FRESH.astype(np.float64))[clear])


@pytest.mark.parametrize("kind", [cluster.KMeans, cluster.MiniBatchKMeans])
def test_clusters_convert_rightly(kind: Any) -> None:
    estimator = kind(4, n_init=1, random_state=0).fit(ROWS.astype(np.float64))
    labels, distances = converted(estimator, FRESH)
    expected = estimator.transform(FRESH.astype(np.float64))
    assert np.abs(distances - expected).max() <= 2e-5 * expected.max()
    np.testing.assert_array_equal(labels, estimator.predict(FRESH.astype(np.float64)))


def test_histogram_boosting_converts_rightly_on_thresholds_and_with_gaps() -> None:
    """At a resolution of 0.1 readings stand on thresholds; the float32 nearest to a threshold may lie above it."""
    rows = ROWS.copy()
    rows[RNG.random(rows.shape) < 0.1] = np.nan
    estimator = ensemble.HistGradientBoostingRegressor(max_iter=60).fit(rows.astype(np.float64), TARGETS)
    thresholds = {
        (int(node["feature_idx"]), float(node["num_threshold"]))
        for (trees,) in estimator._predictors  # noqa: SLF001  where its thresholds are
        for node in trees.nodes
        if not node["is_leaf"]
    }
    probes = np.repeat(FRESH, 4, axis=0)[: 3 * len(thresholds)]
    for i, (column, threshold) in enumerate(sorted(thresholds)):
        nearest = np.float32(threshold)
        values = nearest, np.nextafter(nearest, np.float32(-np.inf)), np.nextafter(nearest, np.float32(np.inf))
        for k, value in enumerate(values):
            if 3 * i + k < len(probes):
                probes[3 * i + k, column] = value
    probes[RNG.random(probes.shape) < 0.05] = np.nan
    (found,) = converted(estimator, probes)
    assert np.abs(found.ravel() - estimator.predict(probes.astype(np.float64))).max() <= 2e-5 * np.ptp(TARGETS)


def test_every_class_that_passes_was_converted_here() -> None:
    seen = [
        *REGRESSORS.values(),
        *CLASSIFIERS.values(),
        ensemble.IsolationForest(),
        cluster.KMeans(),
        cluster.MiniBatchKMeans(),
    ]
    assert {type(part).__name__ for one in seen for part in parts_of(one)} >= CONVERTS
    assert not CONVERTS & REFUSED.keys()


def test_the_fix_is_for_the_version_that_is_installed() -> None:
    """Fails with a newer skl2onnx: look at these tests without the fix (1.21 has it built in), then take it out."""
    assert skl2onnx.__version__.startswith(VERSION)


def test_the_fix_refuses_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skl2onnx, "__version__", "1.21.0")
    with pytest.raises(ExportError, match=r"skl2onnx 1\.21\.0"):
        install_converter_fix.__wrapped__()
