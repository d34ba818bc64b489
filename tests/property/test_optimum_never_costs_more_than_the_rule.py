"""On the same forecast, priced alike, the optimum is never dearer than the fallback rule."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.planning.rule_schedule import rule_schedule
from ringmain_agent.site.nameplates import Generator
from ringmain_agent.snapshot import Snapshot
from ringmain_protocol.messages import Fallback
from support.sites import battery, station
from support.strategies import forecasts, rows, snapshots

STEPS, STEP_H = 12, 0.25
SITE = station(
    horizon_steps=STEPS,
    import_limit_kw=300.0,
    export_limit_kw=200.0,
    batteries=(
        battery("one", 200.0, 100.0, discharge_max_kw=80.0, soc_min_pu=0.1, soc_max_pu=0.9),
        battery("two", 50.0, end_value_per_kwh=0.1),
    ),
    generators=(Generator(name="pv", rated_power_kw=400.0),),
    price_series="price_per_kwh",
    demand_charge_per_kw=0.5,
)
DISPATCHER = Dispatcher(SITE)
EXCESS_PER_KWH = 200.0
TARGET_PER_KWH = 1.1
SNAPSHOTS = snapshots(
    SITE,
    known_future=st.fixed_dictionaries({"price_per_kwh": rows(-0.3, 1, STEPS)}),
    soc_kwh=st.fixed_dictionaries({"one": st.floats(20, 180), "two": st.floats(2.5, 47.5)}),
    forecasts=forecasts(STEPS, load_kw=(0, 450), pv_kw=(-400, 0)),
)


def cost(
    pcc_kw: list[float], power_kw: dict[str, list[float]], soc_kwh: dict[str, list[float]], price: list[float | None]
) -> float:
    """Energy, demand, wear, the energy at the end, and what exceeds the limits."""
    pcc, prices = np.array(pcc_kw), np.array(price, np.float64)
    imported, exported = np.maximum(pcc, 0.0), np.maximum(-pcc, 0.0)
    largest = float(np.abs(prices).max())
    total = STEP_H * float(prices @ (imported - exported)) + 0.5 * float(imported.max())
    for nameplate in SITE.batteries:
        total += nameplate.wear_per_kwh * STEP_H * float(np.abs(power_kw[nameplate.name]).sum())
        end_kwh = soc_kwh[nameplate.name][-1]
        if nameplate.end_value_per_kwh is None:
            missing_kwh = max(nameplate.soc_target_pu * nameplate.capacity_kwh - end_kwh, 0.0)
            total += TARGET_PER_KWH * (largest + nameplate.wear_per_kwh) / nameplate.charge_efficiency * missing_kwh
        else:
            total -= nameplate.end_value_per_kwh * end_kwh
    excess_price = max(10.0, EXCESS_PER_KWH * largest, 3 * 0.5 / STEP_H)
    for excess_kw in (np.maximum(imported - 300.0, 0.0), np.maximum(exported - 200.0, 0.0)):
        total += excess_price * (STEP_H * float(excess_kw.sum()) + float(excess_kw.max()))
    return total


@given(snapshot=SNAPSHOTS)
def test_optimum_never_costs_more_than_the_rule(snapshot: Snapshot) -> None:
    load_kw, pv_kw = ([row[0] for row in forecast.values] for forecast in snapshot.forecasts)
    best = plan(snapshot, SITE, Forecaster(SITE), DISPATCHER)
    rule = rule_schedule(site=SITE, snapshot=snapshot, load_kw=load_kw, pv_kw={"pv": pv_kw})
    assert best.fallback == Fallback.OPTIMAL
    price = snapshot.known_future["price_per_kwh"]
    best_cost = cost(best.pcc_kw, best.power_kw, best.soc_kwh, price)
    rule_cost = cost(rule.pcc_kw, rule.power_kw, rule.soc_kwh, price)
    assert best_cost <= rule_cost + 1e-4 * max(abs(rule_cost), 1.0)
