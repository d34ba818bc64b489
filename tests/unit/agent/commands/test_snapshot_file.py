"""A snapshot file is read as a whole, or every problem in it is named."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringmain_agent.__main__ import main
from ringmain_agent.commands.snapshot_file import read_snapshot
from ringmain_agent.config.agent import load_config
from ringmain_program.command import EXIT_CONFIG
from ringmain_program.config import ConfigError

CONFIG = Path(__file__).parents[4] / "deploy" / "config"
SITE_FILE, SNAPSHOT_FILE = CONFIG / "agent.toml", CONFIG / "snapshot.json"
COMMAND = ["plan", "--site", str(SITE_FILE), "--snapshot", str(SNAPSHOT_FILE)]


def test_every_problem_of_a_snapshot_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = _sample()
    snapshot["issued_at"] = "2026-06-01T00:07:00Z"
    snapshot["soc_kwh"] = {"batery": 2000}
    snapshot["forecasts"]["pv_kw"] = [0.0]
    del snapshot["forecasts"]["turbine_kw"]
    snapshot["pcc_kvars"] = 1
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps(snapshot))
    assert main([*COMMAND[:-1], str(file)]) == EXIT_CONFIG
    said = capsys.readouterr().err
    for part in (
        "issued_at: 2026-06-01T00:07:00Z is not at the START of a step of 900 s",
        "soc_kwh.batery: not of this site; did you mean `battery`?",
        "forecasts.pv_kw: 1 values; the horizon has 96 steps",
        "forecasts.turbine_kw: missing",
        "pcc_kvars: unknown key; did you mean `pcc_kvar`?",
    ):
        assert part in said


@pytest.mark.parametrize("text", ["", "[]", "{", '{"issued_at": 3}', '{"issued_at": "2026-13-01T00:00:00Z"}'])
def test_what_is_no_snapshot_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "snapshot.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"snapshot\.json"):
        read_snapshot(file, load_config(SITE_FILE).site)


def test_keys_of_requested_limits_and_unresponsive_equipment_stay(tmp_path: Path) -> None:
    """Files and the planner's pipe keep their keys when the code has better names."""
    snapshot = _sample() | {"wished_import_kw": [600.0], "wished_export_kw": [50.0], "breach_per_kwh": 0.4}
    snapshot["held_kw"] = {"battery": 20.0}
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps(snapshot))
    read = read_snapshot(file, load_config(SITE_FILE).site)
    assert (read.requested_import_kw, read.requested_export_kw, read.breach_price_per_kwh) == ([600.0], [50.0], 0.4)
    assert read.unresponsive_kw == {"battery": 20.0}
    keys = {"wished_import_kw", "wished_export_kw", "breach_per_kwh", "held_kw"}
    assert keys <= msgspec.msgpack.decode(msgspec.msgpack.encode(read)).keys()


def test_missing_values_are_null(tmp_path: Path) -> None:
    """In measurements and series as in history, where a Snapshot has NaN."""
    table = _sample()
    table |= {"soc_kwh": {"battery": None}, "history": {"pcc_kw": [1.5, None]}, "pcc_kw": None}
    table["known_future"]["price_eur_per_mwh"][0] = None
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps(table))
    snapshot = read_snapshot(file, load_config(SITE_FILE).site)
    first, second = struct.unpack("<2f", snapshot.history["pcc_kw"])
    assert first == 1.5
    assert math.isnan(second)
    assert snapshot.soc_kwh == {"battery": None}
    assert snapshot.pcc_kw is None
    assert snapshot.known_future["price_eur_per_mwh"][0] is None


def _sample() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(SNAPSHOT_FILE.read_text())
    return table
