"""The dispatch costs what an integer program does that never charges and discharges, or imports and exports, in one step.

That program is written down afresh and solved by SciPy; only tie-breaks and prices of an excess are asked of the agent. The
cost of the schedule is computed here from its powers.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp  # type: ignore[import-untyped]

from ringmain_agent.planning.dispatch import Dispatch, Dispatcher, DispatchProblem
from ringmain_agent.planning.dispatch.dispatcher import prices_of
from ringmain_agent.site.nameplates import Generator
from ringmain_agent.site.site import Site
from support.sites import battery, problem_of, station
from support.strategies import arrays

Array = npt.NDArray[np.float64]
STEPS, STEP_H = 8, 0.25
IMPORT_KW, BIG_KW = 1000.0, 2000.0
CHARGE_KW, DISCHARGE_KW = 60.0, 50.0
CHARGED, DISCHARGED = 0.9, 0.85
LOW_KWH, HIGH_KWH, TARGET_KWH = 10.0, 90.0, 50.0
MISS, PEAK = 0.3, 0.2
WEARS: Final = (0.0, 0.02)


def site_with(*, wear_per_kwh: float, curtailable: bool) -> Site:
    store = battery(
        power_kw=CHARGE_KW,
        discharge_max_kw=DISCHARGE_KW,
        charge_efficiency=CHARGED,
        discharge_efficiency=DISCHARGED,
        soc_min_pu=LOW_KWH / 100,
        soc_max_pu=HIGH_KWH / 100,
        soc_target_pu=TARGET_KWH / 100,
        target_miss_per_kwh=MISS,
        wear_per_kwh=wear_per_kwh,
    )
    pv = Generator(name="pv", rated_power_kw=150.0, curtailable=curtailable)
    return station(
        horizon_steps=STEPS,
        import_limit_kw=IMPORT_KW,
        export_limit_kw=IMPORT_KW,
        batteries=(store,),
        generators=(pv,),
        demand_charge_per_kw=PEAK,
    )


DISPATCHERS: Final = {
    (wear, curtailable): Dispatcher(site_with(wear_per_kwh=wear, curtailable=curtailable))
    for wear in WEARS
    for curtailable in (False, True)
}


def with_binaries(problem: DispatchProblem, soc_kwh: float, *, wear: float, curtailable: bool) -> float:
    """Cost of the best schedule; the columns of each name are one a step."""
    prices = prices_of(problem, site_with(wear_per_kwh=wear, curtailable=curtailable))
    names = ("charge", "discharge", "curtailed", "taken", "given", "too_much", "energy", "charging", "importing")
    at = {name: np.arange(STEPS) + STEPS * index for index, name in enumerate(names)}
    peak, highest, short, over = range(STEPS * len(names), STEPS * len(names) + 4)
    count = over + 1
    cost, low, high, whole = np.zeros(count), np.zeros(count), np.full(count, np.inf), np.zeros(count)
    for name, value in (
        ("charge", wear + prices.tie_per_kwh),
        ("discharge", wear + prices.tie_per_kwh),
        ("curtailed", prices.tie_per_kwh),
        ("taken", problem.import_price_per_kwh),
        ("given", -problem.export_price_per_kwh),
        ("too_much", prices.excess_per_kwh - problem.export_price_per_kwh),
    ):
        cost[at[name]] = value * STEP_H
    cost[[peak, highest, short, over]] = PEAK, prices.excess_per_kwh, MISS, MISS
    high[at["charge"]], high[at["discharge"]] = CHARGE_KW, DISCHARGE_KW
    high[at["curtailed"]] = -problem.available_kw["pv"] if curtailable else 0.0
    high[at["taken"]], high[at["given"]] = IMPORT_KW, problem.export_ceiling_kw
    low[at["energy"]], high[at["energy"]] = LOW_KWH, HIGH_KWH
    for name in ("charging", "importing"):
        high[at[name]], whole[at[name]] = 1.0, 1.0
    limits: list[tuple[dict[int, float], float, float]] = []
    for t in range(STEPS):
        c, d, q, i, x, e, s, z, y = (
            int(at[name][t]) for name in (*names[:5], "energy", "too_much", "charging", "importing")
        )
        net_kw = float(problem.load_kw[t] + problem.available_kw["pv"][t])
        limits.append(({i: 1, x: -1, s: -1, c: -1, d: 1, q: -1}, net_kw, net_kw))
        kept = {e: 1.0, c: -CHARGED * STEP_H, d: STEP_H / DISCHARGED} | ({e - 1: -1.0} if t else {})
        limits.append((kept, 0.0 if t else soc_kwh, 0.0 if t else soc_kwh))
        limits.append(({c: 1, z: -CHARGE_KW}, -np.inf, 0.0))
        limits.append(({d: 1, z: DISCHARGE_KW}, -np.inf, DISCHARGE_KW))
        limits.append(({i: 1, y: -IMPORT_KW}, -np.inf, 0.0))
        limits.append(({x: 1, s: 1, y: BIG_KW}, -np.inf, BIG_KW))
        limits.append(({peak: 1, i: -1}, 0.0, np.inf))
        limits.append(({highest: 1, s: -1}, 0.0, np.inf))
    limits.append(({int(at["energy"][-1]): 1, short: 1, over: -1}, TARGET_KWH, TARGET_KWH))
    matrix = np.zeros((len(limits), count))
    for row, (terms, _, _) in enumerate(limits):
        matrix[row, list(terms)] = list(terms.values())
    found = milp(
        cost,
        integrality=whole,
        bounds=Bounds(low, high),
        constraints=LinearConstraint(matrix, [least for _, least, _ in limits], [most for _, _, most in limits]),
        options={"mip_rel_gap": 1e-7},
    )
    assert found.success, found.message
    return float(found.fun)


def cost_of(result: Dispatch, problem: DispatchProblem, soc_kwh: float, *, wear: float, curtailable: bool) -> float:
    """What the powers of a schedule cost, ties included; the battery's energy follows from its net power."""
    prices = prices_of(problem, site_with(wear_per_kwh=wear, curtailable=curtailable))
    power_kw, pcc_kw = result.power_kw["battery"], result.pcc_kw
    curtailed_kw = result.curtailed_kw["pv"]
    np.testing.assert_allclose(pcc_kw, problem.load_kw + problem.available_kw["pv"] + curtailed_kw + power_kw, atol=1e-5)
    charge, discharge = np.maximum(power_kw, 0.0), np.maximum(-power_kw, 0.0)
    energy = soc_kwh + STEP_H * np.cumsum(CHARGED * charge - discharge / DISCHARGED)
    assert (energy >= LOW_KWH - 1e-3).all()
    assert (energy <= HIGH_KWH + 1e-3).all()
    taken, given = np.maximum(pcc_kw, 0.0), np.maximum(-pcc_kw, 0.0)
    above = np.maximum(given - problem.export_ceiling_kw, 0.0)
    traded = problem.import_price_per_kwh @ taken - problem.export_price_per_kwh @ given
    ties = prices.tie_per_kwh * (charge + discharge + curtailed_kw).sum()
    stepwise = traded + wear * (charge + discharge).sum() + ties + prices.excess_per_kwh * above.sum()
    ends = PEAK * taken.max() + MISS * abs(energy[-1] - TARGET_KWH) + prices.excess_per_kwh * above.max()
    return float(STEP_H * stepwise + ends)


