"""Whatever becomes of the solver, the cycle that finds out has its setpoints, and they say on which rung they stand."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import Regulation, RegulatorState, regulate
from ringmain_agent.planning.client import Planner
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Plan, Snapshot
from ringmain_protocol.messages import Fallback

Measure = Callable[..., Measurements]
ENOUGH_S = 60.0
LOAD_KW = 5600.0
"""650 kW above the limit less its margin."""


@pytest.fixture
def solver(site: Site, tmp_path: Path) -> Iterator[Callable[[str], Planner]]:
    """A planner process whose dispatcher does what `program` says."""
    planners: list[Planner] = []

    def make(program: str) -> Planner:
        path = tmp_path / "child.py"
        path.write_text(
            "import os, sys, time\n"
            "from ringmain_agent.planning import dispatch, process\n"
            "from ringmain_agent.errors import DispatchError\n"
            "class Broken(dispatch.Dispatcher):\n"
            "    def dispatch(self, problem, **options):\n"
            f"        {program}\n"
            "process.Dispatcher = Broken\n"
            "sys.exit(process.main())\n"
        )
        planner = Planner(site, command=(sys.executable, str(path)), deadline_s=1.0)
        planners.append(planner)
        planner.start()
        end_s = time.monotonic() + ENOUGH_S
        while not planner.ready:
            planner.poll()
            assert time.monotonic() < end_s, planner.failure
            time.sleep(0.01)
        return planner

    yield make
    for planner in planners:
        planner.close()


@pytest.fixture
def cycle(site: Site, measured: Measure, now_ms: int) -> Callable[..., Regulation]:
    """One cycle with a load above the limit, and its setpoint as it left `limits`."""

    def run(plan: Plan | None, *, after_min: float = 0.0) -> Regulation:
        at_ms = now_ms + round(60_000 * after_min)
        values = {"load_kw": LOAD_KW, "pv_kw": 0.0, "battery_kw": 0.0, "battery_soc_kwh": 4000.0, "pcc_kw": LOAD_KW}
        measurements = measured(at_ms, **values)
        regulation, state = regulate(measurements, plan, RegulatorState(), site)
        limited = limit_setpoints(regulation.setpoints, site=site, measurements=measurements, previous=state.sent)
        assert LOAD_KW + (limited.power_kw["battery"] or 0.0) <= 4950.0 + 1e-6  # the limit holds on every rung
        return regulation

    return run


def test_solver_that_hangs_is_killed_and_the_cycle_answers_by_the_rule(
    solver: Callable[[str], Planner], cycle: Callable[..., Regulation], snapshot: Snapshot
) -> None:
    planner = solver("time.sleep(600)")
    planner.request(snapshot)
    regulation = cycle(planner.wait(ENOUGH_S))
    assert (regulation.fallback, regulation.reason) == (Fallback.RULE, "no plan yet")
    assert "took more than 1 s" in planner.failure


def test_solver_that_is_killed_leaves_its_last_plan_then_the_rule(
    solver: Callable[[str], Planner],
    cycle: Callable[..., Regulation],
    snapshot: Snapshot,
) -> None:
    planner = solver("return super().dispatch(problem, **options)")
    planner.request(snapshot)
    assert planner.wait(ENOUGH_S) is not None
    assert cycle(planner.newest()).fallback is Fallback.OPTIMAL
    assert planner.pid is not None
    os.kill(planner.pid, signal.SIGKILL)
    planner.request(replace(snapshot, issued_at_ms=snapshot.issued_at_ms + 900_000))
    assert planner.wait(ENOUGH_S) is None
    shifted = cycle(planner.newest(), after_min=20)
    assert (shifted.fallback, shifted.reason) == (Fallback.SHIFTED, "plan is 20 min old")
    too_old = cycle(planner.newest(), after_min=241)
    assert too_old.fallback is Fallback.RULE
    assert too_old.reason.startswith("plan is too old")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ('raise DispatchError("infeasible", "the solver says so")', "the solver says so"),
        ('d = super().dispatch(problem); d.power_kw["battery"][:] = float("nan"); return d', "finite"),
    ],
)
def test_solver_that_is_wrong_gives_a_plan_by_the_rule_that_says_so(
    solver: Callable[[str], Planner],
    cycle: Callable[..., Regulation],
    snapshot: Snapshot,
    program: str,
    reason: str,
) -> None:
    planner = solver(program)
    planner.request(snapshot)
    plan = planner.wait(ENOUGH_S)
    assert plan is not None, planner.failure
    assert plan.fallback is Fallback.RULE
    regulation = cycle(plan)
    assert regulation.fallback is Fallback.RULE
    assert reason in regulation.reason
