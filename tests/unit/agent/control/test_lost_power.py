"""One feed of a power is lost, the meter is there: nothing is released, and the meter curtails."""

import pytest
from msgspec.structs import replace

from ringmain_agent.control.lost_power import PccExcess, held_equipment, held_kw, lost_equipment
from ringmain_agent.control.regulate import RegulatorState, regulate, remember
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.site.nameplates import ChargingStation, Generator
from ringmain_agent.snapshot import Measurements, SentSetpoint
from ringmain_protocol.messages import ReasonCode
from support.sites import NOW_MS, battery, measured, station

PV = Generator(name="pv", rated_power_kw=2000.0)
SITE = station(
    import_limit_kw=1000.0,
    export_limit_kw=0.0,
    batteries=(battery("battery", 400.0, 200.0, ramp_kw_per_min=1e6),),
    generators=(PV,),
    charging_stations=(ChargingStation(name="charger", power_max_kw=150.0),),
)
NO_EXPORT = Interval(0.0, 1000.0)


def image(now_ms: int = NOW_MS, **values: float) -> Measurements:
    return measured(SITE, now_ms, **values)


def test_equipment_is_part_of_the_load_that_the_pcc_shows_unless_the_load_is_measured() -> None:
    values = {"pcc_kw": 0.0, "load_kw": 0.0, "pv_kw": 0.0, "battery_kw": 0.0}
    assert list(lost_equipment(image(NOW_MS, **values), SITE)) == ["charger"]
    assert not held_equipment(image(NOW_MS, **values), SITE)
    del values["pv_kw"]
    assert list(held_equipment(image(NOW_MS, **values), SITE)) == ["pv", "charger"]
    del values["pcc_kw"]
    assert not held_equipment(image(NOW_MS, **values), SITE)


def test_plant_keeps_its_setpoint_and_is_curtailed_by_the_excess_that_the_meter_shows() -> None:
    sent = SentSetpoint(-700.0, NOW_MS)
    assert held_kw(PV, sent, image(), PccExcess(50.0, NO_EXPORT)) == -700.0
    assert held_kw(PV, sent, image(), PccExcess(-120.0, NO_EXPORT)) == -580.0
    assert held_kw(PV, sent, image(), PccExcess(-900.0, NO_EXPORT)) == 0.0


def test_small_excess_that_stays_is_gone_within_seconds() -> None:
    """The plant does not use its bound: 10 kW a cycle would take minutes to reach its power."""
    setpoint_kw = -2000.0
    for second in range(1, 6):
        now_ms = NOW_MS + 1000 * second
        sent = SentSetpoint(setpoint_kw, now_ms - 1000)
        setpoint_kw = held_kw(PV, sent, image(now_ms), PccExcess(-10.0, NO_EXPORT))
    assert setpoint_kw == pytest.approx(0.0)


def test_plant_without_a_setpoint_starts_from_its_last_power_or_from_a_safe_one() -> None:
    stale = measured(SITE, NOW_MS - 400_000, now_ms=NOW_MS, pv_kw=-650.0)
    assert held_kw(PV, None, stale, PccExcess(50.0, NO_EXPORT)) == -650.0
    assert held_kw(PV, None, image(), PccExcess(50.0, NO_EXPORT)) == -50.0
    assert held_kw(PV, None, image(), PccExcess(-50.0, NO_EXPORT)) == 0.0


def test_loads_and_batteries_give_way_to_an_excess_in_their_direction() -> None:
    charger, sent = SITE.charging_stations[0], SentSetpoint(100.0, NOW_MS)
    assert held_kw(charger, sent, image(), PccExcess(1030.0, NO_EXPORT)) == 70.0
    assert held_kw(charger, sent, image(), PccExcess(-30.0, NO_EXPORT)) == 100.0
    assert held_kw(charger, None, image(), PccExcess(0.0, NO_EXPORT)) == 0.0


def test_lost_feed_of_a_plant_does_not_open_an_export_limit() -> None:
    """500 kW of load and 2000 kW of sun at an export limit of 0: without pv_kw the plant was released."""
    state, setpoint_kw, load_kw, now_ms = RegulatorState(), -700.0, 500.0, NOW_MS
    state = remember(state, {"pv": setpoint_kw, "battery": 200.0, "charger": 0.0}, now_ms)
    for _ in range(10):
        now_ms += 1000
        values = {"load_kw": load_kw, "battery_kw": 200.0, "battery_soc_kwh": 200.0, "charger_kw": 0.0}
        measurements = image(now_ms, **values, pcc_kw=load_kw + 200.0 + setpoint_kw)
        result, state = regulate(measurements, None, state, SITE)
        state = remember(state, result.setpoints, now_ms)
        assert ReasonCode.POWER_UNKNOWN in {reason.code for reason in result.reasons}
        bound_kw = result.setpoints["pv"]
        assert bound_kw is not None
        setpoint_kw = bound_kw
        load_kw = 450.0
    assert load_kw + 200.0 + setpoint_kw >= 0


def test_plant_is_released_where_it_cannot_break_the_limit() -> None:
    wide = replace(SITE, grid_connection=replace(SITE.grid_connection, export_limit_kw=5000.0, import_limit_kw=5000.0))
    known = replace(
        measured(wide, NOW_MS, pcc_kw=100.0, battery_kw=0.0, battery_soc_kwh=200.0), load_least_kw=0.0, load_most_kw=500.0
    )
    result, _ = regulate(known, None, RegulatorState(), wide)
    assert result.setpoints["pv"] is None
    assert "pv_kw is missing or stale: pv released" in result.reason


def test_measured_power_of_a_battery_of_unknown_energy_stays_in_the_balance() -> None:
    """It charges 500 kW by itself; the other battery has to make up for it."""
    two = (battery("one", 1000.0, 600.0, ramp_kw_per_min=1e6), battery("two", 1000.0, 600.0, ramp_kw_per_min=1e6))
    site = station(import_limit_kw=1000.0, export_limit_kw=1000.0, batteries=two)
    values = {"one_kw": 500.0, "two_kw": 0.0, "two_soc_kwh": 500.0, "pcc_kw": 1400.0}
    for load in ({"load_kw": 900.0}, {}):
        result, _ = regulate(measured(site, NOW_MS, **values, **load), None, RegulatorState(), site)
        assert result.setpoints["two"] == pytest.approx(-400.0)
        assert result.setpoints["one"] == 0.0
