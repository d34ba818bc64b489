"""Models as a whole, from steps to a sealed file: every estimator, target, step and horizon; what is missing is said."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from ringmain_model.session import forecast, open_session, run
from ringmain_trainer.config.estimators import (
    EstimatorsConfig,
    ExtraTreesConfig,
    GradientBoostingConfig,
    HistGradientBoostingConfig,
    MlpConfig,
    RandomForestConfig,
)
from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig, TrainingConfig
from ringmain_trainer.errors import ExportError, TooLittleDataError
from ringmain_trainer.export.onnx_file import check_file, on_thresholds, prove
from ringmain_trainer.features.examples import examples, window_of
from ringmain_trainer.features.feature_graph import FEATURES, feature_model
from ringmain_trainer.features.site_data import SiteData
from ringmain_trainer.history.site_reader import Issue, SeriesHistory, StepTable
from ringmain_trainer.training.recipe import TrainedModel, fit_site, rows_of

START_S = 1_601_683_200  # 2020-10-03T00:00:00Z, three weeks before the clocks change
NOW = datetime(2026, 11, 24, tzinfo=UTC)
SMALL = EstimatorsConfig(
    hist_gradient_boosting=HistGradientBoostingConfig(max_iter=(15,), max_leaf_nodes=(7,), min_samples_leaf=(10,)),
    random_forest=RandomForestConfig(n_estimators=4, max_leaf_nodes=30),
    extra_trees=ExtraTreesConfig(n_estimators=4, max_leaf_nodes=30),
    gradient_boosting=GradientBoostingConfig(n_estimators=8),
    mlp=MlpConfig(hidden_layer_sizes=((8,),), epochs=25),
)
SINGLE = ("ridge", "hist_gradient_boosting", "random_forest", "extra_trees", "gradient_boosting", "mlp")


def made_config(
    signal: str = "load_kw", estimators: tuple[str, ...] = ("ridge",), weights: str = "equal", **training: Any
) -> TrainerConfig:
    """Hourly models of a day ahead with one series, unless told otherwise."""
    model = msgspec.convert(
        {
            "signal": signal,
            "history": [signal, "temperature_degc"],
            "series": ["radiation_w_per_m2"],
            "estimators": estimators,
            "weights": weights,
        },
        ModelConfig,
    )
    shape = {"step_s": 3600, "history_steps": 192, "horizon_steps": 24, "forecasts_min": 20, "issue_every_steps": 7}
    return TrainerConfig(
        training=TrainingConfig(**(shape | training)), model=[model], estimators=SMALL, holidays=["2020-10-12"]
    )


def made_site(days: int = 28, step_s: int = 3600, signal: str = "load_kw", seed: int = 0, scale: float = 1.0) -> SiteData:
    """Radiation by day, temperature after it, and a target that follows both; radiation known a day and a half ahead."""
    rng, count = np.random.default_rng(seed), days * 86400 // step_s
    hours = np.arange(count) * step_s / 3600
    clouds = np.repeat(rng.uniform(0.3, 1, days), 86400 // step_s)
    sun = np.where(np.abs(hours % 24 - 12) < 5, np.sin((hours % 24 - 7) / 10 * np.pi), 0)
    radiation = 700 * sun * clouds
    temperature = 8 + radiation / 200 + 3 * np.sin(hours / 24 * 2 * np.pi) + rng.normal(0, 0.3, count)
    load = 1000 + 250 * np.sin(hours / 12 * np.pi - 1) - 20 * temperature + rng.normal(0, 15, count)
    values = {
        "load_kw": load,
        "pv_kw": np.minimum(0, -0.8 * radiation * (1 + rng.normal(0, 0.05, count))),
        "net_load_kw": load - 1.5 * radiation,
        "hot_spot_degc": 40 + load / 30 + temperature,
    }
    target = (scale * values[signal]).astype(np.float32)
    target[rng.random(count) < 0.01] = np.nan
    ahead = 36 * 3600 // step_s
    issues = [
        Issue(START_S + i * step_s, START_S + i * step_s, step_s, radiation[i : i + ahead].astype(np.float32))
        for i in range(0, count, ahead // 6)
    ]
    steps = StepTable(START_S, np.stack([target, temperature.astype(np.float32)], axis=1))
    return SiteData("liander-287", "Europe/Amsterdam", steps, {"radiation_w_per_m2": SeriesHistory("W/m2", issues)})


def fitted(config: TrainerConfig, data: SiteData) -> TrainedModel:
    return fit_site(recipe_of(config, config.model[0]), data, rows_of(config.training, data), now=NOW)


def newest_forecasts(config: TrainerConfig, data: SiteData, made: TrainedModel, days: int = 5) -> Any:
    """Forecasts of the file for the last days, and what happened."""
    window = window_of(config.training)
    day = 86400 // window.step_s
    rows = [len(data.steps.values) - window.horizon_steps - day * k - 5 for k in range(days)]
    asked = examples(data.steps, data.series.values(), window, rows)
    return forecast(open_session(made.content), asked.inputs), asked.targets


@pytest.mark.parametrize("name", SINGLE)
def test_every_estimator_comes_out_of_the_gate_and_says_what_it_was_fitted_to_say(name: str) -> None:
    config, data = made_config(estimators=(name,)), made_site()
    made = fitted(config, data)
    assert check_file(made.content) == made.manifest
    quantiles, truth = newest_forecasts(config, data, made)
    assert (np.diff(quantiles, axis=2) >= 0).all()
    assert np.nanmean(np.abs(quantiles[:, :, 1] - truth)) < 0.5 * np.nanstd(truth)
    assert made.latency_ms > 0
    assert made.notes == ()


@pytest.mark.parametrize("weights", ["equal", "fitted"])
def test_a_blend_of_all_estimators_comes_out_of_the_gate_the_same_to_the_bit(weights: str) -> None:
    config, data = made_config(estimators=SINGLE, weights=weights), made_site()
    first, second = fitted(config, data), fitted(config, data)
    assert first.content == second.content
    assert sum(one.weight for one in first.fitted.members) == pytest.approx(1)


@pytest.mark.parametrize(
    ("step_s", "horizon_h", "lag_days"),
    [(300, 24, (1, 2, 7)), (900, 48, (1, 7, 14)), (1800, 12, (1,)), (3600, 72, (1, 2, 7))],
)
def test_step_horizon_and_lags_come_from_the_configuration(step_s: int, horizon_h: int, lag_days: tuple[int, ...]) -> None:
    days = 24 if max(lag_days) > 7 else 16
    steps: dict[str, Any] = {
        "horizon_steps": horizon_h * 3600 // step_s,
        "history_steps": (max(7, *lag_days) + 1) * 86400 // step_s,
    }
    config = made_config(step_s=step_s, lag_days=lag_days, issue_every_steps=4 * 3600 // step_s + 1, **steps)
    data = made_site(days, step_s)
    made = fitted(config, data)
    quantiles, truth = newest_forecasts(config, data, made, days=2)
    assert quantiles.shape == (2, steps["horizon_steps"], 3)
    assert np.nanmean(np.abs(quantiles[:, :, 1] - truth)) < 0.5 * np.nanstd(truth)


@pytest.mark.parametrize("signal", ["load_kw", "pv_kw", "net_load_kw", "hot_spot_degc"])
def test_every_kind_of_target_is_forecast_better_than_by_the_better_persistence(signal: str) -> None:
    made = fitted(made_config(signal), made_site(signal=signal))
    metrics = made.fitted.metrics
    assert metrics["mae"] < min(metrics["mae_yesterday"], metrics["mae_last_week"])
    assert (made.fitted.rest is not None) == (signal == "pv_kw")


@pytest.mark.parametrize("estimators", [("ridge",), ("hist_gradient_boosting", "ridge")])
def test_pv_is_never_of_the_wrong_sign_and_nothing_at_night(estimators: tuple[str, ...]) -> None:
    config, data = made_config("pv_kw", estimators), made_site(signal="pv_kw")
    made = fitted(config, data)
    quantiles, truth = newest_forecasts(config, data, made)
    assert quantiles.max() <= 0
    night = np.abs(truth) < 1e-6
    surely = night & np.roll(night, 2, axis=1) & np.roll(night, -2, axis=1)
    assert surely.any()
    assert (quantiles[surely] == 0).all()
    assert (quantiles[truth < -100, 0] < 0).all()


@pytest.mark.parametrize("name", ["ridge", "hist_gradient_boosting"])
def test_a_site_without_any_weather_has_a_model_and_a_note(name: str) -> None:
    data = made_site()
    nothing = [issue._replace(values=issue.values * np.nan) for issue in data.series["radiation_w_per_m2"].issues]
    steps = StepTable(data.steps.start_s, data.steps.values.copy())
    steps.values[:, 1] = np.nan
    for issues in (nothing, []):
        without = data._replace(steps=steps, series={"radiation_w_per_m2": SeriesHistory("W/m2", issues)})
        made = fitted(made_config(estimators=(name,)), without)
        assert made.notes == (
            "trained without temperature_degc (history): there is no value of it",
            "trained without radiation_w_per_m2 (series): there is no value of it",
        )
        quantiles, truth = newest_forecasts(made_config(), without, made)
        assert np.isfinite(quantiles).all()
        assert np.nanmean(np.abs(quantiles[:, :, 1] - truth)) < 0.5 * np.nanstd(truth)


def test_values_that_overflow_are_refused_by_name() -> None:
    data = made_site()
    values = data.steps.values.copy()
    values[300, 1] = 1e30
    series = data.series["radiation_w_per_m2"]
    issues = [*series.issues[:-8], series.issues[-8]._replace(values=np.full(36, 3e38, np.float32)), *series.issues[-7:]]
    wild = data._replace(steps=StepTable(START_S, values), series={"radiation_w_per_m2": SeriesHistory("W/m2", issues)})
    made = fitted(made_config(), wild._replace(series=data.series))  # a temperature is only looked up: large, but a number
    assert np.isfinite(newest_forecasts(made_config(), data, made)[0]).all()
    values[300, 0] = 1e30  # of the target there are rolling statistics: squares
    with pytest.raises(TooLittleDataError, match=r"values too large to compute with: \w+ \d"):
        fitted(made_config(), wild)


def test_a_model_that_is_too_large_or_too_slow_is_refused_with_the_limit() -> None:
    data = made_site()
    with pytest.raises(ExportError, match=r"the model has \d+ bytes, training.model_bytes_max is 10000: take fewer"):
        fitted(made_config(model_bytes_max=10_000), data)
    with pytest.raises(ExportError, match=r"ms on one thread, training.latency_ms_max is 1e-06"):
        fitted(made_config(latency_ms_max=1e-6), data)


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_the_unit_of_the_target_does_not_matter_to_the_gate(scale: float) -> None:
    made = fitted(made_config(estimators=("ridge", "extra_trees")), made_site(scale=scale))
    plain = fitted(made_config(estimators=("ridge", "extra_trees")), made_site())
    assert made.fitted.metrics["mae"] == pytest.approx(scale * plain.fitted.metrics["mae"], rel=0.01)


def test_the_gate_sees_a_threshold_that_moved_by_one_bit() -> None:
    """Thresholds rounded up: only values that stand on them tell."""
    config, data = made_config(estimators=("hist_gradient_boosting",)), made_site(60)
    made = fitted(config, data)
    model = onnx.load_from_string(made.content)
    asked = examples(data.steps, data.series.values(), window_of(config.training), rows_of(config.training, data)[-20:])
    probes = on_thresholds(model, asked.inputs, made.spec)
    features = run(open_session(feature_model(made.spec)), probes, FEATURES)
    prove(model, made.fitted, probes, features, made.manifest.tolerance)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_values":
                moved = np.nextafter(np.array(attribute.floats, np.float32), np.float32(np.inf))
                del attribute.floats[:]
                attribute.floats.extend(moved.tolist())
    with pytest.raises(ExportError, match="values are off in one call"):
        prove(model, made.fitted, probes, features, made.manifest.tolerance)


def inside(quantiles: NDArray[Any], truth: NDArray[Any]) -> float:
    known = np.isfinite(truth)
    return float(((quantiles[:, :, 0] <= truth) & (truth <= quantiles[:, :, -1]))[known].mean())


def test_the_band_of_pv_comes_from_its_days_and_not_from_its_nights() -> None:
    whole = made_site(120, signal="pv_kw")
    config = made_config("pv_kw")
    made = fitted(config, whole._replace(steps=StepTable(START_S, whole.steps.values[: 90 * 24])))
    quantiles, truth = newest_forecasts(config, whole, made, days=29)
    by_day = np.where(truth < -100, truth, np.nan)
    assert inside(quantiles, by_day) > 0.7
    assert 0.65 < made.fitted.metrics["coverage"] < 0.95


@pytest.mark.parametrize("name", ["ridge", "extra_trees", "hist_gradient_boosting"])
def test_the_band_holds_what_it_says_on_days_that_nothing_was_fitted_or_calibrated_on(name: str) -> None:
    whole = made_site(120)
    seen = whole._replace(steps=StepTable(START_S, whole.steps.values[: 90 * 24]))
    config = made_config(estimators=(name,))
    made = fitted(config, seen)
    quantiles, truth = newest_forecasts(config, whole, made, days=29)
    assert 0.7 < inside(quantiles, truth) < 0.9
    assert 0.7 < made.fitted.metrics["coverage"] < 0.9
