"""Files from elsewhere: what is certain is imported, once, with the right instants, units and signs; the rest is refused."""

import gzip
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable

from ringmain_program.config import ConfigError
from ringmain_protocol import topics
from ringmain_protocol.messages import Quality
from ringmain_protocol.steps import Reading, step_value
from ringmain_trainer.errors import ImportDataError
from ringmain_trainer.history.delta import scan
from ringmain_trainer.history.site_reader import read_series, read_steps
from ringmain_trainer.imports.column_mapping import fixed_offset_s, units_of
from ringmain_trainer.imports.importer import import_file, step_rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def steps_of(tmp_path: Path) -> Callable[..., dict[datetime, float]]:
    """Step values of a site and signal in the test's history."""

    def read(site: str, signal: str) -> dict[datetime, float]:
        rows = scan(str(tmp_path / "history"), topics.STEPS, site=site, signals=[signal]).sort("start_at").collect()
        return dict(rows.select("start_at", "value").iter_rows())

    return read


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def mapping(file: str, *signals: str) -> str:
    return "\n".join(["[file]", file, *(f"[[signal]]\n{signal}" for signal in signals)])


LOAD = 'column = "load"\nsignal = "load_kw"\nunit = "kW"'


def test_sensor_data_is_read_as_it_is(take: Callable[..., list[Any]], steps_of: Callable[..., Any]) -> None:
    text = "timestamp,load_mw,PV (kW),temperature,comment\n2024-01-01 00:00:00,1.5,20,3.5,x\n2024-01-01 00:15:00,,0,4,y\n"
    done = take(text + "2024-01-01 00:30:00,1.6,5,4,y\n", site="uw-1")
    assert [(one.signal, one.rows) for one in done] == [("load_kw", 2), ("pv_kw", 3), ("temperature_degc", 3)]
    assert steps_of("uw-1", "load_kw") == {utc("2024-01-01T00:00"): 1500.0, utc("2024-01-01T00:30"): pytest.approx(1600)}
    assert list(steps_of("uw-1", "pv_kw").values()) == [-20.0, 0.0, -5.0]  # what is generated is not drawn


def test_weather_data_is_read_as_it_is(take: Callable[..., list[Any]], steps_of: Callable[..., Any]) -> None:
    header = "Date;Temperature [°F];Humidity (%);wind_speed_kmh;Irradiance (W/m2);cloud_cover"
    rows = ["2024-01-01T00:00:00Z;32;50;36;0;25", "2024-01-01T01:00:00Z;212;100;0;800;100"]
    done = take("\n".join([header, *rows]), site="uw-1", step_s=3600)
    assert [one.signal for one in done] == [
        "temperature_degc",
        "humidity_pu",
        "windspeed_m_per_s",
        "radiation_w_per_m2",
        "cloud_cover_pu",
    ]
    assert list(steps_of("uw-1", "temperature_degc").values()) == pytest.approx([0, 100], abs=1e-5)
    assert list(steps_of("uw-1", "humidity_pu").values()) == [0.5, 1.0]
    assert list(steps_of("uw-1", "windspeed_m_per_s").values()) == pytest.approx([10, 0])
    assert list(steps_of("uw-1", "cloud_cover_pu").values()) == [0.25, 1.0]


def test_a_file_comes_in_once_and_a_mended_mapping_wins(tmp_path: Path, take: Callable[..., list[Any]]) -> None:
    text = "time,load\n" + "".join(f"2024-01-01T00:{m:02d}:00Z,{m}\n" for m in (0, 15, 30))
    first = mapping('time = "time"\nsite = "uw-1"', LOAD.replace('"kW"', '"MW"'))
    assert [one.rows for one in take(text, first)] == [3]
    again = take(text, first)
    assert [(one.rows, one.imported_before) for one in again] == [(0, True)]
    history = str(tmp_path / "history")
    mended = import_file(tmp_path / "sensor_data.csv", history=history, step_s=900, now=NOW + timedelta(days=1), site="uw-1")
    assert [one.rows for one in mended] == [3]  # recognized as kW: another meaning, and the newest one
    found = read_steps(history, "uw-1", ["load_kw"], 900, None)
    assert found is not None
    assert found.values[:, 0].tolist() == [0.0, 15.0, 30.0]


