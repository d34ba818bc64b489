"""Drift: days like those of the training give no reason; other inputs, larger errors and a strange season do."""

from typing import Any

import numpy as np
import pytest

from ringmain_trainer.config.evaluation import DriftConfig
from ringmain_trainer.evaluation.drift import error_drift, error_reasons, input_drift, input_reasons
from ringmain_trainer.models.metrics import Forecasts
from ringmain_trainer.registry.input_reference import Reference, reference_of

CONFIG = DriftConfig()
DAY_S = 86400
YEAR_S = 1_577_836_800  # 2020-01-01T00:00:00Z
NORMAL = 1.2816


def weather(days: int, first_day: int = 0, seed: int = 0) -> tuple[Any, Any]:
    """Hourly temperature with a year, a day, and spells of some days."""
    rng = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    spells = np.repeat(rng.normal(0, 3, days // 3 + 1), 72)[: len(hours)]
    day = first_day + hours / 24
    values = 10 - 8 * np.cos(day / 365 * 2 * np.pi) + 4 * np.sin(hours / 12 * np.pi) + spells + rng.normal(0, 1, len(hours))
    return values, YEAR_S + first_day * DAY_S + 3600 * hours


def photovoltaic(days: int, first_day: int = 0, seed: int = 0) -> tuple[Any, Any]:
    """Hourly PV: zero at night, days bright and dull."""
    rng = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    bright = np.repeat(rng.uniform(0.3, 1, days), 24)
    season = 1 - 0.6 * np.cos((first_day + hours / 24) / 365 * 2 * np.pi)
    return -100 * season * bright * np.maximum(
        0, np.sin((hours % 24 - 6) / 12 * np.pi)
    ), YEAR_S + first_day * DAY_S + 3600 * hours


@pytest.mark.parametrize("make", [weather, photovoltaic])
@pytest.mark.parametrize("first_day", [370, 455, 540, 640])
def test_another_fortnight_of_the_same_season_is_no_drift(make: Any, first_day: int) -> None:
    values, at_s = make(365)
    reference = reference_of(values, at_s, CONFIG.days)
    assert reference is not None
    values, at_s = make(14, first_day, seed=9)
    found = input_drift(values, at_s, reference, CONFIG)
    assert found is not None
    assert found.unseen_share == 0
    assert input_reasons({"input": found}, CONFIG) == []


@pytest.mark.parametrize("change", [lambda v: v * 1000, lambda v: -v, lambda v: v * 0 + v.min(), lambda v: v + 25])
def test_a_wrong_unit_sign_a_dead_channel_and_an_offset_are_drift(change: Any) -> None:
    reference = reference_of(*weather(365), CONFIG.days)
    assert reference is not None
    values, at_s = weather(14, 455, seed=9)
    found = input_drift(change(values), at_s, reference, CONFIG)
    assert found is not None
    assert input_reasons({"temperature_degc": found}, CONFIG)


def test_a_season_missing_from_the_training_is_a_reason() -> None:
    reference = reference_of(*weather(100, first_day=0), CONFIG.days)  # January to March
    assert reference is not None
    assert sorted(reference.months) == [1, 2, 3, 4, 5, 12]
    found = input_drift(*weather(14, 190), reference, CONFIG)
    assert found is not None
    assert "temperature_degc: the training had no such season" in input_reasons({"temperature_degc": found}, CONFIG)


def test_values_outside_the_range_are_reported_by_their_share() -> None:
    reference = reference_of(*weather(365), CONFIG.days)
    assert reference is not None
    values, at_s = weather(14, 455, seed=9)
    values[: len(values) // 5] = 60
    found = input_drift(values, at_s, reference, CONFIG)
    assert found is not None
    assert found.outside_share == pytest.approx(0.2, abs=0.01)
    assert any("20% of the values are outside" in reason for reason in input_reasons({"x": found}, CONFIG))


def test_too_few_values_are_not_compared() -> None:
    reference = reference_of(*weather(30), CONFIG.days)
    assert reference is not None
    values, at_s = weather(14)
    assert input_drift(np.full_like(values, np.nan), at_s, reference, CONFIG) is None
    assert input_drift(values, at_s, Reference(months={}, psi_usual=0), CONFIG) is None


def live(error: float, *, naive: float = 30, days: int = 14, bands: float | None = None, seed: int = 0) -> Forecasts:
    rng = np.random.default_rng(seed)
    truth = np.full((days, 96), 1000.0)
    median = truth + rng.normal(0, error, truth.shape)
    width = NORMAL * (error if bands is None else bands)
    said = {
        "yesterday": truth + rng.normal(0, naive, truth.shape),
        "last_week": truth + rng.normal(0, 2 * naive, truth.shape),
    }
    return Forecasts(
        YEAR_S + DAY_S * np.arange(days),
        900,
        (0.1, 0.5, 0.9),
        np.stack([median - width, median, median + width], axis=2),
        truth,
        said,
    )


AT_TRAINING = {
    "mae": 8.0,
    "pinball": 2.6,
    "coverage": 0.8,
    "mae_yesterday": 24.0,
    "mae_last_week": 48.0,
    "ridge_alpha": 30.0,
}


def reasons_of(made: Forecasts) -> list[str]:
    return error_reasons(error_drift(made, AT_TRAINING), made, CONFIG)


def test_errors_as_in_training_are_no_reason() -> None:
    found = error_drift(live(10), AT_TRAINING)
    assert found.mae == pytest.approx(8, abs=0.3)
    assert found.coverage == pytest.approx(0.8, abs=0.03)
    assert (found.days, found.forecasts, found.persistence) == (14, 14, "yesterday")
    assert "ridge_alpha" not in found.at_training
    assert reasons_of(live(10)) == []


def test_a_larger_error_is_drift_if_persistence_has_not_become_worse_as_well() -> None:
    (reason,) = reasons_of(live(16, naive=30))
    assert reason.startswith("error: MAE 12.")
    assert reason.endswith("on 14 days, 8 at training")
    assert reasons_of(live(16, naive=60)) == []


def test_worse_than_persistence_and_a_wrong_band_are_reasons() -> None:
    reasons = reasons_of(live(40, naive=30, bands=10))
    assert any("worse than persistence (yesterday)" in reason for reason in reasons)
    assert any(reason.startswith("coverage: ") for reason in reasons)


def test_errors_of_a_few_days_are_no_reason() -> None:
    assert reasons_of(live(40, days=6)) == []
    made = live(10)
    nothing = made._replace(actual=np.full_like(made.actual, np.nan))
    assert error_drift(nothing, AT_TRAINING).mae is None
    assert reasons_of(nothing) == []


def test_without_persistence_the_error_alone_counts() -> None:
    made = live(16)._replace(persistence={})
    assert error_drift(made, AT_TRAINING).mae_persistence is None
    assert [reason[:10] for reason in reasons_of(made)] == ["error: MAE"]
