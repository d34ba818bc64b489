"""Limits at the pcc: of the connection, of envelopes at a price, and of transformers."""

import math

import pytest
from msgspec.structs import replace

from ringmain_agent.control.regulate import RegulatorState, regulate
from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.inputs.equipment_state import EquipmentState, update_equipment_state
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import (
    ChargingStation,
    Cooling,
    Rating,
    Transformer,
)
from ringmain_agent.site.site import Site
from ringmain_protocol.messages import Fallback
from support.site_of_loads import (
    MINUTE_MS,
    NOW_MS,
    PLANNED,
    RUNNING,
    SITE,
    Measure,
    plan,
    readings,
    reasons_beside_feeds,
    regulated,
)
from support.sites import station


def with_transformer(**fields: object) -> Site:
    transformer = Transformer(name="t1", rated_power_kva=800.0, loading_max_pu=1.0, **fields)  # type: ignore[arg-type]
    return replace(SITE, transformers=(transformer,))


def test_transformer_is_held_at_the_rating_in_force_with_its_reactive_power(measured: Measure) -> None:
    """480 kvar of 800 kVA leave 640 kW; from 11:00 on an emergency rating of 1.2 pu leaves 831.4 kW."""
    held = regulated(measured, 400.0, site=with_transformer(), step=plan(), pcc_kvar=480.0)
    assert 400.0 + sum(kw or 0.0 for kw in held.setpoints.values()) == pytest.approx(640.0)
    assert reasons_beside_feeds(held) == ["t1 allows 640 kW"]
    emergency = Rating(hours=LocalHours(begin="11:00", end="12:00"), loading_max_pu=1.2)
    more = regulated(measured, 400.0, site=with_transformer(rating=(emergency,)), step=plan(), pcc_kvar=480.0)
    assert 400.0 + sum(kw or 0.0 for kw in more.setpoints.values()) == pytest.approx(831.384, abs=1e-3)


def test_firm_capacity_is_what_the_others_carry_without_the_largest(measured: Measure) -> None:
    pair = (Transformer(name="t1", rated_power_kva=800.0), Transformer(name="t2", rated_power_kva=600.0))
    firm = replace(SITE, transformers=pair, grid_connection=replace(SITE.grid_connection, firm_loading_max_pu=1.2))
    held = regulated(measured, 500.0, site=firm, step=plan())
    assert 500.0 + sum(kw or 0.0 for kw in held.setpoints.values()) == pytest.approx(720.0)


def test_firm_capacity_is_that_of_the_one_that_is_full_first(measured: Measure) -> None:
    """t2 takes over three quarters on 400 kVA: it is full at 533 kW, where the ratings together would be 800 kW."""
    shared = (
        Transformer(name="t1", rated_power_kva=1000.0, share=0.6),
        Transformer(name="t2", rated_power_kva=400.0, share=0.3),
        Transformer(name="t3", rated_power_kva=400.0, share=0.1),
    )
    firm = replace(SITE, transformers=shared, grid_connection=replace(SITE.grid_connection, firm_loading_max_pu=1.0))
    held = regulated(measured, 500.0, site=firm, step=plan())
    assert 500.0 + sum(kw or 0.0 for kw in held.setpoints.values()) == pytest.approx(400.0 / 0.75)


def test_transformer_that_carries_nothing_is_no_limit(measured: Measure) -> None:
    """It stands by: its rating says nothing about the others, which have the whole share."""
    standby = (Transformer(name="t1", rated_power_kva=800.0, share=1.0), Transformer(name="t2", rated_power_kva=100.0))
    held = regulated(measured, 500.0, site=replace(SITE, transformers=standby), step=plan())
    assert held.fallback is Fallback.OPTIMAL
    assert held.setpoints == PLANNED


def test_allowed_power_falls_before_the_hot_spot_exceeds_its_limit(measured: Measure) -> None:
    """From 105 degC of top oil on, a step at full load would pass 120 degC: less is allowed, and just that is reached."""
    site = with_transformer()
    transformer = site.transformers[0]
    known = thermal.constants(transformer)
    hot = thermal.correct_top_oil(thermal.steady_state(0.8, 20.0, known), 103.0)
    measurements = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **readings(300.0))
    measurements = replace(measurements, runs={"mill": RUNNING}, thermal={"t1": hot}, ambient_degc={"t1": 30.0})
    result, _ = regulate(measurements, plan(), RegulatorState(), site)
    flowing_kw = 300.0 + sum(kw or 0.0 for kw in result.setpoints.values())
    after = thermal.after(hot, flowing_kw / 800.0, 30.0, 15.0, known)
    assert 300.0 < flowing_kw < 740.0
    assert thermal.hot_spot_degc(after) <= 120.0 + 1e-3
    assert max(thermal.hot_spot_degc(after) - 120.0, after.top_oil_degc - 105.0) == pytest.approx(0.0, abs=1e-3)
    cool = replace(measurements, thermal={"t1": thermal.steady_state(0.5, 20.0, known)})
    assert regulate(cool, plan(), RegulatorState(), site)[0].setpoints == PLANNED


