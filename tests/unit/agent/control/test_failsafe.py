"""Unmeasured: powers that hold the limits at the worst load, from the begin over the hold to the return."""

import pytest
from msgspec.structs import replace

from ringmain_agent.control.failsafe import Failsafe, failsafe_powers, load_range_kw, unmeasured, update_failsafe
from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import RegulatorState, regulate, remember
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.gateway.kept import decode_kept, encode_kept
from ringmain_agent.site.grid_connection import FailsafeLimits, GridConnection
from ringmain_agent.site.nameplates import ChargingStation, FlexibleLoad, Generator
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Reason
from ringmain_protocol.messages import Fallback, ReasonCode
from support.sites import NOW_MS, battery, measured, station

LIMITS = FailsafeLimits(hold_min_s=60.0, ramp_s=20.0)
LOST = Reason(ReasonCode.METER_LOST, "pcc_kw is missing", "pcc_kw")
KNOWN = SetpointRange(Interval(-200.0, 200.0))
SITE = station(
    import_limit_kw=500.0,
    export_limit_kw=0.0,
    batteries=(battery("battery", 400.0, 200.0, ramp_kw_per_min=1e6),),
    generators=(Generator(name="pv", rated_power_kw=2000.0),),
    charging_stations=(ChargingStation(name="charger", power_max_kw=150.0),),
    pcc_feed=True,
)
USUAL = {"load_kw": 400.0, "pv_kw": -300.0, "battery_kw": 0.0, "charger_kw": 0.0, "battery_soc_kwh": 200.0, "pcc_kw": 100.0}


def image(at_ms: int, *, load: tuple[float, float] | None = (100.0, 450.0), lost: str = "", **values: float) -> Measurements:
    present = {name: value for name, value in (USUAL | values).items() if name != lost}
    measurements = measured(SITE, at_ms, **present)
    return measurements if load is None else replace(measurements, load_least_kw=load[0], load_most_kw=load[1])


def test_meter_is_lost_once_its_value_is_older_than_its_setting() -> None:
    fresh = measured(SITE, NOW_MS - 5000, now_ms=NOW_MS, **USUAL)
    late = measured(SITE, NOW_MS - 5001, now_ms=NOW_MS, **USUAL)
    assert unmeasured(fresh, SITE) is None
    reason = unmeasured(late, SITE)
    assert reason is not None
    assert (reason.code, reason.about) == (ReasonCode.METER_LOST, "pcc_kw")
    slow = replace(SITE, grid_connection=replace(SITE.grid_connection, meter_lost_after_s=60.0))
    assert unmeasured(late, slow) is None


def test_load_feed_does_not_replace_a_meter_that_is_configured() -> None:
    without = {name: value for name, value in USUAL.items() if name != "pcc_kw"}
    assert unmeasured(measured(SITE, NOW_MS, **without), SITE) is not None
    no_meter = replace(SITE, pcc_feed=False)
    assert unmeasured(measured(no_meter, NOW_MS, **without), no_meter) is None
    del without["pv_kw"]
    reason = unmeasured(measured(no_meter, NOW_MS, **without), no_meter)
    assert reason is not None
    assert reason.about == "pv_kw"


def test_worst_load_is_that_of_the_last_week_and_a_measured_one_only_widens_it() -> None:
    assert load_range_kw(image(NOW_MS), SITE) == Interval(100.0, 450.0)
    assert load_range_kw(image(NOW_MS, load_kw=600.0), SITE) == Interval(100.0, 600.0)
    assert load_range_kw(image(NOW_MS, load=None, lost="load_kw"), SITE) == Interval(0.0, 500.0)


def powers(
    load: Interval, site: Site = SITE, possible: SetpointRange | None = KNOWN
) -> tuple[dict[str, float], float, float]:
    result = failsafe_powers(Interval(0.0, 500.0), load, site, batteries={"battery": possible}, fixed={})
    return result.power_kw, result.import_shortfall_kw, result.export_shortfall_kw


def test_generation_gets_what_the_export_limit_leaves_and_the_rest_rests() -> None:
    assert powers(Interval(100.0, 450.0)) == ({"battery": 0.0, "charger": 0.0, "pv": -100.0}, 0.0, 0.0)


def test_chargers_give_way_first_then_plants_then_batteries_of_known_energy() -> None:
    charging = replace(SITE, charging_stations=(replace(SITE.charging_stations[0], failsafe_kw=100.0),))
    assert powers(Interval(100.0, 450.0), charging)[0] == {"battery": 0.0, "charger": 50.0, "pv": -100.0}
    assert powers(Interval(300.0, 600.0), charging) == ({"battery": -100.0, "charger": 0.0, "pv": -200.0}, 0.0, 0.0)
    assert powers(Interval(300.0, 600.0), charging, None) == ({"battery": 0.0, "charger": 0.0, "pv": -300.0}, 100.0, 0.0)


def test_what_cannot_be_held_is_said_with_its_shortfall() -> None:
    _, import_kw, export_kw = powers(Interval(50.0, 900.0))
    assert import_kw + export_kw == pytest.approx(350.0)  # 400 kW above the limit, 50 kW below the other one
    fixed = replace(SITE, generators=(replace(SITE.generators[0], curtailable=False),))
    assert powers(Interval(100.0, 100.0), fixed) == ({"battery": 200.0, "charger": 0.0}, 0.0, 1700.0)


def test_battery_of_unknown_energy_stays_within_its_failsafe_power() -> None:
    told = replace(SITE, batteries=(replace(SITE.batteries[0], failsafe_kw=80.0),))
    assert powers(Interval(100.0, 400.0), told, None)[0]["battery"] == 80.0
    assert powers(Interval(100.0, 450.0), told, None)[0]["battery"] == 50.0
    assert powers(Interval(100.0, 900.0), told, None)[0]["battery"] == 0.0


