"""Estimators by name: Ridge from sums is scikit-learn's Ridge; grids, folds and weights choose what they should."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ringmain_trainer.config.estimators import (
    EstimatorsConfig,
    ExtraTreesConfig,
    GradientBoostingConfig,
    HistGradientBoostingConfig,
    MlpConfig,
    RandomForestConfig,
    RidgeConfig,
)
from ringmain_trainer.config.recipe import Recipe, recipe_of
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig, TrainingConfig
from ringmain_trainer.features.design_matrix import Design, as_rows
from ringmain_trainer.features.examples import Examples, Window
from ringmain_trainer.models.estimators import candidates_of, fitters, one_hot
from ringmain_trainer.models.fit import fit_model, predict

WINDOW = Window(3600, 192, 24)
COLUMNS = ("load", "temperature", "weekday", "never_changes")
QUANTILES = (0.1, 0.5, 0.9)
FAST = EstimatorsConfig(
    hist_gradient_boosting=HistGradientBoostingConfig(max_iter=(20,), max_leaf_nodes=(4, 15)),
    random_forest=RandomForestConfig(n_estimators=5),
    extra_trees=ExtraTreesConfig(n_estimators=5),
    gradient_boosting=GradientBoostingConfig(n_estimators=5),
    mlp=MlpConfig(epochs=3),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As `fit_model` has it."""
    with threadpool_limits(1):
        yield


