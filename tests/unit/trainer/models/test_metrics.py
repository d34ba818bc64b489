"""Scores: values by hand, and what must hold for any forecast."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ringmain_trainer.models import metrics

LEVELS = (0.1, 0.5, 0.9)
NAN = float("nan")

truths = arrays(np.float64, (4, 96), elements=st.floats(-1e4, 1e4, allow_subnormal=False))


def bands(truth: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    made = truth[..., None] + rng.normal(0, 10, (*truth.shape, 3))
    made.sort(axis=-1)
    return made


def test_values_by_hand() -> None:
    truth, median = np.array([[0.0, 10.0, NAN]]), np.array([[1.0, 7.0, 5.0]])
    assert metrics.mae(median, truth) == 2
    assert metrics.rmse(median, truth) == pytest.approx(math.sqrt(5))
    assert metrics.spread(np.arange(101.0)) == pytest.approx(98)
    quantiles = np.array([[[-1.0, 1.0, 3.0], [5.0, 7.0, 9.0], [0.0, 0.0, 0.0]]])
    # of 0: .1 * 1, .5 * 1, .1 * 3; of 10: .1 * 5, .5 * 3, .9 * 1
    assert metrics.pinball(quantiles, truth, LEVELS) == pytest.approx((0.1 + 0.5 + 0.3 + 0.5 + 1.5 + 0.9) / 6)
    assert metrics.crps(quantiles, truth, LEVELS) == pytest.approx(2 * metrics.pinball(quantiles, truth, LEVELS))
    assert metrics.coverage(quantiles, truth) == 0.5
    assert metrics.skill(1, 4) == 0.75


@settings(max_examples=25, deadline=None)
@given(truths)
def test_a_perfect_forecast_has_no_loss(truth: Any) -> None:
    found = metrics.scores(np.repeat(truth[..., None], 3, axis=-1), truth, LEVELS, step_s=900)
    assert (found.mae, found.rmse, found.pinball, found.peak_time_h, found.peak_size) == (0, 0, 0, 0, 0)
    assert found.coverage == 1
    assert found.rcrps == 0 or math.isnan(found.rcrps)


@settings(max_examples=25, deadline=None)
@given(truths, st.integers(0, 100))
def test_the_rcrps_of_a_point_forecast_is_its_rmae(truth: Any, seed: int) -> None:
    point = truth + np.random.default_rng(seed).normal(0, 10, truth.shape)
    band = np.repeat(point[..., None], 3, axis=-1)
    assert metrics.crps(band, truth, LEVELS) == pytest.approx(metrics.mae(point, truth))
    weights = metrics.interval_weights(LEVELS)
    assert sum(weights) == pytest.approx(1)
    assert metrics.crps(band, truth, LEVELS, weights=weights) == pytest.approx(metrics.mae(point, truth))


@settings(max_examples=25, deadline=None)
@given(truths, st.floats(0.01, 100), st.integers(0, 100))
def test_shares_do_not_depend_on_the_unit(truth: Any, factor: float, seed: int) -> None:
    truth = truth + np.linspace(0, 50, 96)
    one = metrics.scores(bands(truth, seed), truth, LEVELS, step_s=900)
    other = metrics.scores(factor * bands(truth, seed), factor * truth, LEVELS, step_s=900)
    for name in ("rmae", "rcrps", "rcrps_peak", "coverage"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6), name
    for name in ("mae", "rmse", "pinball", "peak_size"):
        assert getattr(other, name) == pytest.approx(factor * getattr(one, name), rel=1e-6, abs=1e-9), name


@settings(max_examples=25, deadline=None)
@given(truths, st.integers(0, 100))
def test_what_is_missing_counts_for_nothing(truth: Any, seed: int) -> None:
    truth = truth + np.linspace(0, 50, 96)
    made = bands(truth, seed)
    gaps = np.zeros(truth.shape, dtype=bool)
    gaps[2:] = True
    with_gaps = np.where(gaps, NAN, truth)
    assert metrics.scores(made, with_gaps, LEVELS, step_s=900) == metrics.scores(made[:2], truth[:2], LEVELS, step_s=900)


def test_nothing_to_score_is_nan_and_no_warning() -> None:
    found = metrics.scores(np.zeros((2, 96, 3)), np.full((2, 96), NAN), LEVELS, step_s=900)
    assert found.values == 0
    assert math.isnan(found.mae)
    assert math.isnan(found.rcrps_peak)
    assert metrics.by_day(np.full((2, 96), NAN), np.array([0, 900]), 900) == {}


def test_a_constant_truth_has_no_spread_to_refer_to() -> None:
    found = metrics.scores(np.ones((2, 96, 3)), np.full((2, 96), 2.0), LEVELS, step_s=900)
    assert found.mae == 1
    assert math.isnan(found.rmae)


def test_errors_at_the_peak_weigh_more() -> None:
    truth = np.concatenate([np.full(900, 10.0), np.full(100, 100.0)])[None]
    small = np.repeat((truth + np.where(truth < 50, 5.0, 0.0))[..., None], 3, axis=-1)
    large = np.repeat((truth + np.where(truth > 50, 45.0, 0.0))[..., None], 3, axis=-1)
    assert metrics.rcrps(small, truth, LEVELS) == pytest.approx(metrics.rcrps(large, truth, LEVELS))
    assert metrics.rcrps(small, truth, LEVELS, peaks=True) < metrics.rcrps(large, truth, LEVELS, peaks=True)


@pytest.mark.parametrize("sign", [1, -1])
def test_peaks_are_found_on_the_side_where_the_signal_is(sign: int) -> None:
    truth, said = np.zeros((2, 96)), np.zeros((2, 96))
    truth[0, 40], said[0, 44] = 100 * sign, 90 * sign
    truth[1, 40], said[1, 40] = 100 * sign, 100 * sign
    truth[1, :30] = NAN
    time_h, size = metrics.peak_errors(said, truth, 900)
    assert time_h[0] == 1
    assert size[0] == 10
    assert np.isnan([time_h[1], size[1]]).all()


def test_losses_go_to_the_day_on_which_the_value_is_valid() -> None:
    losses = np.concatenate([np.full((1, 48), 1.0), np.full((1, 48), 3.0)], axis=1)
    days = metrics.by_day(losses, np.array([10 * 86400 + 43200]), 900)
    assert days == {10: 1.0, 11: 3.0}


def test_leads_come_in_blocks() -> None:
    blocks = metrics.lead_blocks(96, 900, 10)
    assert [name for name, _ in blocks] == ["0-10 h", "10-20 h", "20-24 h"]
    assert blocks[-1][1] == slice(80, 96)