def test_what_is_imported_counts_as_received_when_its_step_ended(tmp_path: Path, take: Callable[..., list[Any]]) -> None:
    """So old history is not thrown away as implausible, and a backtest over it is honest."""
    take("timestamp,load_kw\n2009-01-01 00:00:00,1\n2009-01-01 00:15:00,2\n", site="uw-1")
    rows = scan(str(tmp_path / "history"), topics.STEPS).collect()
    assert (rows["received_at"] - rows["start_at"]).unique().to_list() == [timedelta(minutes=15)]
    found = read_steps(str(tmp_path / "history"), "uw-1", ["load_kw"], 900, None)
    assert found is not None
    assert len(found.values) == 2


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("MW", 1.5, 1500),
        ("W", 1500, 1.5),
        ("kWh per interval", 2.5, 10),
        ("MWh per interval", 0.0025, 10),
    ],
)
def test_power_of_any_unit_becomes_kw(
    take: Callable[..., list[Any]], steps_of: Callable[..., Any], unit: str, value: float, expected: float
) -> None:
    text = f"time,load\n2024-01-01T00:00Z,{value}\n2024-01-01T00:15Z,{value}\n"
    take(text, mapping('time = "time"\nsite = "uw-1"', LOAD.replace('"kW"', f'"{unit}"') + '\npositive = "generation"'))
    assert list(steps_of("uw-1", "load_kw").values()) == pytest.approx([-expected, -expected])


def test_every_unit_is_ours_first() -> None:
    for signal in ("load_kw", "oil_degc", "soc_pu", "store_kwh", "radiation_w_per_m2", "windspeed_m_per_s"):
        assert next(iter(units_of(signal).values())) == (1.0, 0.0)
    factor, offset = units_of("oil_degc")["degF"]
    assert 212 * factor + offset == pytest.approx(100)
    assert units_of("oil_degc")["K"] == (1.0, -273.15)
    assert fixed_offset_s("-03:30") == -12600
    assert fixed_offset_s("Europe/Paris") is None


@pytest.mark.parametrize(("stamp", "first"), [("start", "2024-01-01T00:15"), ("end", "2024-01-01T00:00")])
def test_a_stamp_is_the_start_or_the_end_of_its_interval(
    take: Callable[..., list[Any]], steps_of: Callable[..., Any], stamp: str, first: str
) -> None:
    text = "time,load\n2024-01-01T00:15Z,1\n2024-01-01T00:30Z,2\n"
    take(text, mapping(f'time = "time"\nsite = "uw-1"\nstamp = "{stamp}"', LOAD))
    assert next(iter(steps_of("uw-1", "load_kw"))) == utc(first)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("2024-03-01 13:00:00", ""),
        ("2024-03-01T13:00Z", 'time_zone = "Europe/Paris"'),
        ("2024-03-01 14:00:00+01:00", ""),
        ("2024-03-01T09:30:00-0330", ""),
        ("2024-03-01 14:00", 'time_zone = "+01:00"'),
        ("2024-03-01 14:00", 'time_zone = "Europe/Paris"'),
        ("01.03.2024 13:00", ""),
        ("01/03/2024 13:00:00", "day_first = true"),
        ("03/01/2024 13:00", "day_first = false"),
        ("1709298000", ""),
        ("1709298000000", ""),
        ("20240301 1300", 'format = "%Y%m%d %H%M"'),
        ("20240301 1400 +0100", 'format = "%Y%m%d %H%M %z"'),
    ],
)
def test_times_are_read_as_they_are_written(
    take: Callable[..., list[Any]], steps_of: Callable[..., Any], text: str, settings: str
) -> None:
    take(f"time,load\n{text},1\n", mapping(f'time = "time"\nsite = "uw-1"\nstep_s = 900\n{settings}', LOAD))
    assert list(steps_of("uw-1", "load_kw")) == [utc("2024-03-01T13:00")]


def test_date_and_time_may_be_two_columns_and_commas_decimal(
    take: Callable[..., list[Any]], steps_of: Callable[..., Any]
) -> None:
    text = "Datum;Uhrzeit;load\n31.12.2023;23:45;1,5\n01.01.2024;00:00;-\n01.01.2024;00:15;2,25\n"
    take(text, mapping('time = "Datum"\ntime_of_day = "Uhrzeit"\ndecimal = ","\nsite = "uw-1"\nstep_s = 900', LOAD))
    assert list(steps_of("uw-1", "load_kw").values()) == [1.5, 2.25]


