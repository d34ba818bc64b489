"""Persistence: the day or the week before, with the spread of its past misses."""

import numpy as np
import pytest

from ringmain_agent.planning.persistence import seasonal_persistence


def test_persistence_takes_last_week_when_days_differ_more_than_weeks() -> None:
    week = np.repeat([1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 9.0], 96)
    history = np.concatenate([week[-96:], week])  # the last day is a Sunday, next comes Monday
    values = seasonal_persistence(history, step_s=900, horizon_steps=96, quantiles=(0.1, 0.5, 0.9))
    assert values[:, 1].tolist() == [1.0] * 96


def test_persistence_steps_over_gaps() -> None:
    history = np.tile(np.arange(96.0), 8)
    history[-96:-48] = np.nan
    values = seasonal_persistence(history, step_s=900, horizon_steps=192, quantiles=(0.1, 0.5, 0.9))
    assert values[:, 1].tolist() == [*range(96), *range(96)]


def test_persistence_spread_is_that_of_past_misses_at_that_time_of_day() -> None:
    rng = np.random.default_rng(0)
    noise = np.where(np.arange(96) < 48, 0.0, 10.0)
    history = 100.0 + np.tile(noise, 60) * rng.normal(size=60 * 96)
    values = seasonal_persistence(history, step_s=900, horizon_steps=96, quantiles=(0.1, 0.5, 0.9))
    width = values[:, 2] - values[:, 0]
    assert width[8:40].max() == 0.0
    # Two normal values differ with sqrt(2) times their spread; P10 to P90 is 2.563 spreads.
    assert width[56:88].mean() == pytest.approx(2.563 * np.sqrt(2) * 10.0, rel=0.1)


@pytest.mark.parametrize("length", [1, 5, 95, 97, 400, 768])
def test_persistence_of_any_history_is_finite_and_rising(length: int) -> None:
    history = np.random.default_rng(length).normal(size=length)
    history[: length // 2] = np.nan
    values = seasonal_persistence(history, step_s=900, horizon_steps=96, quantiles=(0.1, 0.5, 0.9))
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=1) >= 0).all()
