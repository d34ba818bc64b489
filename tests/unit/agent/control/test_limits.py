"""Nothing passes that equipment could be hurt by; what cannot be made safe is released, or at a limited site held."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.site.grid_connection import Busbar
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import (
    CapacitorBank,
    ChargingStation,
    FlexibleLoad,
    OnOffLoad,
    Rating,
    TapChanger,
    Transformer,
)
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Reason, SentSetpoint
from ringmain_protocol.messages import ReasonCode

Measure = Callable[..., Measurements]
NIGHT = LocalHours(begin="22:00", end="06:00")


def limited(
    site: Site, measurements: Measurements, sent: SentSetpoint | None = None, **setpoints: float | None
) -> dict[str, float | None]:
    previous = {} if sent is None else {"battery": sent}
    return limit_setpoints(setpoints, site=site, measurements=measurements, previous=previous).power_kw


def known_load(measurements: Measurements, least_kw: float, most_kw: float) -> Measurements:
    return replace(measurements, load_least_kw=least_kw, load_most_kw=most_kw)


def test_plant_is_not_released_without_a_meter_where_it_could_break_the_export_limit(
    site: Site, measured: Measure, now_ms: int
) -> None:
    zero = replace(site, grid_connection=replace(site.grid_connection, export_limit_kw=0.0))
    lost = measured(now_ms - 6000, now_ms=now_ms, pcc_kw=0.0)
    assert limited(zero, measured(now_ms, pcc_kw=0.0), pv=None) == {"pv": None}
    assert limited(zero, lost, pv=None) == {"pv": 0.0}
    told = replace(zero, generators=(replace(zero.generators[0], failsafe_kw=-200.0),))
    assert limited(told, lost, pv=None) == {"pv": -200.0}


def test_charger_is_not_released_where_it_could_break_the_import_limit(
    equipped: Site, measured: Measure, now_ms: int
) -> None:
    now = measured(now_ms, pcc_kw=0.0, import_limit_kw=100.0)
    assert limited(equipped, now, charger=None) == {"charger": 0.0}


def test_transformers_are_guarded_against_power_into_the_network_as_well(
    equipped: Site, measured: Measure, now_ms: int
) -> None:
    """1000 kVA at 1.2 pu: battery and PV would export 3400 kW; the battery gives way first."""
    now = measured(now_ms, pcc_kw=-1400.0, battery_kw=0.0, pv_kw=-1500.0, battery_soc_kwh=4000.0)
    assert limited(equipped, now, battery=-2000.0, pv=None) == {"battery": 0.0, "pv": pytest.approx(-1300.0)}
    assert limited(equipped, now, battery=0.0, pv=-1200.0) == {"battery": 0.0, "pv": -1200.0}


def test_transformers_are_guarded_without_a_meter_for_the_worst_load(equipped: Site, measured: Measure, now_ms: int) -> None:
    lost = known_load(measured(now_ms, battery_soc_kwh=4000.0), 100.0, 1100.0)
    wished = {"battery": 2000.0, "pv": 0.0, "charger": 0.0, "pump": 0.0, "mill": 0.0}
    assert limited(equipped, lost, None, **wished)["battery"] == pytest.approx(100.0)
    assert limited(equipped, lost, None, **wished | {"battery": -2000.0})["battery"] == pytest.approx(-1300.0)


@pytest.mark.parametrize(("wished", "granted"), [(9999.0, 2000.0), (-9999.0, -2000.0), (123.0, 123.0), (None, 0.0)])
def test_setpoint_never_exceeds_the_nameplate(
    site: Site, measured: Measure, now_ms: int, wished: float | None, granted: float | None
) -> None:
    assert limited(site, measured(now_ms, battery_soc_kwh=4000.0), battery=wished) == {"battery": granted}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_number_that_is_not_finite_holds_at_the_failsafe_power_with_a_reason(
    site: Site, measured: Measure, now_ms: int, bad: float
) -> None:
    result = limit_setpoints(
        {"battery": bad, "pv": bad},
        site=site,
        measurements=measured(now_ms, battery_soc_kwh=4000.0),
        previous={},
    )
    assert result.power_kw == {"battery": 0.0, "pv": -3000.0}  # the export limit leaves all of it
    assert [reason.code for reason in result.reasons] == [ReasonCode.SETPOINT_NOT_FINITE] * 2
    free = limit_setpoints(
        {"battery": bad},
        site=replace(site, generators=()),
        measurements=known_load(measured(now_ms), 500.0, 1000.0),
        previous={},
    )
    assert free.power_kw == {"battery": None}


@pytest.mark.parametrize(("wished", "granted"), [(10.0, 0.0), (-9999.0, -3000.0), (-5.0, -5.0), (None, None)])
def test_pv_bound_stays_between_the_rating_and_nothing(
    site: Site, measured: Measure, now_ms: int, wished: float | None, granted: float | None
) -> None:
    assert limited(site, measured(now_ms, pcc_kw=0.0), pv=wished) == {"pv": granted}


def test_empty_battery_is_not_discharged_and_full_one_not_charged(site: Site, measured: Measure, now_ms: int) -> None:
    empty, full = measured(now_ms, battery_soc_kwh=400.0), measured(now_ms, battery_soc_kwh=7600.0)
    assert limited(site, empty, battery=-500.0) == {"battery": 0.0}
    assert limited(site, empty, battery=500.0) == {"battery": 500.0}
    assert limited(site, full, battery=500.0) == {"battery": 0.0}
    assert limited(site, full, battery=-500.0) == {"battery": -500.0}


def test_power_is_what_the_energy_left_can_give_for_the_whole_validity(site: Site, measured: Measure, now_ms: int) -> None:
    """95 kWh above the least, at 0.95 and over 10 minutes: 541.5 kW."""
    assert limited(site, measured(now_ms, battery_soc_kwh=495.0), battery=-2000.0)["battery"] == pytest.approx(-541.5)


def test_battery_of_unknown_energy_is_held_at_its_failsafe_power_with_a_reason(
    site: Site, measured: Measure, now_ms: int
) -> None:
    stale = measured(now_ms - 301_000, now_ms=now_ms, battery_soc_kwh=4000.0)
    for measurements in (measured(now_ms), stale, measured(now_ms, battery_soc_kwh=float("nan"))):
        result = limit_setpoints({"battery": 100.0}, site=site, measurements=measurements, previous={})
        assert result.power_kw == {"battery": 0.0}
        assert result.reasons == (
            Reason(ReasonCode.ENERGY_UNKNOWN, "battery at 0.0 kW: its energy is not known", "battery"),
        )
        harmless = replace(site, generators=())
        known = known_load(measurements, 500.0, 1000.0)
        free = limit_setpoints({"battery": 100.0}, site=harmless, measurements=known, previous={})
        assert free.power_kw == {"battery": None}


def test_ramp_starts_from_the_last_setpoint(site: Site, measured: Measure, now_ms: int) -> None:
    slow = replace(site, batteries=(replace(site.batteries[0], ramp_kw_per_min=60.0),))
    measurements = measured(now_ms, battery_soc_kwh=4000.0, battery_kw=0.0)
    last = SentSetpoint(500.0, now_ms - 10_000)
    assert limited(slow, measurements, last, battery=2000.0) == {"battery": 510.0}
    assert limited(slow, measurements, last, battery=-2000.0) == {"battery": 490.0}


def test_ramp_starts_from_the_measured_power_without_a_setpoint_in_force(site: Site, measured: Measure, now_ms: int) -> None:
    slow = replace(site, batteries=(replace(site.batteries[0], ramp_kw_per_min=60.0),))
    measurements = measured(now_ms - 2000, now_ms=now_ms, battery_soc_kwh=4000.0, battery_kw=100.0)
    for last in (None, SentSetpoint(500.0, now_ms - 601_000), SentSetpoint(None, now_ms - 1000)):
        assert limited(slow, measurements, last, battery=2000.0) == {"battery": 102.0}


def test_energy_goes_before_ramp(site: Site, measured: Measure, now_ms: int) -> None:
    slow = replace(site, batteries=(replace(site.batteries[0], ramp_kw_per_min=60.0),))
    empty = measured(now_ms, battery_soc_kwh=400.0)
    assert limited(slow, empty, SentSetpoint(-2000.0, now_ms - 1000), battery=-2000.0) == {"battery": 0.0}


def test_unknown_equipment_gets_nothing(site: Site, measured: Measure, now_ms: int) -> None:
    result = limit_setpoints({"pump": 1.0}, site=site, measurements=measured(now_ms), previous={})
    assert result.power_kw == {}
    assert result.reasons == (Reason(ReasonCode.UNKNOWN_EQUIPMENT, "pump is not equipment of this site", "pump"),)


@pytest.fixture
def equipped(site: Site) -> Site:
    return replace(
        site,
        charging_stations=(ChargingStation(name="charger", power_max_kw=150.0, power_min_kw=20.0),),
        flexible_loads=(FlexibleLoad(name="pump", power_max_kw=100.0, energy_kwh=300.0),),
        on_off_loads=(OnOffLoad(name="mill", power_kw=60.0, run_h=4.0),),
        capacitor_banks=(CapacitorBank(name="bank", step_kvar=100.0, steps=3),),
        tap_changers=(TapChanger(name="tap", position_min=-8, position_max=8),),
        busbar=Busbar(),
        transformers=(
            Transformer(
                name="t1", rated_power_kva=1000.0, loading_max_pu=1.0, rating=(Rating(hours=NIGHT, loading_max_pu=1.2),)
            ),
        ),
    )


@pytest.mark.parametrize(
    ("name", "wish"),
    [
        ("charger", (500.0, 150.0)),
        ("charger", (19.0, 0.0)),
        ("charger", (20.0, 20.0)),
        ("charger", (-5.0, 0.0)),
        ("pump", (33.0, 33.0)),
        ("pump", (101.0, 100.0)),
        ("mill", (60.0, 60.0)),
        ("mill", (59.0, 0.0)),
        ("mill", (1e9, 60.0)),
    ],
)
def test_loads_are_off_or_between_their_least_and_most_power(
    equipped: Site, measured: Measure, now_ms: int, name: str, wish: tuple[float, float]
) -> None:
    wished, granted = wish
    assert limited(equipped, measured(now_ms, pcc_kw=0.0), None, **{name: wished}) == {name: granted}


def positions(site: Site, measurements: Measurements, **wished: int | None) -> dict[str, int | None]:
    return limit_setpoints({}, positions=wished, site=site, measurements=measurements, previous={}).positions


def test_position_moves_by_one_and_stays_within_what_there_is(equipped: Site, measured: Measure, now_ms: int) -> None:
    at = measured(now_ms, bank_position=1.0, tap_position=-7.0)
    assert positions(equipped, at, bank=3, tap=-8) == {"bank": 2, "tap": -8}
    assert positions(equipped, at, bank=-9, tap=8) == {"bank": 0, "tap": -6}
    assert positions(equipped, measured(now_ms, bank_position=3.0), bank=4) == {"bank": 3}
    assert positions(equipped, at, bank=None, other=1) == {"bank": None}


@pytest.mark.parametrize("position", [None, float("nan"), 7.0])
def test_position_that_is_not_known_or_impossible_is_left_alone(
    equipped: Site, measured: Measure, now_ms: int, position: float | None
) -> None:
    known = measured(now_ms) if position is None else measured(now_ms, bank_position=position)
    assert positions(equipped, known, bank=2) == {"bank": None}


def test_position_stays_when_no_operation_is_left(equipped: Site, measured: Measure, now_ms: int) -> None:
    spent = replace(measured(now_ms, bank_position=1.0), operations_left={"bank": 0})
    assert positions(equipped, spent, bank=2) == {"bank": None}
    assert positions(equipped, spent, bank=1) == {"bank": 1}


def test_what_no_rating_of_the_transformer_allows_is_taken_from_what_draws_power(
    equipped: Site, measured: Measure, now_ms: int
) -> None:
    """1.2 pu of 1000 kVA with 0 kvar: the pcc would go from 900 to 1350 kW, 150 more than the highest rating."""
    now = measured(now_ms, pcc_kw=900.0, battery_kw=0.0, charger_kw=0.0, pump_kw=0.0, mill_kw=0.0, battery_soc_kwh=4000.0)
    wished = {"battery": 140.0, "charger": 150.0, "pump": 100.0, "mill": 60.0}
    result = limit_setpoints(wished, site=equipped, measurements=now, previous={})
    assert result.power_kw == {"battery": 0.0, "charger": pytest.approx(140.0), "pump": 100.0, "mill": 60.0}
    assert len(result.reasons) == 2
    less = limit_setpoints(wished | {"battery": -10.0}, site=equipped, measurements=now, previous={})
    assert less.power_kw == wished | {"battery": -10.0}
