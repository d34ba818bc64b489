"""What is followed between cycles: transformers warm and cool, runs and operations count, and a restart loses none of it."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.transformer import loadings_pu
from ringmain_agent.gateway.kept import decode_kept, encode_kept
from ringmain_agent.inputs.equipment_state import (
    EquipmentState,
    equipment_reasons,
    move_equipment_state,
    restored_equipment_state,
    update_equipment_state,
)
from ringmain_agent.site.nameplates import CapacitorBank, ChargingStation, OnOffLoad, Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements
from ringmain_protocol.messages import ReasonCode

Measure = Callable[..., Measurements]
HOUR_MS = 3_600_000


@pytest.fixture
def equipped(site: Site) -> Site:
    return replace(
        site,
        transformers=(Transformer(name="large", rated_power_kva=3000.0), Transformer(name="small", rated_power_kva=1000.0)),
        on_off_loads=(OnOffLoad(name="mill", power_kw=100.0, run_h=2.0),),
        charging_stations=(ChargingStation(name="charger", power_max_kw=22.0),),
        capacitor_banks=(CapacitorBank(name="bank", step_kvar=100.0, steps=4),),
    )


def test_transformer_warms_at_the_loading_of_its_share(equipped: Site, measured: Measure, now_ms: int) -> None:
    """4000 kW and 3000 kvar on 4000 kVA are 1.25 pu for both."""
    state = update_equipment_state(EquipmentState(), measured(now_ms, pcc_kw=0.0, pcc_kvar=0.0), equipped)
    state = update_equipment_state(state, measured(now_ms + 1, pcc_kw=4000.0, pcc_kvar=3000.0), equipped)
    for minute in range(10, 60, 10):
        at_ms = now_ms + 1 + 60_000 * minute
        state = update_equipment_state(state, measured(at_ms, pcc_kw=4000.0, pcc_kvar=3000.0), equipped)
    state = update_equipment_state(state, measured(now_ms + 1 + HOUR_MS, pcc_kw=0.0, pcc_kvar=0.0), equipped)
    for transformer in equipped.transformers:
        known = thermal.constants(transformer)
        expected = thermal.after(thermal.steady_state(0.0, 20.0, known), 1.25, 20.0, 60.0, known)
        found = state.thermal[transformer.name]
        assert found.top_oil_degc == pytest.approx(expected.top_oil_degc, abs=1e-3)
        assert thermal.hot_spot_degc(found) == pytest.approx(thermal.hot_spot_degc(expected), abs=1e-3)


def test_measured_top_oil_corrects_the_model_unless_it_cannot_be_true(
    equipped: Site, measured: Measure, now_ms: int
) -> None:
    right = update_equipment_state(EquipmentState(), measured(now_ms, pcc_kw=0.0, large_top_oil_degc=71.0), equipped)
    wrong = update_equipment_state(EquipmentState(), measured(now_ms, pcc_kw=0.0, large_top_oil_degc=9999.0), equipped)
    assert right.thermal["large"].top_oil_degc == 71.0
    assert wrong.thermal["large"].top_oil_degc < 40.0


def test_temperatures_stay_when_the_clock_is_set_back_and_when_the_pcc_is_silent_the_loading_holds(
    equipped: Site, measured: Measure, now_ms: int
) -> None:
    hot = update_equipment_state(EquipmentState(), measured(now_ms, pcc_kw=4000.0), equipped)
    back = update_equipment_state(hot, measured(now_ms - HOUR_MS, pcc_kw=0.0), equipped)
    silent = update_equipment_state(hot, measured(now_ms + HOUR_MS), equipped)
    assert back.thermal == hot.thermal
    assert silent.thermal["large"].top_oil_degc == pytest.approx(hot.thermal["large"].top_oil_degc)
    assert loadings_pu(measured(now_ms), equipped) == {}


def test_temperatures_that_cannot_be_are_not_followed_further(equipped: Site, measured: Measure, now_ms: int) -> None:
    """A meter that showed 1e8 kW for a while: with it gone, the transformer is as warm as its loading would make it."""
    broken = update_equipment_state(EquipmentState(), measured(now_ms, pcc_kw=0.0), equipped)
    for minute in (1, 2):
        at_ms = now_ms + 60_000 * minute
        broken = update_equipment_state(broken, measured(at_ms, pcc_kw=1e8), equipped)
    assert thermal.hot_spot_degc(broken.thermal["large"]) > 300.0
    at_ms = now_ms + 180_000
    expected = update_equipment_state(EquipmentState(), measured(at_ms, pcc_kw=2000.0), equipped).thermal
    assert update_equipment_state(broken, measured(at_ms, pcc_kw=2000.0), equipped).thermal == expected


def test_ambient_temperature_of_its_series_counts(equipped: Site, measured: Measure, now_ms: int) -> None:
    cold = replace(measured(now_ms, pcc_kw=0.0), ambient_degc={"large": -10.0})
    state = update_equipment_state(EquipmentState(), cold, equipped)
    assert state.thermal["small"].top_oil_degc - state.thermal["large"].top_oil_degc == pytest.approx(30.0)


def test_runs_operations_and_visits_are_followed_and_survive_a_restart(
    equipped: Site, measured: Measure, now_ms: int
) -> None:
    state = EquipmentState()
    for minute in range(11):
        at_ms = now_ms + 60_000 * minute
        values = {"mill_kw": 100.0, "bank_position": float(minute // 5), "charger_energy_kwh": 5.0 if minute < 3 else 0.0}
        state = update_equipment_state(state, measured(at_ms, pcc_kw=1000.0, **values), equipped)
    runs = state.usage_at(equipped, now_ms + 600_000)
    assert runs["mill"].run_h == pytest.approx(1 / 6)
    assert runs["mill"].on
    assert state.operations_left(equipped) == {"bank": 8}
    assert state.last_there_ms == {"charger": now_ms + 120_000}
    assert decode_kept(encode_kept(state), EquipmentState) == state
    assert b'"runs":{"mill"' in encode_kept(state)  # the key of the state file
    with pytest.raises(ValueError, match="EquipmentState: NoneType is not a kept state"):
        decode_kept(None, EquipmentState)
    with pytest.raises(ValueError, match="truncated"):
        decode_kept(b"{", EquipmentState)


def test_after_a_gap_a_transformer_starts_from_the_worse_of_tracked_and_steady_state(
    equipped: Site, measured: Measure, now_ms: int
) -> None:
    """Five hours away at 1.25 pu: it is as hot as that loading makes it, not as it was before."""
    cold = update_equipment_state(EquipmentState(), measured(now_ms, pcc_kw=400.0), equipped)
    hot = update_equipment_state(EquipmentState(), measured(now_ms, pcc_kw=5000.0), equipped)
    later = measured(now_ms + 5 * HOUR_MS, pcc_kw=5000.0)
    found = update_equipment_state(cold, later, equipped)
    assert found.thermal == hot.thermal
    assert {reason.code for reason in equipment_reasons(found, later.now_ms)} == {ReasonCode.TEMPERATURE_ASSUMED}
    assert not list(equipment_reasons(found, later.now_ms + 2 * HOUR_MS))
    soon = measured(now_ms + HOUR_MS, pcc_kw=400.0)
    still_warm = update_equipment_state(hot, soon, equipped)
    assert cold.thermal["large"].top_oil_degc + 5 < still_warm.thermal["large"].top_oil_degc
    assert still_warm.thermal["large"].top_oil_degc < hot.thermal["large"].top_oil_degc


def test_until_the_power_at_the_pcc_is_measured_temperatures_wait(equipped: Site, measured: Measure, now_ms: int) -> None:
    """The first cycles after a restart may know nothing yet; the gap is not forgotten."""
    cold = update_equipment_state(EquipmentState(), measured(now_ms, pcc_kw=400.0), equipped)
    waiting = update_equipment_state(cold, measured(now_ms + 5 * HOUR_MS), equipped)
    assert waiting.thermal == cold.thermal
    found = update_equipment_state(waiting, measured(now_ms + 5 * HOUR_MS + 1000, pcc_kw=5000.0), equipped)
    steady = update_equipment_state(EquipmentState(), measured(now_ms, pcc_kw=5000.0), equipped)
    assert found.thermal == steady.thermal


@pytest.mark.parametrize("moved_ms", [-50 * 365 * 24 * HOUR_MS, -24 * HOUR_MS, -10_000, 10_000, 24 * HOUR_MS])
def test_a_clock_that_is_set_neither_heats_nor_cools(equipped: Site, measured: Measure, now_ms: int, moved_ms: int) -> None:
    """A quarter of an hour at 1.4 pu, and then the clock a day forward, is no emergency."""
    even = moved = EquipmentState()
    for minute in range(15):
        even = update_equipment_state(even, measured(now_ms + 60_000 * minute, pcc_kw=5600.0 if minute else 400.0), equipped)
    moved = move_equipment_state(even, moved_ms)
    at_ms = now_ms + 15 * 60_000
    even = update_equipment_state(even, measured(at_ms, pcc_kw=5600.0), equipped)
    in_doubt = replace(measured(at_ms + moved_ms, pcc_kw=5600.0), clock_trusted=False)
    moved = update_equipment_state(moved, in_doubt, equipped)
    assert moved.thermal == even.thermal
    assert move_equipment_state(moved, -moved_ms).usage == even.usage
    assert moved.assumed_at_ms is None


def test_after_a_restart_with_a_clock_in_doubt_nothing_has_cooled(equipped: Site, measured: Measure, now_ms: int) -> None:
    hot = update_equipment_state(EquipmentState(), measured(now_ms, pcc_kw=5000.0), equipped)
    for clock_trusted, at_ms in ((False, now_ms + 24 * HOUR_MS), (True, now_ms - 24 * HOUR_MS)):
        again = restored_equipment_state(hot, now_ms=at_ms, clock_trusted=clock_trusted)
        found = update_equipment_state(again, measured(at_ms, pcc_kw=400.0), equipped)
        assert found.thermal == hot.thermal
    trusted = restored_equipment_state(hot, now_ms=now_ms + 24 * HOUR_MS, clock_trusted=True)
    cooled = update_equipment_state(trusted, measured(now_ms + 24 * HOUR_MS, pcc_kw=400.0), equipped)
    assert cooled.thermal["large"].top_oil_degc < hot.thermal["large"].top_oil_degc - 5


def test_a_kept_state_of_an_earlier_version_is_decoded(equipped: Site, measured: Measure, now_ms: int) -> None:
    """Its loading was measured at an unknown instant: the worse assumption counts."""
    kept = b'{"at_ms":%d,"runs":{},"thermal":{"large":{"top_oil_degc":90.0,"winding_k":40.0,"oil_lag_k":9.0}}}' % now_ms
    state = decode_kept(kept, EquipmentState)
    found = update_equipment_state(state, measured(now_ms + 1000, pcc_kw=400.0), equipped)
    assert found.thermal["large"].top_oil_degc == pytest.approx(90.0, abs=0.1)