def test_of_the_doubled_hour_the_first_in_the_file_is_the_first(
    take: Callable[..., list[Any]], steps_of: Callable[..., Any]
) -> None:
    """Two meters in turns, on a local clock, over the end of summer time: 25 hours, each meter its own."""
    zone, begin = ZoneInfo("Europe/Berlin"), datetime(2023, 10, 28, 22, tzinfo=UTC)
    local = [(begin + timedelta(hours=i)).astimezone(zone).strftime("%Y-%m-%d %H:%M") for i in range(25)]
    text = "time,meter,load\n" + "".join(f"{t},a,{i}\n{t},b,{-i}\n" for i, t in enumerate(local))
    file = 'time = "time"\nsite = "uw-1"\ntime_zone = "Europe/Berlin"'
    signals = [LOAD.replace("load_kw", f"meter_{m}_kw") + f'\nwhere = {{ meter = "{m}" }}' for m in "ab"]
    take(text, mapping(file, *signals), step_s=3600)
    assert list(steps_of("uw-1", "meter_a_kw").items()) == [(begin + timedelta(hours=i), float(i)) for i in range(25)]
    assert list(steps_of("uw-1", "meter_b_kw").values()) == [float(-i) for i in range(25)]


def test_weather_with_an_issue_time_becomes_a_series(tmp_path: Path, take: Callable[..., list[Any]]) -> None:
    rows = [
        f"2024-01-0{day}T00:00Z,2024-01-0{day}T{6 * i:02d}:00Z,{10 * day + i}" for day in (1, 2) for i in range(4) if i != 2
    ]
    file = 'time = "valid"\nissued_at = "issued"\nsite = "uw-1"\nstep_s = 21600'
    signal = 'column = "temp"\nsignal = "temperature_degc"\nunit = "degC"\nto = "series"'
    (one,) = take("\n".join(["issued,valid,temp", *rows]), mapping(file, signal))
    assert (one.table, one.rows) == ("series", 8)
    history = read_series(str(tmp_path / "history"), "uw-1", ["temperature_degc"], None)["temperature_degc"]
    assert history.unit == "degC"
    assert [issue.issued_at_s for issue in history.issues] == [1704067200, 1704153600]
    np.testing.assert_equal(history.issues[1].values, np.array([20, 21, np.nan, 23], np.float32))


def test_weather_without_an_issue_time_is_known_so_long_before(tmp_path: Path, take: Callable[..., list[Any]]) -> None:
    text = "time,temp\n" + "".join(f"2024-01-0{day}T{h:02d}:00Z,{h}\n" for day in (1, 2) for h in range(24))
    signal = 'column = "temp"\nsignal = "temperature_degc"\nunit = "degC"\nto = "series"'
    take(text, mapping('time = "time"\nsite = "uw-1"\nknown_ahead_h = 36', signal))
    issues = read_series(str(tmp_path / "history"), "uw-1", ["temperature_degc"], None)["temperature_degc"].issues
    assert [(issue.start_s - issue.issued_at_s, issue.step_s, len(issue.values)) for issue in issues] == [
        (129600, 3600, 24)
    ] * 2


@pytest.mark.parametrize("file_step_s", [600, 1800, 3600, 420])
def test_other_steps_become_ours_by_the_one_definition(file_step_s: int) -> None:
    """Every step equals what `ringmain_protocol.steps` says of the same readings, and no step with a value is left out."""
    rng = np.random.default_rng(file_step_s)
    at_s = 1_704_067_200 + file_step_s * np.sort(rng.choice(200, 150, replace=False))
    values = rng.normal(0, 100, len(at_s))
    rows = pl.DataFrame({"start_at": at_s, "value": values}).with_columns(
        pl.from_epoch("start_at").dt.replace_time_zone("UTC").dt.cast_time_unit("us")
    )
    for signal in ("load_kw", "oil_degc"):
        made = step_rows(rows, signal, file_step_s=file_step_s, step_s=900)
        readings = [Reading(signal, int(1000 * at), float(value)) for at, value in zip(at_s, values, strict=True)]
        expected = {}
        for start_ms in range(1000 * (int(at_s[0]) // 900 - 1) * 900, 1000 * (int(at_s[-1]) + 2 * 3600), 900_000):
            one = step_value(signal, readings, start_ms=start_ms, step_s=900, hold_s=file_step_s)
            if one.value is not None:
                expected[start_ms] = (one.value, one.quality)
        found = made.select(pl.col("start_at").dt.epoch("ms"), "value", "quality")
        assert {start: (value, quality) for start, value, quality in found.iter_rows()} == expected
        assert Quality.SUSPECT in made["quality"] or file_step_s % 900 == 0 or signal == "oil_degc"


def test_parquet_is_read_as_well(tmp_path: Path, take: Callable[..., list[Any]], steps_of: Callable[..., Any]) -> None:
    at = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 2), "15m", eager=True)  # noqa: DTZ001  as such files have it
    frame = pl.DataFrame({"timestamp": at, "load_kw": np.arange(97.0), "site": ["UW 1"] * 97})
    frame[3, "load_kw"] = math.nan
    frame.write_parquet(tmp_path / "a.parquet")
    (one,) = take(tmp_path / "a.parquet")
    assert (one.site, one.rows) == ("uw-1", 96)
    assert steps_of("uw-1", "load_kw")[utc("2024-01-01T01:00")] == 4.0


