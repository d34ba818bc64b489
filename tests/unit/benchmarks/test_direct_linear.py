"""The raw-window linear model: sums of products without windows, penalties by validation, a file that says the same."""

from datetime import UTC, datetime

import numpy as np
import onnx
import pytest
from benchmarks.direct_linear import (
    Channel,
    DirectLinearConfig,
    Shape,
    Split,
    export_direct,
    fit_direct,
    forecast_direct,
    products_of_windows,
    prove_direct,
    usable_lookbacks,
)
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from ringmain_model.session import forecast, open_session
from ringmain_trainer.errors import ExportError, TooLittleDataError
from ringmain_trainer.export.onnx_file import check_file
from ringmain_trainer.features.examples import Inputs

SPLIT = Split(400, 520)
HORIZON, DAY = 12, 24


def days(channels: int, n: int = 600) -> NDArray[np.float64]:
    rng = np.random.default_rng(3)
    hours = np.arange(n)[:, None]
    return np.sin(2 * np.pi * (hours / DAY + np.arange(channels) / 7)) + 0.1 * rng.normal(size=(n, channels))


def inputs_of(history: NDArray[np.float64]) -> Inputs:
    count = len(history)
    return {
        "history": history[:, :, None].astype(np.float32),
        "known_future": np.zeros((count, HORIZON, 0), np.float32),
        "issued_at_s": np.zeros(count, np.int64),
    }


def exported(weights: NDArray[np.float64], probes: Inputs, spread: float = 2.0) -> bytes:
    channel = Channel(
        site="s1",
        signal="load_kw",
        step_s=3600,
        typical=0.5,
        spread=spread,
        trained_to_s=3600 * 1000,
        trained_forecasts=100,
    )
    return export_direct(
        weights,
        channel,
        probes,
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_products_of_windows_are_those_of_the_windows_themselves() -> None:
    series = days(1)[:, 0]
    table = np.lib.stride_tricks.sliding_window_view(series, 40)[5:300]
    assert np.allclose(products_of_windows(series, 5, 300, 40), table.T @ table, atol=1e-9)


def test_one_candidate_is_the_ridge_of_scikit_learn() -> None:
    values = days(1)
    config = DirectLinearConfig(lookback_steps=(24,), alphas=(0.1,))
    found = fit_direct(values, SPLIT, Shape(HORIZON, 1), config)  # levels: last value, whole window
    table = np.lib.stride_tricks.sliding_window_view(values[: SPLIT.train, 0], 24 + HORIZON)
    said, expected = forecast_direct(found.weights[0], table[:, :24]), np.zeros((len(table), HORIZON))
    for level in (table[:, 23:24], table[:, :24].mean(axis=1, keepdims=True)):
        ridge = Ridge(alpha=0.1 * len(table), fit_intercept=False).fit(table[:, :24] - level, table[:, 24:] - level)
        expected += (ridge.predict(table[:, :24] - level) + level) / found.candidates
    assert found.candidates == 2
    assert np.allclose(said, expected, atol=1e-9)


def test_a_constant_is_forecast_as_itself() -> None:
    found = fit_direct(days(2), SPLIT, Shape(HORIZON, DAY), DirectLinearConfig(lookback_steps=(24, 48)))
    for weights in found.weights:
        assert np.allclose(forecast_direct(weights, np.full((1, 48), 42.0)), 42.0)


def test_rows_after_the_validation_part_change_nothing() -> None:
    values, config = days(2), DirectLinearConfig(lookback_steps=(24, 48))
    changed = values.copy()
    changed[SPLIT.validation :] = 1e6
    one, other = (fit_direct(table, SPLIT, Shape(HORIZON, DAY), config) for table in (values, changed))
    assert all(np.array_equal(a, b) for a, b in zip(one.weights, other.weights, strict=True))
    assert one.validation_mse == other.validation_mse


def test_a_noisy_series_is_penalized_more_than_a_clean_one() -> None:
    """Without a penalty that suits it the noise would be learned by heart: the error would be far above its variance."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(600, 1))
    config = DirectLinearConfig(lookback_steps=(96,))
    found = fit_direct(noise, SPLIT, Shape(HORIZON, DAY), config)
    table = np.lib.stride_tricks.sliding_window_view(noise[SPLIT.validation - 96 :, 0], 96 + HORIZON)
    error = forecast_direct(found.weights[0], table[:, :96]) - table[:, 96:]
    assert (error**2).mean() < 1.35 * noise.var()


def test_the_file_says_what_the_weights_say_and_reproduces_its_golden_vectors() -> None:
    values = days(1)
    found = fit_direct(values, SPLIT, Shape(HORIZON, DAY), DirectLinearConfig(lookback_steps=(48,)))
    table = np.lib.stride_tricks.sliding_window_view(values[SPLIT.validation :, 0], 48)
    holes = table[:4].copy()
    holes[:, 3:9] = holes[0] = np.nan
    content = exported(found.weights[0], inputs_of(np.concatenate([table[:6], holes])))
    assert check_file(content).history_steps == 48
    said = forecast(open_session(content), inputs_of(table))[:, :, 0]
    assert np.allclose(said, forecast_direct(found.weights[0], table), atol=2e-5)


def test_a_file_that_says_something_else_is_refused() -> None:
    weights = np.full((48, HORIZON), 1 / 48)
    table = np.lib.stride_tricks.sliding_window_view(days(1)[:, 0], 48)[:5]
    content = exported(weights, inputs_of(table))
    wrong = weights.copy()
    wrong[0, 0] += 0.01
    with pytest.raises(ExportError, match="off by"):
        prove_direct(onnx.load_from_string(content), wrong, inputs_of(table), 2e-5)


def test_lookbacks_that_leave_too_few_windows_are_left_out() -> None:
    config = DirectLinearConfig(lookback_steps=(24, 48, 300))
    assert usable_lookbacks(SPLIT, HORIZON, config) == [24, 48]
    with pytest.raises(TooLittleDataError, match="to validate on"):
        usable_lookbacks(SPLIT, 200, config)
    with pytest.raises(TooLittleDataError, match="to train on"):
        usable_lookbacks(Split(30, 60), HORIZON, config)