NEGATIVE: Final = np.array([-0.4, -0.3, -0.1, 0.1, -0.4, -0.05, 0.2, -0.2])


@given(
    load_kw=arrays(0, 200, STEPS),
    pv_kw=arrays(-150, 0, STEPS),
    price=arrays(-0.4, 0.5, STEPS),
    spread=arrays(0, 0.3, STEPS),
    soc_kwh=st.floats(LOW_KWH, HIGH_KWH),
    export_kw=st.sampled_from([0.0, 5.0, 40.0, 300.0]),
    wear=st.sampled_from(WEARS),
    selling_pays=st.booleans(),
    curtailable=st.booleans(),
)
@example(
    load_kw=np.full(STEPS, 20.0),
    pv_kw=np.full(STEPS, -90.0),
    price=NEGATIVE,
    spread=np.full(STEPS, 0.05),
    soc_kwh=80.0,
    export_kw=40.0,
    wear=0.0,
    selling_pays=False,
    curtailable=False,
)
def test_dispatch_costs_what_the_integer_program_does(
    load_kw: Array,
    pv_kw: Array,
    price: Array,
    spread: Array,
    *,
    soc_kwh: float,
    export_kw: float,
    wear: float,
    selling_pays: bool,
    curtailable: bool,
) -> None:
    problem = problem_of(
        site_with(wear_per_kwh=wear, curtailable=curtailable),
        soc_kwh={"battery": soc_kwh},
        load_kw=load_kw,
        pv_kw=pv_kw,
        export_ceiling_kw=export_kw,
        import_price_per_kwh=price,
        export_price_per_kwh=price + spread if selling_pays else price - spread,
    )
    result = DISPATCHERS[wear, curtailable].dispatch(problem)
    exact = with_binaries(problem, soc_kwh, wear=wear, curtailable=curtailable)
    assert result.optimal
    assert abs(result.objective - exact) <= max(1e-4 * abs(exact), 1e-5)
    cost = cost_of(result, problem, soc_kwh, wear=wear, curtailable=curtailable)
    assert abs(cost - exact) <= max(1e-4 * abs(exact), 1e-4)
    assert result.import_excess_kw.max() <= 1e-6
    if curtailable:
        assert result.export_excess_kw.max() <= 1e-6
