"""Every cycle: the plan, corrected by what is measured, with the quarter-hour mean as what must hold."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import RegulatorState, regulate, remember
from ringmain_agent.gateway.kept import decode_kept, encode_kept
from ringmain_agent.site.nameplates import (
    CapacitorBank,
)
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Plan, Reason, SentSetpoint
from ringmain_protocol.messages import Fallback, ReasonCode
from support.site_of_loads import (
    NOW_MS,
    PLANNED,
    RUNNING,
    SITE,
    plan,
    readings,
    reasons_beside_feeds,
    regulated,
)

Measure = Callable[..., Measurements]
MakePlan = Callable[..., Plan]
CYCLE_MS = 180_000


def values(load_kw: float, pv_kw: float = 0.0, battery_kw: float = 0.0, soc_kwh: float = 4000.0) -> dict[str, float]:
    pcc_kw = load_kw + pv_kw + battery_kw
    return {"load_kw": load_kw, "pv_kw": pv_kw, "battery_kw": battery_kw, "battery_soc_kwh": soc_kwh, "pcc_kw": pcc_kw}


def test_plan_is_followed_while_the_limits_hold(site: Site, measured: Measure, make_plan: MakePlan, now_ms: int) -> None:
    result, _ = regulate(measured(now_ms, **values(4000.0)), make_plan(700.0), RegulatorState(), site)
    assert result.setpoints == {"battery": 700.0, "pv": None}
    assert (result.fallback, result.reason) == (Fallback.OPTIMAL, "")


def test_battery_charges_less_and_then_discharges_when_the_load_is_higher_than_forecast(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    less, _ = regulate(measured(now_ms, **values(4600.0)), make_plan(700.0), RegulatorState(), site)
    more, _ = regulate(measured(now_ms, **values(5600.0)), make_plan(700.0), RegulatorState(), site)
    assert less.setpoints["battery"] == pytest.approx(350.0)
    assert more.setpoints["battery"] == pytest.approx(-650.0)


def test_at_the_limit_a_lower_load_saves_the_energy_that_the_plan_would_spend(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    """The plan meets the ceiling of 4950 kW with 1000 kW of discharge; the load comes 700, then 2000 kW lower."""
    spends = make_plan(-1000.0, pcc_kw=4950.0)
    less, _ = regulate(measured(now_ms, **values(5250.0)), spends, RegulatorState(), site)
    none, _ = regulate(measured(now_ms, **values(3950.0)), spends, RegulatorState(), site)
    assert less.setpoints["battery"] == pytest.approx(-300.0)
    assert none.setpoints["battery"] == pytest.approx(0.0)
    trades, _ = regulate(measured(now_ms, **values(3950.0)), make_plan(-1000.0), RegulatorState(), site)
    assert trades.setpoints["battery"] == pytest.approx(-1000.0)  # below the limit a discharge is for its price


def test_at_the_limit_a_lower_load_lets_the_battery_charge_more(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    charges = make_plan(500.0, pcc_kw=4950.0)
    more, _ = regulate(measured(now_ms, **values(3450.0)), charges, RegulatorState(), site)
    assert more.setpoints["battery"] == pytest.approx(1500.0)


def test_envelope_that_narrows_the_limit_is_held(site: Site, measured: Measure, make_plan: MakePlan, now_ms: int) -> None:
    narrow = measured(now_ms, import_limit_kw=3000.0, **values(4000.0))
    assert regulate(narrow, make_plan(0.0), RegulatorState(), site)[0].setpoints["battery"] == pytest.approx(-1050.0)


def test_surplus_charges_the_battery_first_and_then_curtails_pv(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    """The export limit less margin is 3950 kW."""
    some, _ = regulate(measured(now_ms, **values(-2000.0, -2500.0)), make_plan(0.0), RegulatorState(), site)
    much, _ = regulate(measured(now_ms, **values(-4500.0, -2500.0)), make_plan(0.0), RegulatorState(), site)
    assert some.setpoints == {"battery": pytest.approx(550.0), "pv": None}
    assert much.setpoints == {"battery": pytest.approx(2000.0), "pv": pytest.approx(-1450.0)}


def test_curtailed_plant_is_held_back_until_it_need_not_be(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    """At its bound a plant shows the bound and not the sun: to let go then would swing it every cycle."""
    planned = make_plan(0.0, -2500.0)
    first, state = regulate(measured(now_ms, **values(-4500.0, -2500.0)), planned, RegulatorState(), site)
    state = remember(state, first.setpoints, now_ms)
    now_ms += 1000
    held, state = regulate(measured(now_ms, **values(-4500.0, -1450.0, 2000.0)), planned, state, site)
    assert held.setpoints == {"battery": pytest.approx(2000.0), "pv": pytest.approx(-1450.0, abs=5.0)}
    state = remember(state, held.setpoints, now_ms)
    now_ms += 1000
    dusk, _ = regulate(measured(now_ms, **values(-4500.0, -600.0, 2000.0)), planned, state, site)
    assert dusk.setpoints["pv"] is None


def test_curtailment_of_the_plan_gives_way_to_a_higher_load(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    """The plan wants no export and gives 1000 kW of PV away for it; with 400 kW more load, 400 kW more may flow."""
    planned = make_plan(0.0, -1500.0, 1000.0, pcc_kw=0.0)
    as_forecast, _ = regulate(measured(now_ms, **values(1500.0, -2500.0)), planned, RegulatorState(), site)
    more_load, _ = regulate(measured(now_ms, **values(1900.0, -2500.0)), planned, RegulatorState(), site)
    assert as_forecast.setpoints["pv"] == pytest.approx(-1500.0)
    assert more_load.setpoints["pv"] == pytest.approx(-1900.0)


def test_excess_early_in_the_quarter_is_made_up_in_the_rest_of_it(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    """Five cycles of 3 minutes: the load jumps to 5600 kW unseen in the first, the mean of all is 4950 kW."""
    state, battery_kw, energy = RegulatorState(), 0.0, 0.0
    load_kw = 4000.0
    site = replace(site, grid_connection=replace(site.grid_connection, meter_lost_after_s=CYCLE_MS / 1000))
    measurements = measured(now_ms - CYCLE_MS, now_ms=now_ms, **values(load_kw))
    for cycle in range(5):
        at_ms = now_ms + cycle * CYCLE_MS
        result, state = regulate(measurements, make_plan(0.0), state, site)
        state = remember(state, result.setpoints, at_ms)
        battery_kw = result.setpoints["battery"] or 0.0
        load_kw = 5600.0
        energy += (load_kw + battery_kw) / 5
        measurements = measured(at_ms, now_ms=at_ms + CYCLE_MS, **values(load_kw, 0.0, battery_kw))
    assert energy == pytest.approx(4950.0)


def test_room_left_unused_early_in_the_quarter_is_not_spent(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    state = RegulatorState()
    _, state = regulate(measured(now_ms, **values(1000.0)), make_plan(0.0), state, site)
    late_ms = now_ms + 4 * CYCLE_MS
    result, _ = regulate(measured(late_ms, **values(5600.0)), make_plan(0.0), state, site)
    assert result.setpoints["battery"] == pytest.approx(-650.0)


def test_last_seconds_of_a_quarter_do_not_slam_the_battery(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    state = RegulatorState()
    for second in range(0, 899, 10):
        at_ms = now_ms + 1000 * second
        _, state = regulate(measured(at_ms, **values(4951.0)), make_plan(0.0), state, site)
    end_ms = now_ms + 899_000
    result, _ = regulate(measured(end_ms, **values(4951.0)), make_plan(0.0), state, site)
    assert result.setpoints["battery"] == pytest.approx(-1.0 - 899 / 60, abs=0.5)


def test_two_batteries_share_by_what_each_can_still_do(site: Site, measured: Measure, now_ms: int) -> None:
    small = replace(site.batteries[0], name="small", capacity_kwh=1000.0, charge_max_kw=500.0, discharge_max_kw=500.0)
    pair = replace(site, batteries=(*site.batteries, small))
    both = measured(now_ms, **values(5450.0), small_kw=0.0, small_soc_kwh=500.0)
    shared, _ = regulate(both, None, RegulatorState(), pair)
    assert shared.setpoints["battery"] == pytest.approx(-400.0)
    assert shared.setpoints["small"] == pytest.approx(-100.0)
    empty = measured(now_ms, **values(5450.0), small_kw=0.0, small_soc_kwh=50.0)
    alone, _ = regulate(empty, None, RegulatorState(), pair)
    assert alone.setpoints["battery"] == pytest.approx(-500.0)
    assert alone.setpoints["small"] == 0.0


def test_without_a_plan_the_rule_holds_the_limit_and_else_rests(site: Site, measured: Measure, now_ms: int) -> None:
    rest, _ = regulate(measured(now_ms, **values(4000.0)), None, RegulatorState(), site)
    shave, _ = regulate(measured(now_ms, **values(5000.0)), None, RegulatorState(), site)
    assert (rest.setpoints["battery"], rest.fallback, rest.reason) == (0.0, Fallback.RULE, "no plan yet")
    assert shave.setpoints["battery"] == pytest.approx(-50.0)


def test_plan_that_failed_says_why_the_rule_is_used(site: Site, measured: Measure, make_plan: MakePlan, now_ms: int) -> None:
    reason = Reason(ReasonCode.NO_FORECAST, "no forecast: there is no history")
    failed = replace(make_plan(), fallback=Fallback.RULE, reasons=[reason])
    result, _ = regulate(measured(now_ms, **values(4000.0)), failed, RegulatorState(), site)
    assert (result.fallback, result.reasons) == (Fallback.RULE, (reason,))


def test_stale_measurements_lead_to_the_failsafe_powers(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    stale = measured(now_ms - 301_000, now_ms=now_ms, **values(4000.0))
    result, _ = regulate(stale, make_plan(700.0), RegulatorState(), site)
    assert result.setpoints == {"battery": 0.0, "pv": -3000.0}  # an export of 4000 kW is allowed
    assert result.fallback == Fallback.FAILSAFE
    assert "stale" in result.reason
    harmless = replace(site, batteries=(), grid_connection=replace(site.grid_connection, margin_kw=0.0))
    free, _ = regulate(stale, make_plan(700.0), RegulatorState(), harmless)
    assert (free.setpoints, free.fallback) == ({"pv": None}, Fallback.RELEASE)


def test_battery_of_unknown_energy_is_held_and_the_rest_goes_on(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    known = values(-4500.0, -2500.0)
    del known["battery_soc_kwh"]
    result, _ = regulate(measured(now_ms, **known), make_plan(700.0), RegulatorState(), site)
    assert result.setpoints == {"battery": 0.0, "pv": pytest.approx(0.0)}
    text = "battery held at 0 kW: its energy is not known"
    assert result.reasons == (Reason(ReasonCode.ENERGY_UNKNOWN, text, "battery"),)


def test_demand_peak_of_the_plan_is_held_like_a_limit(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    charged = replace(site, tariff=replace(site.tariff, demand_charge_per_kw=10.0))
    result, _ = regulate(measured(now_ms, **values(4300.0)), make_plan(0.0, pcc_kw=4000.0), RegulatorState(), charged)
    assert result.setpoints["battery"] == pytest.approx(-300.0)


def test_clock_set_back_starts_the_quarter_anew(site: Site, measured: Measure, now_ms: int) -> None:
    _, state = regulate(measured(now_ms, **values(9000.0)), None, RegulatorState(), site)
    early_ms = now_ms - 86_400_000
    result, state = regulate(measured(early_ms, **values(4950.0)), None, state, site)
    assert result.setpoints["battery"] == pytest.approx(0.0, abs=1e-6)
    assert state.period.start_ms == early_ms


def test_ramp_goes_on_from_the_setpoint_in_force_after_an_outage_of_the_local_broker(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    """1 kW/s: 50 s in which nothing went out are no leave for a step of 50 kW at the equipment."""
    slow = replace(site, batteries=(replace(site.batteries[0], ramp_kw_per_min=60.0),))
    state = remember(RegulatorState(), {"battery": -3.0}, now_ms)
    for second in range(1, 51):  # nothing is accepted: the old setpoint stays in force
        state = remember(state, {"battery": -3.0}, now_ms + 1000 * second)
    at_ms = now_ms + 51_000
    measurements = measured(at_ms, **values(5600.0))
    result, state = regulate(measurements, make_plan(0.0), state, slow)
    limited = limit_setpoints(result.setpoints, site=slow, measurements=measurements, previous=state.sent)
    assert limited.power_kw["battery"] == pytest.approx(-4.0)


def test_setpoint_that_has_expired_at_the_equipment_is_forgotten(now_ms: int) -> None:
    state = remember(RegulatorState(), {"battery": -3.0, "pv": None}, now_ms)
    assert remember(state, {"pv": None}, now_ms + 1000).sent == {"pv": SentSetpoint(None, now_ms + 1000)}


def test_state_survives_a_restart(site: Site, measured: Measure, now_ms: int) -> None:
    result, state = regulate(measured(now_ms, **values(5600.0)), None, RegulatorState(), site)
    state = remember(state, result.setpoints, now_ms)
    assert decode_kept(encode_kept(state), RegulatorState) == state


def test_regulator_wishes_nothing_that_limits_would_change(
    site: Site, measured: Measure, make_plan: MakePlan, now_ms: int
) -> None:
    slow = replace(site, batteries=(replace(site.batteries[0], ramp_kw_per_min=60.0),))
    state = remember(RegulatorState(), {"battery": 0.0}, now_ms - 1000)
    measurements = measured(now_ms, **values(5600.0, soc_kwh=420.0))
    result, state = regulate(measurements, make_plan(0.0), state, slow)
    limited = limit_setpoints(result.setpoints, site=slow, measurements=measurements, previous=state.sent)
    assert limited.power_kw == result.setpoints
    assert limited.reasons == ()


def test_plan_is_followed_by_every_kind(measured: Measure) -> None:
    assert regulated(measured, 500.0, step=plan()).setpoints == PLANNED


def test_equipment_stays_within_its_nameplate_whatever_its_meter_says(measured: Measure) -> None:
    """1e6 kW of a battery of 100 kW: it is taken to stay at 100 kW, and all else goes on as the plan has it."""
    absurd = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **readings(200.0, battery_kw=1e6))
    absurd = replace(absurd, unresponsive_kw={"battery": 1e6}, runs={"mill": RUNNING})
    result, _ = regulate(absurd, plan(), RegulatorState(), SITE)
    assert {name: kw for name, kw in result.setpoints.items() if name != "battery"} == {
        name: kw for name, kw in PLANNED.items() if name != "battery"
    }
    assert reasons_beside_feeds(result) == ["battery does not follow its setpoint: 100.0 kW is assumed"]


def test_equipment_that_does_not_follow_is_taken_to_stay_and_still_told_what_it_was_told(measured: Measure) -> None:
    state = remember(RegulatorState(), {"battery": -80.0}, NOW_MS - 1000)
    stuck = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **readings(900.0, battery_kw=100.0))
    stuck = replace(stuck, unresponsive_kw={"battery": 100.0}, runs={"mill": RUNNING})
    result, _ = regulate(stuck, plan(), state, SITE)
    assert result.setpoints["battery"] == -80.0
    assert sum(result.setpoints[name] or 0.0 for name in ("charger", "pump", "boiler", "mill")) == pytest.approx(0.0)
    assert "battery does not follow its setpoint: 100.0 kW is assumed" in result.reason


def test_positions_are_those_of_the_plan_while_operations_are_left_and_stay_without_a_plan(measured: Measure) -> None:
    site = replace(SITE, capacitor_banks=(CapacitorBank(name="bank", step_kvar=50.0, steps=4),))
    planned = replace(plan(), positions={"bank": [3] * 96})
    measurements = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **readings(500.0, bank_position=1.0))
    assert regulate(measurements, planned, RegulatorState(), site)[0].positions == {"bank": 3}
    assert regulate(measurements, None, RegulatorState(), site)[0].positions == {"bank": None}
    spent = replace(measurements, operations_left={"bank": 0})
    assert regulate(spent, planned, RegulatorState(), site)[0].positions == {"bank": None}
