"""Tap changers and capacitor banks: as good as trying everything, within operations of the day, and still when blind."""

import itertools
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.linear_program import LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.planning.dispatch.switched import (
    VoltageBlock,
    unchanged_positions,
    violation_per_pu_h,
    voltage_matters,
    voltage_pu,
)
from ringmain_agent.site.grid_connection import Busbar
from ringmain_agent.site.nameplates import CapacitorBank, TapChanger
from ringmain_agent.site.site import Site
from support.sites import problem_of, station

STEPS = 4
PRICES = Prices(excess_per_kwh=60.0, largest_per_kwh=0.3, destroyed_per_kwh=0.0)
TAP = TapChanger(name="tap", position_min=-1, position_max=2, step_pu=0.0125, operations_per_day=2, operation_cost=0.1)
BANK = CapacitorBank(name="bank", step_kvar=300.0, steps=2, operations_per_day=2, operation_cost=0.05)
BUSBAR = Busbar(voltage_min_pu=0.97, voltage_max_pu=1.03, pu_per_kw=-2e-5, pu_per_kvar=-3e-5)
EVENING_MS = round(datetime(2024, 1, 15, 21, tzinfo=UTC).timestamp() * 1000)  # two hours before midnight in Amsterdam

Array = npt.NDArray[np.float64]


def site_with(step_s: int = 3600, steps: int = STEPS, busbar: Busbar | None = BUSBAR) -> Site:
    return station(
        time_zone="Europe/Amsterdam",
        import_limit_kw=1e4,
        export_limit_kw=1e4,
        step_s=step_s,
        horizon_steps=steps,
        busbar=busbar,
        tap_changers=() if busbar is None else (TAP,),
        capacitor_banks=(BANK,),
    )


def problem_with(site: Site, **changes: object) -> DispatchProblem:
    usual: dict[str, Any] = {"voltage_pu": 1.0, "pcc_kw": 1000.0, "pcc_kvar": 200.0, "positions": {"tap": 0, "bank": 1}}
    return problem_of(site, issued_at_ms=EVENING_MS, load_kvar=500.0, **usual | changes)


def solved(site: Site, problem: DispatchProblem, pcc_kw: Array) -> tuple[float, dict[str, Array]]:
    """Cost and positions for a fixed power at the pcc."""
    program = LinearProgram()
    pcc = program.columns(site.horizon_steps)
    block = VoltageBlock(program, site, [Term(pcc, 1.0)])
    program.build()
    program.lower[pcc] = program.upper[pcc] = pcc_kw
    block.write(problem, PRICES)
    solution = program.solve(time_limit_s=60.0)
    parts = Parts()
    block.read(solution.values, parts)
    return solution.objective, parts.positions


def cost(site: Site, problem: DispatchProblem, pcc_kw: Array, positions: dict[str, Array]) -> float:
    """What positions cost by the exact equations; infinite with too many operations in a local day."""
    total, snapshot = 0.0, problem.snapshot
    for switched in (TAP, BANK):
        moves = np.abs(np.diff(positions[switched.name], prepend=snapshot.positions[switched.name] or 0))
        left = snapshot.operations_left.get(switched.name, switched.operations_per_day)
        if moves[:2].sum() > left or moves[2:].sum() > switched.operations_per_day:
            return np.inf
        total += (switched.operation_cost + PRICES.tie_per_kwh) * moves.sum()
    voltage = voltage_pu(pcc_kw, positions, problem, site)
    assert voltage is not None
    outside = np.maximum(np.maximum(BUSBAR.voltage_min_pu - voltage, voltage - BUSBAR.voltage_max_pu), 0.0)
    return float(total + violation_per_pu_h(site, PRICES) * outside.sum() * site.step_h)


@pytest.mark.parametrize("seed", range(8))
def test_positions_are_as_good_as_trying_everything(seed: int) -> None:
    """All 4**4 * 3**4 courses of both; midnight is in the middle of the horizon."""
    random, site = np.random.default_rng(seed), site_with()
    pcc_kw = random.uniform(-2500.0, 4500.0, STEPS)
    left = {"tap": int(random.integers(0, 3)), "bank": int(random.integers(0, 3))}
    problem = problem_with(site, operations_left=left)
    found, positions = solved(site, problem, pcc_kw)
    taps = [np.array(course, np.float64) for course in itertools.product(range(-1, 3), repeat=STEPS)]
    banks = [np.array(course, np.float64) for course in itertools.product(range(3), repeat=STEPS)]
    best = min(cost(site, problem, pcc_kw, {"tap": tap, "bank": bank}) for tap in taps for bank in banks)
    assert found == pytest.approx(best, rel=1e-4, abs=1e-6)
    assert cost(site, problem, pcc_kw, positions) == pytest.approx(best, rel=1e-4, abs=1e-6)