def design(n: int = 120, seed: int = 0) -> Design:
    """A target that is linear in two columns with a weekday effect, with gaps."""
    rng = np.random.default_rng(seed)
    features = np.empty((n, 24, 4), np.float32)
    features[:, :, 0], features[:, :, 1] = rng.normal(5000, 300, (n, 24)), rng.normal(10, 5, (n, 24))
    features[:, :, 2], features[:, :, 3] = (np.arange(n)[:, None] * 13 // 24) % 7, 101325.0
    targets = 0.8 * features[:, :, 0] - 20 * features[:, :, 1] - 500 * (features[:, :, 2] > 4) + rng.normal(0, 30, (n, 24))
    targets[rng.random(targets.shape) < 0.05] = np.nan
    inputs: dict[str, Any] = {
        "history": rng.normal(4000, 300, (n, 192, 1)).astype(np.float32),
        "known_future": np.zeros((n, 24, 0), np.float32),
        "issued_at_s": 1_600_000_000 // 3600 * 3600 + 13 * 3600 * np.arange(n),
    }
    return Design(features, COLUMNS, Examples(inputs, targets.astype(np.float32)), WINDOW)


def config(**training: Any) -> TrainerConfig:
    return TrainerConfig(
        training=TrainingConfig(step_s=3600, history_steps=192, horizon_steps=24, **training), estimators=FAST
    )


@pytest.mark.parametrize("train", [25, 80, 120])
def test_ridge_from_sums_is_the_ridge_of_scikit_learn(train: int) -> None:
    made = design()
    (ridge,) = fitters("ridge", made, EstimatorsConfig(ridge=RidgeConfig(alpha=(0.5, 30.0, 3000.0))), QUANTILES).values()
    known = np.isfinite(made.data.targets[:train].ravel())
    rows, targets = as_rows(made.features[:train])[known], made.data.targets[:train].ravel()[known].astype(np.float64)
    said = list(ridge.medians(train, 0, 120))
    for i, alpha in enumerate((0.5, 30.0, 3000.0)):
        expected = make_pipeline(one_hot(COLUMNS), StandardScaler(), Ridge(alpha=alpha)).fit(rows, targets)
        (found,) = ridge.fit(train, i)
        np.testing.assert_allclose(found[-1].coef_, expected[-1].coef_, rtol=1e-7, atol=1e-7)
        for of in ("mean_", "scale_", "var_"):
            np.testing.assert_allclose(getattr(found[1], of), getattr(expected[1], of), rtol=1e-9)
        np.testing.assert_allclose(said[i].ravel(), expected.predict(as_rows(made.features)), rtol=1e-9)
        np.testing.assert_allclose(found.predict(as_rows(made.features)), said[i].ravel(), rtol=1e-12)


def test_a_list_is_tried_and_a_value_is_fixed() -> None:
    tried = candidates_of(
        HistGradientBoostingConfig(max_iter=(10, 20), max_leaf_nodes=(4, 8, 16), max_features=0.5, seeds=3)
    )
    assert len(tried) == 6
    assert {(one["max_iter"], one["max_leaf_nodes"]) for one in tried} == {(i, n) for i in (10, 20) for n in (4, 8, 16)}
    assert {one["learning_rate"] for one in tried} == {0.06}
    assert not {"seeds", "rows_max"} & tried[0].keys()
    assert candidates_of(MlpConfig(hidden_layer_sizes=((8,), (16, 8))))[1]["hidden_layer_sizes"] == (16, 8)


@pytest.mark.parametrize("name", ["hist_gradient_boosting", "random_forest", "extra_trees", "gradient_boosting", "mlp"])
def test_fitting_twice_gives_the_same_to_the_bit(name: str) -> None:
    made = design(60)
    first, second = (
        [p.predict(as_rows(made.features)) for p in next(iter(fitters(name, made, FAST, QUANTILES).values())).fit(50, 0)]
        for _ in range(2)
    )
    assert len(first) == (3 if "boosting" in name else 1)
    np.testing.assert_array_equal(first, second)


def test_no_more_rows_than_configured_are_fitted_on() -> None:
    made = design()
    small = EstimatorsConfig(
        extra_trees=ExtraTreesConfig(n_estimators=1, min_samples_leaf=(1,), max_leaf_nodes=9, rows_max=1000)
    )
    (fitter,) = fitters("extra_trees", made, small, QUANTILES).values()
    (forest,) = fitter.fit(120, 0)
    assert forest[-1].estimators_[0].tree_.n_node_samples[0] == 1000


def test_the_network_is_fitted_on_a_scaled_target_and_answers_in_the_unit_of_the_target() -> None:
    made = design()
    (fitter,) = fitters("mlp", made, EstimatorsConfig(mlp=MlpConfig(epochs=60)), QUANTILES).values()
    (network,) = fitter.fit(120, 0)
    error = network.predict(as_rows(made.features)) - made.data.targets.ravel()
    assert np.nanmean(np.abs(error)) < 0.5 * np.nanstd(made.data.targets)


def test_the_best_penalty_on_the_folds_is_taken() -> None:
    made = design()
    ridge = RidgeConfig(alpha=(1.0, 1e6))
    fitted = fit_model(made, Recipe(model=MODEL, training=config().training, estimators=EstimatorsConfig(ridge=ridge)))
    assert fitted.members[0].settings == {"alpha": 1.0}
    assert fitted.metrics["ridge_alpha"] == 1.0


MODEL = ModelConfig(signal="load_kw", history=["load_kw"])


def blend(*names: str, weights: str = "equal") -> ModelConfig:
    return ModelConfig(signal="load_kw", history=["load_kw"], estimators=names, weights=weights)  # type: ignore[arg-type]


def test_a_blend_is_the_mean_of_its_members() -> None:
    made = design()
    fitted = fit_model(made, recipe_of(config(), blend("ridge", "hist_gradient_boosting")))
    assert [(one.name, one.weight, len(one.pipelines)) for one in fitted.members] == [
        ("ridge", 0.5, 1),
        ("hist_gradient_boosting", 0.5, 3),
    ]
    rows = as_rows(made.features)
    each = [one.pipelines[len(one.pipelines) // 2].predict(rows) for one in fitted.members]
    np.testing.assert_allclose(predict(fitted, made.features)[:, :, 1].ravel(), np.mean(each, axis=0), rtol=1e-3)
    assert fitted.members[1].settings["max_leaf_nodes"] in {4, 15}
    assert fitted.metrics["hist_gradient_boosting_max_leaf_nodes"] == fitted.members[1].settings["max_leaf_nodes"]
    assert (fitted.metrics["weight_ridge"], fitted.metrics["weight_hist_gradient_boosting"]) == (0.5, 0.5)


def test_fitted_weights_add_up_to_one_and_leave_out_who_adds_nothing() -> None:
    fitted = fit_model(design(), recipe_of(config(), blend("random_forest", "ridge", weights="fitted")))
    weights = {one.name: one.weight for one in fitted.members}
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["ridge"] > 0.9  # the truth is linear
    assert all(weight > 0 for weight in weights.values())


def test_fits_in_several_threads_of_one_process_give_what_one_gives() -> None:
    """As on a Dask worker with threads."""
    made, model = design(), blend("ridge", "hist_gradient_boosting")
    alone = predict(fit_model(made, recipe_of(config(), model)), made.features)
    with ThreadPoolExecutor(3) as pool:
        for fitted in pool.map(lambda _: fit_model(made, recipe_of(config(), model)), range(3)):
            np.testing.assert_array_equal(predict(fitted, made.features), alone)


def test_the_seeds_of_an_estimator_share_its_weight() -> None:
    estimators = EstimatorsConfig(
        hist_gradient_boosting=HistGradientBoostingConfig(max_iter=(5,), max_features=0.5, seeds=2)
    )
    made = TrainerConfig(training=config().training, estimators=estimators)
    fitted = fit_model(design(), recipe_of(made, blend("ridge", "hist_gradient_boosting")))
    weights = {one.name: one.weight for one in fitted.members}
    assert weights == {"ridge": 0.5, "hist_gradient_boosting": 0.25, "hist_gradient_boosting_2": 0.25}
    one, other = (part.pipelines[1].predict(as_rows(design().features)) for part in fitted.members[1:])
    assert not np.array_equal(one, other)
