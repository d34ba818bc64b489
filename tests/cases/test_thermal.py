"""The thermal model against each case of a folder in thermal/, whose README names its source."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.site.nameplates import Transformer
from ringmain_agent.snapshot import ThermalState

CASES = sorted(path.parent for path in (Path(__file__).parent / "thermal").glob("*/input.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("step_min", [1.0, 5.0, 1000.0])
def test_temperatures_are_those_of_the_case(case: Path, step_min: float) -> None:
    """At any length of step: a state is exact after any duration at constant loading."""
    given: dict[str, Any] = json.loads((case / "input.json").read_text())
    expected: list[dict[str, float]] = json.loads((case / "expected.json").read_text())
    constants = thermal.constants(msgspec.convert(given["transformer"], Transformer))
    state, now_min = ThermalState(*given["state"]), 0.0
    for step, point in zip(given["steps"], expected, strict=True):
        while now_min < step["until_min"]:
            duration_min = min(step_min, step["until_min"] - now_min)
            state = thermal.after(state, step["loading_pu"], given["ambient_degc"], duration_min, constants)
            now_min += duration_min
        assert point["at_min"] == now_min
        assert point["top_oil_degc"] == pytest.approx(state.top_oil_degc, abs=point["tolerance_k"])
        assert point["hot_spot_degc"] == pytest.approx(thermal.hot_spot_degc(state), abs=point["tolerance_k"])
