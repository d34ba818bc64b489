"""The rule over a horizon: limits, deadlines, bands and energies are kept without an optimizer."""

import pytest
from msgspec.structs import replace

from ringmain_agent.planning.rule_schedule import rule_schedule
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import CapacitorBank, ChargingStation, FlexibleLoad, OnOffLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ChargingSession, Snapshot
from support.sites import boiler


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
    warm_water = boiler(power_max_kw=50.0, capacity_kwh_per_k=10.0)
    store = replace(
        warm_water, name="store", temperature_min_degc=2.0, temperature_max_degc=6.0, cools=True, ambient_degc=20.0
    )
    equipped = replace(site, thermal_loads=(warm_water, store))
    warm = replace(snapshot, temperature_degc={"boiler": 55.0, "store": 4.0})
    rule = rule_schedule(site=equipped, snapshot=warm, load_kw=[1000.0] * 96, pv_kw={"pv": [0.0] * 96})
    assert rule.temperature_degc["boiler"][-1] == pytest.approx(51.0)
    assert rule.temperature_degc["store"][-1] == pytest.approx(5.6)
    assert min(rule.temperature_degc["boiler"]) >= 50.0
    assert max(rule.temperature_degc["store"]) <= 6.0


def test_rule_plans_around_equipment_that_stays_where_it_is_and_leaves_positions(site: Site, snapshot: Snapshot) -> None:
    switched = replace(site, capacitor_banks=(CapacitorBank(name="bank", step_kvar=100.0, steps=3),))
    stuck = replace(snapshot, unresponsive_kw={"battery": 200.0}, positions={"bank": 2})
    rule = rule_schedule(site=switched, snapshot=stuck, load_kw=[5500.0], pv_kw={"pv": [0.0]})
    assert (rule.power_kw["battery"], rule.pcc_kw, rule.positions) == ([200.0], [5700.0], {"bank": [2]})


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