@pytest.mark.parametrize(
    ("text", "settings", "error"),
    [
        ("time,load\n2024-01-01T00:00Z,1\n2024-01-01T00:15Z,x1\n", "", r"line 3, column load: 'x1' is no number"),
        ("time,load\n2024-01-01T00:00Z,inf\n", "", r"line 2, column load: 'inf' is not finite"),
        ("time,load\n2024-01-01T00:00Z,1e300\n2024-01-01T00:15Z,1\n", "", "line 2, column load: .* is beyond 1e"),
        ("time,load\n2024-01-01T00:00Z,1\n2024-13-01T00:15Z,1\n", "", "line 3, column time: '2024-13-01T00:15Z' is no time"),
        ("time,load\n2024-01-01T00:00Z,1\n,1\n", "", "line 3, column time"),
        ("time,load\n2024-01-01T00:00Z,1\n2024-01-01T00:15,1\n", "", "line 3, column time"),  # with offset, then without
        ("time,load\nmonday,1\n", "", "line 2, column time: 'monday' is no time that is known; say format"),
        ("time,load\n01/02/2024 00:00,1\n02/02/2024 00:00,1\n", "", "may be day or month first; say day_first"),
        ("time,load\n2024-01-01T00:00Z,1\n2024-01-01T00:00Z,2\n", "step_s = 900", "lines 2 and 3, column load: two values"),
        (
            "time,load\n2024-01-01T00:15Z,1\n2024-01-01T00:30Z,1\n2024-01-01T00:00Z,2\n",
            "",
            "line 4, column time: .* goes back",
        ),
        ("time,load\n2024-03-31 02:30,1\n", 'time_zone = "Europe/Berlin"', "line 2, .*does not exist in Europe/Berlin"),
        ("time,load\n2024-01-01T00:00Z,1\n", "", "one value alone has no step; say step_s"),
        ("time,load\n2024-01-01T00:00Z,1\n2024-01-01T00:07Z,1\n2024-01-01T00:31Z,1\n", "", "no step is usual"),
        ("time,power\n2024-01-01T00:00Z,1\n", "", "there is no column load; there are time, power"),
        ("time,load\n", "", "there are no rows"),
        ("time,load\n2024-01-01T00:00Z,1,2,3\n", "", "cannot be read"),
        ("time,load\n2024-01-01T00:00Z,\n2024-01-01T00:15Z,\n", "", "no column has a value"),
    ],
)
def test_what_is_uncertain_is_refused_with_its_place_and_nothing_is_written(
    tmp_path: Path, take: Callable[..., list[Any]], text: str, settings: str, error: str
) -> None:
    with pytest.raises(ImportDataError, match=error):
        take(text, mapping(f'time = "time"\nsite = "uw-1"\n{settings}', LOAD))
    assert not (tmp_path / "history").exists()


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("timestamp,load_kw\n2024-01-01,1\n", {}, "whose site it is"),
        ("timestamp,load_kw,demand_mw\n2024-01-01,1,1\n", {"site": "a"}, "which column is load_kw: load_kw, demand_mw"),
        ("timestamp,date,load_kw\n2024-01-01,2024-01-01,1\n", {"site": "a"}, "which column is the time: timestamp, date"),
        ("a,b\n1,2\n", {"site": "a"}, "which column is the time; which columns hold values"),
        ("time,meter_id,load_kw\n2024-01-01,1,1\n2024-01-01,2,1\n", {"site": "a"}, "what meter_id means"),
        ("time,site,load_kw\n2024-01-01,b,1\n", {"site": "a"}, "whether all rows are of --site a, or site says whose"),
    ],
)
def test_a_header_that_leaves_something_open_is_refused_with_a_mapping_to_start_from(
    take: Callable[..., list[Any]], text: str, options: dict[str, Any], error: str
) -> None:
    with pytest.raises(ImportDataError, match=error) as caught:
        take(text, **options)
    assert "[file]" in str(caught.value)


