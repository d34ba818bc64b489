"""On the same forecast, priced alike, the optimum is never dearer than the fallback rule."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.plan import plan
from ringmain_agent.planning.rule_schedule import rule_schedule
from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.nameplates import Battery, Generator
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import Tariff
from ringmain_agent.snapshot import ForecastResult, Snapshot
from ringmain_protocol.messages import Fallback

STEPS, STEP_H = 12, 0.25
SITE = Site(
    site="site-1",
    horizon_steps=STEPS,
    grid_connection=GridConnection(import_limit_kw=300.0, export_limit_kw=200.0),
    batteries=(
        Battery(name="one", capacity_kwh=200.0, charge_max_kw=100.0, discharge_max_kw=80.0, soc_min_pu=0.1, soc_max_pu=0.9),
        Battery(name="two", capacity_kwh=50.0, charge_max_kw=50.0, discharge_max_kw=50.0, end_value_per_kwh=0.1),
    ),
    generators=(Generator(name="pv", rated_power_kw=400.0),),
    tariff=Tariff(price_series="price_per_kwh", demand_charge_per_kw=0.5),
)
DISPATCHER = Dispatcher(SITE)
EXCESS_PER_KWH = 200.0
TARGET_PER_KWH = 1.1


class NoForecaster:
    """Forecasts come with the snapshot."""

    def forecast(self, snapshot: Snapshot, signal: str) -> ForecastResult:
        """Never needed."""
        raise AssertionError(snapshot, signal)

    def persistence(self, snapshot: Snapshot, signal: str, reason: str) -> ForecastResult:
        """Never needed."""
        raise AssertionError(snapshot, signal, reason)


def rows(low: float, high: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(low, high), min_size=STEPS, max_size=STEPS)


def cost(
    pcc_kw: list[float], power_kw: dict[str, list[float]], soc_kwh: dict[str, list[float]], price: list[float]
) -> float:
    """Energy, demand, wear, the energy at the end, and what exceeds the limits."""
    pcc, prices = np.array(pcc_kw), np.array(price)
    imported, exported = np.maximum(pcc, 0.0), np.maximum(-pcc, 0.0)
    largest = float(np.abs(prices).max())
    total = STEP_H * float(prices @ (imported - exported)) + 0.5 * float(imported.max())
    for battery in SITE.batteries:
        total += battery.wear_per_kwh * STEP_H * float(np.abs(power_kw[battery.name]).sum())
        end_kwh = soc_kwh[battery.name][-1]
        if battery.end_value_per_kwh is None:
            missing_kwh = max(battery.soc_target_pu * battery.capacity_kwh - end_kwh, 0.0)
            total += TARGET_PER_KWH * (largest + battery.wear_per_kwh) / battery.charge_efficiency * missing_kwh
        else:
            total -= battery.end_value_per_kwh * end_kwh
    excess_price = max(10.0, EXCESS_PER_KWH * largest, 3 * 0.5 / STEP_H)
    for excess_kw in (np.maximum(imported - 300.0, 0.0), np.maximum(exported - 200.0, 0.0)):
        total += excess_price * (STEP_H * float(excess_kw.sum()) + float(excess_kw.max()))
    return total


@given(
    load_kw=rows(0, 450), pv_kw=rows(-400, 0), price=rows(-0.3, 1), one_kwh=st.floats(20, 180), two_kwh=st.floats(2.5, 47.5)
)
def test_optimum_never_costs_more_than_the_rule(
    load_kw: list[float], pv_kw: list[float], price: list[float], one_kwh: float, two_kwh: float
) -> None:
    given_values = {"load_kw": load_kw, "pv_kw": pv_kw}
    snapshot = Snapshot(
        issued_at_ms=0,
        step_s=900,
        history={},
        known_future={"price_per_kwh": list(price)},
        import_limit_kw=[300.0] * STEPS,
        export_limit_kw=[200.0] * STEPS,
        soc_kwh={"one": one_kwh, "two": two_kwh},
        forecasts=[
            ForecastResult(signal=signal, quantiles=[0.5], values=[[value] for value in values], release=1)
            for signal, values in given_values.items()
        ],
    )
    best = plan(snapshot, SITE, NoForecaster(), DISPATCHER)
    rule = rule_schedule(site=SITE, snapshot=snapshot, load_kw=load_kw, pv_kw={"pv": pv_kw})
    assert best.fallback == Fallback.OPTIMAL
    best_cost = cost(best.pcc_kw, best.power_kw, best.soc_kwh, price)
    rule_cost = cost(rule.pcc_kw, rule.power_kw, rule.soc_kwh, price)
    assert best_cost <= rule_cost + 1e-4 * max(abs(rule_cost), 1.0)
