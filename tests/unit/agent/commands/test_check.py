"""`check`: the site as it is understood, and what is allowed and hardly meant."""

from pathlib import Path

import pytest

from ringmain_agent.__main__ import main
from ringmain_agent.commands.check import report
from ringmain_agent.config.agent import load_config

SAMPLE = Path(__file__).parents[4] / "deploy" / "config" / "agent.toml"


def advice_of(folder: Path, text: str) -> list[object]:
    path = folder / "agent.toml"
    path.write_text(text, encoding="utf-8")
    advice = report(load_config(path))["advice"]
    assert isinstance(advice, list)
    return advice


def test_check_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(SAMPLE), "--json"]) == 0
    assert '"site": "uw-114"' in capsys.readouterr().out


def test_check_tells_what_is_allowed_and_hardly_meant(tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    text = text.replace("[feeds.charger_departure_s]", "[feeds.other_s]").replace("energy_kwh = 600", "energy_kwh = 6000")
    text = text.replace("pu_per_kvar = -0.000009", "").replace("[feeds.pcc_kvar]", "[feeds.other_kvar]")
    advice = "\n".join(str(line) for line in advice_of(tmp_path, text))
    assert "feeds.charger_departure_s is missing: every vehicle is assumed to leave at 07:00" in advice
    assert "pump needs 30 h at full power, but its hours last 12 h" in advice
    assert "busbar.pu_per_kvar is 0: no position of capacitor changes the voltage" in advice
    assert "feeds.pcc_kvar is missing" in advice
    sample = "\n".join(str(line) for line in advice_of(tmp_path, SAMPLE.read_text(encoding="utf-8")))
    assert not any(word in sample for word in ("charger", "pump", "capacitor", "pcc_kvar"))
