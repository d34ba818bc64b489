"""The guard lets through what is known to convert rightly, and refuses the rest by name with an alternative."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, is_classifier
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.covariance import EllipticEnvelope
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator, SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import QuantileRegressor, Ridge
from sklearn.multioutput import RegressorChain
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from ringmain_trainer.errors import ExportError
from ringmain_trainer.export.supported_estimators import refuse_wrong_conversion

RNG = np.random.default_rng(0)
X = np.abs(RNG.normal(size=(80, 3)))
X[:, 2] = RNG.integers(0, 4, 80)
Y = X[:, 0] + 1.0
GAPS = np.where(RNG.random(X.shape) < 0.2, np.nan, X)


@pytest.mark.parametrize(
    "estimator",
    [
        Ridge(),
        make_pipeline(StandardScaler(), Ridge()),
        QuantileRegressor(),
        RandomForestRegressor(n_estimators=2),
        HistGradientBoostingRegressor(max_iter=2, loss="quantile", quantile=0.9),
        make_pipeline(ColumnTransformer([("code", OneHotEncoder(), [2])], remainder="passthrough"), Ridge()),
        make_pipeline(SimpleImputer(), Ridge()),
    ],
)
def test_what_converts_rightly_passes(estimator: BaseEstimator) -> None:
    refuse_wrong_conversion(estimator.fit(X, Y), X)


@pytest.mark.parametrize(
    ("estimator", "rows", "says"),
    [
        (HistGradientBoostingRegressor(max_iter=2, loss="poisson"), X, "exponential"),
        (HistGradientBoostingRegressor(max_iter=2, loss="gamma"), X, "exponential"),
        (HistGradientBoostingRegressor(max_iter=2, categorical_features=[2]), X, "OneHotEncoder"),
        (RandomForestRegressor(n_estimators=2), GAPS, "NaN"),
        (ExtraTreesRegressor(n_estimators=2), GAPS, "NaN"),
        (DecisionTreeRegressor(), GAPS, "NaN"),
        (make_pipeline(SimpleImputer(add_indicator=True), Ridge()), GAPS, "IsNaN"),
        (make_pipeline(KNNImputer(), Ridge()), GAPS, "KNNImputer"),
        (TransformedTargetRegressor(Ridge()), X, "TransformedTargetRegressor"),
        (make_pipeline(FunctionTransformer(np.log1p), Ridge()), X, "feature graph"),
        (make_pipeline(SplineTransformer(), Ridge()), X, "feature graph"),
        (make_pipeline(ColumnTransformer([("knn", KNNImputer(), [0])]), Ridge()), GAPS, "KNNImputer"),
        (KernelRidge(), X, "use Ridge"),
        (DummyRegressor(), X, "persistence"),
        (KNeighborsRegressor(), X, "not among"),
        (GradientBoostingRegressor(n_estimators=2, init=Ridge()), X, "leave init out"),
        (HistGradientBoostingClassifier(max_iter=2, categorical_features=[2]), X, "OneHotEncoder"),
        (RandomForestClassifier(n_estimators=2), GAPS, "NaN"),
        (IsolationForest(n_estimators=2), GAPS, "NaN"),
        (IsotonicRegression(), X[:, 0], "offsets by quantile"),
        (RegressorChain(Ridge()), X, "one model per quantile"),
        (EllipticEnvelope(), X, "IsolationForest"),
        (make_pipeline(Nystroem(n_components=5), Ridge()), X, "PolynomialFeatures"),
        (make_pipeline(RBFSampler(), Ridge()), X, "PolynomialFeatures"),
        (make_pipeline(IterativeImputer(), Ridge()), X, "feature graph"),
        (make_pipeline(MissingIndicator(features="all"), Ridge()), X, "IsNaN"),
    ],
)
def test_what_converts_wrongly_or_not_at_all_is_refused(estimator: Any, rows: Any, says: str) -> None:
    with pytest.raises(ExportError, match=says):
        refuse_wrong_conversion(estimator.fit(rows, targets_for(estimator)), rows)


def targets_for(estimator: Any) -> Any:
    """What it can be fitted on: classes, two columns for a chain, or the target."""
    if is_classifier(estimator):
        return Y.mean() < Y
    return np.stack([Y, Y], axis=1) if isinstance(estimator, RegressorChain) else Y
