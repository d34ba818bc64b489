"""Costs of a plan by component, reckoned by hand."""

import pytest

from ringmain_agent.commands.explain import Explanation, explain
from ringmain_agent.snapshot import Plan
from ringmain_protocol.messages import Fallback
from support.explained_plan import PLAN, SITE, SNAPSHOT


def amounts(explanation: Explanation) -> dict[str, float | None]:
    return {cost.component: cost.amount for cost in explanation.costs}


def test_each_component_costs_what_is_reckoned_by_hand() -> None:
    """170 kWh are imported, 40 exported; the rest stands beside each line."""
    found = explain(PLAN, SNAPSHOT, SITE)
    expected = {
        "energy import": 170 * 0.2,
        "energy export": -40 * 0.1,
        "CO2 of the import": 170 * 0.5 * 0.1,  # 85 kg at 0.1 a kg
        "demand charge peak": (90 - 70) * 6.0,
        "wear of battery": 30 * 0.002,
        "energy left in battery": -58 * 0.1,
        "missing at pump": (240 * 3 / 24 - 25) * 2.0,  # three of the day's hours lie within the horizon
        "discomfort at boiler": (1 + 2 + 2) * 3.0,
        "ageing of t1": (1 + 0.5 + 2 ** ((60 - 98) / 6)) * 4.0,
        "operations of bank": 3 * 0.5,
        "beyond what was requested": 5 * 0.3,
    }
    assert expected == pytest.approx(amounts(found))
    assert sum(expected.values()) == pytest.approx(found.total)


def test_an_excess_has_a_quantity_and_no_amount() -> None:
    """Nobody is billed for it; the dispatch avoids it at any price."""
    over = Plan(issued_at_ms=0, step_s=3600, fallback=Fallback.RULE, pcc_kw=[104.0, 0.0, -53.0])
    found = explain(over, SNAPSHOT, SITE)
    excess = {cost.component: (cost.amount, cost.quantity) for cost in found.costs if cost.amount is None}
    assert excess == {"import above its limit": (None, 4.0), "export above its limit": (None, 3.0)}