def test_voltage_by_hand() -> None:
    """1.0 - 2e-5 * 500 kW - 3e-5 * (500 - 600 - 200) kvar + 2 * 0.0125."""
    site = site_with()
    moved = {"tap": np.full(STEPS, 2.0), "bank": np.full(STEPS, 2.0)}
    voltage = voltage_pu(np.full(STEPS, 1500.0), moved, problem_with(site), site)
    assert voltage == pytest.approx(np.full(STEPS, 1.0 - 0.01 + 0.009 + 0.025))


def test_nothing_is_switched_while_the_voltage_stays_in_its_band() -> None:
    site = site_with()
    problem, pcc_kw = problem_with(site), np.array([1000.0, 2000.0, 0.0, 1500.0])
    assert not voltage_matters(pcc_kw, problem, site)
    found, positions = solved(site, problem, pcc_kw)
    assert found == 0.0
    assert {name: at.tolist() for name, at in positions.items()} == {"tap": [0.0] * STEPS, "bank": [1.0] * STEPS}
    assert {name: at.tolist() for name, at in unchanged_positions(problem, site).items()} == {
        "tap": [0.0] * STEPS, "bank": [1.0] * STEPS,
    }  # fmt: skip


def test_no_day_has_more_operations_than_are_left_or_allowed() -> None:
    """The power swings so much that more of them would be worth their price."""
    site = site_with(steps=30)
    pcc_kw = 1000.0 + 5000.0 * np.sin(np.arange(30) / 3.0)
    problem = problem_with(site, operations_left={"tap": 1, "bank": 0})
    _, positions = solved(site, problem, pcc_kw)
    for switched, left in ((TAP, 1), (BANK, 0)):
        moves = np.abs(np.diff(positions[switched.name], prepend=problem.snapshot.positions[switched.name] or 0))
        days = [moves[:2], moves[2:26], moves[26:]]
        allowed = [left, switched.operations_per_day, switched.operations_per_day]
        assert all(day.sum() <= most for day, most in zip(days, allowed, strict=True))
    assert moves.sum() > 0


def test_positions_change_at_most_once_an_hour() -> None:
    site = site_with(step_s=900, steps=16)
    _, positions = solved(site, problem_with(site), np.linspace(-4000.0, 6000.0, 16))
    assert all((at.reshape(4, 4) == at.reshape(4, 4)[:, :1]).all() for at in positions.values())
    assert np.abs(np.diff(positions["tap"])).sum() > 0


@pytest.mark.parametrize(
    "unknown", [{"voltage_pu": None}, {"voltage_pu": float("nan")}, {"voltage_pu": 230.0}, {"pcc_kw": None}]
)
def test_without_a_voltage_everything_stays_as_it_is(unknown: dict[str, object]) -> None:
    site = site_with()
    problem, pcc_kw = problem_with(site, **unknown), np.full(STEPS, 9000.0)
    assert not voltage_matters(pcc_kw, problem, site)
    found, positions = solved(site, problem, pcc_kw)
    assert found == 0.0
    assert {name: set(at) for name, at in positions.items()} == {"tap": {0.0}, "bank": {1.0}}


@pytest.mark.parametrize("tap", [None, 40])
def test_a_position_that_is_not_known_stays_and_the_others_do_its_work(tap: int | None) -> None:
    site = site_with()
    _, positions = solved(site, problem_with(site, positions={"tap": tap, "bank": 1}), np.full(STEPS, 3000.0))
    assert {name: set(at) for name, at in positions.items()} == {"bank": {2.0}}


def test_a_bank_without_a_busbar_is_free_for_other_limits() -> None:
    site = site_with(busbar=None)
    found, positions = solved(site, problem_with(site), np.full(STEPS, 3000.0))
    assert found == 0.0
    assert set(positions["bank"]) == {1.0}
