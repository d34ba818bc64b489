"""Whatever is wished, planned and measured: what leaves `limits` is finite, inside the nameplate and safe for the energy."""

import math

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import RegulatorState, regulate, remember
from ringmain_agent.site.nameplates import (
    Battery,
    CapacitorBank,
    ChargingStation,
    FlexibleLoad,
    Generator,
    OnOffLoad,
    Transformer,
)
from ringmain_agent.site.site import RegulatorSettings, Site
from ringmain_agent.snapshot import LoadUsage, Measured, Measurements, Plan, SentSetpoint, ThermalState
from ringmain_protocol.messages import Fallback
from support.sites import NOW_MS, battery, boiler, measured, station

ANY = st.floats(allow_nan=True, allow_infinity=True)
POWER = st.one_of(st.floats(-1e4, 1e4), ANY)
INSTANT = st.integers(NOW_MS - 700_000, NOW_MS + 700_000)


@st.composite
def batteries(draw: st.DrawFn, name: str) -> Battery:
    low, target, high = sorted(draw(st.lists(st.floats(0, 1), min_size=3, max_size=3)))
    return Battery(
        name=name,
        capacity_kwh=draw(st.floats(1, 1e4)),
        charge_max_kw=draw(st.floats(0, 1e4)),
        discharge_max_kw=draw(st.floats(0.1, 1e4)),
        charge_efficiency=draw(st.floats(0.5, 1)),
        discharge_efficiency=draw(st.floats(0.5, 1)),
        soc_min_pu=low * 0.9,
        soc_target_pu=target * 0.9,
        soc_max_pu=high * 0.9 + 0.1,
        ramp_kw_per_min=draw(st.sampled_from([1.0, 100.0, 1e6])),
    )


@st.composite
def sites(draw: st.DrawFn) -> Site:
    return station(
        import_limit_kw=draw(st.floats(0, 1e4)),
        export_limit_kw=draw(st.floats(0, 1e4)),
        margin_kw=draw(st.floats(0, 100)),
        batteries=tuple(draw(batteries(name)) for name in ("one", "two")[: draw(st.integers(0, 2))]),
        generators=(Generator(name="pv", rated_power_kw=draw(st.floats(1, 1e4))),),
        charging_stations=(ChargingStation(name="charger", power_max_kw=draw(st.floats(10, 500)), power_min_kw=10.0),),
        flexible_loads=(FlexibleLoad(name="pump", power_max_kw=draw(st.floats(1, 500)), energy_kwh=100.0),),
        thermal_loads=(boiler(power_max_kw=draw(st.floats(1, 500)), capacity_kwh_per_k=10.0),),
        on_off_loads=(OnOffLoad(name="mill", power_kw=draw(st.floats(1, 500)), run_h=1.0, run_min_h=0.5),),
        capacitor_banks=(CapacitorBank(name="bank", step_kvar=50.0, steps=3),),
        transformers=(Transformer(name="t1", rated_power_kva=draw(st.floats(10, 1e4))),),
        demand_charge_per_kw=draw(st.sampled_from([0.0, 10.0])),
        valid_for_s=draw(st.sampled_from([10.0, 600.0])),
    )


LOADS = ("charger", "pump", "boiler", "mill")
POWERED = ("one", "two", "pv", *LOADS)
SIGNALS = (
    *("load_kw", "pcc_kw", "pcc_kvar", "one_soc_kwh", "two_soc_kwh", "charger_energy_kwh", "boiler_degc", "bank_position"),
    *(f"{name}_kw" for name in POWERED),
)
MEASURED = st.builds(Measured, st.one_of(st.none(), POWER), INSTANT, st.integers(0, 2))
MEASUREMENTS = st.builds(
    Measurements,
    now_ms=st.just(NOW_MS),
    stale_after_s=st.just(RegulatorSettings().stale_after_s),
    newest=st.dictionaries(st.sampled_from(SIGNALS), MEASURED),
    import_limit_kw=st.floats(0, 1e4),
    export_limit_kw=st.floats(0, 1e4),
    requested_import_kw=st.one_of(st.none(), st.floats(0, 1e4)),
    runs=st.dictionaries(
        st.sampled_from(["pump", "mill"]),
        st.builds(LoadUsage, on=st.booleans(), since_ms=INSTANT, drawn_kwh=st.floats(0, 200)),
    ),
    thermal=st.dictionaries(st.just("t1"), st.builds(ThermalState, ANY, ANY, ANY)),
    ambient_degc=st.dictionaries(st.just("t1"), st.floats(-40, 50)),
    operations_left=st.dictionaries(st.just("bank"), st.integers(0, 3)),
    unresponsive_kw=st.dictionaries(st.sampled_from(POWERED), POWER),
)
SENT = st.dictionaries(
    st.sampled_from(POWERED), st.builds(SentSetpoint, st.one_of(st.none(), st.floats(-1e4, 1e4)), INSTANT)
)
FEW = st.lists(st.one_of(st.floats(-1e5, 1e5), ANY), min_size=3, max_size=3)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    return Plan(
        issued_at_ms=NOW_MS + 900_000 * draw(st.integers(-4, 1)),
        step_s=900,
        fallback=draw(st.sampled_from(Fallback)),
        power_kw={name: draw(FEW) for name in POWERED},
        positions={"bank": draw(st.lists(st.integers(-99, 99), min_size=3, max_size=3))},
        curtailed_kw={"pv": draw(FEW)},
        pcc_kw=draw(FEW),
    )


