"""The rules of data quality on made-up faults: what is wrong is marked, what is right stays, and nothing is ever filled."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ringmain_protocol.messages import Quality
from ringmain_trainer.config.trainer import QualityConfig, SignalKind
from ringmain_trainer.quality.clock_faults import check_clock, check_stamps
from ringmain_trainer.quality.cross_checks import check_voltage, implied_voltage_kv
from ringmain_trainer.quality.marks import (
    Grid,
    Mark,
    Marks,
    Severity,
    SignalQuality,
    kind_of,
    limits_of,
    masked,
    masked_counts,
    names_of,
    plausible,
    quality_of,
)
from ringmain_trainer.quality.rules import check, check_signal

CONFIG = QualityConfig()
START_S = 1_601_683_200  # 2020-10-03T00:00:00Z
GRID = Grid(START_S, 900)
DAY = 96
Values = NDArray[np.float64]


def load(days: int = 20, seed: int = 0) -> Values:
    hours = np.arange(days * DAY) / 4
    return 1000 + 300 * np.sin(hours / 12 * np.pi - 1) + np.random.default_rng(seed).normal(0, 20, len(hours))


def pv(days: int = 20, seed: int = 0) -> Values:
    hours = np.arange(days * DAY) / 4 % 24
    clear = np.maximum(0, np.sin((hours - 6) / 12 * np.pi)) * (np.abs(hours - 12) < 6)
    return -500 * clear * np.random.default_rng(seed).uniform(0.8, 1, len(hours))


def looked(values: Values, signal: str = "load_kw", config: QualityConfig = CONFIG) -> tuple[Marks, SignalQuality]:
    return check_signal(values, signal, GRID, config)


def rows_of(marks: Marks, mark: Mark) -> list[int]:
    return np.flatnonzero((marks & mark) != 0).tolist()


@pytest.mark.parametrize(
    ("signal", "kind"),
    [
        ("load_kw", SignalKind.LOAD),
        ("pv_kw", SignalKind.PV),
        ("roof_solar_kw", SignalKind.PV),
        ("wind_kw", SignalKind.WIND),
        ("windspeed_m_per_s", SignalKind.WIND_SPEED),
        ("radiation_w_per_m2", SignalKind.RADIATION),
        ("transformer_degc", SignalKind.TEMPERATURE),
        ("import_price_per_kwh", SignalKind.PRICE),
        ("humidity_pct", SignalKind.SHARE),
        ("vehicles", SignalKind.OTHER),
        ("battery_kw", SignalKind.OTHER),
        ("charger_2_kw", SignalKind.OTHER),
        ("battery_soc_kwh", SignalKind.OTHER),
    ],
)
def test_the_name_of_a_signal_says_what_it_measures(signal: str, kind: SignalKind) -> None:
    assert kind_of(signal, CONFIG) == kind
    assert kind_of(signal, QualityConfig(kinds={signal: SignalKind.LOAD})) == SignalKind.LOAD


def test_clean_series_carry_no_mark() -> None:
    for signal, values in (("load_kw", load()), ("pv_kw", pv())):
        marks, summary = looked(values, signal)
        assert not marks.any()
        assert (summary.good_share, summary.findings) == (1.0, [])


@pytest.mark.parametrize("factor", [1000, 1 / 1000, 1e6])
@pytest.mark.parametrize(("first", "last"), [(5 * DAY, 9 * DAY), (5 * DAY + 37, 8 * DAY + 50), (0, 3 * DAY)])
def test_kilowatt_for_megawatt_is_marked_to_the_quarter_hour(factor: float, first: int, last: int) -> None:
    values = load()
    values[first:last] *= factor
    marks, summary = looked(values)
    assert rows_of(marks, Mark.UNIT) == list(range(first, last))
    (found,) = [one for one in summary.findings if one.rule == "unit"]
    assert (found.from_s, found.to_s, found.severity) == (GRID.at_s(first), GRID.at_s(last), Severity.ERROR)
    assert found.reason.startswith(f"{factor:g} times the size of other days")
    assert not (marks[:first] & ~int(Mark.UNIT)).any()


def test_a_load_that_doubles_or_falls_to_a_tenth_has_no_wrong_unit() -> None:
    for factor in (2.0, 0.1, 20.0):
        values = load()
        values[10 * DAY :] *= factor
        marks, _ = looked(values)
        assert rows_of(marks, Mark.UNIT) == []


@pytest.mark.parametrize(("first", "last"), [(8 * DAY, 12 * DAY), (8 * DAY + 30, 11 * DAY + 40)])
def test_a_load_with_the_other_sign_for_days_is_marked(first: int, last: int) -> None:
    values = load()
    values[first:last] *= -1
    marks, summary = looked(values)
    assert rows_of(marks, Mark.SIGN) == list(range(first, last))
    assert any("the other sign" in one.reason for one in summary.findings)


def test_pv_days_with_the_other_sign_are_marked_and_pv_positive_throughout_is_told() -> None:
    values = pv()
    values[4 * DAY : 6 * DAY] *= -1
    marks, _ = looked(values, "pv_kw")
    assert set(np.array(rows_of(marks, Mark.SIGN)) // DAY) == {4, 5}
    marks, summary = looked(-pv(), "pv_kw")
    assert rows_of(marks, Mark.SIGN) == []
    assert [one.severity for one in summary.findings] == [Severity.ERROR]
    assert "turn the sign round" in summary.findings[0].reason


def test_a_net_load_of_both_signs_has_no_wrong_sign() -> None:
    marks, _ = looked(load() - 1000)
    assert not (marks & Mark.SIGN).any()


@pytest.mark.parametrize("value", [0.0, 812.5])
def test_any_constant_value_is_a_flat_line_not_only_zero(value: float) -> None:
    values = load()
    values[500:540] = value
    marks, summary = looked(values)
    assert rows_of(marks, Mark.FLAT) == list(range(500, 540))
    assert summary.findings[0].reason == f"stands at {value:g} for 10 h"
    values = load()
    values[500:523] = value  # less than six hours
    assert not (looked(values)[0] & Mark.FLAT).any()


def test_pv_stands_at_zero_at_night_but_not_for_a_whole_day_nor_at_noon() -> None:
    values = pv()
    values[3 * DAY : 4 * DAY] = 0  # a dead day: with both nights 36 hours
    values[10 * DAY + 44 : 10 * DAY + 58] = -333
    marks, _ = looked(values, "pv_kw")
    flat = set(rows_of(marks, Mark.FLAT))
    assert set(range(3 * DAY, 4 * DAY)) <= flat
    assert set(range(10 * DAY + 44, 10 * DAY + 58)) <= flat
    assert {row // DAY for row in flat} <= {2, 3, 4, 10}


def test_a_spike_is_marked_alone_and_its_neighbors_stay() -> None:
    values = load()
    values[[300, 700]] = 4000, -900
    marks, summary = looked(values)
    assert rows_of(marks, Mark.SPIKE) == [300, 700]
    assert summary.marked == {"spike": 2}


def test_a_step_that_stays_is_told_as_a_jump_and_kept() -> None:
    values = load() + np.where(np.arange(20 * DAY) >= 1000, 900, 0)
    marks, summary = looked(values)
    assert rows_of(marks, Mark.JUMP) == [1000]
    assert summary.findings[0].severity == Severity.NOTE
    assert masked_counts(marks[:, None], ["load_kw"], CONFIG) == {}


def test_a_dead_channel_is_marked_as_a_whole_and_a_charger_that_mostly_rests_is_not() -> None:
    rng = np.random.default_rng(0)
    dead = np.where(rng.random(2000) < 0.05, 0.01, 0.0)
    assert looked(dead)[1].marked == {"dead": 2000}
    charger = np.where(np.arange(2000) % DAY < 6, rng.uniform(5, 11, 2000), 0.0)
    assert looked(charger, "charger_kw")[1].marked == {}
    assert looked(np.where(np.arange(2000) < 900, 50.0, 10.0), "battery_soc_kwh")[1].marked == {}


def test_nameplates_are_limits_by_signal_and_the_longest_ending_counts() -> None:
    config = QualityConfig(limits={"_kw": (-5000.0, 5000.0), "load_kw": (0.0, 1200.0), "_degc": (-60.0, 180.0)})
    marks, summary = looked(load(), config=config)
    assert rows_of(marks, Mark.RANGE) == np.flatnonzero(load() > 1200).tolist()
    assert summary.findings[-1].reason.startswith("outside 0 to 1200")
    assert limits_of("pv_kw", config) == (-5000.0, 5000.0)
    assert limits_of("temperature_degc", CONFIG) == (-60.0, 60.0)
    assert limits_of("transformer_1_degc", CONFIG) == (-60.0, 180.0)
    assert limits_of("rain_mm", CONFIG) == (None, None)


def test_several_faults_of_one_signal_are_all_found() -> None:
    values = load(30)
    values[2 * DAY : 4 * DAY] *= 1000
    values[600:700] = 777
    values[1000] = 5000
    values[1500:1520] = np.nan
    marks, summary = looked(values)
    assert summary.marked == {"gap": 20, "unit": 2 * DAY, "flat": 100, "spike": 1}
    assert summary.good == 30 * DAY - 20 - 2 * DAY - 101
    assert {one.rule for one in summary.findings} == {"gap", "unit", "flat", "spike"}
    assert names_of(int(marks[1000])) == "spike"


def test_quality_is_told_in_the_three_words_of_the_protocol() -> None:
    marks = np.array([0, Mark.GAP, Mark.FLAT, Mark.SPIKE | Mark.SIGN], np.int16)
    assert quality_of(marks).tolist() == [Quality.GOOD, Quality.MISSING, Quality.SUSPECT, Quality.SUSPECT]


def test_rules_that_are_switched_off_take_nothing_out() -> None:
    values = load()
    values[300] = 4000
    config = QualityConfig(enabled=False)
    checked = check(values[:, None], ["load_kw"], GRID, config)
    np.testing.assert_array_equal(
        masked(values[:, None].astype(np.float32), checked, config)[:, 0], values.astype(np.float32)
    )
    assert masked_counts(checked.marks, ["load_kw"], config) == {}
    series = np.array([1, 2562], np.float32)
    assert plausible("cloud_pct", series, config).tolist() == [1, 2562]
    only = QualityConfig(mask=("flat",))
    assert masked_counts(checked.marks, ["load_kw"], only) == {}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("value", [np.nan, 0.0, 7.0])
def test_the_shortest_and_emptiest_series_are_checked_without_an_error(count: int, value: float) -> None:
    for signal in ("load_kw", "pv_kw", "windspeed_m_per_s", "price_per_kwh"):
        marks, summary = looked(np.full(count, value), signal)
        assert (len(marks), summary.steps) == (count, count)
        values = np.full((count, 1), value)
        assert check_clock(values, [signal], GRID, "Europe/Amsterdam", CONFIG) == []


@given(
    st.integers(0, 3000),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["load_kw", "pv_kw", "wind_kw", "temperature_degc", "cloud_pct", "radiation_w_per_m2", "vehicles"]),
    st.sampled_from([300, 600, 900, 1800, 3600]),
)
def test_marks_and_counts_agree_whatever_the_values(count: int, seed: int, signal: str, step_s: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.choice([0.0, 1.0, -1.0, 1e3, 1e6, np.nan, rng.normal()], count) * rng.choice([1.0, rng.normal()], count)
    grid = Grid(START_S - step_s * int(rng.integers(0, 100)), step_s)
    marks, summary = check_signal(values, signal, grid, CONFIG)
    assert (((marks & Mark.GAP) != 0) == np.isnan(values)).all()
    assert summary.good == int((marks == 0).sum())
    assert summary.marked == {name: n for name, n in summary.marked.items() if n}
    assert all(one.from_s < one.to_s for one in summary.findings)
    again, _ = check_signal(values.copy(), signal, grid, CONFIG)
    np.testing.assert_array_equal(marks, again)
    check_clock(values[:, None], [signal], grid, "Europe/Amsterdam", CONFIG)


@pytest.mark.parametrize("zone", ["Europe/Amsterdam", "Australia/Sydney", "America/New_York"])
def test_a_light_day_in_utc_raises_no_alarm_in_any_zone_and_in_local_stamps_it_does(zone: str) -> None:
    noon = {"Europe/Amsterdam": 11.6, "Australia/Sydney": 2.0, "America/New_York": 17.0}[zone]
    hours = np.arange(365 * DAY) / 4
    rng = np.random.default_rng(0)
    length = 6 + 2 * np.cos(hours / 8766 * 2 * np.pi)
    away = np.abs((hours - noon + 12) % 24 - 12)
    light = -np.maximum(0, np.cos(away / length * np.pi / 2)) * (away < length) * rng.uniform(0.7, 1, len(hours)) * 500
    assert check_clock(light[:, None], ["pv_kw"], GRID, zone, CONFIG) == []
    shifted = np.where(np.arange(len(light)) < 150 * DAY, light, np.roll(light, 4))
    (found,) = check_clock(shifted[:, None], ["pv_kw"], GRID, zone, CONFIG)
    assert abs(found.from_s - GRID.at_s(150 * DAY)) <= 2 * 86400
    assert "+60 min with no change of legal time: a clock was set" in found.reason


def test_stamps_on_whole_steps_in_order_raise_nothing_and_others_do() -> None:
    stamps = START_S + 900 * np.arange(500)
    assert check_stamps(stamps, 900, "Europe/Amsterdam") == []
    assert check_stamps(np.zeros(0, np.int64), 900) == []
    off = stamps.copy()
    off[7] += 13
    off[20], off[21] = off[21], off[20]
    assert [one.rule for one in check_stamps(off, 900, signal="load_kw")] == ["order", "grid"]


def test_power_current_and_voltage_have_to_agree() -> None:
    power_kw, current_a = np.full(10, 1732.05), np.full(10, 100.0)
    assert implied_voltage_kv(power_kw, current_a) == pytest.approx(10.0, rel=1e-4)
    assert check_voltage(power_kw, current_a, 10.0, "load_kw", GRID) == []
    assert len(check_voltage(power_kw, current_a, 9.5, "load_kw", GRID)) == 1
    assert np.isnan(implied_voltage_kv(power_kw, np.zeros(10)))


def test_findings_are_the_longest_ones_and_limited() -> None:
    values = load()
    for first in range(100, 1800, 40):
        values[first : first + 1 + first // 200] = np.nan
    config = msgspec.structs.replace(CONFIG, findings_max=5)
    _, summary = looked(values, config=config)
    assert [one.count for one in summary.findings] == sorted((one.count for one in summary.findings), reverse=True)
    assert len(summary.findings) == 5
