"""The estimators by name: the fit of each on a design matrix, and the grid of its settings.

A fitter is made once for a design matrix and fits on its first `train` forecasts. Results are scikit-learn pipelines that
take float32 values as float64, and that convert to ONNX rightly: linear ones and networks have the weekday one-hot and all
columns scaled inside the pipeline, trees take the columns as they are. Everything runs on one thread with fixed seeds.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from msgspec import Struct
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ringmain_trainer.arrays import Values
from ringmain_trainer.config.estimators import FIXED, EstimatorsConfig, RidgeConfig
from ringmain_trainer.features.design_matrix import Design, as_rows
from ringmain_trainer.features.feature_graph import WEEKDAY

Settings = dict[str, Any]

_BLOCK: Final = 128
"""Forecasts converted to float64 rows at a time."""
_DAYS: Final = 7.0


class Fitter(Protocol):
    """One estimator on one design matrix."""

    @property
    def candidates(self) -> list[Settings]:
        """The grid of settings."""

    def medians(self, train: int, first: int, last: int) -> Iterator[Values]:
        """Medians of each candidate, fitted on the first `train` forecasts, for later ones: `(last - first, horizon)`."""

    def fit(self, train: int, candidate: int) -> tuple[Pipeline, ...]:
        """Fit on the first `train` forecasts: one pipeline for the median, or one for each quantile."""


def fitters(name: str, design: Design, config: EstimatorsConfig, quantiles: tuple[float, ...]) -> dict[str, Fitter]:
    """The fitters of one estimator, one for each seed, by the names of their members."""
    settings = getattr(config, name)
    if isinstance(settings, RidgeConfig):
        return {name: RidgeFitter(design, settings)}
    by_quantile = quantiles if name in BY_QUANTILE else (0.5,)
    by_member: dict[str, Fitter] = {}
    for seed in range(settings.seeds):
        member = name if seed == 0 else f"{name}_{seed + 1}"
        by_member[member] = PlainFitter(
            design=design, make=MAKERS[name], settings=settings, quantiles=by_quantile, seed=seed
        )
    return by_member


def candidates_of(settings: Struct) -> list[Settings]:
    """All combinations of the settings that are lists, with those that are single values."""
    given = {name: value for name, value in msgspec.structs.asdict(settings).items() if name not in FIXED}
    tried = {name: value if isinstance(value, tuple) else (value,) for name, value in given.items()}
    return [dict(zip(tried, values, strict=True)) for values in product(*tried.values())]


class PlainFitter(Struct, frozen=True, kw_only=True):
    """Any scikit-learn estimator, on at most `rows_max` rows drawn with a fixed seed; one pipeline for each quantile."""

    design: Design
    make: Callable[[Settings, float, int], BaseEstimator]
    settings: Any
    quantiles: tuple[float, ...]
    seed: int

    @property
    def candidates(self) -> list[Settings]:
        """The grid of settings."""
        return candidates_of(self.settings)

    def medians(self, train: int, first: int, last: int) -> Iterator[Values]:
        """Medians of each candidate, fitted on the first `train` forecasts, for later ones: `(last - first, horizon)`."""
        rows, targets = self._rows(train)
        later = self.design.features[first:last]
        for candidate in self.candidates:
            pipeline = self._fitted(candidate, 0.5, rows, targets)
            yield pipeline.predict(as_rows(later)).reshape(later.shape[:2])

    def fit(self, train: int, candidate: int) -> tuple[Pipeline, ...]:
        """Fit on the first `train` forecasts: one pipeline for the median, or one for each quantile."""
        rows, targets = self._rows(train)
        return tuple(self._fitted(self.candidates[candidate], q, rows, targets) for q in self.quantiles)

    def _fitted(self, candidate: Settings, quantile: float, rows: Values, targets: Values) -> Pipeline:
        estimator = self.make(candidate, quantile, self.seed)
        if isinstance(estimator, MLPRegressor):
            return _fit_network(estimator, self.settings.epochs, one_hot(self.design.columns), rows, targets)
        pipeline: Pipeline = make_pipeline(estimator)
        return pipeline.fit(rows, targets)

    def _rows(self, train: int) -> tuple[Values, Values]:
        targets = self.design.data.targets[:train].ravel()
        known = np.flatnonzero(np.isfinite(targets))
        if len(known) > self.settings.rows_max:
            known = np.sort(np.random.default_rng(0).permutation(known)[: self.settings.rows_max])
        flat = self.design.features[:train].reshape(len(targets), -1)
        return flat[known].astype(np.float64), targets[known].astype(np.float64)


def _fit_network(network: MLPRegressor, epochs: int, encoder: ColumnTransformer, rows: Values, targets: Values) -> Pipeline:
    """Fit with the target scaled, and scale back in the last layer: the file needs no further node."""
    pipeline: Pipeline = make_pipeline(encoder, StandardScaler(), network)
    scaled = pipeline[:-1].fit_transform(rows)
    mean, spread = float(targets.mean()), float(targets.std()) or 1.0
    for _ in range(epochs):  # fit() would warn that it did not converge, which fixed epochs are not meant to
        network.partial_fit(scaled, (targets - mean) / spread)
    network.coefs_[-1] = network.coefs_[-1] * spread
    network.intercepts_[-1] = network.intercepts_[-1] * spread + mean
    return pipeline


MAKERS: Final[dict[str, Callable[[Settings, float, int], BaseEstimator]]] = {
    "hist_gradient_boosting": lambda settings, quantile, seed: HistGradientBoostingRegressor(
        loss="quantile", quantile=quantile, early_stopping=False, random_state=seed, **settings
    ),
    "gradient_boosting": lambda settings, quantile, seed: GradientBoostingRegressor(
        loss="quantile", alpha=quantile, random_state=seed, **settings
    ),
    "random_forest": lambda settings, _, seed: RandomForestRegressor(n_jobs=1, random_state=seed, **settings),
    "extra_trees": lambda settings, _, seed: ExtraTreesRegressor(n_jobs=1, random_state=seed, **settings),
    "mlp": lambda settings, _, seed: MLPRegressor(solver="adam", random_state=seed, **settings),
}
"""All estimators but Ridge, which has a fitter of its own."""

BY_QUANTILE: Final = frozenset(("hist_gradient_boosting", "gradient_boosting"))
"""Estimators with one pipeline for each quantile; the others give the median only."""


def one_hot(columns: tuple[str, ...]) -> ColumnTransformer:
    """The weekday one-hot and in front, all other columns as they are."""
    encoder = OneHotEncoder(categories=[np.arange(_DAYS)], handle_unknown="ignore", sparse_output=False)
    codes = [number for number, name in enumerate(columns) if name == WEEKDAY]
    return ColumnTransformer([("weekday", encoder, codes)] if codes else [], remainder="passthrough", sparse_threshold=0.0)


class RidgeFitter:
    """Ridge from sums of squares and products, which are added up once for all fits.

    Equal to scikit-learn's own fit but for rounding, at a fraction of its cost: one pass over the rows, one decomposition
    for all penalties.
    """

    def __init__(self, design: Design, config: RidgeConfig) -> None:
        self._design = design
        self._config = config
        self._codes = [number for number, name in enumerate(design.columns) if name == WEEKDAY]
        self._others = [number for number, name in enumerate(design.columns) if name != WEEKDAY]
        # sums about the first row: a column that never changes then has a spread of exactly zero
        self._origin = self._encoded(slice(0, 1))[0]
        targets = design.data.targets
        known = targets[np.isfinite(targets)]
        self._level = float(known[0]) if len(known) else 0.0
        size = 1 + len(self._origin) + 1
        self._sums: dict[int, Values] = {0: np.zeros((size, size))}
        self._solved: dict[int, tuple[Values, Values, float, Values]] = {}

    @property
    def candidates(self) -> list[Settings]:
        """The grid of settings."""
        return candidates_of(self._config)

    def medians(self, train: int, first: int, last: int) -> Iterator[Values]:
        """Medians of each candidate, fitted on the first `train` forecasts, for later ones: `(last - first, horizon)`."""
        mean, spread, level, coefficients = self._solve(train)
        scale = _scale_of(spread)
        medians = np.concatenate(
            [
                ((self._encoded(slice(at, min(at + _BLOCK, last))) - mean) / scale) @ coefficients + level
                for at in range(first, last, _BLOCK)
            ]
        )
        shape = (last - first, self._design.features.shape[1])
        yield from (column.reshape(shape) for column in medians.T)

    def fit(self, train: int, candidate: int) -> tuple[Pipeline, ...]:
        """Fit on the first `train` forecasts: one pipeline for the median."""
        mean, spread, level, coefficients = self._solve(train)
        encoder = one_hot(self._design.columns).fit(as_rows(self._design.features[:1]))
        scaler, ridge = StandardScaler(), Ridge(**self.candidates[candidate])
        scaler.mean_, scaler.scale_, scaler.var_ = mean, _scale_of(spread), spread**2
        scaler.n_samples_seen_ = round(float(self._sums[train][0, 0]))
        scaler.n_features_in_ = ridge.n_features_in_ = len(mean)
        ridge.coef_, ridge.intercept_ = coefficients[:, candidate].copy(), level
        return (make_pipeline(encoder, scaler, ridge),)

    def _encoded(self, rows: slice) -> Values:
        """Rows as `one_hot` makes them."""
        flat = self._design.features[rows].reshape(-1, len(self._design.columns))
        codes = flat[:, self._codes] == np.arange(_DAYS) if self._codes else np.zeros((len(flat), 0))
        return np.concatenate([codes, flat[:, self._others]], axis=1, dtype=np.float64)

    def _sums_of(self, train: int) -> Values:
        """Sums of products of 1, the columns and the target over the first `train` forecasts."""
        if train not in self._sums:
            done = max(count for count in self._sums if count <= train)
            total = self._sums[done].copy()
            for at in range(done, train, _BLOCK):
                rows = slice(at, min(at + _BLOCK, train))
                targets = self._design.data.targets[rows].ravel().astype(np.float64)
                known = np.isfinite(targets)
                ones = np.ones((int(known.sum()), 1))
                encoded = self._encoded(rows)[known] - self._origin
                block = np.concatenate([ones, encoded, targets[known, None] - self._level], axis=1)
                total += block.T @ block
            self._sums[train] = total
        return self._sums[train]

    def _solve(self, train: int) -> tuple[Values, Values, float, Values]:
        """Means and spreads of the columns, the mean of the target, coefficients `(columns, candidates)`."""
        if train not in self._solved:
            sums = self._sums_of(train)
            count = sums[0, 0]
            means = sums[0, 1:] / count
            products = sums[1:, 1:] - count * np.outer(means, means)
            spread = np.sqrt(np.maximum(np.diag(products)[:-1], 0) / count)
            scale = _scale_of(spread)
            values, vectors = np.linalg.eigh(products[:-1, :-1] / np.outer(scale, scale))
            turned = vectors.T @ (products[:-1, -1] / scale)
            alphas = np.array([candidate["alpha"] for candidate in self.candidates])
            coefficients = vectors @ (turned[:, None] / (np.maximum(values, 0)[:, None] + alphas))
            self._solved[train] = (self._origin + means[:-1], spread, self._level + float(means[-1]), coefficients)
        return self._solved[train]


def _scale_of(spread: Values) -> Values:
    """Divisors of the columns; a column that never changes is not scaled."""
    return np.where(spread > 0, spread, 1.0)