def test_the_mapping_to_start_from_can_be_given_back(take: Callable[..., list[Any]]) -> None:
    text = "time,meter_id,load_kw\n2024-01-01T00:00Z,1,5\n2024-01-01T00:00Z,2,6\n2024-01-01T00:15Z,1,5\n"
    with pytest.raises(ImportDataError) as caught:
        take(text, site="a")
    draft = (
        str(caught.value).split("--mapping:\n\n")[1].replace('# where = { column = "text" }', 'where = { meter_id = "1" }')
    )
    assert [one.rows for one in take(text, draft)] == [2]


@pytest.mark.parametrize(
    ("file", "signal", "options", "error"),
    [
        ('time = "time"', LOAD, {}, "file.site, file.site_column or --site"),
        ('time = "time"\nsite_column = "s"', LOAD, {"site": "a"}, "remove --site"),
        ('time = "time"\nsite = "a"', LOAD.replace('"kW"', '"kV"'), {}, "unit 'kV' does not fit 'load_kw'; valid are kW, W"),
        ('time = "time"\nsite = "a"\ntime_zone = "Mars"', LOAD, {}, "neither in the IANA database nor an offset"),
        ('tme = "time"\nsite = "a"', LOAD, {}, "tme.*time"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_refused(
    take: Callable[..., list[Any]], file: str, signal: str, options: dict[str, Any], error: str
) -> None:
    with pytest.raises(ConfigError, match=error):
        take("time,load\n2024-01-01T00:00Z,1\n", mapping(file, signal), **options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"site": "UW 114"}, "--site 'UW 114': the name of a site"),
        ({"site": "a", "time_zone": "Mars"}, "--time-zone 'Mars' is neither"),
    ],
)
def test_wrong_options_are_refused(take: Callable[..., list[Any]], options: dict[str, str], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        take("time,load_kw\n2024-01-01T00:00Z,1\n", **options)


def test_a_file_that_is_cut_off_or_missing_is_refused(tmp_path: Path, take: Callable[..., list[Any]]) -> None:
    whole = gzip.compress(b"timestamp,load_kw\n" + b"".join(b"2024-01-01 %02d:00:00,1\n" % h for h in range(24)))
    (tmp_path / "cut.csv.gz").write_bytes(whole[:-20])
    for name in ("cut.csv.gz", "none.csv"):
        with pytest.raises(ImportDataError, match=r"cannot be read|no such file"):
            take(tmp_path / name, site="a")


# the real files, each with its trap


def test_tetouan_stands_at_a_fixed_offset_all_year(
    real: Callable[[str], Path], take: Callable[..., list[Any]], steps_of: Callable[..., Any]
) -> None:
    """Three zones at UTC+1, ten minutes: the step of 00:00 is two thirds of the first row and a third of the second."""
    signals = [f'column = "zone{i}_kw"\nsignal = "zone{i}_kw"\nunit = "kW"' for i in (1, 2, 3)]
    file = 'time = "time_local_fixed"\ntime_zone = "+01:00"\nsite = "tetouan"'
    done = take(real("tetouan_3zones_10min.csv.gz"), mapping(file, *signals))
    assert [one.rows for one in done] == [34944] * 3
    zone1 = steps_of("tetouan", "zone1_kw")
    assert next(iter(zone1.items())) == (utc("2016-12-31T23:00"), pytest.approx((34055.6962 * 2 + 29814.68354) / 3))
    assert len(zone1) == 364 * 96  # whole days, none longer or shorter


def test_steel_has_its_midnight_on_the_day_before(
    real: Callable[[str], Path], take: Callable[..., list[Any]], steps_of: Callable[..., Any]
) -> None:
    path = real("steel_industry_15min.csv.gz")
    with pytest.raises(ImportDataError, match=r"line 97, column date: '01/01/2018 00:00' goes back in time; midnight"):
        take(path, site="steel")
    signal = 'column = "Usage_kWh"\nsignal = "load_kw"\nunit = "kWh per interval"'
    file = 'time = "date"\nmidnight = "next_day"\nstamp = "end"\ntime_zone = "+09:00"\nsite = "steel"'
    (one,) = take(path, mapping(file, signal))
    load = steps_of("steel", "load_kw")
    assert one.rows == len(load) == 35040
    starts = list(load)
    assert (starts[0], starts[-1]) == (utc("2017-12-31T15:00"), utc("2018-12-31T14:45"))
    assert {b - a for a, b in pairwise(starts)} == {timedelta(minutes=15)}
    assert next(iter(load.values())) == pytest.approx(4 * 3.17)


def test_simbench_keeps_a_local_clock_with_a_missing_and_a_doubled_hour(
    real: Callable[[str], Path], take: Callable[..., list[Any]], steps_of: Callable[..., Any]
) -> None:
    path = real("simbench_mv_semiurb/load_profiles.csv.gz")
    signal = 'column = "G2-A_pload"\nsignal = "profile_pu"\nunit = "pu"'
    with pytest.raises(ImportDataError, match=r"30\.10\.2016 02:00' goes back in time; .*time_zone"):
        take(path, mapping('time = "time"\nsite = "sim"', signal))
    (one,) = take(path, mapping('time = "time"\ntime_zone = "Europe/Berlin"\nsite = "sim"', signal))
    starts = list(steps_of("sim", "profile_pu"))
    assert one.rows == len(starts) == 366 * 96
    assert {b - a for a, b in pairwise(starts)} == {timedelta(minutes=15)}
    assert starts[0] == utc("2015-12-31T23:00")


def test_brighton_interleaves_two_transformers(
    real: Callable[[str], Path], take: Callable[..., list[Any]], steps_of: Callable[..., Any]
) -> None:
    path = real("ukpn_brighton_2transformers_30min.csv.gz")
    with pytest.raises(ImportDataError, match="what tx_id means"):
        take(path, site="brighton")
    signals = [
        f'column = "active_power_mw"\nsignal = "gt{i}_kw"\nunit = "MW"\nwhere = {{ tx_id = "brighton_local_33kv_gt{i}" }}'
        for i in (1, 2)
    ]
    take(path, mapping('time = "timestamp"\nsite = "brighton"', *signals), step_s=1800)
    one, two = steps_of("brighton", "gt1_kw"), steps_of("brighton", "gt2_kw")
    assert (one[utc("2024-01-01T00:00")], two[utc("2024-01-01T00:00")]) == (pytest.approx(17600), pytest.approx(16710))
    assert 4390 < len(one) < 4420


def test_brighton_weather_holds_an_hour_that_does_not_exist(
    real: Callable[[str], Path], take: Callable[..., list[Any]]
) -> None:
    path = real("ukpn_brighton_weather_30min.csv.gz")
    with pytest.raises(ImportDataError, match=r"line 4324, .*'2024-03-31 01:00:00' does not exist in Europe/London"):
        take(path, site="brighton", time_zone="Europe/London")
    signal = 'column = "temperature_2m"\nsignal = "temperature_degc"\nunit = "degC"'
    file = 'time = "timestamp"\nsite = "brighton"\ntime_zone = "Europe/London"\nnonexistent = "skip"'
    (one,) = take(path, mapping(file, signal), step_s=1800)
    assert one.rows == 4367 - 2


def test_emhass_has_gaps_where_fields_are_empty(
    real: Callable[[str], Path], take: Callable[..., list[Any]], steps_of: Callable[..., Any]
) -> None:
    load, pv = take(real("emhass_household_30min.csv.gz"), site="home", step_s=1800)
    assert (load.signal, pv.signal) == ("load_kw", "pv_kw")
    assert pv.rows < 0.52 * 17524 < load.rows
    assert utc("2024-02-28T22:00") not in steps_of("home", "load_kw")
    assert max(steps_of("home", "pv_kw").values()) <= 0


def test_ten_stations_of_one_file_become_ten_sites(
    tmp_path: Path, real: Callable[[str], Path], take: Callable[..., list[Any]], steps_of: Callable[..., Any]
) -> None:
    done = take(real("nl_liander_10stations_15min.csv.gz"))
    assert len({one.site for one in done}) == 10
    assert steps_of("hal", "load_kw")[utc("2021-07-31T00:15")] == pytest.approx(1530)
    assert steps_of("hal", "wind_part_kw")[utc("2021-07-31T00:15")] == pytest.approx(-390)
    sorted_files(tmp_path, ["site", "signal", "start_at"])


def sorted_files(folder: Path, by: Sequence[str]) -> None:
    for uri in DeltaTable(str(folder / "history" / "steps")).file_uris():
        frame = pl.read_parquet(str(uri).removeprefix("file://")).select(by)
        assert frame.equals(frame.sort(by))
