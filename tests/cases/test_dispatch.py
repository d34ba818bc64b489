"""Problems with a known optimum through the agent's own planner: those solved by hand, and those of another optimizer."""

import os
from pathlib import Path

import pytest
from benchmarks.dispatch import solved
from benchmarks.emhass_problems import Battery, Deferrable, Problem, read_problem, schedule, score

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


@pytest.mark.parametrize(("steps", "on_off"), [(24, False), (24, True), (96, False)])
def test_deferrable_load_has_the_whole_horizon_also_when_that_is_no_day(steps: int, *, on_off: bool) -> None:
    """Of 12 h or 48 h it takes the cheapest six half hours; the battery moves nothing worth mentioning."""
    buy_per_kwh = [0.1 + 0.01 * (7 * step % steps) for step in range(steps)]
    battery = Battery(5000, 0.001, 0.001, 0.95, 0.9, 0.1, 0.9, 0.5, 0.5, 10.0)
    problem = Problem(
        n=steps,
        dt_h=0.5,
        load_w=[500.0] * steps,
        pv_w=[0.0] * steps,
        buy_per_kwh=buy_per_kwh,
        sell_per_kwh=[0.0] * steps,
        grid_import_max_w=9000,
        grid_export_max_w=9000,
        battery=battery,
        deferrable=[Deferrable(2000.0, 3.0, on_off)],
    )
    best = 0.5 * 0.5 * sum(buy_per_kwh) + 0.5 * 2.0 * sum(sorted(buy_per_kwh)[:6])
    found = score(problem, solved(problem))
    assert found.violations == 0
    assert best == pytest.approx(found.cost, rel=TOLERANCE)


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
