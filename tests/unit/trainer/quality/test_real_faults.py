"""Every trap of the real data is found, and clean series of the same files are left alone.

The traps are listed in the README beside the data. Rules run on the files themselves, as units and signs of the product.
"""

import gzip
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from ringmain_trainer.config.trainer import QualityConfig, SignalKind
from ringmain_trainer.quality.clock_faults import check_clock, clock_changes, morning_shift
from ringmain_trainer.quality.cross_checks import check_beside
from ringmain_trainer.quality.marks import Finding, Grid, Mark, Marks, SignalQuality, masked, plausible
from ringmain_trainer.quality.rules import check, check_signal

CONFIG = QualityConfig()
STATIONS = "nl_liander_10stations_15min.csv.gz"
INPUTS = "nl_liander_4stations_fcst_inputs_15min.csv.gz"
TETOUAN = "tetouan_3zones_10min.csv.gz"
SIMBENCH = "simbench_mv_semiurb/load_profiles.csv.gz"
BRIGHTON = "ukpn_brighton_2transformers_30min.csv.gz"
AMSTERDAM, CASABLANCA = "Europe/Amsterdam", "Africa/Casablanca"
Values = NDArray[np.float64]


class Looked(NamedTuple):
    """What the rules said of one channel."""

    marks: Marks
    summary: SignalQuality

    def count(self, mark: Mark) -> int:
        """Values with one of the marks."""
        return int(((self.marks & mark) != 0).sum())

    def texts(self, rule: str) -> list[str]:
        """Begin and reason of each finding of a rule."""
        return [f"{instant(one.from_s)} {one.reason}" for one in self.summary.findings if one.rule == rule]


@lru_cache
def table(name: str) -> pl.DataFrame:
    folder = os.environ.get("RINGMAIN_DATA")
    if not folder:
        pytest.skip("RINGMAIN_DATA does not name the folder of the real data")
    with gzip.open(Path(folder) / name) as file:
        return pl.read_csv(file.read(), infer_schema_length=None)


def seconds(texts: list[str]) -> NDArray[np.int64]:
    """Stamps as they stand, read as if they were UTC."""
    return np.array([text[:19].replace(" ", "T").rstrip("Z") for text in texts], "datetime64[s]").astype(np.int64)


def german(texts: list[str]) -> NDArray[np.int64]:
    """`dd.mm.yyyy HH:MM`."""
    return seconds([f"{t[6:10]}-{t[3:5]}-{t[:2]}T{t[11:]}:00" for t in texts])


def instant(at_s: int) -> str:
    return str(np.datetime64(at_s, "s"))[:16]


