"""The load that nothing controls: measured, or what the pcc shows less the equipment."""

from collections.abc import Callable

import pytest

from ringmain_agent.control.regulate import RegulatorState, regulate
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Plan
from ringmain_protocol.messages import Fallback

Measure = Callable[..., Measurements]
MakePlan = Callable[..., Plan]


def values(load_kw: float, pv_kw: float = 0.0, battery_kw: float = 0.0, soc_kwh: float = 4000.0) -> dict[str, float]:
    pcc_kw = load_kw + pv_kw + battery_kw
    return {"load_kw": load_kw, "pv_kw": pv_kw, "battery_kw": battery_kw, "battery_soc_kwh": soc_kwh, "pcc_kw": pcc_kw}


def test_load_is_derived_from_the_pcc_when_its_feed_is_gone(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    known = values(5600.0, -300.0, 100.0)
    with_feed, _ = regulate(measured(now_ms, **known), make_plan(700.0), RegulatorState(), site)
    del known["load_kw"]
    without, _ = regulate(measured(now_ms, **known), make_plan(700.0), RegulatorState(), site)
    assert without.setpoints["battery"] == pytest.approx(with_feed.setpoints["battery"])
    del known["battery_kw"]
    held, _ = regulate(measured(now_ms, **known), make_plan(700.0), RegulatorState(), site)
    assert held.setpoints["battery"] == 0.0  # it is part of the load that the pcc shows
    assert "battery_kw is missing or stale: battery at 0 kW" in held.reason
    del known["pcc_kw"]
    assert regulate(measured(now_ms, **known), make_plan(700.0), RegulatorState(), site)[0].fallback == Fallback.FAILSAFE
