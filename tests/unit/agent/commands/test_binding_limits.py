"""Limits that bind, and the steps in which they do."""

from ringmain_agent.commands.explain import explain
from ringmain_agent.equipment.binding_limit import Binding
from ringmain_agent.snapshot import Plan
from ringmain_protocol.messages import Fallback
from support.explained_plan import PLAN, SITE, SNAPSHOT

HOUR_MS = 3_600_000


def test_limits_bind_in_the_steps_in_which_they_are_reached() -> None:
    found = {item.limit: [(span.from_ms // HOUR_MS, span.to_ms // HOUR_MS) for span in item.when] for item in _binding()}
    assert found == {
        "import limit less margin": [(0, 1)],
        "export limit less margin": [(2, 3)],
        "requested import less margin": [(1, 2)],
        "loading of t1": [(0, 1)],
        "hot spot of t1": [(0, 1)],
        "charging power of battery": [(0, 1)],
        "highest voltage": [(1, 2)],
        "operations of bank": [(0, 3)],
    }


def test_nothing_binds_well_inside_every_limit() -> None:
    idle = Plan(issued_at_ms=0, step_s=3600, fallback=Fallback.OPTIMAL, pcc_kw=[1.0] * 3, soc_kwh={"battery": [50.0] * 3})
    assert explain(idle, SNAPSHOT, SITE).binding == []


def _binding() -> list[Binding]:
    return explain(PLAN, SNAPSHOT, SITE).binding