def on_grid(stamps_s: NDArray[np.int64], values: Values, step_s: int) -> tuple[Values, Grid]:
    made = np.full(int(stamps_s.max() - stamps_s.min()) // step_s + 1, np.nan)
    made[(stamps_s - stamps_s.min()) // step_s] = values
    return made, Grid(int(stamps_s.min()), step_s)


def floats(frame: pl.DataFrame, column: str) -> Values:
    return frame[column].cast(pl.Float64).to_numpy()


def look(name: str, values: Values, grid: Grid, kind: SignalKind | None = None) -> Looked:
    config = msgspec.structs.replace(CONFIG, kinds={name: kind}) if kind else CONFIG
    return Looked(*check_signal(values, name, grid, config))


def station(name: str, column: str, signal: str, factor: float = 1000.0) -> tuple[Values, Grid, str]:
    rows = table(STATIONS).filter(pl.col("station") == name)
    return factor * floats(rows, column), Grid(int(seconds([rows["time_utc"][0]])[0]), 900), signal


def inputs(column: str, factor: float = 1.0) -> tuple[Values, Grid]:
    frame = table(INPUTS)
    return factor * floats(frame, column), Grid(int(seconds([frame["time_utc"][0]])[0]), 900)


def tetouan(column: str) -> tuple[Values, Grid]:
    """Stamps at their fixed offset, one hour before UTC."""
    frame = table(TETOUAN)
    return floats(frame, column), Grid(int(seconds([frame["time_local_fixed"][0]])[0]) - 3600, 600)


def clock(name: str, values: Values, grid: Grid, zone: str) -> list[Finding]:
    return check_clock(values[:, None], [name], grid, zone, CONFIG)


# Ten Liander stations


def test_the_dead_channel_of_wls_is_found_while_its_wind_lives() -> None:
    dead = look("net_load_kw", *station("WLS", "net_load_mw", "")[:2])
    assert dead.count(Mark.DEAD) == 8832
    assert dead.texts("dead") == ["2021-07-31T00:15 dead channel: 95% of the values are 0, the largest is 10"]
    wind = look("wind_kw", *station("WLS", "wind_part_mw", "")[:2])
    assert wind.summary.good_share > 0.999


def test_no_other_station_is_dead_and_few_values_are_marked() -> None:
    shares = {}
    for name in ("HAL", "HFDP", "LLS", "MNZL", "NRYN", "OWD", "WEW", "WHF", "WWF"):
        looked = look("net_load_kw", *station(name, "net_load_mw", "")[:2])
        assert looked.count(Mark.DEAD | Mark.FLAT | Mark.UNIT | Mark.SIGN) == 0
        shares[name] = looked.summary.good_share
    assert min(shares.values()) > 0.998
    assert sum(share == 1 for share in shares.values()) >= 5


def test_mnzl_hardly_follows_the_radiation_and_the_other_parks_do() -> None:
    found = {}
    for name in ("MNZL", "HFDP", "OWD", "WHF"):
        solar, grid, _ = station(name, "solar_part_mw", "pv_kw")
        radiation, _, _ = station(name, "radiation_jm2_per_h", "", 1 / 3600)
        both = np.stack([solar, radiation], axis=1)
        found[name] = [one.rule for one in check_beside(both, ["pv_kw", "radiation_w_per_m2"], grid, CONFIG)]
    assert found == {"MNZL": ["follow"], "HFDP": [], "OWD": [], "WHF": []}


@pytest.mark.parametrize(
    ("name", "at", "sizes"),
    [("HFDP", "2021-10-15T13:15", (0.7, 17.0)), ("OWD", "2021-07-31T11:30", (0.54, 34.2))],
)
def test_the_largest_step_of_a_station_is_told(name: str, at: str, sizes: tuple[float, float]) -> None:
    values, grid, _ = station(name, "net_load_mw", "")
    looked = look("net_load_kw", values, grid)
    told = [*looked.texts("jump"), *looked.texts("spike")]
    assert any(text.startswith(at) for text in told), told
    change = np.abs(np.diff(values))
    assert instant(grid.at_s(int(change.argmax()) + 1)) == at
    assert change.max() / 1000 == pytest.approx(sizes[1], abs=0.1)


def test_the_gap_in_the_radiation_of_lls_is_a_frozen_value_at_the_other_stations() -> None:
    lls = look("radiation_w_per_m2", *station("LLS", "radiation_jm2_per_h", "", 1 / 3600)[:2])
    assert lls.texts("gap") == ["2021-10-01T10:15 nothing for 91.2 h"]
    hal = look("radiation_w_per_m2", *station("HAL", "radiation_jm2_per_h", "", 1 / 3600)[:2])
    assert [text[:35] for text in hal.texts("flat")] == ["2021-10-01T07:15 stands at 2.78308 "]


def test_small_negative_radiation_of_the_spline_is_left_alone_and_a_real_one_is_not() -> None:
    values, grid, _ = station("LLS", "radiation_jm2_per_h", "", 1 / 3600)
    assert np.nanmin(values) < 0
    assert look("radiation_w_per_m2", values, grid).count(Mark.RANGE) == 0
    assert look("radiation_w_per_m2", np.where(np.arange(len(values)) == 50, -80, values), grid).count(Mark.RANGE) == 1


# Four Liander points


def test_a_live_call_ends_with_two_days_of_nothing() -> None:
    for point in (287, 307, 435, 438):
        assert "2021-01-28T10:00 nothing for 48 h, to the end" in look("load_kw", *inputs(f"load_{point}_mw")).texts("gap")
    price = look("price_per_mwh", *inputs("price_dayahead_eur_mwh"))
    assert price.texts("gap")[0].endswith("nothing for 29.5 days, to the end")
    assert price.count(Mark.FLAT | Mark.SPIKE) == 0


def test_clouds_above_a_hundred_percent_are_out_of_range_in_steps_and_in_series() -> None:
    clouds, grid = inputs("clouds")
    looked = look("cloud_pct", clouds, grid)
    assert looked.count(Mark.RANGE) == int((clouds > 100.5).sum()) == 32
    assert any("2562" in text for text in looked.texts("range"))
    series = plausible("cloud_pct", clouds.astype(np.float32), CONFIG)
    assert np.isnan(series).sum() == np.isnan(clouds).sum() + 32


def test_clean_series_raise_hardly_an_alarm() -> None:
    for point, most in ((307, 0), (438, 0), (287, 2)):
        looked = look("load_kw", *inputs(f"load_{point}_mw", 1000))
        assert looked.count(Mark.RANGE | Mark.UNIT | Mark.DEAD | Mark.FLAT | Mark.SPIKE | Mark.SIGN) <= most
    for column, signal in (("temp", "temperature_degc"), ("windspeed_100m", "windspeed_m_per_s"), ("rain", "rain_mm")):
        assert look(signal, *inputs(column)).summary.marked.keys() <= {"gap"}


def test_the_load_of_435_stood_still_for_a_day() -> None:
    assert look("load_kw", *inputs("load_435_mw")).texts("flat") == ["2020-10-12T07:30 stands at 0 for 28.8 h"]


def test_the_two_holes_of_307_are_gaps_and_both_copies_agree() -> None:
    frame = table("nl_liander_307_reference_train.csv.gz")
    stamps = seconds(frame[frame.columns[0]].to_list())
    values, grid = on_grid(stamps, floats(frame, "load"), 900)
    looked = look("load_kw", values, grid)
    assert looked.texts("gap") == ["2020-10-24T23:45 nothing for 0.25 h", "2020-10-25T01:45 nothing for 0.25 h"]
    copy, other = inputs("load_307_mw")
    first = (other.start_s - grid.start_s) // 900
    n = min(len(values) - first, len(copy))
    both = np.abs(values[first : first + n] - copy[:n])
    assert np.nanmean(both <= 1e-3) > 0.99


def test_the_radiation_of_the_four_points_was_an_hour_early_in_summer_time() -> None:
    radiation, grid = inputs("radiation", 1 / 3600)
    (found,) = clock("radiation_w_per_m2", radiation, grid, AMSTERDAM)
    assert instant(found.from_s)[:10] == "2020-10-25"
    assert "min at a change of legal time: local stamps" in found.reason


# Tetouan


def test_tetouan_at_its_fixed_offset_agrees_with_the_sun_and_as_legal_time_it_does_not() -> None:
    column, name = "general_diffuse_flows_wm2", "radiation_w_per_m2"
    values, grid = tetouan(column)
    assert clock(name, values, grid, CASABLANCA) == []
    zone = ZoneInfo(CASABLANCA)
    stamps = seconds(table(TETOUAN)["time_local_fixed"].to_list())
    naive = stamps.astype("datetime64[s]").tolist()
    as_legal = np.array([int(at.replace(tzinfo=zone).timestamp()) for at in naive], np.int64)
    found = clock(name, *on_grid(as_legal, values, 600), CASABLANCA)
    dates = np.array([one.from_s for one in found]) // 86400
    expected = seconds(["2017-03-26T00:00:00", "2017-05-21T00:00:00", "2017-07-02T00:00:00", "2017-10-29T00:00:00"]) // 86400
    assert np.abs(dates - expected).max() <= 1
    assert all("local stamps" in one.reason for one in found)


def test_people_of_tetouan_followed_legal_time() -> None:
    changes = clock_changes(CASABLANCA, *(int(at) for at in seconds(["2017-01-01T00:00:00", "2017-12-30T00:00:00"])))
    assert [instant(one.at_s)[:10] for one in changes] == ["2017-03-26", "2017-05-21", "2017-07-02", "2017-10-29"]
    responses = []
    for zone in ("zone1_kw", "zone2_kw"):
        values, grid = tetouan(zone)
        moved = [morning_shift(values, grid, change, 10) for change in changes]
        responses += [-3600 * m.minutes / change.by_s for m, change in zip(moved, changes, strict=True) if m]
    assert len(responses) == 8
    assert min(responses) > 0
    assert 15 < np.mean(responses) < 50  # the README says 20 to 50 min
    for zone in ("zone1_kw", "zone2_kw", "zone3_kw"):
        assert clock(zone, *tetouan(zone), CASABLANCA) == []


def test_the_wind_sensor_of_tetouan_has_two_states_and_that_of_a_station_blows() -> None:
    wind, grid = tetouan("wind_speed")
    (found,) = check_beside(wind[:, None], ["windspeed_m_per_s"], grid, CONFIG)
    assert found.reason.startswith("99% of the values are near 0.12 and 4.9")
    natural, grid, _ = station("HAL", "windspeed_100m_ms", "", 1)
    assert check_beside(natural[:, None], ["windspeed_m_per_s"], grid, CONFIG) == []


def test_zone_1_jumps_once_and_the_doubled_summer_of_zone_3_is_no_wrong_unit() -> None:
    zone_1 = look("zone1_kw", *tetouan("zone1_kw"))
    assert zone_1.texts("jump") == ["2017-04-20T11:10 from 36159.7 to 16815 in one step"]  # 12:10 by the fixed offset
    for zone in ("zone1_kw", "zone2_kw", "zone3_kw"):
        assert look(zone, *tetouan(zone)).summary.marked.keys() <= {"jump"}


# Brighton


def test_the_holes_of_both_brighton_transformers_are_counted() -> None:
    frame = table(BRIGHTON)
    missing = {}
    for transformer in ("gt1", "gt2"):
        rows = frame.filter(pl.col("tx_id") == f"brighton_local_33kv_{transformer}")
        power_mw = rows["active_power_mw"].cast(pl.Float64, strict=False).to_numpy()
        values, grid = on_grid(seconds(rows["timestamp"].to_list()), power_mw, 1800)
        looked = look("transformer_kw", 1000 * values, grid)
        missing[transformer] = looked.count(Mark.GAP)
        assert looked.summary.marked.keys() == {"gap"}
    assert missing == {"gt1": 12, "gt2": 11}


# ETTh1, steel, household, SimBench


def test_the_frozen_runs_of_etth1_are_flat_lines() -> None:
    frame = table("ETTh1.csv.gz")
    grid = Grid(int(seconds([frame["date"][0]])[0]), 3600)
    told = {c: look(c, floats(frame, c), grid, SignalKind.LOAD).texts("flat")[0] for c in ("LUFL", "LULL", "MUFL", "HUFL")}
    assert told == {
        "LUFL": "2017-07-23T21:00 stands at 8.285 for 5.88 days",
        "LULL": "2017-07-23T21:00 stands at 0 for 5.88 days",
        "MUFL": "2016-12-05T07:00 stands at 0 for 73 h",
        "HUFL": "2016-12-05T09:00 stands at 0 for 58 h",
    }
    assert len(look("OT", floats(frame, "OT"), grid, SignalKind.TEMPERATURE).texts("flat")) == 14


def test_pv_that_is_empty_at_night_is_told_once_and_not_as_many_gaps() -> None:
    frame = table("emhass_household_30min.csv.gz")
    grid = Grid(int(seconds([frame["time_utc"][0]])[0]), 1800)
    for column, share in (("pv_w", "50%"), ("pv_forecast_w", "57%")):
        looked = look("pv_kw", -floats(frame, column) / 1000, grid)
        assert [text[17:] for text in looked.texts("gap")] == [f"{share} empty, always at the same hours, as at night"]
        assert looked.count(Mark.FLAT | Mark.DEAD | Mark.SIGN) == 0
    turned = look("pv_kw", floats(frame, "pv_w") / 1000, grid)
    assert "turn the sign round" in turned.texts("sign")[0]


def test_the_wall_clock_of_simbench_is_seen_in_the_mornings() -> None:
    frame = table(SIMBENCH)
    stamps = german(frame["time"].to_list())
    for profile in ("G3-M_pload", "G4-M_pload"):
        (late,) = clock("load_kw", *on_grid(stamps, floats(frame, profile), 900), "Europe/Berlin")
        assert "local stamps taken as UTC" in late.reason


# PV with labels


def test_all_labelled_outliers_of_a_pv_inverter_are_found_and_nothing_else() -> None:
    frame = table("pv_quality/ac_power_inv_7539_outliers.csv.gz")
    labelled = frame["outlier"].cast(pl.String).str.to_lowercase().to_numpy() == "true"
    looked = look("pv_kw", -floats(frame, "value_normalized"), Grid(0, 900))
    found = (looked.marks & ~int(Mark.GAP)) != 0
    hit = int((found & labelled).sum())
    assert (hit / int(found.sum()), hit / int(labelled.sum())) == (1.0, 1.0)


def test_all_labelled_stale_runs_of_a_pv_inverter_are_found() -> None:
    frame = table("pv_quality/ac_power_inv_2173_stale_data.csv.gz")
    labelled = frame["stale_data_mask"].cast(pl.String).str.to_lowercase().to_numpy() == "true"
    values = floats(frame, "value_normalized")
    looked = look("pv_kw", -values, Grid(int(seconds([frame["timestamp"][0]])[0]), 900))
    found = (looked.marks & Mark.FLAT) != 0
    assert int((found & labelled).sum()) == int(labelled.sum()) == 245
    running = found & (values != 0)
    assert int((running & ~labelled).sum()) == 0  # precision 1 while it generates
    assert looked.texts("flat")[0] == "2011-01-27T13:15 stands at -0 for 47.5 h"  # not labelled, and yet it stood still


def test_a_pv_clock_that_follows_legal_time_is_found_at_each_change_and_nowhere_else() -> None:
    frame = table("pv_quality/system_50_ac_power_DST_15min.csv.gz")
    stamps = seconds(frame["measured_on"].to_list()) + 7 * 3600
    found = clock("pv_kw", *on_grid(stamps, floats(frame, "ac_power_2"), 900), "America/Denver")
    days = np.array([one.from_s for one in found]) // 86400
    names = ["2011-11-06", "2012-03-11", "2012-11-04", "2013-03-10", "2013-11-03"]
    assert np.abs(days - seconds([f"{name}T00:00:00" for name in names]) // 86400).max() <= 1
    assert all("at a change of legal time" in one.reason for one in found)


def test_radiation_with_a_right_clock_raises_no_alarm() -> None:
    for name in ("HAL", "LLS", "WWF"):
        values, grid, _ = station(name, "radiation_jm2_per_h", "", 1 / 3600)
        assert clock("radiation_w_per_m2", values, grid, AMSTERDAM) == []
    weather = table("ukpn_brighton_weather_30min.csv.gz")
    values, grid = on_grid(seconds(weather["timestamp"].to_list()), floats(weather, "shortwave_radiation"), 1800)
    assert clock("radiation_w_per_m2", values, grid, "Europe/London") == []


def test_marked_values_are_gaps_for_training_and_all_others_stay_to_the_bit() -> None:
    clouds, grid = inputs("clouds")
    load, _ = inputs("load_435_mw", 1000)
    values: NDArray[Any] = np.stack([load, clouds], axis=1).astype(np.float32)
    checked = check(values, ["load_kw", "cloud_pct"], grid, CONFIG)
    clean = masked(values, checked, CONFIG)
    taken = (checked.marks & ~int(Mark.JUMP)) != 0
    assert np.isnan(clean[taken]).all()
    np.testing.assert_array_equal(clean[~taken], values[~taken])
    assert checked.signals[0].marked["flat"] == 115
