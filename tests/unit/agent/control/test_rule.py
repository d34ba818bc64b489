"""Without a plan, the rule: heat and runs first, then vehicles; surplus is stored and given back."""

import pytest
from msgspec.structs import replace

from ringmain_protocol.messages import Fallback
from support.site_of_loads import SITE, Measure, reasons_beside_feeds, regulated


def test_without_a_plan_the_rule_serves_every_load_within_the_limit(measured: Measure) -> None:
    """Heat and the mill first, then the vehicle with what is left; the battery is not emptied for it."""
    result = regulated(measured, 850.0, boiler_degc=50.0)
    assert (result.fallback, reasons_beside_feeds(result)) == (Fallback.RULE, ["no plan yet"])
    assert result.setpoints["mill"] == 60.0
    assert result.setpoints["boiler"] == pytest.approx(80.0)
    assert result.setpoints["charger"] == 0.0
    assert result.setpoints["battery"] == 0.0
    free = regulated(measured, 100.0, boiler_degc=59.0)
    assert free.setpoints["charger"] == 150.0
    assert free.setpoints["boiler"] == 0.0
    assert free.setpoints["pump"] == pytest.approx(300.0 / 13)  # until midnight


def test_without_a_plan_surplus_is_stored_and_given_back(measured: Measure) -> None:
    only = replace(SITE, charging_stations=(), flexible_loads=(), thermal_loads=(), on_off_loads=())
    assert regulated(measured, -70.0, site=only).setpoints == {"battery": pytest.approx(70.0)}
    assert regulated(measured, 70.0, site=only, battery_soc_kwh=300.0).setpoints == {"battery": pytest.approx(-70.0)}
    assert regulated(measured, 70.0, site=only, battery_soc_kwh=190.0).setpoints == {"battery": pytest.approx(0.0)}
