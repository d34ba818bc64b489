"""The regulator with loads and transformers: the fastest first, comfort later, a running load last; limits always."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ringmain_agent.control.regulate import Regulation, RegulatorState, regulate, remember
from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.inputs.equipment_state import EquipmentState, update_equipment_state
from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import (
    Battery,
    CapacitorBank,
    ChargingStation,
    Cooling,
    FlexibleLoad,
    OnOffLoad,
    Rating,
    ThermalLoad,
    Transformer,
)
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Measurements, Plan, SentSetpoint
from ringmain_protocol.messages import Fallback

Measure = Callable[..., Measurements]
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
NOW_MS = 1_604_188_800_000 + 10 * HOUR_MS  # 11:00 in Amsterdam

SITE = Site(
    site="site-1",
    time_zone="Europe/Amsterdam",
    grid_connection=GridConnection(import_limit_kw=1000.0, export_limit_kw=1000.0),
    batteries=(
        Battery(name="battery", capacity_kwh=400.0, charge_max_kw=100.0, discharge_max_kw=100.0, ramp_kw_per_min=1e6),
    ),
    charging_stations=(ChargingStation(name="charger", power_max_kw=150.0, power_min_kw=20.0),),
    flexible_loads=(FlexibleLoad(name="pump", power_max_kw=100.0, energy_kwh=300.0),),
    thermal_loads=(
        ThermalLoad(
            name="boiler",
            power_max_kw=80.0,
            capacity_kwh_per_k=20.0,
            loss_kw_per_k=0.5,
            temperature_min_degc=50.0,
            temperature_max_degc=60.0,
        ),
    ),
    on_off_loads=(OnOffLoad(name="mill", power_kw=60.0, run_h=4.0, run_min_h=0.5),),
)
PLANNED = {"battery": 50.0, "charger": 150.0, "pump": 100.0, "boiler": 80.0, "mill": 60.0}
TOGETHER_KW = sum(PLANNED.values())
RUNNING = LoadUsage(on=True, since_ms=NOW_MS - HOUR_MS, run_h=1.0, starts=1)


def plan(pcc_kw: float = 500.0, **power_kw: float) -> Plan:
    powers = {name: [kw] * 96 for name, kw in (PLANNED | power_kw).items()}
    return Plan(issued_at_ms=NOW_MS, step_s=900, fallback=Fallback.OPTIMAL, power_kw=powers, pcc_kw=[pcc_kw] * 96)


def values(load_kw: float, **other: float) -> dict[str, float]:
    usual = {"battery_soc_kwh": 200.0, "charger_energy_kwh": 30.0, "boiler_degc": 55.0, "pcc_kw": load_kw}
    return {"load_kw": load_kw} | usual | other


def regulated(
    measured: Measure,
    load_kw: float,
    *,
    site: Site = SITE,
    step: Plan | None = None,
    state: RegulatorState | None = None,
    run: LoadUsage = RUNNING,
    **other: float,
) -> Regulation:
    measurements = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **values(load_kw, **other))
    measurements = replace(measurements, runs={"mill": run})
    return regulate(measurements, step, state or RegulatorState(), site)[0]


def test_plan_is_followed_by_every_kind(measured: Measure) -> None:
    assert regulated(measured, 500.0, step=plan()).setpoints == PLANNED


@pytest.mark.parametrize(
    ("load_kw", "expected"),
    [
        (1000.0 - TOGETHER_KW + 120, {"battery": -70.0}),
        (1000.0 - TOGETHER_KW + 150 + 25, {"battery": -100.0, "charger": 135.0, "pump": 90.0}),
        (1000.0 - TOGETHER_KW + 150 + 250, {"battery": -100.0, "charger": 0.0, "pump": 0.0}),
        (1000.0 - TOGETHER_KW + 150 + 250 + 30, {"battery": -100.0, "charger": 0.0, "pump": 0.0, "boiler": 50.0}),
        (
            1000.0 - TOGETHER_KW + 150 + 250 + 80 + 60,
            {"battery": -100.0, "charger": 0.0, "pump": 0.0, "boiler": 0.0, "mill": 0.0},
        ),
    ],
)
def test_batteries_give_way_first_then_chargers_then_heat_and_a_running_load_last(
    measured: Measure, load_kw: float, expected: dict[str, float]
) -> None:
    setpoints = regulated(measured, load_kw, step=plan()).setpoints
    assert setpoints == pytest.approx(PLANNED | expected)
    assert load_kw + sum(kw or 0.0 for kw in setpoints.values()) == pytest.approx(1000.0)


def test_load_that_has_just_begun_to_run_is_not_switched_off(measured: Measure) -> None:
    just_on = LoadUsage(on=True, since_ms=NOW_MS - 29 * MINUTE_MS)
    assert regulated(measured, 2000.0, step=plan(), run=just_on).setpoints["mill"] == 60.0
    long_on = LoadUsage(on=True, since_ms=NOW_MS - 30 * MINUTE_MS)
    assert regulated(measured, 2000.0, step=plan(), run=long_on).setpoints["mill"] == 0.0


def test_battery_makes_up_for_a_load_that_had_to_go_further_than_needed(measured: Measure) -> None:
    """1 kW too much switches off the mill: the battery discharges 59 kW less, not more than it wished."""
    only = replace(SITE, charging_stations=(), flexible_loads=(), thermal_loads=())
    setpoints = regulated(measured, 1041.0, site=only, step=plan(battery=-50.0)).setpoints
    assert setpoints == pytest.approx({"battery": -50.0, "mill": 0.0})
    assert 1041.0 + sum(kw or 0.0 for kw in setpoints.values()) <= 1000.0


def test_nothing_is_charged_without_a_vehicle_and_nothing_heated_without_its_temperature(measured: Measure) -> None:
    result = regulated(measured, 300.0, step=plan(), charger_energy_kwh=0.0, boiler_degc=float("nan"))
    assert result.setpoints["charger"] == 0.0
    assert result.setpoints["boiler"] is None
    assert result.reason == "boiler released: its temperature is not known"


def test_charger_is_off_or_at_its_least_power_and_rests_once_it_was_switched_off(measured: Measure) -> None:
    only = replace(SITE, batteries=(), flexible_loads=(), thermal_loads=(), on_off_loads=())
    assert regulated(measured, 980.0, site=only, step=plan()).setpoints == {"charger": pytest.approx(20.0)}
    assert regulated(measured, 981.0, site=only, step=plan()).setpoints == {"charger": 0.0}
    state = remember(remember(RegulatorState(), {"charger": 20.0}, NOW_MS - 2000), {"charger": 0.0}, NOW_MS - 1000)
    assert regulated(measured, 900.0, site=only, step=plan(), state=state).setpoints == {"charger": 0.0}
    state = remember(remember(RegulatorState(), {"charger": 20.0}, NOW_MS - 90_000), {"charger": 0.0}, NOW_MS - 61_000)
    assert regulated(measured, 900.0, site=only, step=plan(), state=state).setpoints == {"charger": pytest.approx(100.0)}


def test_without_a_plan_the_rule_serves_every_load_within_the_limit(measured: Measure) -> None:
    """Heat and the mill first, then the vehicle with what is left; the battery is not emptied for it."""
    result = regulated(measured, 850.0, boiler_degc=50.0)
    assert (result.fallback, result.reason) == (Fallback.RULE, "no plan yet")
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


def test_battery_that_may_not_export_or_charge_from_the_grid_does_not(measured: Measure) -> None:
    grid = replace(SITE.grid_connection, battery_export=False, battery_grid_charge=False)
    only = replace(SITE, grid_connection=grid, charging_stations=(), flexible_loads=(), thermal_loads=(), on_off_loads=())
    assert regulated(measured, 30.0, site=only, step=plan(battery=-100.0)).setpoints == {"battery": pytest.approx(-30.0)}
    assert regulated(measured, 30.0, site=only, step=plan(battery=100.0)).setpoints == {"battery": pytest.approx(0.0)}


def with_transformer(**fields: object) -> Site:
    transformer = Transformer(name="t1", rated_power_kva=800.0, loading_max_pu=1.0, **fields)  # type: ignore[arg-type]
    return replace(SITE, transformers=(transformer,))


def test_transformer_is_held_at_the_rating_in_force_with_its_reactive_power(measured: Measure) -> None:
    """480 kvar of 800 kVA leave 640 kW; from 11:00 on an emergency rating of 1.2 pu leaves 831.4 kW."""
    held = regulated(measured, 400.0, site=with_transformer(), step=plan(), pcc_kvar=480.0)
    assert 400.0 + sum(kw or 0.0 for kw in held.setpoints.values()) == pytest.approx(640.0)
    assert held.reason == "t1 allows 640 kW"
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
    measurements = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **values(300.0))
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
    measurements = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **values(300.0))
    measurements = replace(measurements, runs={"mill": RUNNING}, thermal={"t1": warm})
    absurd = replace(measurements, ambient_degc={"t1": 290.0, "boiler": 290.0})
    for step in (plan(), None):
        expected = regulate(measurements, step, RegulatorState(), site)
        assert regulate(absurd, step, RegulatorState(), site) == expected
    later = replace(absurd, thermal={})
    assert update_equipment_state(EquipmentState(), later, site).thermal["t1"].top_oil_degc < 100.0


def test_limit_at_a_price_is_kept_with_its_margin_as_in_the_plan(measured: Measure) -> None:
    careful = replace(SITE, grid_connection=replace(SITE.grid_connection, margin_kw=20.0))
    asked = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **values(400.0))
    asked = replace(asked, requested_import_kw=600.0, runs={"mill": RUNNING})
    result, _ = regulate(asked, plan(), RegulatorState(), careful)
    assert 400.0 + sum(kw or 0.0 for kw in result.setpoints.values()) == pytest.approx(580.0)


@pytest.mark.parametrize("degc", [-400.0, 500.0])
def test_thermal_load_of_a_temperature_that_cannot_be_is_released(measured: Measure, degc: float) -> None:
    """A plan lets it rest; heating at full power because of a broken sensor would be worse."""
    held = regulated(measured, 300.0, boiler_degc=degc)
    assert held.setpoints["boiler"] is None
    assert "boiler released: its temperature is not known" in held.reason


def test_equipment_stays_within_its_nameplate_whatever_its_meter_says(measured: Measure) -> None:
    """1e6 kW of a battery of 100 kW: it is taken to stay at 100 kW, and all else goes on as the plan has it."""
    absurd = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **values(200.0, battery_kw=1e6))
    absurd = replace(absurd, unresponsive_kw={"battery": 1e6}, runs={"mill": RUNNING})
    result, _ = regulate(absurd, plan(), RegulatorState(), SITE)
    assert {name: kw for name, kw in result.setpoints.items() if name != "battery"} == {
        name: kw for name, kw in PLANNED.items() if name != "battery"
    }
    assert result.reason == "battery does not follow its setpoint: 100.0 kW is assumed"


def test_equipment_that_does_not_follow_is_taken_to_stay_and_still_told_what_it_was_told(measured: Measure) -> None:
    state = remember(RegulatorState(), {"battery": -80.0}, NOW_MS - 1000)
    stuck = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **values(900.0, battery_kw=100.0))
    stuck = replace(stuck, unresponsive_kw={"battery": 100.0}, runs={"mill": RUNNING})
    result, _ = regulate(stuck, plan(), state, SITE)
    assert result.setpoints["battery"] == -80.0
    assert sum(result.setpoints[name] or 0.0 for name in ("charger", "pump", "boiler", "mill")) == pytest.approx(0.0)
    assert "battery does not follow its setpoint: 100.0 kW is assumed" in result.reason


def test_envelope_at_a_price_is_held_as_far_as_the_plan_holds_it(measured: Measure) -> None:
    asked = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **values(500.0))
    asked = replace(asked, requested_import_kw=600.0, runs={"mill": RUNNING})
    held, _ = regulate(asked, plan(pcc_kw=590.0), RegulatorState(), SITE)
    assert 500.0 + sum(kw or 0.0 for kw in held.setpoints.values()) == pytest.approx(600.0)
    breached, _ = regulate(asked, plan(pcc_kw=940.0), RegulatorState(), SITE)
    assert 500.0 + sum(kw or 0.0 for kw in breached.setpoints.values()) == pytest.approx(940.0)


def test_envelope_below_the_load_that_must_run_gives_all_that_can_be_given(measured: Measure) -> None:
    narrow = measured(NOW_MS, import_limit_kw=100.0, export_limit_kw=1000.0, **values(900.0))
    just_on = LoadUsage(on=True, since_ms=NOW_MS - MINUTE_MS)
    result, _ = regulate(replace(narrow, runs={"mill": just_on}), plan(), RegulatorState(), SITE)
    assert result.setpoints == {"battery": -100.0, "charger": 0.0, "pump": 0.0, "boiler": 0.0, "mill": 60.0}


def test_positions_are_those_of_the_plan_while_operations_are_left_and_stay_without_a_plan(measured: Measure) -> None:
    site = replace(SITE, capacitor_banks=(CapacitorBank(name="bank", step_kvar=50.0, steps=4),))
    planned = replace(plan(), positions={"bank": [3] * 96})
    measurements = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **values(500.0, bank_position=1.0))
    assert regulate(measurements, planned, RegulatorState(), site)[0].positions == {"bank": 3}
    assert regulate(measurements, None, RegulatorState(), site)[0].positions == {"bank": None}
    spent = replace(measurements, operations_left={"bank": 0})
    assert regulate(spent, planned, RegulatorState(), site)[0].positions == {"bank": None}


@pytest.mark.parametrize(
    ("wished", "granted"), [(-5.0, 0.0), (0.0, 0.0), (19.0, 0.0), (20.0, 20.0), (80.0, 80.0), (500.0, 150.0)]
)
def test_reach_is_off_or_between_its_ends(wished: float, granted: float) -> None:
    assert SetpointRange(Interval(0.0, 150.0), 20.0).at_most(wished) == granted


def test_last_setpoint_counts_for_the_ramp_also_for_loads_with_other_setpoints(measured: Measure) -> None:
    slow = replace(SITE, batteries=(replace(SITE.batteries[0], ramp_kw_per_min=60.0),))
    state = replace(RegulatorState(), sent={"battery": SentSetpoint(50.0, NOW_MS - 10_000)})
    setpoints = regulated(measured, 700.0, site=slow, step=plan(), state=state).setpoints
    assert setpoints["battery"] == 40.0
    assert 700.0 + sum(kw or 0.0 for kw in setpoints.values()) == pytest.approx(1000.0)


@pytest.mark.parametrize("cooling", list(Cooling))
def test_hot_spot_comes_up_to_its_limit_and_stays_there(measured: Measure, cooling: Cooling) -> None:
    """Eight hours of vehicles that want 900 kW beside 500 kW of load, on 800 kVA; cycles of a minute."""
    transformer = Transformer(name="t1", rated_power_kva=800.0, loading_max_pu=2.0, cooling=cooling)
    chargers = (ChargingStation(name="charger", power_max_kw=900.0),)
    grid = GridConnection(import_limit_kw=2000.0, export_limit_kw=2000.0)
    site = Site(site="site-1", grid_connection=grid, charging_stations=chargers, transformers=(transformer,))
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
