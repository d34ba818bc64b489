"""`check`: what the bridge will do, and the gravest of its findings."""

import json
from pathlib import Path

import pytest

from ringmain_bridge.__main__ import main
from ringmain_bridge.commands.check import worst
from ringmain_bridge.commands.findings import error, ok, warning

SAMPLE = Path(__file__).parents[4] / "deploy" / "config" / "bridge.toml"


def test_check_offline_prints_what_the_bridge_will_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--offline", "--config", str(SAMPLE), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["client_id"], printed["mqtt"], printed["subscriptions"]) == ("ringmain-bridge-0", "127.0.0.1:1883", 8)
    target = tmp_path / "result.json"
    assert main(["check", "--offline", "--config", str(SAMPLE), "--json", str(target)]) == 0
    assert json.loads(target.read_text()) == printed
    assert main(["check", "--offline", "--config", str(SAMPLE)]) == 0
    assert "client_id: ringmain-bridge-0" in capsys.readouterr().out


def test_the_gravest_finding_decides() -> None:
    good, odd, bad = ok("a", "b"), warning("a", "b", "c"), error("a", "b", "c")
    assert [worst(found) for found in ([], [good], [good, odd], [odd, bad, good])] == ["ok", "ok", "warning", "error"]
