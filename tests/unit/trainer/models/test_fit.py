"""Fitting: what is held out is not seen, gaps teach nothing, forecasts stay where the history was."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ringmain_trainer.config.estimators import EstimatorsConfig, RidgeConfig
from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig, TrainingConfig
from ringmain_trainer.features.design_matrix import Design, held_out
from ringmain_trainer.features.examples import Examples, Window
from ringmain_trainer.models.fit import RANGE_MARGIN, FittedModel, fit_model, limits_of, persistence, predict

WINDOW = Window(900, 768, 96)
TRAINING = TrainingConfig()
ALPHAS = (1.0, 100.0)
CONFIG = TrainerConfig(estimators=EstimatorsConfig(ridge=RidgeConfig(alpha=ALPHAS)))
MODEL = ModelConfig(signal="load_kw", history=["load_kw"])


def fitted_on(features: NDArray[np.float32], examples: Examples, model: ModelConfig = MODEL) -> FittedModel:
    return fit_model(Design(features, ("a", "b", "c"), examples, WINDOW), recipe_of(CONFIG, model))


def data(n: int = 60, seed: int = 0) -> tuple[NDArray[np.float32], Examples]:
    """Features of which the first is the target but for noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 96, 3)).astype(np.float32)
    targets = (10 * features[..., 0] + 100 + rng.normal(size=(n, 96))).astype(np.float32)
    history = rng.normal(100, 10, size=(n, 768, 1)).astype(np.float32)
    issued_at_s = 1_600_000_200 + 13 * 900 * np.arange(n)
    inputs: dict[str, Any] = {
        "history": history,
        "known_future": np.zeros((n, 96, 0), np.float32),
        "issued_at_s": issued_at_s,
    }
    return features, Examples(inputs, targets)


def test_a_target_that_is_missing_teaches_nothing() -> None:
    features, examples = data()
    gaps = np.random.default_rng(1).random(examples.targets.shape) < 0.2
    with_gaps = Examples(examples.inputs, np.where(gaps, np.float32(np.nan), examples.targets))
    strange = features.copy()
    strange[gaps] = 1e6  # would turn every coefficient if it counted
    one = fitted_on(features, with_gaps)
    other = fitted_on(strange, with_gaps)
    np.testing.assert_array_equal(one.members[0].pipelines[0][-1].coef_, other.members[0].pipelines[0][-1].coef_)
    assert np.isfinite(predict(one, features)).all()


def test_the_outer_quantiles_hold_about_as_much_as_they_say() -> None:
    features, examples = data(200)
    fitted = fitted_on(features, examples)
    fresh, truth = data(50, seed=9)
    quantiles = predict(fitted, fresh)
    inside = ((quantiles[..., 0] <= truth.targets) & (truth.targets <= quantiles[..., 2])).mean()
    assert 0.75 < inside < 0.85
    assert fitted.metrics["mae"] < min(fitted.metrics["mae_yesterday"], fitted.metrics["mae_last_week"])
    assert fitted.metrics["ridge_alpha"] == fitted.members[0].settings["alpha"]
    assert fitted.members[0].settings["alpha"] in ALPHAS


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-4, 4, (-4 - 8 * RANGE_MARGIN, 4 + 8 * RANGE_MARGIN)),
        (-8, 0, (-8 - 8 * RANGE_MARGIN, 0)),  # a PV plant does not draw
        (0, 8, (0, 8 + 8 * RANGE_MARGIN)),
        (1, 9, (0, 9 + 8 * RANGE_MARGIN)),
        (-9, -1, (-9 - 8 * RANGE_MARGIN, 0)),
    ],
)
def test_forecasts_stay_near_the_range_of_the_history_and_on_its_side_of_zero(
    low: float, high: float, expected: tuple[float, float]
) -> None:
    _, examples = data()
    targets = np.full_like(examples.targets, np.nan)
    targets[0, :2] = low, high
    history = np.full_like(examples.inputs["history"], np.nan)
    made = Examples(examples.inputs | {"history": history}, targets)
    assert limits_of(made) == pytest.approx(expected)


def test_a_wild_forecast_is_clamped() -> None:
    features, examples = data()
    fitted = fitted_on(features, examples)
    wild = predict(fitted, features * np.float32(1e9))
    assert wild.min() == fitted.limits.low
    assert wild.max() == fitted.limits.high


def test_persistence_is_the_next_older_whole_day_where_the_day_before_is_still_to_come() -> None:
    window = Window(900, 768, 192)
    history = np.arange(768, dtype=np.float32)[None, :, None]
    yesterday = persistence(history, window, 1)[0]
    assert yesterday[:96].tolist() == list(range(672, 768))
    assert yesterday[96:].tolist() == list(range(672, 768))
    assert persistence(history, window, 7)[0, 0] == 96


def test_what_is_chosen_does_not_know_the_held_out_days() -> None:
    features, examples = data(120)
    _, late = held_out(examples, WINDOW, TRAINING)
    other = examples.targets.copy()
    other[late] = np.random.default_rng(7).normal(0, 500, other[late].shape)
    model = ModelConfig(signal="load_kw", history=["load_kw"], estimators=("ridge", "mlp"), weights="fitted")
    one, two = (fitted_on(features, Examples(examples.inputs, targets), model) for targets in (examples.targets, other))
    assert [(m.name, m.weight, m.settings) for m in one.members] == [(m.name, m.weight, m.settings) for m in two.members]
    assert two.metrics["mae"] > 10 * one.metrics["mae"]


def test_each_half_of_the_held_out_days_is_scored_with_the_calibration_of_the_other() -> None:
    """A band that was fitted to the same days would hold 80 % of both halves, however different they are."""
    features, examples = data(160)
    _, late = held_out(examples, WINDOW, TRAINING)
    noisy = examples.targets.copy()
    second = np.flatnonzero(late)[int(late.sum()) // 2 :]
    noisy[second] += np.random.default_rng(3).normal(0, 60, noisy[second].shape).astype(np.float32)
    fitted = fitted_on(features, Examples(examples.inputs, noisy))
    assert fitted.held_out is not None
    made, truth = fitted.held_out.quantiles, fitted.held_out.actual
    covered = ((made[..., 0] <= truth) & (truth <= made[..., -1])).mean(axis=1)
    half = len(covered) // 2
    assert covered[:half].mean() > 0.97  # with the wide band of the noisy half
    assert covered[half:].mean() < 0.2  # with the narrow one of the quiet half
