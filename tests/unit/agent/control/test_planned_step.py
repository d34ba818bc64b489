"""The ladder: which plan still counts at an instant, and what the rule does without one."""

import pytest
from msgspec.structs import replace

from ringmain_agent.control.planned_step import present_step
from ringmain_agent.planning.rule_schedule import rule_schedule
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import CapacitorBank, ChargingStation, FlexibleLoad, OnOffLoad, ThermalLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ChargingSession, Plan, Snapshot
from ringmain_protocol.messages import Fallback

MINUTE_MS = 60_000


@pytest.fixture
def plan(now_ms: int) -> Plan:
    return Plan(
        issued_at_ms=now_ms,
        step_s=900,
        fallback=Fallback.OPTIMAL,
        power_kw={"battery": [float(i) for i in range(96)], "pv": [-10.0] * 96},
        curtailed_kw={"pv": [5.0] * 96},
        soc_kwh={"battery": [4000.0] * 96},
        pcc_kw=[float(200 - i) for i in range(96)],
    )


@pytest.mark.parametrize(
    ("age_min", "rung", "step_index"),
    [
        (0, Fallback.OPTIMAL, 0),
        (14.9, Fallback.OPTIMAL, 0),
        (15.9, Fallback.OPTIMAL, 1),
        (16.1, Fallback.SHIFTED, 1),
        (239, Fallback.SHIFTED, 15),
    ],
)
def test_plan_is_followed_by_the_clock_and_named_shifted_when_it_is_old(
    plan: Plan, site: Site, age_min: float, rung: Fallback, step_index: int
) -> None:
    charged = replace(site, tariff=replace(site.tariff, demand_charge_per_kw=1.0))
    step = present_step(plan, now_ms=plan.issued_at_ms + round(age_min * MINUTE_MS), site=charged)
    assert step is not None
    assert (step.fallback, step.power_kw) == (rung, {"battery": float(step_index)})
    assert step.available_kw == {"pv": -15.0}
    assert step.peak_kw == {"month": 200 - step_index}


@pytest.mark.parametrize("age_min", [-1, 241, 24 * 60])
def test_plan_that_is_too_old_or_from_the_future_is_not_used(plan: Plan, site: Site, now_ms: int, age_min: int) -> None:
    assert present_step(plan, now_ms=now_ms + age_min * MINUTE_MS, site=site) is None


def test_plan_past_its_horizon_is_not_used_whatever_its_age_may_be(plan: Plan, site: Site, now_ms: int) -> None:
    patient = replace(site, regulator=replace(site.regulator, plan_age_max_s=1e6))
    assert present_step(plan, now_ms=now_ms + 24 * 60 * MINUTE_MS - 1, site=patient) is not None
    assert present_step(plan, now_ms=now_ms + 24 * 60 * MINUTE_MS, site=patient) is None


def test_incumbent_keeps_its_name(plan: Plan, site: Site, now_ms: int) -> None:
    step = present_step(replace(plan, fallback=Fallback.INCUMBENT), now_ms=now_ms, site=site)
    assert step is not None
    assert step.fallback == Fallback.INCUMBENT


def test_plan_that_is_only_a_rule_is_not_followed(plan: Plan, site: Site, now_ms: int) -> None:
    assert present_step(replace(plan, fallback=Fallback.RULE), now_ms=now_ms, site=site) is None
    assert present_step(None, now_ms=now_ms, site=site) is None


def test_rule_rests_inside_the_limits_takes_what_is_outside_and_stores_surplus(site: Site, snapshot: Snapshot) -> None:
    load_kw = [4000.0, 5500.0, 4000.0, -1500.0]
    rule = rule_schedule(site=site, snapshot=snapshot, load_kw=load_kw, pv_kw={"pv": [0.0] * 4})
    assert rule.power_kw["battery"] == [0.0, -550.0, 0.0, 1500.0]
    assert rule.pcc_kw == [4000.0, 4950.0, 4000.0, 0.0]
    assert rule.soc_kwh["battery"][1] == pytest.approx(4000.0 - 550 / 0.95 / 4)


def test_rule_gives_back_what_surplus_has_put_above_the_target(site: Site, snapshot: Snapshot) -> None:
    """1500 kW for a quarter are 356.25 kWh inside, which are 338.4 kWh outside again."""
    rule = rule_schedule(site=site, snapshot=snapshot, load_kw=[-1500.0, 3000.0, 3000.0], pv_kw={"pv": [0.0] * 3})
    assert rule.power_kw["battery"] == pytest.approx([1500.0, -1353.75, 0.0])
    assert rule.soc_kwh["battery"] == pytest.approx([4356.25, 4000.0, 4000.0])


def test_rule_curtails_what_the_battery_cannot_take_and_may_not_be_exported(site: Site, snapshot: Snapshot) -> None:
    rule = rule_schedule(site=site, snapshot=snapshot, load_kw=[-4500.0], pv_kw={"pv": [-2500.0]})
    assert (rule.power_kw["battery"], rule.curtailed_kw) == ([2000.0], {"pv": [1050.0]})
    assert (rule.power_kw["pv"], rule.pcc_kw) == ([-1450.0], [-3950.0])