def test_failsafe_is_held_and_then_returned_from() -> None:
    def after(state: Failsafe | None, second: float, why: Reason | None = None) -> Failsafe | None:
        return update_failsafe(state, why, now_ms=NOW_MS + round(1000 * second), starting=False, limits=LIMITS)

    state = after(None, 0, LOST)
    assert state is not None
    assert (state.since_ms, state.is_active) == (NOW_MS, True)
    state = after(state, 59.9)
    assert state is not None
    assert state.is_active
    state = decode_kept(encode_kept(state), Failsafe)
    state = after(state, 60.0)
    assert state is not None
    assert not state.is_active
    assert after(state, 79.9) is not None
    assert after(state, 80.0) is None
    again = after(state, 70.0, LOST)
    assert again is not None
    assert again.since_ms == NOW_MS + 70_000


def test_clock_that_is_set_back_does_not_shorten_the_hold() -> None:
    state: Failsafe | None = Failsafe(since_ms=NOW_MS, why="lost")
    state = update_failsafe(state, None, now_ms=NOW_MS - 3_600_000, starting=False, limits=LIMITS)
    assert state == Failsafe(since_ms=NOW_MS - 3_600_000, why="lost")


def test_first_value_after_a_start_ends_the_failsafe_of_the_start() -> None:
    state = update_failsafe(None, LOST, now_ms=NOW_MS, starting=True, limits=LIMITS)
    assert state is not None
    assert update_failsafe(state, None, now_ms=NOW_MS + 1000, starting=False, limits=LIMITS) is None


def test_lost_meter_holds_the_limits_and_control_returns_slowly() -> None:
    """2000 kW of PV at an export limit of 0: 100 kW may remain, as that is the lowest load of the week at this hour."""
    state, now_ms = RegulatorState(), NOW_MS
    first, state = regulate(image(now_ms), None, state, SITE)
    assert first.fallback is Fallback.RULE
    state = remember(state, first.setpoints, now_ms)
    now_ms += 1000
    lost, state = regulate(image(now_ms, lost="pcc_kw"), None, state, SITE)
    assert (lost.fallback, lost.setpoints) == (Fallback.FAILSAFE, {"battery": 0.0, "pv": -100.0, "charger": 0.0})
    limited = limit_setpoints(
        lost.setpoints, site=SITE, measurements=image(now_ms, lost="pcc_kw"), previous=state.sent
    ).power_kw
    assert limited == lost.setpoints
    state = remember(state, limited, now_ms)
    held, state = regulate(image(now_ms + 30_000), None, state, SITE)
    assert (held.fallback, held.setpoints["pv"]) == (Fallback.FAILSAFE, -100.0)
    state = decode_kept(encode_kept(state), RegulatorState)
    begin, state = regulate(image(now_ms + 60_000), None, state, SITE)
    assert begin.fallback is Fallback.RULE
    assert begin.setpoints["pv"] == pytest.approx(-100.0)
    half, state = regulate(image(now_ms + 90_000), None, state, SITE)
    assert half.setpoints["pv"] == pytest.approx(-1050.0)
    free, state = regulate(image(now_ms + 120_000), None, state, SITE)
    assert (free.setpoints["pv"], state.failsafe) == (None, None)


def test_chargers_of_a_site_without_a_meter_do_not_charge_above_the_import_limit() -> None:
    """Four chargers of 200 kW behind a limit of 300 kW: without the meter they were released to 800 kW."""
    chargers = tuple(ChargingStation(name=f"charger{i}", power_max_kw=200.0, failsafe_kw=100.0) for i in range(4))
    site = station(import_limit_kw=300.0, export_limit_kw=300.0, charging_stations=chargers)
    known = replace(measured(site, NOW_MS), load_least_kw=0.0, load_most_kw=50.0)
    result, _ = regulate(known, None, RegulatorState(), site)
    assert list(result.setpoints.values()) == [100.0, 100.0, 50.0, 0.0]
    nothing, _ = regulate(measured(site, NOW_MS), None, RegulatorState(), site)
    assert list(nothing.setpoints.values()) == [0.0, 0.0, 0.0, 0.0]


def test_equipment_that_does_not_follow_counts_at_its_measured_power() -> None:
    stuck = replace(image(NOW_MS, lost="pcc_kw", charger_kw=120.0), unresponsive_kw={"charger": 120.0})
    result, _ = regulate(stuck, None, RegulatorState(), SITE)
    assert result.setpoints == {"battery": -70.0, "pv": -150.0, "charger": 0.0}


def test_failsafe_limits_of_the_site_hold_and_its_own_never_widen() -> None:
    narrow = FailsafeLimits(import_kw=450.0, export_kw=0.0)
    grid = GridConnection(import_limit_kw=500.0, export_limit_kw=700.0, failsafe=narrow)
    site = replace(
        SITE, grid_connection=grid, flexible_loads=(FlexibleLoad(name="pump", power_max_kw=90.0, energy_kwh=1.0),)
    )
    result, _ = regulate(image(NOW_MS, lost="pcc_kw"), None, RegulatorState(), site)
    assert result.setpoints["pv"] == -100.0
    assert not [reason for reason in result.reasons if reason.code is ReasonCode.FAILSAFE_SHORTFALL]
    worse, _ = regulate(image(NOW_MS, lost="pcc_kw", load=(100.0, 800.0)), None, RegulatorState(), site)
    assert [reason.text for reason in worse.reasons if reason.code is ReasonCode.FAILSAFE_SHORTFALL] == [
        "fail-safe cannot hold the import limit of 450 kW at the worst: 250 kW lack"
    ]
