"""`ringmain-agent plan` on the sample files as they stand, and what it says of files that are wrong."""

import json
from pathlib import Path

import pytest

from ringmain_agent.__main__ import main

CONFIG = Path(__file__).parents[4] / "deploy" / "config"
SITE_FILE, SNAPSHOT_FILE = CONFIG / "agent.toml", CONFIG / "snapshot.json"
COMMAND = ["plan", "--site", str(SITE_FILE), "--snapshot", str(SNAPSHOT_FILE)]


def test_sample_is_solved_and_explained(capfd: pytest.CaptureFixture[str]) -> None:
    """The command of the documentation; standard output holds the explanation alone."""
    assert main(COMMAND) == 0
    said = capfd.readouterr().out
    assert said.startswith("uw-114: 2026-06-01 00:00 to 2026-06-02 00:00 Europe/Amsterdam")
    for part in ("Schedule: optimal", "energy import", "total", "Limits that bind", "import limit less margin"):
        assert part in said


def test_json_holds_plan_costs_and_limits(tmp_path: Path) -> None:
    """The amounts of the costs add up to the total, and the powers to that at the pcc."""
    file = tmp_path / "plan.json"
    assert main([*COMMAND, "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert sum(cost["amount"] or 0.0 for cost in found["costs"]) == pytest.approx(found["total"])
    drawn = [sum(step) for step in zip(found["load_kw"], *found["plan"]["power_kw"].values(), strict=True)]
    assert drawn == pytest.approx(found["plan"]["pcc_kw"], abs=1e-6)
