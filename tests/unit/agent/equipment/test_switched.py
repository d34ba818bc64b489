"""Capacitor banks and tap changers by hand: a position that they have, and the operations of a plan."""

import pytest

from ringmain_agent.equipment.capacitor_bank import CapacitorBankKind
from ringmain_agent.equipment.kind import PlanReview
from ringmain_agent.equipment.switched import operations
from ringmain_agent.site.nameplates import CapacitorBank
from ringmain_agent.snapshot import Plan
from ringmain_protocol.messages import Fallback
from support.sites import NOW_MS, measured, snapshot_of, station

KIND = CapacitorBankKind()
BANK = CapacitorBank(name="it", step_kvar=50.0, steps=3, operation_cost=0.5)
SITE = station(capacitor_banks=(BANK,), horizon_steps=3)
PLAN = Plan(issued_at_ms=0, step_s=900, fallback=Fallback.OPTIMAL, pcc_kw=[0.0] * 3, positions={"it": [3, 2, 2]})


@pytest.mark.parametrize(("reported", "position"), [(0.0, 0), (2.4, 2), (3.0, 3), (4.0, None), (-1.0, None)])
def test_position_is_one_that_it_has(reported: float, position: int | None) -> None:
    assert KIND.state_now(BANK, measured(SITE, NOW_MS, it_position=reported)) == position


@pytest.mark.parametrize(("stands", "moves"), [(1, 3), (3, 1), (None, 1)])
def test_operations_are_counted_from_where_it_stands(stands: int | None, moves: int) -> None:
    """From a position that is not known, the first of the plan is none."""
    assert operations("it", PLAN, snapshot_of(SITE, positions={"it": stands})) == moves


@pytest.mark.parametrize(("left", "binds"), [(3, True), (4, False)])
def test_operations_of_the_day_bind_where_the_plan_makes_all_of_them(left: int, *, binds: bool) -> None:
    review = PlanReview(PLAN, snapshot_of(SITE, positions={"it": 1}, operations_left={"it": left}), SITE)
    assert [limit.value for limit in KIND.binding(BANK, review)] == ([3] if binds else [])
    assert [cost.amount for cost in KIND.costs(BANK, review)] == [1.5]