def assert_off_or_within(drawn_kw: float | None, least_kw: float, most_kw: float) -> None:
    assert drawn_kw is None or drawn_kw == 0 or least_kw <= drawn_kw <= most_kw


def assert_safe(site: Site, measurements: Measurements, power_kw: dict[str, float | None]) -> None:
    for plant in site.generators:
        bound = power_kw.get(plant.name)
        assert bound is None or -plant.rated_power_kw <= bound <= 0
    for charger in site.charging_stations:
        assert_off_or_within(power_kw.get(charger.name), charger.power_min_kw, charger.power_max_kw)
    for flexible in site.flexible_loads:
        assert_off_or_within(power_kw.get(flexible.name), flexible.power_min_kw, flexible.power_max_kw)
    for thermal in site.thermal_loads:
        assert_off_or_within(power_kw.get(thermal.name), 0.0, thermal.power_max_kw)
    for load in site.on_off_loads:
        assert power_kw.get(load.name) in {None, 0.0, load.power_kw}
    for nameplate in site.batteries:
        power = power_kw.get(nameplate.name)
        if power is None:
            continue
        assert math.isfinite(power)
        assert -nameplate.discharge_max_kw <= power <= nameplate.charge_max_kw
        soc_kwh = measurements.fresh(nameplate.soc_signal)
        if soc_kwh is None:
            assert min(nameplate.failsafe_kw, 0.0) <= power <= max(nameplate.failsafe_kw, 0.0)
            continue
        after = nameplate.soc_after_kwh(soc_kwh, power, site.regulator.valid_for_s / 3600)
        assert after >= min(nameplate.soc_min_kwh, soc_kwh) - 1e-6
        assert after <= max(nameplate.soc_max_kwh, soc_kwh) + 1e-6


@given(
    site=sites(),
    measurements=MEASUREMENTS,
    previous=SENT,
    wished=st.dictionaries(st.sampled_from([*POWERED, "other"]), st.one_of(st.none(), POWER)),
)
def test_setpoints_stay_inside_limits(
    site: Site, measurements: Measurements, previous: dict[str, SentSetpoint], wished: dict[str, float | None]
) -> None:
    """A setpoint that is followed for its whole validity leaves the energy inside its band, or does not move it out."""
    limited = limit_setpoints(wished, site=site, measurements=measurements, previous=previous)
    assert set(limited.power_kw) == set(wished) & {e.name for e in site.powered}
    assert_safe(site, measurements, limited.power_kw)
    again = limit_setpoints(limited.power_kw, site=site, measurements=measurements, previous=previous)
    assert again.power_kw == limited.power_kw


@given(site=sites(), measurements=MEASUREMENTS, previous=SENT, plan=st.one_of(st.none(), plans()))
def test_regulator_answers_whatever_is_measured_and_planned(
    site: Site, measurements: Measurements, previous: dict[str, SentSetpoint], plan: Plan | None
) -> None:
    state = RegulatorState(sent=previous)
    result, state = regulate(measurements, plan, state, site)
    assert set(result.setpoints) == {e.name for e in site.powered}
    assert all(power is None or math.isfinite(power) for power in result.setpoints.values())
    limited = limit_setpoints(
        result.setpoints,
        positions=result.positions,
        site=site,
        measurements=measurements,
        previous=state.sent,
    )
    assert_safe(site, measurements, limited.power_kw)
    position = limited.positions["bank"]
    at = measurements.fresh("bank_position")
    assert position is None or (at is not None and 0 <= position <= 3 and abs(position - round(at)) <= 1)
    state = remember(state, limited.power_kw, NOW_MS)
    later, _ = regulate(replace(measurements, now_ms=NOW_MS + 1000), plan, state, site)
    assert set(later.setpoints) == set(result.setpoints)


@given(
    load_kw=st.lists(st.floats(0, 6000), min_size=20, max_size=20),
    soc_kwh=st.floats(0, 8000),
    valid_for_s=st.sampled_from([180.0, 600.0]),
)
def test_energy_stays_inside_its_band_in_the_closed_loop(load_kw: list[float], soc_kwh: float, valid_for_s: float) -> None:
    """Cycles of 3 minutes, the battery follows exactly, and the agent learns its energy at the end of each."""
    one = battery("one", 8000.0, 2000.0)
    site = station(import_limit_kw=3000.0, export_limit_kw=3000.0, batteries=(one,), valid_for_s=valid_for_s)
    state, power_kw = RegulatorState(), 0.0
    lowest, highest = min(soc_kwh, one.soc_min_kwh), max(soc_kwh, one.soc_max_kwh)
    for cycle, load in enumerate(load_kw):
        now_ms = NOW_MS + 180_000 * cycle
        values = {"load_kw": load, "one_kw": power_kw, "one_soc_kwh": soc_kwh, "pcc_kw": load + power_kw}
        measurements = measured(site, now_ms - 180_000, now_ms=now_ms, **values)
        result, state = regulate(measurements, None, state, site)
        limited = limit_setpoints(result.setpoints, site=site, measurements=measurements, previous=state.sent)
        state = remember(state, limited.power_kw, now_ms)
        power_kw = limited.power_kw["one"] or 0.0
        soc_kwh = one.soc_after_kwh(soc_kwh, power_kw, 0.05)
        assert lowest - 1e-6 <= soc_kwh <= highest + 1e-6
