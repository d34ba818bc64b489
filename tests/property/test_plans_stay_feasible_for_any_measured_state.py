"""No measured energy, forecast, price or limit makes the linear program infeasible; physics and nameplate hold in each."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.planning.dispatch import Dispatcher, DispatchProblem
from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.nameplates import Battery, Generator
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import Tariff
from ringmain_agent.snapshot import Snapshot

Array = npt.NDArray[np.float64]
STEPS = 12
SITE = Site(
    site="site-1",
    horizon_steps=STEPS,
    grid_connection=GridConnection(import_limit_kw=500.0, export_limit_kw=500.0),
    batteries=(
        Battery(name="one", capacity_kwh=400.0, charge_max_kw=200.0, discharge_max_kw=150.0, soc_min_pu=0.1, soc_max_pu=0.9),
        Battery(name="two", capacity_kwh=100.0, charge_max_kw=0.0, discharge_max_kw=50.0),
    ),
    generators=(Generator(name="pv", rated_power_kw=800.0),),
    tariff=Tariff(demand_charge_per_kw=1.0),
)
DISPATCHER = Dispatcher(SITE)


def arrays(low: float, high: float) -> st.SearchStrategy[Array]:
    return st.lists(st.floats(low, high), min_size=STEPS, max_size=STEPS).map(lambda values: np.array(values, np.float64))


SOC = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.floats(-50, 500))


@given(
    load_kw=arrays(-2000, 2000),
    pv_kw=arrays(-800, 0),
    spread_kw=arrays(0, 1000),
    ceilings=st.tuples(arrays(0, 1000), arrays(0, 1000)),
    prices=st.tuples(arrays(-1, 5), arrays(-1, 5)),
    soc_kwh=st.tuples(SOC, SOC),
    billing_peak_kw=st.floats(-100, 2000),
)
def test_plans_stay_feasible_for_any_measured_state(  # noqa: PLR0917
    load_kw: Array,
    pv_kw: Array,
    spread_kw: Array,
    ceilings: tuple[Array, ...],
    prices: tuple[Array, ...],
    soc_kwh: tuple[float | None, float | None],
    billing_peak_kw: float,
) -> None:
    problem = DispatchProblem(
        snapshot=Snapshot(
            issued_at_ms=0,
            step_s=900,
            history={},
            known_future={},
            import_limit_kw=[],
            export_limit_kw=[],
            soc_kwh={"one": soc_kwh[0], "two": soc_kwh[1]},
            billing_peak_kw={"month": billing_peak_kw},
        ),
        load_kw=load_kw,
        load_kvar=np.zeros(STEPS),
        available_kw={"pv": pv_kw},
        net_high_kw=load_kw + pv_kw + spread_kw,
        import_ceiling_kw=ceilings[0],
        export_ceiling_kw=ceilings[1],
        import_price_per_kwh=prices[0],
        export_price_per_kwh=prices[1],
    )
    result = DISPATCHER.dispatch(problem)
    assert result.optimal
    assert (result.pcc_kw - result.import_excess_kw <= ceilings[0] + 1e-5).all()
    assert (-result.pcc_kw - result.export_excess_kw <= ceilings[1] + 1e-5).all()
    assert (result.curtailed_kw["pv"] <= -pv_kw + 1e-6).all()
    for battery in SITE.batteries:
        if battery.name in result.soc_kwh:
            assert (result.power_kw[battery.name] >= -battery.discharge_max_kw - 1e-6).all()
            assert (result.power_kw[battery.name] <= battery.charge_max_kw + 1e-6).all()
            assert (result.soc_kwh[battery.name] >= -1e-6).all()
            assert (result.soc_kwh[battery.name] <= battery.capacity_kwh + 1e-6).all()
            assert (result.reserve_kwh[battery.name] >= -1e-6).all()
            held = min(max(problem.snapshot.soc_kwh[battery.name] or 0.0, 0.0), battery.capacity_kwh)
            for power_kw, after_kwh in zip(result.power_kw[battery.name], result.soc_kwh[battery.name], strict=True):
                held = battery.soc_after_kwh(held, power_kw, SITE.step_h)
                assert abs(held - after_kwh) <= 0.01
                held = after_kwh
