"""The throughput cost makes the linear program exact: with a binary for charging or discharging it costs the same.

The mixed-integer program here is written down afresh, step by step; only wear and price of an excess are asked of the agent.
"""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.dispatch import Dispatcher, DispatchProblem
from ringmain_agent.dispatch.batteries import throughput_per_kwh
from ringmain_agent.dispatch.dispatcher import prices_of
from ringmain_agent.dispatch.linear_program import LinearProgram, Term
from ringmain_agent.nameplate import Battery, Generator
from ringmain_agent.site import GridConnection, Site
from ringmain_agent.snapshot import Snapshot
from ringmain_agent.tariff import Tariff

Array = npt.NDArray[np.float64]
STEPS, STEP_H = 8, 0.25
BATTERY = Battery(
    name="battery",
    capacity_kwh=100.0,
    charge_max_kw=60.0,
    discharge_max_kw=50.0,
    charge_efficiency=0.9,
    discharge_efficiency=0.85,
    soc_min_pu=0.1,
    soc_max_pu=0.9,
    target_miss_per_kwh=0.3,
    wear_per_kwh=0.0,
)
SITE = Site(
    site="site-1",
    horizon_steps=STEPS,
    grid_connection=GridConnection(import_limit_kw=1000.0, export_limit_kw=40.0),
    batteries=(BATTERY,),
    generators=(Generator(name="pv", rated_power_kw=150.0),),
    tariff=Tariff(demand_charge_per_kw=0.2),
)
DISPATCHER = Dispatcher(SITE)


def rows(low: float, high: float) -> st.SearchStrategy[Array]:
    return st.lists(st.floats(low, high), min_size=STEPS, max_size=STEPS).map(lambda values: np.array(values, np.float64))


def with_binaries(problem: DispatchProblem, soc_kwh: float) -> float:
    """Cost of the best schedule that never charges and discharges, or imports and exports, in one step."""
    prices = prices_of(problem, SITE)
    wear = throughput_per_kwh(BATTERY, prices)
    program = LinearProgram()
    charge, discharge, curtailed, taken, given_back, energy = (program.columns(STEPS) for _ in range(6))
    charging, importing = (program.columns(STEPS, upper=1.0, integer=True) for _ in range(2))
    peak, short, over = (program.columns(1) for _ in range(3))
    net_kw = problem.load_kw + problem.available_kw["pv"]
    program.rows(
        Term(taken, 1.0),
        Term(given_back, -1.0),
        Term(charge, -1.0),
        Term(discharge, 1.0),
        Term(curtailed, -1.0),
        lower=net_kw,
        upper=net_kw,
    )
    start = np.zeros(STEPS)
    start[0] = soc_kwh
    into, out_of = Term(charge, -0.9 * STEP_H), Term(discharge, STEP_H / 0.85)
    program.rows(Term(energy, 1.0), into, out_of, before=[Term(energy, -1.0)], lower=start, upper=start)
    program.rows(Term(charge, 1.0), Term(charging, -60.0), upper=0.0)
    program.rows(Term(discharge, 1.0), Term(charging, 50.0), upper=50.0)
    program.rows(Term(taken, 1.0), Term(importing, -1000.0), upper=0.0)
    program.rows(Term(given_back, 1.0), Term(importing, 40.0), upper=40.0)
    program.rows(Term(np.repeat(peak, STEPS), 1.0), Term(taken, -1.0), lower=0.0)
    program.rows(Term(energy[-1:], 1.0), Term(short, 1.0), Term(over, -1.0), lower=50.0, upper=50.0)
    program.build()
    program.lower[energy], program.upper[energy] = 10.0, 90.0
    program.upper[curtailed] = -problem.available_kw["pv"]
    program.cost[charge] = program.cost[discharge] = wear * STEP_H
    program.cost[curtailed] = prices.tie_per_kwh * STEP_H
    program.cost[taken] = problem.import_price_per_kwh * STEP_H
    program.cost[given_back] = -problem.export_price_per_kwh * STEP_H
    program.cost[peak], program.cost[short], program.cost[over] = 0.2, 0.3, 0.3
    return program.solve(time_limit_s=20.0).objective


@given(
    load_kw=rows(0, 200),
    pv_kw=rows(-150, 0),
    price=rows(-0.4, 0.5),
    spread=rows(0, 0.3),
    soc_kwh=st.floats(10, 90),
    selling_pays=st.booleans(),
)
def test_linear_equals_integer(
    load_kw: Array, pv_kw: Array, price: Array, spread: Array, soc_kwh: float, *, selling_pays: bool
) -> None:
    problem = DispatchProblem(
        snapshot=Snapshot(
            issued_at_ms=0,
            step_s=900,
            history={},
            known_future={},
            import_limit_kw=[],
            export_limit_kw=[],
            soc_kwh={"battery": soc_kwh},
        ),
        load_kw=load_kw,
        load_kvar=np.zeros(STEPS),
        available_kw={"pv": pv_kw},
        net_high_kw=load_kw + pv_kw,
        import_ceiling_kw=np.full(STEPS, 1000.0),
        export_ceiling_kw=np.full(STEPS, 40.0),
        import_price_per_kwh=price,
        export_price_per_kwh=price + spread if selling_pays else price - spread,
    )
    result = DISPATCHER.dispatch(problem)
    exact = with_binaries(problem, soc_kwh)
    assert result.optimal
    assert abs(result.objective - exact) <= 1e-4 * max(abs(exact), 1.0)
    assert result.import_excess_kw.max() <= 1e-6
    assert result.export_excess_kw.max() <= 1e-6
