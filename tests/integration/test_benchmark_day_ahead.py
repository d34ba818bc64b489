"""The day-ahead benchmark: runs on any file, better than persistence, blind for later values."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from benchmarks.day_ahead import Protocol, Scored, configuration, figures, run, site_data

from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.training.recipe import fit_site
from support.load_and_wind import START_S, series_file

DAY_S = 86400
PROTOCOL = Protocol(("load",), ("Wind Speed [m/s]",), "Europe/Amsterdam", train_days=35, test_days=2)


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
