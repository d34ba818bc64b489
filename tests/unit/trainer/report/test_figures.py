"""What the report counts is right: local days, bands, curves, scores; gaps and clock changes included."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from ringmain_trainer.history.site_reader import Issue, SeriesHistory
from ringmain_trainer.report import figures as numbers
from ringmain_trainer.report.figures import DayType, Scored

ZONE = "Europe/Amsterdam"
QUARTER_S = 900


def at_s(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def scored(quantiles: np.ndarray, targets: np.ndarray, levels: tuple[float, ...] = (0.1, 0.5, 0.9)) -> Scored:
    issued = at_s("2021-01-01") + QUARTER_S * np.arange(len(targets))
    nothing = np.full(targets.shape, np.nan)
    return Scored(levels, issued, QUARTER_S, quantiles, targets, nothing, nothing)


def test_a_local_day_begins_at_local_midnight_also_over_the_clock_changes() -> None:
    start_s = at_s("2021-03-26T23:00:00")  # midnight of 27 March; on the 28th the clock is put on
    days = numbers.local_days(np.arange(3 * 96 - 4, dtype=float), start_s, QUARTER_S, ZONE, [])
    assert days.dates == [date(2021, 3, 27), date(2021, 3, 28), date(2021, 3, 29)]
    assert np.isnan(days.values[1, 8:12]).all()  # 02:00 to 03:00 does not exist
    assert np.isfinite(np.delete(days.values, np.s_[8:12], axis=1)).all()
    assert days.values[2, 0] == 2 * 96 - 4


def test_the_hour_that_comes_twice_counts_with_its_mean() -> None:
    start_s = at_s("2020-10-24T22:00:00")  # midnight of 25 October, a day of 25 hours
    days = numbers.local_days(np.arange(100, dtype=float), start_s, QUARTER_S, ZONE, [])
    assert days.values.shape == (1, 96)
    assert days.values[0, 8:12].tolist() == [10.0, 11.0, 12.0, 13.0]  # means of 8 and 12, 9 and 13, ...
    assert days.values[0, -1] == 99


def test_holidays_are_no_workdays() -> None:
    days = numbers.local_days(np.zeros(4 * 96), at_s("2020-12-24T23:00:00"), QUARTER_S, ZONE, ["2020-12-25"])
    assert days.types == [DayType.HOLIDAY, DayType.WEEKEND, DayType.WEEKEND, DayType.WORKDAY]
    assert {kind: band.days for kind, band in numbers.daily_bands(days).items()} == {
        DayType.WORKDAY: 1,
        DayType.WEEKEND: 2,
        DayType.HOLIDAY: 1,
    }


def test_key_figures_of_a_hand_made_day() -> None:
    found = numbers.key_figures(np.array([100.0, -20.0, np.nan, 40.0]), 0, 3600)
    assert found is not None
    assert (found.high, found.high_at_s, found.low, found.low_at_s) == (100.0, 0, -20.0, 3600)
    assert (found.drawn_h, found.fed_in_h, found.mean, found.load_factor) == (140.0, 20.0, 40.0, 0.4)
    assert (found.missing_share, found.hours) == (0.25, 4.0)
    assert numbers.key_figures(np.full(3, np.nan), 0, 3600) is None


def test_energy_is_power_times_time() -> None:
    found = numbers.key_figures(np.full(96, 8.0), 0, QUARTER_S)
    assert found is not None
    assert found.drawn_h == 192.0


def test_the_duration_curve_falls_from_the_highest_to_the_lowest() -> None:
    values = np.random.default_rng(0).normal(size=50_000)
    share, curve = numbers.duration(np.append(values, np.nan))
    assert len(curve) <= 400
    assert (curve[0], curve[-1], share[0], share[-1]) == (values.max(), values.min(), 0.0, 100.0)
    assert (np.diff(curve) <= 0).all()
    assert np.interp(50, share, curve) == pytest.approx(np.median(values), abs=0.01)


def test_single_odd_days_tilt_neither_the_slope_nor_the_running_median() -> None:
    degc = np.linspace(-5, 14, 120)
    load = 1000 - 20 * degc
    load[::10] += 5000
    assert numbers.slopes(degc, load)["cold"].per_degree == pytest.approx(-20, abs=1)
    curve = numbers.running_median(degc, load)
    assert np.abs(curve.percentiles[1] - (1000 - 20 * curve.at)).max() < 25


def test_a_response_needs_values_on_both_sides() -> None:
    assert not len(numbers.response(np.full(100, np.nan), np.ones(100)).at)
    found = numbers.response(np.arange(1000.0), 3 * np.arange(1000.0), bins=10)
    assert found.percentiles[1] == pytest.approx(3 * found.at, rel=0.02)


def test_the_weather_is_what_was_forecast_last_before_each_step() -> None:
    first = Issue(0, 0, 3600, np.array([1, 2, 3, 4, 5], np.float32))
    later = Issue(7200, 7200, 3600, np.array([30, 40], np.float32))
    values = numbers.newest_known(SeriesHistory("degC", [first, later]), 0, 3600, 6)
    assert values[:5].tolist() == [1.0, 2.0, 30.0, 40.0, 5.0]
    assert np.isnan(values[5])


def test_a_calibrated_forecast_is_reliable() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(400, 96))
    made = np.broadcast_to(np.array([-1.2816, 0.0, 1.2816]), (400, 96, 3))
    shares, told = numbers.reliability(scored(made, truth))
    assert shares == pytest.approx([0.1, 0.5, 0.9], abs=0.01)
    assert told == 1.0
    assert numbers.coverage_by_lead(scored(made, truth)).mean() == pytest.approx(0.8, abs=0.01)


def test_nights_without_doubt_do_not_count_for_reliability() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(400, 96))
    made = np.array(np.broadcast_to(np.array([-1.2816, 0.0, 1.2816]), (400, 96, 3)))
    truth[:, :48], made[:, :48] = 0.0, 0.0
    shares, told = numbers.reliability(scored(made, truth))
    assert told == 0.5
    assert shares == pytest.approx([0.1, 0.5, 0.9], abs=0.01)


def test_errors_and_scores_of_a_forecast_that_is_off_by_two() -> None:
    truth = np.random.default_rng(3).normal(size=(30, 4))
    truth[0, 0] = np.nan
    made = np.stack([truth + 1, truth + 2, truth + 3], axis=2)
    whole = scored(np.nan_to_num(made), truth)._replace(yesterday=truth + 4, last_week=truth - 8)
    found = numbers.scores(whole)
    assert found is not None
    assert (found.forecast.mae, found.forecast.bias, found.mae_persistence, found.skill) == pytest.approx((2, 2, 4, 0.5))
    curves = numbers.errors_by_lead(whole)
    assert curves["forecast"] == pytest.approx([2.0] * 4)
    assert curves["last week"] == pytest.approx([8.0] * 4)
    assert numbers.scores(whole._replace(targets=np.full((30, 4), np.nan))) is None


def test_the_worst_forecast_is_the_one_with_the_largest_error_that_is_known() -> None:
    truth = np.zeros((5, 10))
    made = np.zeros((5, 10, 3)) + np.array([3.0, 1.0, 9.0, 2.0, 5.0])[:, None, None]
    truth[2] = np.nan  # the largest error, but nobody knows
    assert numbers.worst_and_typical(scored(made, truth)) == (4, 0)
    assert numbers.worst_and_typical(scored(made, truth * np.nan)) is None
