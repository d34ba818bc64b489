"""Forecasts are judged by what came, beside persistence."""

import pytest

from ringmain_agent.inputs.step_history import StepHistory
from ringmain_agent.outputs.forecast_accuracy import ForecastAccuracy
from ringmain_protocol.steps import Reading

STEP_MS = 900_000
DAY = 96


@pytest.fixture
def history() -> StepHistory:
    """Two days: load 1, 2, 3, ... by quarter-hour."""
    steps = StepHistory({"load_kw": 900.0}, step_s=900, steps_kept=8 * DAY)
    steps.accept([Reading("load_kw", STEP_MS * i, float(i)) for i in range(2 * DAY)], now_ms=STEP_MS * 2 * DAY)
    return steps


def test_error_is_the_mean_over_all_leads_that_were_forecast_for_a_step(history: StepHistory) -> None:
    accuracy = ForecastAccuracy("load_kw", step_s=900)
    closed = history.close_steps(now_ms=STEP_MS * 3)
    accuracy.issued(0, [0.0, 3.0, 0.0], release=1)
    accuracy.issued(STEP_MS, [5.0], release=1)
    accuracy.closed(closed[1], history)  # 1 kW: forecast as 3 with lead 1 and as 5 with lead 0
    assert accuracy.error_kw == pytest.approx((2.0 + 4.0) / 2)


def test_a_new_release_is_judged_anew(history: StepHistory) -> None:
    accuracy = ForecastAccuracy("load_kw", step_s=900)
    closed = history.close_steps(now_ms=STEP_MS * 3)
    accuracy.issued(0, [0.0, 9.0], release=1)
    accuracy.closed(closed[1], history)
    accuracy.issued(STEP_MS, [1.0], release=2)
    assert accuracy.error_kw is None
    accuracy.closed(closed[1], history)
    assert accuracy.error_kw == pytest.approx(0.0)


def test_persistence_is_the_better_of_yesterday_and_last_week(history: StepHistory) -> None:
    accuracy = ForecastAccuracy("load_kw", step_s=900)
    closed = history.close_steps(now_ms=STEP_MS * 2 * DAY)
    assert accuracy.persistence_error_kw is None
    accuracy.closed(closed[DAY + 5], history)
    assert accuracy.persistence_error_kw == pytest.approx(float(DAY))


def test_other_signals_and_gaps_say_nothing(history: StepHistory) -> None:
    accuracy = ForecastAccuracy("pv_kw", step_s=900)
    accuracy.issued(0, [0.0] * 5, release=1)
    accuracy.closed(history.close_steps(now_ms=STEP_MS * 3)[1], history)
    assert accuracy.error_kw is None
