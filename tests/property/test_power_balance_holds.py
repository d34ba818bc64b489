"""In active power, always: pcc = load + sum of the equipment; and energy changes by what flows, less the losses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.control.regulate import RegulatorState, regulate
from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.planning.rule_schedule import rule_schedule
from ringmain_agent.site.nameplates import Generator
from ringmain_agent.snapshot import Plan, Snapshot
from ringmain_protocol.messages import Fallback
from support.sites import NOW_MS, battery, measured, station
from support.strategies import forecasts, rows, snapshots

STEPS = 8
SITE = station(
    horizon_steps=STEPS,
    import_limit_kw=500.0,
    export_limit_kw=500.0,
    margin_kw=10.0,
    batteries=(
        battery("one", 400.0, 200.0, discharge_max_kw=150.0),
        battery("two", discharge_efficiency=0.8),
    ),
    generators=(Generator(name="pv", rated_power_kw=800.0),),
    price_series="price_eur_per_mwh",
    demand_charge_per_kw=0.1,
)
DISPATCHER = Dispatcher(SITE)
SNAPSHOTS = snapshots(
    SITE,
    issued_at_ms=st.just(NOW_MS),
    known_future=st.fixed_dictionaries({"price_eur_per_mwh": rows(-500, 1000, STEPS)}),
    import_limit_kw=rows(0, 600, STEPS),
    export_limit_kw=rows(0, 600, STEPS),
    soc_kwh=st.fixed_dictionaries({"one": st.floats(0, 400), "two": st.none() | st.floats(0, 100)}),
    billing_peak_kw=st.fixed_dictionaries({"month": st.floats(0, 500)}),
    forecasts=forecasts(STEPS, spread_kw=(0, 200), load_kw=(-300, 1000), pv_kw=(-800, 0)),
)


def medians_kw(snapshot: Snapshot) -> dict[str, list[float]]:
    return {forecast.signal: [row[1] for row in forecast.values] for forecast in snapshot.forecasts}


def assert_energy_follows_power(
    snapshot: Snapshot, power_kw: dict[str, list[float]], soc_kwh: dict[str, list[float]]
) -> None:
    for nameplate in SITE.batteries:
        held = snapshot.soc_kwh.get(nameplate.name)
        if held is None:
            assert power_kw[nameplate.name] == [0.0] * STEPS
            continue
        for power, after in zip(power_kw[nameplate.name], soc_kwh[nameplate.name], strict=True):
            held = nameplate.soc_after_kwh(held, power, 0.25)
            assert held == pytest.approx(after, abs=1e-6)
            assert -1e-6 <= after <= nameplate.capacity_kwh + 1e-6


@given(snapshot=SNAPSHOTS)
def test_power_balance_holds_in_every_plan(snapshot: Snapshot) -> None:
    known = medians_kw(snapshot)
    result: Plan = plan(snapshot, SITE, Forecaster(SITE), DISPATCHER)
    assert result.fallback == Fallback.OPTIMAL
    equipment = np.sum([result.power_kw[name] for name in ("one", "two", "pv")], axis=0)
    np.testing.assert_allclose(known["load_kw"] + equipment, result.pcc_kw, atol=1e-6)
    given_away = np.array(result.power_kw["pv"]) - np.array(known["pv_kw"])
    np.testing.assert_allclose(given_away, result.curtailed_kw["pv"], atol=1e-6)
    assert_energy_follows_power(snapshot, result.power_kw, result.soc_kwh)


@given(snapshot=SNAPSHOTS)
def test_power_balance_holds_in_the_rule(snapshot: Snapshot) -> None:
    known = medians_kw(snapshot)
    rule = rule_schedule(site=SITE, snapshot=snapshot, load_kw=known["load_kw"], pv_kw={"pv": known["pv_kw"]})
    equipment = np.sum([rule.power_kw[name] for name in ("one", "two", "pv")], axis=0)
    np.testing.assert_allclose(known["load_kw"] + equipment, rule.pcc_kw, atol=1e-6)
    assert_energy_follows_power(snapshot, rule.power_kw, rule.soc_kwh)


@given(load_kw=st.floats(-600, 1200), pv_kw=st.floats(-800, 0), planned_kw=st.floats(-150, 200))
def test_pcc_is_inside_the_limits_whenever_the_equipment_can_bring_it_there(
    load_kw: float, pv_kw: float, planned_kw: float
) -> None:
    """What the regulator sets, added to what it measured, is inside the limits, or a battery is at its end."""
    made = Plan(
        issued_at_ms=NOW_MS,
        step_s=900,
        fallback=Fallback.OPTIMAL,
        power_kw={"one": [planned_kw], "two": [0.0], "pv": [pv_kw]},
        curtailed_kw={"pv": [0.0]},
        pcc_kw=[490.0],
    )
    measurements = measured(
        SITE, NOW_MS, load_kw=load_kw, pv_kw=pv_kw, one_kw=0.0, two_kw=0.0, one_soc_kwh=200.0, two_soc_kwh=50.0
    )
    result, _ = regulate(measurements, made, RegulatorState(), SITE)
    one, two, bound = result.setpoints["one"], result.setpoints["two"], result.setpoints["pv"]
    assert one is not None
    assert two is not None
    pcc_kw = load_kw + one + two + (pv_kw if bound is None else max(pv_kw, bound))
    if pcc_kw > 490 + 1e-6:
        assert (one, two) == pytest.approx((-150, -50))
    if pcc_kw < -490 - 1e-6:
        assert (one, two, bound) == pytest.approx((200, 50, 0))
