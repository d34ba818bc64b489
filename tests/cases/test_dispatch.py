"""Problems with a known optimum through the agent's own planner: those solved by hand, and those of another optimizer."""

import os
from pathlib import Path

import pytest
from benchmarks.dispatch import solved
from benchmarks.emhass_problems import read_problem, schedule, score

from ringmain_protocol.messages import Fallback

BY_HAND = sorted((Path(__file__).parent / "dispatch").glob("*.json"))
EMHASS = ("dayahead_batt_only", "dayahead_default_batt", "mpc48_batt", "mpc96_15min_peak")
TOLERANCE = 1e-4


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.stem)
def test_plan_costs_what_was_found_by_hand(path: Path) -> None:
    """The arithmetic of each is in the folder's README."""
    _assert_optimal(path)


@pytest.mark.parametrize("name", EMHASS)
def test_plan_costs_what_emhass_found(name: str) -> None:
    """The cost that EMHASS proved optimal, and none of its limits broken."""
    folder = os.environ.get("RINGMAIN_PROBLEMS")
    if folder is None:
        pytest.skip("RINGMAIN_PROBLEMS does not name the folder of the EMHASS problems")
    _assert_optimal(Path(folder) / f"{name}.json")


def test_score_finds_what_a_plan_breaks() -> None:
    """A plan of another problem with less load draws too little: its import does not fit, its load does not run."""
    path = next(path for path in BY_HAND if path.stem == "on_off")
    problem = read_problem(path)
    plan = solved(problem)
    plan.power_kw["deferrable0"][:] = [0.5 * power for power in plan.power_kw["deferrable0"]]
    assert score(problem, plan).violations == 3, "two steps at half power, and the energy"


def _assert_optimal(path: Path) -> None:
    problem = read_problem(path)
    plan = solved(problem)
    found = score(problem, plan)
    assert plan.fallback == Fallback.OPTIMAL, plan.reason
    assert found.violations == 0
    assert problem.optimum_cost is not None
    assert problem.optimum_cost == pytest.approx(found.cost, rel=TOLERANCE, abs=1e-6)
    grid_kw = schedule(problem, plan)["grid_kw"]
    assert plan.pcc_kw == pytest.approx(grid_kw, abs=1e-6)
