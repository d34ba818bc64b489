"""A plant by hand: its setpoint is a bound, and the rule curtails what may not be exported."""

import pytest

from ringmain_agent.equipment.generator import GeneratorKind
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import PccRoom
from ringmain_agent.equipment.period import Period
from ringmain_agent.site.nameplates import Generator
from support.sites import NOW_MS

KIND = GeneratorKind()
PV = Generator(name="it", rated_power_kw=100.0)
NOW = Period(NOW_MS, 0.25, "UTC", {})


@pytest.mark.parametrize(("net_kw", "bound_kw"), [(50.0, -100.0), (-10.0, -40.0), (-80.0, 0.0)])
def test_rule_curtails_what_may_not_be_exported(net_kw: float, bound_kw: float) -> None:
    """50 kW may be exported."""
    assert KIND.rule(PV, None, NOW, PccRoom(net_kw, -50.0, 100.0)).interval == Interval(bound_kw, 0.0)


def test_plant_that_takes_no_setpoint_generates_what_it_can() -> None:
    free = Generator(name="it", rated_power_kw=100.0, curtailable=False)
    assert KIND.rule(free, None, NOW, PccRoom(-80.0, -50.0, 100.0)).interval == Interval(-100.0, 0.0)
