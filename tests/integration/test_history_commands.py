"""The commands history, import and quality, as a person calls them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ringmain_trainer.__main__ import main
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.history.query import summary
from ringmain_trainer.quality.site_quality import SiteQuality

DAY = 96


@pytest.fixture
def history(tmp_path: Path, write_history: Callable[..., None]) -> str:
    """Two days of two sites."""
    for i, site in enumerate(("uw-114", "uw-115")):
        load = np.arange(192, dtype=np.float32) + 1000 * i
        load[5] = np.nan
        write_history(tmp_path, site, {"load_kw": load, "temperature_degc": np.full(192, 7.0, np.float32)})
    return str(tmp_path)


@pytest.fixture
def faulty(
    trainer_config: TrainerConfig, site_values: Callable[..., Any], write_history: Callable[..., None]
) -> TrainerConfig:
    """A clean site; one with three days in W for kW, a gap, a flat day and a spike; weather with 250 degrees in it."""
    write_history(Path(trainer_config.history), "clean", site_values(20))
    values = site_values(30)
    load = values["load_kw"]
    load[5 * DAY : 8 * DAY] *= 1000
    load[12 * DAY : 12 * DAY + 10] = np.nan
    load[20 * DAY : 21 * DAY] = 777
    load[1000 + DAY] = 9000
    values["temperature_degc"][100] = 250
    write_history(Path(trainer_config.history), "faulty", values, stream="fedcba9876543210")
    return trainer_config


def test_the_command_answers_exports_and_keeps_house(
    history: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "trainer.toml"
    config.write_text(f'history = "{history}"\n[retention]\nsteps = 3650\nseries = 1\n', encoding="utf-8")
    run = ["history", "--config", str(config)]

    def answer(*options: str) -> object:
        assert main([*run, *options, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert answer("--sql", "SELECT count(*) AS n FROM steps") == [{"n": 768}]
    assert answer("--sql", "SELECT count(*) AS n FROM steps", "--site", "uw-114", "--signal", "load_kw") == [{"n": 192}]
    done = answer("--site", "uw-114", "--signal", "load_kw", "--export", str(tmp_path / "out" / "load.csv"))
    assert isinstance(done, dict)
    assert done["rows"] == 192
    assert len(summary(history)) == 6
    assert {row["table"] for row in answer("--retain")} == {"steps", "series"}  # type: ignore[attr-defined]
    assert {row["table"] for row in summary(history)} == {"steps"}
    tables = [row["table"] for row in answer("--compact")]  # type: ignore[attr-defined]
    assert tables == ["steps", "series", "steps", "series"]  # first what is too old, then what is in pieces
    assert main([*run, "--sql", "SELECT x FROM steps"]) == 1


def test_the_command_imports_and_says_what_it_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    config, file = tmp_path / "trainer.toml", tmp_path / "sensor_data.csv"
    config.write_text('history = "history"\n', encoding="utf-8")
    file.write_text("timestamp,load_mw\n2024-01-01 00:00:00,1\n2024-01-01 00:15:00,2\n", encoding="utf-8")
    caplog.set_level("INFO")
    assert main(["import", str(file), "--config", str(config), "--site", "uw-1"]) == 0
    out = capsys.readouterr().out
    assert "site=uw-1 signal=load_kw rows=2" in out
    assert "load_mw -> load_kw (MW" in caplog.text
    assert main(["import", str(file), "--config", str(config), "--site", "uw-1"]) == 0
    assert "was imported before" in caplog.text
    assert main(["import", str(file), "--config", str(config)]) == 1
    assert "whose site it is" in caplog.text
    assert main(["import", str(file), "--config", str(config), "--mapping", str(tmp_path / "none.toml")]) == 78


def test_the_command_warns_of_stamps_that_follow_the_local_clock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    config, file = tmp_path / "trainer.toml", tmp_path / "sensor_data.csv"
    config.write_text(f'history = "{tmp_path / "history"}"\ntime_zone = "Europe/Berlin"\n', encoding="utf-8")
    rows = [f"2024-03-31 {hour}:{minute:02d}:00,1" for hour in ("01", "03", "04") for minute in (0, 15, 30, 45)]
    file.write_text("timestamp,load_kw\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert main(["import", str(file), "--config", str(config), "--site", "uw-1", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    (warning,) = result["warnings"]
    assert result["rows"] == 12
    assert "line 6" in warning
    assert "Europe/Berlin" in warning
    assert warning in caplog.text


def test_the_command_prints_findings_as_lines_and_as_json(
    faulty: TrainerConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trainer.toml"
    path.write_text(f'history = "{faulty.history}"\n[training]\njobs = 1\n')
    assert main(["quality", "--config", str(path), "--site", "faulty"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("site=faulty steps=2880 good_share=")
    assert "severity=error rule=unit count=288 from=2020-10-08T00:00Z to=2020-10-11T00:00Z" in lines[1]
    assert main(["quality", "--config", str(path), "--json"]) == 0
    sites = msgspec.json.decode(capsys.readouterr().out, type=list[SiteQuality])
    assert [one.site for one in sites] == ["clean", "faulty"]
    assert main(["quality", "--config", str(path), "--site", "nobody"]) == 1
    assert main(["quality", "--config", str(path), "--history", str(tmp_path / "empty")]) == 1


def test_sql_reads_quality_and_marks_of_each_step(
    faulty: TrainerConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trainer.toml"
    path.write_text(f'history = "{faulty.history}"\n')
    sql = "SELECT marks, count(*) AS steps FROM steps_checked WHERE quality = 1 GROUP BY marks ORDER BY steps DESC"
    asked = ["history", "--config", str(path), "--sql", sql, "--site", "faulty", "--signal", "load_kw", "--json"]
    assert main(asked) == 0
    counts = msgspec.json.decode(capsys.readouterr().out)
    assert counts == [{"marks": "unit", "steps": 288}, {"marks": "flat", "steps": 96}, {"marks": "spike", "steps": 1}]
