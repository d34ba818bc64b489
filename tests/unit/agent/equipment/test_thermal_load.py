"""A thermal load by hand: off beyond its band, and the rule keeps the cheap end of it, a little inside."""

import pytest

from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import PccRoom
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.equipment.thermal_load import ThermalLoadKind
from support.sites import NOW_MS, boiler, measured, station

KIND = ThermalLoadKind()
BOILER = boiler(loss_kw_per_k=0.0)
STORE = boiler(loss_kw_per_k=0.0, temperature_min_degc=2.0, temperature_max_degc=12.0, cools=True)
HOUR, ANYTHING = Period(NOW_MS, 1.0, "UTC", {}), PccRoom(0.0, -1e6, 1e6)


@pytest.mark.parametrize(("degc", "on"), [(40.0, True), (59.9, True), (60.0, False), (75.0, False)])
def test_boiler_is_off_once_it_is_warm_enough(degc: float, *, on: bool) -> None:
    site = station(thermal_loads=(BOILER,))
    found = KIND.range_now(BOILER, measured(site, NOW_MS, boiler_degc=degc), None, site)
    assert found == (SetpointRange(Interval(0.0, 80.0)) if on else OFF)


@pytest.mark.parametrize(("degc", "power_kw"), [(50.0, 20.0), (51.0, 0.0), (58.0, 0.0), (20.0, 80.0)])
def test_rule_heats_to_the_lower_end(degc: float, power_kw: float) -> None:
    """20 kWh a kelvin; a tenth of the band inside is 51 degC."""
    assert KIND.rule(BOILER, degc, HOUR, ANYTHING).interval.most == pytest.approx(power_kw)


def test_rule_cools_to_the_upper_end() -> None:
    assert KIND.rule(STORE, 12.0, HOUR, ANYTHING).interval.most == pytest.approx(20.0)
    assert KIND.rule(STORE, 11.0, HOUR, ANYTHING).interval.most == pytest.approx(0.0)


def test_temperature_follows_the_power() -> None:
    assert KIND.after(BOILER, 50.0, 40.0, HOUR) == pytest.approx(52.0)
    assert KIND.after(STORE, 10.0, 40.0, HOUR) == pytest.approx(8.0)
    assert KIND.after(BOILER, None, 40.0, HOUR) is None