def test_rule_charges_at_once_within_the_limit_and_meets_every_deadline(site: Site, snapshot: Snapshot) -> None:
    """From midnight UTC, 01:00 in Amsterdam: a vehicle until 03:00 UTC, energy and a run until 05:00 local."""
    hours = LocalHours(begin="00:00", end="05:00")
    equipped = replace(
        site,
        batteries=(),
        charging_stations=(ChargingStation(name="charger", power_max_kw=300.0, power_min_kw=50.0, efficiency=1.0),),
        flexible_loads=(FlexibleLoad(name="pump", power_max_kw=200.0, energy_kwh=300.0, hours=hours),),
        on_off_loads=(OnOffLoad(name="mill", power_kw=100.0, run_h=2.0, run_min_h=2.0, hours=hours),),
    )
    there = replace(
        snapshot,
        visits={
            "charger": [
                ChargingSession(from_ms=snapshot.issued_at_ms, to_ms=snapshot.issued_at_ms + 10_800_000, energy_kwh=450.0)
            ]
        },
    )
    rule = rule_schedule(site=equipped, snapshot=there, load_kw=[4650.0] * 20, pv_kw={"pv": [0.0] * 20})
    assert max(rule.pcc_kw) <= 4950.0
    assert rule.power_kw["mill"] == [100.0] * 8 + [0.0] * 12
    assert rule.power_kw["charger"][0] == 200.0
    assert sum(rule.power_kw["charger"]) / 4 == pytest.approx(450.0)
    assert sum(rule.power_kw["pump"]) / 4 == pytest.approx(300.0)
    assert sum(rule.power_kw["pump"][16:]) == 0.0  # 05:00 in Amsterdam


def test_rule_keeps_temperatures_in_their_band(site: Site, snapshot: Snapshot) -> None:
    boiler = ThermalLoad(
        name="boiler",
        power_max_kw=50.0,
        capacity_kwh_per_k=10.0,
        loss_kw_per_k=0.5,
        temperature_min_degc=50.0,
        temperature_max_degc=60.0,
    )
    store = replace(boiler, name="store", temperature_min_degc=2.0, temperature_max_degc=6.0, cools=True, ambient_degc=20.0)
    equipped = replace(site, thermal_loads=(boiler, store))
    warm = replace(snapshot, temperature_degc={"boiler": 55.0, "store": 4.0})
    rule = rule_schedule(site=equipped, snapshot=warm, load_kw=[1000.0] * 96, pv_kw={"pv": [0.0] * 96})
    assert rule.temperature_degc["boiler"][-1] == pytest.approx(51.0)
    assert rule.temperature_degc["store"][-1] == pytest.approx(5.6)
    assert min(rule.temperature_degc["boiler"]) >= 50.0
    assert max(rule.temperature_degc["store"]) <= 6.0


def test_rule_plans_around_equipment_that_stays_where_it_is_and_leaves_positions(site: Site, snapshot: Snapshot) -> None:
    switched = replace(site, capacitor_banks=(CapacitorBank(name="bank", step_kvar=100.0, steps=3),))
    stuck = replace(snapshot, held_kw={"battery": 200.0}, positions={"bank": 2})
    rule = rule_schedule(site=switched, snapshot=stuck, load_kw=[5500.0], pv_kw={"pv": [0.0]})
    assert (rule.power_kw["battery"], rule.pcc_kw, rule.positions) == ([200.0], [5700.0], {"bank": [2]})


def test_plan_with_a_power_that_is_no_number_is_not_followed(plan: Plan, site: Site, now_ms: int) -> None:
    for bad in (float("nan"), float("inf")):
        powers = plan.power_kw | {"battery": [bad, *plan.power_kw["battery"][1:]]}
        assert present_step(replace(plan, power_kw=powers), now_ms=now_ms, site=site) is None


def test_rule_stops_at_the_least_energy(site: Site, snapshot: Snapshot) -> None:
    rule = rule_schedule(
        site=site, snapshot=replace(snapshot, soc_kwh={"battery": 450.0}), load_kw=[6000.0] * 4, pv_kw={"pv": [0.0] * 4}
    )
    assert rule.power_kw["battery"] == pytest.approx([-190.0, 0.0, 0.0, 0.0])
    assert rule.soc_kwh["battery"] == pytest.approx([400.0] * 4)


def test_rule_lets_a_battery_of_unknown_energy_rest(site: Site, snapshot: Snapshot) -> None:
    rule = rule_schedule(site=site, snapshot=replace(snapshot, soc_kwh={}), load_kw=[6000.0], pv_kw={"pv": [-100.0]})
    assert rule.power_kw == {"battery": [0.0], "pv": [-100.0]}
    assert (rule.soc_kwh, rule.pcc_kw) == ({}, [5900.0])
