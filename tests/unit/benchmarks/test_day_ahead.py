"""The day-ahead benchmark: runs on any file, better than persistence, blind for what comes after, scored as told."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from benchmarks.day_ahead import Protocol, Scored, configuration, figures, run, series_names, site_data
from benchmarks.day_ahead import test_days_of as days_of
from benchmarks.series_file import SeriesFile, SeriesFileError

from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.training.recipe import fit_site

DAY_S = 86400
START_S = int(datetime(2021, 3, 1, tzinfo=UTC).timestamp())
DAYS = 58
PROTOCOL = Protocol(("load",), ("Wind Speed [m/s]",), "Europe/Amsterdam", train_days=35, test_days=2)


def series_file(days: int = DAYS) -> SeriesFile:
    """Hourly load with a daily and a weekly shape, and a wind that persistence does not know."""
    rng, hours = np.random.default_rng(5), np.arange(24 * days)
    wind = np.repeat(np.abs(rng.normal(6, 3, -(-len(hours) // 12))), 12)[: len(hours)]
    load = (
        20 + 6 * np.sin(2 * np.pi * hours / 24) + 3 * (hours // 24 % 7 < 5) - 0.8 * wind + 0.5 * rng.normal(size=len(hours))
    )
    load[100:104] = np.nan
    return SeriesFile(START_S, 3600, {"load": load, "Wind Speed [m/s]": wind})


@pytest.fixture(scope="module")
def scored() -> Scored:
    return run(series_file(), PROTOCOL, jobs=1)["load"]


def test_forecasts_of_every_hour_of_the_last_days_beat_persistence(scored: Scored) -> None:
    found = figures(scored)
    assert (found["steps"], found["days"]) == (48, 2)
    assert found["rcrps"] < 0.6 * found["persistence_rcrps"]
    assert found["rcrps"] < found["rmae"]  # quantiles say more than the median alone
    assert 0.4 <= found["coverage_80"] <= 1


def test_issued_at_six_of_the_day_before_for_the_whole_day(scored: Scored) -> None:
    assert [(int(at) - START_S) / 3600 % 24 for at in scored.issued_at_s] == [6.0, 6.0]
    first = (int(scored.issued_at_s[0]) - START_S) // 3600 + 18
    assert np.allclose(scored.actual.ravel(), series_file().columns["load"][first : first + 48])


def test_persistence_is_what_was_known_at_issue(scored: Scored) -> None:
    load = series_file().columns["load"]
    first = (int(scored.issued_at_s[0]) - START_S) // 3600 + 18
    assert np.allclose(scored.yesterday[0, :6], load[first - 24 : first - 18])  # known until six
    assert np.allclose(scored.yesterday[0, 6:], load[first - 42 : first - 24])  # then the day before
    assert np.allclose(scored.last_week[0], load[first - 168 : first - 144])


def test_load_after_the_issue_changes_no_forecast() -> None:
    """Of the first day: after its issue everything is another, and the model has seen nothing of it either."""
    file, protocol = series_file(), PROTOCOL._replace(estimators=("ridge",))
    scored = run(file, protocol, jobs=1)["load"]
    issue = (int(scored.issued_at_s[0]) - START_S) // 3600
    load = file.columns["load"].copy()
    load[issue:] = 1000 - load[issue:]
    changed = run(file._replace(columns={**file.columns, "load": load}), protocol, jobs=1)["load"]
    assert np.array_equal(changed.quantiles[0], scored.quantiles[0])
    assert not np.array_equal(changed.actual, scored.actual)


def test_scores_are_shares_of_the_range_of_the_target() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 100, (20, 24))
    said = np.stack([truth - 10, truth - 5, truth + 1, truth + 5, truth + 10], axis=2)
    found = figures(Scored(np.zeros(20, np.int64), said, truth + 2, truth - 4, truth))
    norm = float(np.ptp(np.quantile(truth, (0.01, 0.99))))
    assert found["rmae"] == pytest.approx(1 / norm, abs=1e-5)
    assert found["persistence_rcrps"] == pytest.approx(2 / norm, abs=1e-5)  # the better of the two
    assert found["rcrps"] == pytest.approx(2 * np.mean([0.1 * 10, 0.3 * 5, 0.5 * 1, 0.3 * 5, 0.1 * 10]) / norm, abs=1e-5)
    assert found["coverage_80"] == 1


def test_days_to_forecast_are_the_last_whole_ones_of_the_file_or_those_asked_for() -> None:
    file = series_file()
    file.columns["load"][-50:] = np.nan  # as a file looks that a live forecast was made from: weather goes on
    last = START_S + (DAYS - 1) * DAY_S
    assert days_of(file, "load", 5, None) == [last - i * DAY_S for i in (4, 3, 2, 1, 0)]
    assert days_of(file, "load", 3, None) == [last - i * DAY_S for i in (4, 3, 2)]  # most of the last three are empty
    assert days_of(file, "load", 2, date(2021, 4, 10)) == [
        int(datetime(2021, 4, d, tzinfo=UTC).timestamp()) for d in (10, 11)
    ]
    with pytest.raises(SeriesFileError, match="two weeks after its first value"):
        days_of(file, "load", 2, date(2021, 3, 5))


def test_series_are_named_as_a_model_file_wants_them() -> None:
    assert series_names(["Wind Speed [m/s]", "wind speed m s", "10m"]) == {
        "Wind Speed [m/s]": "wind_speed_m_s",
        "wind speed m s": "wind_speed_m_s_",
        "10m": "series_10m",
    }


def test_the_command_runs_on_quarters_without_weather_and_writes_what_it_scored(tmp_path: Path) -> None:
    """Two targets in kW by local time, half-hours, day first, stamps at the end, one row missing."""
    half_hours = np.arange(48 * 40)
    at = pl.Series(START_S * 1000 + 1_800_000 * (1 + half_hours)).cast(pl.Datetime("ms", "UTC"))
    local = at.dt.convert_time_zone("Europe/Berlin").dt.to_string("%d/%m/%Y %H:%M")
    rng = np.random.default_rng(2)
    load = 100 + 30 * np.sin(2 * np.pi * half_hours / 48) + rng.normal(size=len(half_hours))
    frame = pl.DataFrame({"at": local, "a": load, "b": -2 * load})
    pl.concat([frame[:500], frame[501:]]).write_csv(tmp_path / "load.csv")
    command = [
        sys.executable,
        "-m",
        "benchmarks.day_ahead",
        "--data",
        str(tmp_path / "load.csv"),
        "--time",
        "at",
        "--jobs",
        "1",
    ]
    command += [
        "--target",
        "a,b",
        "--time-zone",
        "Europe/Berlin",
        "--stamp",
        "end",
        "--train-days",
        "21",
        "--test-days",
        "1",
    ]
    done = subprocess.run(
        [*command, "--forecasts", str(tmp_path / "f.parquet")], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert list(found) == ["rcrps", "rmae", "coverage_80", "persistence_rcrps", "series"]
    assert list(found["series"]) == ["a", "b"]
    frame = pl.read_parquet(tmp_path / "f.parquet")
    assert frame.columns == ["series", "issued_at", "valid_at", "q0.1", "q0.3", "q0.5", "q0.7", "q0.9", "actual"]
    assert frame["series"].value_counts(sort=True)["count"].to_list() == [48, 48]
    own = frame.filter(pl.col("series") == "a")
    assert found["series"]["a"]["mae"] == pytest.approx((own["q0.5"] - own["actual"]).abs().mean(), abs=1e-4)


def test_a_column_that_is_not_there_ends_the_command_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "load.csv").write_text("at,load\n2020-01-01T00:00Z,1\n", encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.day_ahead", "--data", str(tmp_path / "load.csv")]
    done = subprocess.run(
        [*command, "--time", "at", "--target", "power"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("there is no column 'power'; there are at, load")


def test_first_leads_that_nobody_asks_for_are_neither_trained_on_nor_judged() -> None:
    protocol = PROTOCOL._replace(estimators=("ridge",))
    config, file = configuration(3600, protocol), series_file(40)
    site = site_data(file, protocol, "load", START_S, START_S + 40 * DAY_S)
    rows = range(24 * 8 + 6, 24 * 38, 6)
    now = datetime(2021, 5, 1, tzinfo=UTC)
    trained = fit_site(recipe_of(config, config.model[0]), site, rows, now=now).fitted
    assert trained.held_out is not None
    assert np.isnan(trained.held_out.actual[:, :18]).all()
    assert np.isfinite(trained.held_out.actual[:, 18:]).all()