def test_air_of_290_degc_does_not_close_the_connection(measured: Measure) -> None:
    """A unit that was mistaken upstream: the transformer is as warm as in the air that its configuration names."""
    site = with_transformer()
    warm = thermal.steady_state(0.5, 20.0, thermal.constants(site.transformers[0]))
    measurements = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **readings(300.0))
    measurements = replace(measurements, runs={"mill": RUNNING}, thermal={"t1": warm})
    absurd = replace(measurements, ambient_degc={"t1": 290.0, "boiler": 290.0})
    for step in (plan(), None):
        expected = regulate(measurements, step, RegulatorState(), site)
        assert regulate(absurd, step, RegulatorState(), site) == expected
    later = replace(absurd, thermal={})
    assert update_equipment_state(EquipmentState(), later, site).thermal["t1"].top_oil_degc < 100.0


def test_limit_at_a_price_is_kept_with_its_margin_as_in_the_plan(measured: Measure) -> None:
    careful = replace(SITE, grid_connection=replace(SITE.grid_connection, margin_kw=20.0))
    asked = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **readings(400.0))
    asked = replace(asked, requested_import_kw=600.0, runs={"mill": RUNNING})
    result, _ = regulate(asked, plan(), RegulatorState(), careful)
    assert 400.0 + sum(kw or 0.0 for kw in result.setpoints.values()) == pytest.approx(580.0)


def test_envelope_at_a_price_is_held_as_far_as_the_plan_holds_it(measured: Measure) -> None:
    asked = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **readings(500.0))
    asked = replace(asked, requested_import_kw=600.0, runs={"mill": RUNNING})
    held, _ = regulate(asked, plan(pcc_kw=590.0), RegulatorState(), SITE)
    assert 500.0 + sum(kw or 0.0 for kw in held.setpoints.values()) == pytest.approx(600.0)
    breached, _ = regulate(asked, plan(pcc_kw=940.0), RegulatorState(), SITE)
    assert 500.0 + sum(kw or 0.0 for kw in breached.setpoints.values()) == pytest.approx(940.0)


@pytest.mark.parametrize("cooling", list(Cooling))
def test_hot_spot_comes_up_to_its_limit_and_stays_there(measured: Measure, cooling: Cooling) -> None:
    """Eight hours of vehicles that want 900 kW beside 500 kW of load, on 800 kVA; cycles of a minute."""
    transformer = Transformer(name="t1", rated_power_kva=800.0, loading_max_pu=2.0, cooling=cooling)
    chargers = (ChargingStation(name="charger", power_max_kw=900.0),)
    site = station(import_limit_kw=2000.0, export_limit_kw=2000.0, charging_stations=chargers, transformers=(transformer,))
    state, following, charger_kw, hottest_degc = RegulatorState(), EquipmentState(), 0.0, 0.0
    for minute in range(480):
        at_ms = NOW_MS + MINUTE_MS * minute
        now = measured(
            at_ms,
            import_limit_kw=2000.0,
            load_kw=500.0,
            pcc_kw=500.0 + charger_kw,
            charger_kw=charger_kw,
            charger_energy_kwh=9000.0,
        )
        following = update_equipment_state(following, now, site)
        hottest_degc = max(hottest_degc, thermal.hot_spot_degc(following.thermal["t1"]))
        result, state = regulate(replace(now, thermal=following.thermal), None, state, site)
        charger_kw = result.setpoints["charger"] or 0.0
    end = following.thermal["t1"]
    assert hottest_degc <= 120.05
    assert max(thermal.hot_spot_degc(end) - 120.0, end.top_oil_degc - 105.0) == pytest.approx(0.0, abs=0.5)
    assert 0 < charger_kw < 900.0


@pytest.mark.parametrize("load_kw", [300.0, -200.0])
def test_limit_of_the_controllable_equipment_holds_whatever_the_load_draws(measured: Measure, load_kw: float) -> None:
    """Its sum stays below 60 kW; the limit of the connection does not matter for that."""
    measurements = measured(
        NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, controllable_import_kw=60.0, **readings(load_kw)
    )
    measurements = replace(measurements, runs={"mill": RUNNING})
    result, _ = regulate(measurements, plan(), RegulatorState(), SITE)
    assert math.fsum(kw or 0.0 for kw in result.setpoints.values()) == pytest.approx(60.0)


def test_export_limit_of_the_controllable_equipment_holds(measured: Measure) -> None:
    measurements = measured(
        NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, controllable_export_kw=10.0, **readings(500.0)
    )
    discharging = plan(battery=-100.0, charger=0.0, pump=0.0, boiler=0.0, mill=0.0)
    result, _ = regulate(measurements, discharging, RegulatorState(), SITE)
    assert math.fsum(kw or 0.0 for kw in result.setpoints.values()) >= -10.0 - 1e-6
