"""The scikit-learn estimators that may be exported: those seen to convert rightly. All others are refused by name.

skl2onnx turns several estimators into wrong models without an error; these lists are for skl2onnx 1.20 and scikit-learn 1.9.
The proof in `onnx_file` is the second line.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from ringmain_trainer.errors import ExportError

CONVERTS: Final = frozenset(
    (
        *("Pipeline", "ColumnTransformer", "FeatureUnion"),
        *("StandardScaler", "RobustScaler", "MinMaxScaler", "MaxAbsScaler", "Normalizer", "PolynomialFeatures", "PCA"),
        *("OneHotEncoder", "OrdinalEncoder", "KBinsDiscretizer", "SimpleImputer"),
        *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "ElasticNet", "HuberRegressor", "BayesianRidge"),
        *("SGDRegressor", "TweedieRegressor", "PoissonRegressor", "QuantileRegressor", "MLPRegressor"),
        *("DecisionTreeRegressor", "RandomForestRegressor", "ExtraTreesRegressor", "ExtraTreeRegressor"),
        *("GradientBoostingRegressor", "HistGradientBoostingRegressor"),
        *("LogisticRegression", "RandomForestClassifier", "ExtraTreesClassifier"),
        *("GradientBoostingClassifier", "HistGradientBoostingClassifier"),
        *("IsolationForest", "KMeans", "MiniBatchKMeans"),
        *("DecisionTreeClassifier", "ExtraTreeClassifier"),
    )
)
"""Names of classes that convert rightly, but for the settings below."""

REFUSED: Final = {
    "KNNImputer": "some cells come out wrong; gaps are filled by the feature graph",
    "TransformedTargetRegressor": "it has no converter; scale the target before the fit",
    "FunctionTransformer": "only the identity converts; put the function into the feature graph",
    "KernelRidge": "it has no converter; use Ridge",
    "IsotonicRegression": "it has no converter; use offsets by quantile",
    "DummyRegressor": "it has no converter; persistence is in the agent",
    "RegressorChain": "it has no converter; use one model per quantile",
    "EllipticEnvelope": "it has no converter; use IsolationForest",
    "Nystroem": "it has no converter; use PolynomialFeatures",
    "RBFSampler": "it has no converter; use PolynomialFeatures",
    "SplineTransformer": "it has no converter; put tables into the feature graph",
    "IterativeImputer": "it has no converter; gaps are filled by the feature graph",
    "MissingIndicator": "it has no converter; use IsNaN in the feature graph",
}
"""Classes that do not convert, or wrongly, with the reason and the alternative."""

_NO_NAN: Final = frozenset(
    (
        *("DecisionTreeRegressor", "RandomForestRegressor", "ExtraTreesRegressor", "ExtraTreeRegressor"),
        *("DecisionTreeClassifier", "RandomForestClassifier", "ExtraTreesClassifier", "ExtraTreeClassifier"),
        "IsolationForest",
    )
)
_LOSSES: Final = frozenset(("squared_error", "absolute_error", "quantile", "log_loss"))


def refuse_wrong_conversion(estimator: BaseEstimator, rows: NDArray[Any]) -> None:
    """Let pass only estimators that are known to convert rightly.

    Args:
        estimator: A fitted estimator; those inside it are checked as well.
        rows: Rows it was fitted on.

    Raises:
        ExportError: With the name of the refused class, and the alternative.
    """
    has_nan = bool(np.isnan(rows).any())
    for part in parts_of(estimator):
        name = type(part).__name__
        why = _reason(part, name, has_nan=has_nan)
        if why:
            raise ExportError(f"{name} cannot be exported: {why}")


def _reason(part: Any, name: str, *, has_nan: bool) -> str:  # noqa: ANN401  any scikit-learn estimator
    if name not in CONVERTS:
        return REFUSED.get(name, "it is not among the estimators that were seen to convert rightly")
    histogram = name.startswith("HistGradientBoosting")
    loss, categorical = getattr(part, "loss", ""), getattr(part, "is_categorical_", None)
    faults = (
        (name in _NO_NAN and has_nan, "trained with NaN its trees come out wrong; fill gaps in the feature graph"),
        (
            name == "SimpleImputer" and part.add_indicator,
            "add_indicator is dropped without an error; use IsNaN in the feature graph",
        ),
        (
            name.startswith("GradientBoosting") and part.init is not None,
            "an estimator of its own for the start was never seen to convert; leave init out",
        ),
        (
            histogram and loss not in _LOSSES,
            f"with loss {loss!r} the exponential is lost; use squared_error or quantile",
        ),
        (
            histogram and categorical is not None and bool(np.any(categorical)),
            "categorical_features come out wrong; use OneHotEncoder",
        ),
    )
    return next((why for wrong, why in faults if wrong), "")


def parts_of(estimator: Any) -> Iterator[Any]:  # noqa: ANN401  any scikit-learn estimator
    """The estimator and all that are set or fitted inside it."""
    yield estimator
    inner = estimator.get_params(deep=True).values()
    fitted = getattr(estimator, "transformers_", [])
    for part in (*inner, *(one[1] for one in fitted)):
        if isinstance(part, BaseEstimator):
            yield part
