"""No run, visit, temperature or held power makes the plan of loads infeasible; nameplate and hours hold in each."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from ringmain_agent.planning.dispatch import Dispatch, Dispatcher
from ringmain_agent.site.hours import LocalHours, holds
from ringmain_agent.site.nameplates import ChargingStation, Equipment, FlexibleLoad, OnOffLoad
from ringmain_agent.snapshot import ChargingSession, LoadUsage, Snapshot
from support.sites import boiler, problem_of, snapshot_of, station
from support.strategies import rows

STEPS = 16
STEP_MS = 900_000
NIGHT = LocalHours(begin="22:00", end="02:00")
SITE = station(
    time_zone="Europe/Amsterdam",
    horizon_steps=STEPS,
    import_limit_kw=30.0,
    export_limit_kw=30.0,
    flexible_loads=(
        FlexibleLoad(name="washing", power_max_kw=4.0, energy_kwh=3.0, hours=NIGHT),
        FlexibleLoad(name="drying", power_max_kw=4.0, power_min_kw=2.0, energy_kwh=3.0),
    ),
    on_off_loads=(
        OnOffLoad(name="pump", power_kw=3.0, run_h=1.0, run_min_h=0.75, starts_max=1, hours=NIGHT),
        OnOffLoad(name="fan", power_kw=1.0, run_h=2.0),
    ),
    charging_stations=(ChargingStation(name="charger", power_max_kw=11.0, power_min_kw=1.4),),
    thermal_loads=(boiler(power_max_kw=3.0, capacity_kwh_per_k=0.3, loss_kw_per_k=0.005, temperature_max_degc=65.0),),
)
DISPATCHER = Dispatcher(SITE)
LIMITED = {"washing": NIGHT, "pump": NIGHT}
MOST_KW = {"washing": 4.0, "drying": 4.0, "pump": 3.0, "fan": 1.0, "charger": 11.0, "boiler": 3.0}

FIRST = st.integers(1_603_000_000_000 // STEP_MS, 1_618_000_000_000 // STEP_MS)  # with two changes of the clock
NUMBERS = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-10, 30))
RUNS = st.builds(
    LoadUsage,
    on=st.booleans(),
    since_ms=st.integers(1_602_000_000_000, 1_619_000_000_000),
    run_h=NUMBERS,
    starts=st.integers(-1, 5),
    drawn_kwh=NUMBERS,
)
VISITS = st.lists(st.tuples(st.integers(-30, 30), st.integers(-5, 40), NUMBERS), max_size=4)


@example(first=1781111, runs={}, visits=[(0, 1, 1e-6)], temperature_degc=None, unresponsive_kw={}, price=[0.0] * STEPS)
@example(
    first=1781111,
    runs={"fan": LoadUsage(run_h=1e308)},
    visits=[],
    temperature_degc=None,
    unresponsive_kw={},
    price=[0.0] * STEPS,
)
@given(
    first=FIRST,
    runs=st.dictionaries(st.sampled_from(sorted(MOST_KW)), RUNS),
    visits=VISITS,
    temperature_degc=st.one_of(st.none(), NUMBERS, st.floats(-100, 150)),
    unresponsive_kw=st.dictionaries(st.sampled_from(sorted(MOST_KW)), NUMBERS, max_size=2),
    price=rows(-1, 2, STEPS),
)
def test_loads_stay_feasible_for_any_measured_state(  # noqa: PLR0917
    first: int,
    runs: dict[str, LoadUsage],
    visits: list[tuple[int, int, float]],
    temperature_degc: float | None,
    unresponsive_kw: dict[str, float],
    price: list[float],
) -> None:
    issued_at_ms = first * STEP_MS
    snapshot = snapshot_of(
        SITE,
        issued_at_ms=issued_at_ms,
        runs=runs,
        visits={
            "charger": [
                ChargingSession(
                    from_ms=issued_at_ms + begin * 400_000, to_ms=issued_at_ms + end * 400_000, energy_kwh=energy_kwh
                )
                for begin, end, energy_kwh in visits
            ]
        },
        temperature_degc={"boiler": temperature_degc},
        unresponsive_kw=unresponsive_kw,
    )
    price_per_kwh = np.array(price)
    problem = problem_of(
        SITE, snapshot, load_kw=5.0, import_price_per_kwh=price_per_kwh, export_price_per_kwh=price_per_kwh - 0.1
    )
    dispatch = DISPATCHER.dispatch(problem)
    for load in SITE.controllable_loads:
        held = unresponsive_kw.get(load.name, -1.0)
        if not 0 <= held < 1e9:
            _require_within(load, dispatch, snapshot)


def _require_within(load: Equipment, dispatch: Dispatch, snapshot: Snapshot) -> None:
    """Within the nameplate, off outside its hours but for a run that must be finished, on/off loads nothing between."""
    power_kw, run = dispatch.power_kw[load.name], snapshot.runs.get(load.name, LoadUsage())
    assert (power_kw >= -1e-6).all()
    assert (power_kw <= MOST_KW[load.name] + 1e-6).all()
    if isinstance(load, OnOffLoad):
        assert (np.minimum(power_kw, load.power_kw - power_kw) < 1e-4).all()
    if load.name in LIMITED:
        starts_ms = [snapshot.issued_at_ms + index * STEP_MS for index in range(STEPS)]
        outside = ~np.array(holds(LIMITED[load.name], starts_ms, SITE.time_zone))
        if isinstance(load, OnOffLoad) and run.on:
            outside[:3] = False
        assert (power_kw[outside] < 1e-6).all()
