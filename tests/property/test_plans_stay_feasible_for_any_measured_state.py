"""No measured energy, forecast, price or limit makes the linear program infeasible; physics and nameplate hold in each."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.site.nameplates import Generator
from support.sites import battery, problem_of, station
from support.strategies import arrays

Array = npt.NDArray[np.float64]
STEPS = 12
SITE = station(
    horizon_steps=STEPS,
    import_limit_kw=500.0,
    export_limit_kw=500.0,
    batteries=(
        battery("one", 400.0, 200.0, discharge_max_kw=150.0, soc_min_pu=0.1, soc_max_pu=0.9),
        battery("two", 100.0, 50.0, charge_max_kw=0.0),
    ),
    generators=(Generator(name="pv", rated_power_kw=800.0),),
    demand_charge_per_kw=1.0,
)
DISPATCHER = Dispatcher(SITE)
SOC = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.floats(-50, 500))


@given(
    load_kw=arrays(-2000, 2000, STEPS),
    pv_kw=arrays(-800, 0, STEPS),
    spread_kw=arrays(0, 1000, STEPS),
    ceilings=st.tuples(arrays(0, 1000, STEPS), arrays(0, 1000, STEPS)),
    prices=st.tuples(arrays(-1, 5, STEPS), arrays(-1, 5, STEPS)),
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
    problem = problem_of(
        SITE,
        soc_kwh={"one": soc_kwh[0], "two": soc_kwh[1]},
        billing_peak_kw={"month": billing_peak_kw},
        load_kw=load_kw,
        pv_kw=pv_kw,
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
    for nameplate in SITE.batteries:
        if nameplate.name in result.soc_kwh:
            assert (result.power_kw[nameplate.name] >= -nameplate.discharge_max_kw - 1e-6).all()
            assert (result.power_kw[nameplate.name] <= nameplate.charge_max_kw + 1e-6).all()
            assert (result.soc_kwh[nameplate.name] >= -1e-6).all()
            assert (result.soc_kwh[nameplate.name] <= nameplate.capacity_kwh + 1e-6).all()
            assert (result.reserve_kwh[nameplate.name] >= -1e-6).all()
            held = min(max(problem.snapshot.soc_kwh[nameplate.name] or 0.0, 0.0), nameplate.capacity_kwh)
            for power_kw, after_kwh in zip(result.power_kw[nameplate.name], result.soc_kwh[nameplate.name], strict=True):
                held = nameplate.soc_after_kwh(held, power_kw, SITE.step_h)
                assert abs(held - after_kwh) <= 0.01
                held = after_kwh
