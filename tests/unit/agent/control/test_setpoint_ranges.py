"""Setpoints that equipment can take now: off without a vehicle, released without a temperature."""

import pytest
from msgspec.structs import replace

from ringmain_agent.control.regulate import RegulatorState, remember
from ringmain_agent.snapshot import SentSetpoint
from support.site_of_loads import (
    NOW_MS,
    SITE,
    Measure,
    plan,
    reasons_beside_feeds,
    regulated,
)


def test_nothing_is_charged_without_a_vehicle_and_nothing_heated_without_its_temperature(measured: Measure) -> None:
    result = regulated(measured, 300.0, step=plan(), charger_energy_kwh=0.0, boiler_degc=float("nan"))
    assert result.setpoints["charger"] == 0.0
    assert result.setpoints["boiler"] == 0.0
    assert reasons_beside_feeds(result) == ["boiler held at 0 kW: its temperature is not known"]


def test_charger_is_off_or_at_its_least_power_and_rests_once_it_was_switched_off(measured: Measure) -> None:
    only = replace(SITE, batteries=(), flexible_loads=(), thermal_loads=(), on_off_loads=())
    assert regulated(measured, 980.0, site=only, step=plan()).setpoints == {"charger": pytest.approx(20.0)}
    assert regulated(measured, 981.0, site=only, step=plan()).setpoints == {"charger": 0.0}
    state = remember(remember(RegulatorState(), {"charger": 20.0}, NOW_MS - 2000), {"charger": 0.0}, NOW_MS - 1000)
    assert regulated(measured, 900.0, site=only, step=plan(), state=state).setpoints == {"charger": 0.0}
    state = remember(remember(RegulatorState(), {"charger": 20.0}, NOW_MS - 90_000), {"charger": 0.0}, NOW_MS - 61_000)
    assert regulated(measured, 900.0, site=only, step=plan(), state=state).setpoints == {"charger": pytest.approx(100.0)}


def test_battery_that_may_not_export_or_charge_from_the_grid_does_not(measured: Measure) -> None:
    grid = replace(SITE.grid_connection, battery_export=False, battery_grid_charge=False)
    only = replace(SITE, grid_connection=grid, charging_stations=(), flexible_loads=(), thermal_loads=(), on_off_loads=())
    assert regulated(measured, 30.0, site=only, step=plan(battery=-100.0)).setpoints == {"battery": pytest.approx(-30.0)}
    assert regulated(measured, 30.0, site=only, step=plan(battery=100.0)).setpoints == {"battery": pytest.approx(0.0)}


@pytest.mark.parametrize("degc", [-400.0, 500.0])
def test_thermal_load_of_a_temperature_that_cannot_be_is_off_at_a_limited_site(measured: Measure, degc: float) -> None:
    """A plan lets it rest; heating at full power because of a broken sensor would be worse."""
    held = regulated(measured, 300.0, boiler_degc=degc)
    assert held.setpoints["boiler"] == 0.0
    assert "boiler held at 0 kW: its temperature is not known" in held.reason


def test_last_setpoint_counts_for_the_ramp_also_for_loads_with_other_setpoints(measured: Measure) -> None:
    slow = replace(SITE, batteries=(replace(SITE.batteries[0], ramp_kw_per_min=60.0),))
    state = replace(RegulatorState(), sent={"battery": SentSetpoint(50.0, NOW_MS - 10_000)})
    setpoints = regulated(measured, 700.0, site=slow, step=plan(), state=state).setpoints
    assert setpoints["battery"] == 40.0
    assert 700.0 + sum(kw or 0.0 for kw in setpoints.values()) == pytest.approx(1000.0)
