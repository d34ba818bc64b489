"""In active power, always: pcc = load + sum of the equipment; and energy changes by what flows, less the losses."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.control.regulate import RegulatorState, regulate
from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.plan import plan
from ringmain_agent.planning.rule_schedule import rule_schedule
from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.nameplates import Battery, Generator
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import Tariff
from ringmain_agent.snapshot import ForecastResult, Measured, Measurements, Plan, Snapshot
from ringmain_protocol.messages import Fallback

NOW_MS = 1_604_188_800_000
STEPS = 8
SITE = Site(
    site="site-1",
    horizon_steps=STEPS,
    grid_connection=GridConnection(import_limit_kw=500.0, export_limit_kw=500.0, margin_kw=10.0),
    batteries=(
        Battery(name="one", capacity_kwh=400.0, charge_max_kw=200.0, discharge_max_kw=150.0),
        Battery(name="two", capacity_kwh=100.0, charge_max_kw=50.0, discharge_max_kw=50.0, discharge_efficiency=0.8),
    ),
    generators=(Generator(name="pv", rated_power_kw=800.0),),
    tariff=Tariff(price_series="price_eur_per_mwh", demand_charge_per_kw=0.1),
)
DISPATCHER = Dispatcher(SITE)


class Foreseen:
    """A forecaster that knows what it was told."""

    def __init__(self, load_kw: list[float], pv_kw: list[float], spread_kw: float) -> None:
        self._values = {"load_kw": load_kw, "pv_kw": pv_kw}
        self._spread_kw = spread_kw

    def forecast(self, snapshot: Snapshot, signal: str) -> ForecastResult:
        """What it was told, with a spread."""
        del snapshot
        rows = [[value - self._spread_kw, value, value + self._spread_kw] for value in self._values[signal]]
        return ForecastResult(signal=signal, quantiles=[0.1, 0.5, 0.9], values=rows, release=1)

    def persistence(self, snapshot: Snapshot, signal: str, reason: str) -> ForecastResult:
        """Never needed."""
        raise AssertionError(snapshot, signal, reason)


def rows(low: float, high: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(low, high), min_size=STEPS, max_size=STEPS)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Snapshot, Foreseen, dict[str, list[float]]]:
    load_kw, pv_kw = draw(rows(-300, 1000)), draw(rows(-800, 0))
    snapshot = Snapshot(
        issued_at_ms=NOW_MS,
        step_s=900,
        history={},
        known_future={"price_eur_per_mwh": list(draw(rows(-500, 1000)))},
        import_limit_kw=draw(rows(0, 600)),
        export_limit_kw=draw(rows(0, 600)),
        soc_kwh={"one": draw(st.floats(0, 400)), "two": draw(st.one_of(st.none(), st.floats(0, 100)))},
        billing_peak_kw={"month": draw(st.floats(0, 500))},
    )
    return snapshot, Foreseen(load_kw, pv_kw, draw(st.floats(0, 200))), {"load_kw": load_kw, "pv_kw": pv_kw}


def assert_energy_follows_power(
    snapshot: Snapshot, power_kw: dict[str, list[float]], soc_kwh: dict[str, list[float]]
) -> None:
    for battery in SITE.batteries:
        held = snapshot.soc_kwh.get(battery.name)
        if held is None:
            assert power_kw[battery.name] == [0.0] * STEPS
            continue
        for power, after in zip(power_kw[battery.name], soc_kwh[battery.name], strict=True):
            held = battery.soc_after_kwh(held, power, 0.25)
            assert held == pytest.approx(after, abs=1e-6)
            assert -1e-6 <= after <= battery.capacity_kwh + 1e-6


@given(case=cases())
def test_power_balance_holds_in_every_plan(case: tuple[Snapshot, Foreseen, dict[str, list[float]]]) -> None:
    snapshot, forecaster, known = case
    result: Plan = plan(snapshot, SITE, forecaster, DISPATCHER)
    assert result.fallback == Fallback.OPTIMAL
    equipment = np.sum([result.power_kw[name] for name in ("one", "two", "pv")], axis=0)
    np.testing.assert_allclose(known["load_kw"] + equipment, result.pcc_kw, atol=1e-6)
    given_away = np.array(result.power_kw["pv"]) - np.array(known["pv_kw"])
    np.testing.assert_allclose(given_away, result.curtailed_kw["pv"], atol=1e-6)
    assert_energy_follows_power(snapshot, result.power_kw, result.soc_kwh)


@given(case=cases())
def test_power_balance_holds_in_the_rule(case: tuple[Snapshot, Foreseen, dict[str, list[float]]]) -> None:
    snapshot, _, known = case
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
    values: dict[str, Any] = {"load_kw": load_kw, "pv_kw": pv_kw, "one_soc_kwh": 200.0, "two_soc_kwh": 50.0}
    newest = {name: Measured(value, NOW_MS) for name, value in values.items()}
    measurements = Measurements(
        now_ms=NOW_MS,
        stale_after_s=SITE.regulator.stale_after_s,
        newest=newest,
        import_limit_kw=500.0,
        export_limit_kw=500.0,
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
