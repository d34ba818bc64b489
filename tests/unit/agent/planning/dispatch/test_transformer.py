"""Transformers in the dispatch: every schedule is re-simulated with the exact equations of thermal.py."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.transformer import firm_capacity_kva
from ringmain_agent.equipment.transformer_chords import chord_errors, segments
from ringmain_agent.planning.dispatch import Dispatch, Dispatcher, DispatchProblem
from ringmain_agent.planning.dispatch.apparent_power import ApparentPower
from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term
from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import Battery, Cooling, Paper, Rating, Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot, ThermalState

DAY = 96
START_MS = 1_784_851_200_000  # 2026-07-24T00:00:00Z
WARM = ThermalState(75.0, 15.0, 0.0)

Array = npt.NDArray[np.float64]


def unit(name: str = "t1", **change: Any) -> Transformer:
    return Transformer(name=name, **({"rated_power_kva": 400.0, "ambient_degc": 27.0} | change))


def site_with(*transformers: Transformer, capacity_kwh: float = 600.0, **connection: Any) -> Site:
    """An evening peak of 490 kW behind a limit that never binds, and a battery."""
    battery = Battery(name="battery", capacity_kwh=capacity_kwh, charge_max_kw=200.0, discharge_max_kw=200.0)
    limits = {"import_limit_kw": 2000.0, "export_limit_kw": 2000.0} | connection
    return Site(site="s1", grid_connection=GridConnection(**limits), batteries=(battery,), transformers=transformers)


def problem_of(*, kvar: float = 0.0, thermal_state: dict[str, ThermalState] | None = None, **change: Any) -> DispatchProblem:
    """A day from midnight; energy is dear in the evening, so that price alone unloads the transformer then."""
    hour = np.arange(DAY) / 4
    load_kw = 300 + 70 * np.exp(-(((hour - 9) / 2) ** 2)) + 190 * np.exp(-(((hour - 19) / 2) ** 2))
    price = np.where((hour >= 17) & (hour < 21), 0.26, np.where(hour < 7, 0.13, 0.22))
    values: dict[str, Any] = {
        "load_kw": load_kw,
        "load_kvar": np.full(DAY, kvar),
        "available_kw": {},
        "net_high_kw": load_kw,
        "import_ceiling_kw": np.full(DAY, 2000.0),
        "export_ceiling_kw": np.full(DAY, 2000.0),
        "import_price_per_kwh": price,
        "export_price_per_kwh": price - 0.02,
    }
    snapshot = Snapshot(
        issued_at_ms=START_MS,
        step_s=900,
        history={},
        known_future={},
        import_limit_kw=[],
        export_limit_kw=[],
        soc_kwh={"battery": 300.0},
        thermal=thermal_state if thermal_state is not None else {"t1": WARM},
    )
    return DispatchProblem(snapshot=snapshot, **(values | change))


def simulated(transformer: Transformer, pcc_kw: Array, problem: DispatchProblem, share: float = 1.0) -> tuple[Array, Array]:
    """Top oil and hot spot at the end of each step by the exact equations."""
    constants = thermal.constants(transformer)
    state, found = problem.snapshot.thermal[transformer.name], []
    for active_kw, reactive_kvar in zip(pcc_kw.tolist(), problem.load_kvar.tolist(), strict=True):
        loading = transformer.loading_pu(share * active_kw, share * reactive_kvar)
        state = thermal.after(state, loading, transformer.ambient_degc, 15.0, constants)
        found.append((state.top_oil_degc, thermal.hot_spot_degc(state)))
    top_oil, hot_spot = np.array(found).T
    return top_oil, hot_spot


def ageing_h(hot_spot: Array) -> float:
    return 0.25 * sum(thermal.aging_rate(degc, Paper.NORMAL) for degc in hot_spot.tolist())


def solved(site: Site, problem: DispatchProblem) -> Dispatch:
    result = Dispatcher(site).dispatch(problem)
    assert result.optimal
    return result


@pytest.mark.parametrize(
    ("cooling", "limit_degc"), [("distribution_onan", 106.0), ("onan", 106.0), ("onaf", 108.0), ("of", 100.0), ("od", 100.0)]
)
@pytest.mark.parametrize("kvar", [0.0, 120.0, -120.0])
def test_the_battery_holds_the_hot_spot(cooling: str, limit_degc: float, kvar: float) -> None:
    """Price alone leads above the limit; with it the exact simulation stays below, and as near as the prediction says."""
    transformer = unit(cooling=Cooling(cooling), hot_spot_max_degc=limit_degc)
    free = unit(cooling=Cooling(cooling), hot_spot_max_degc=300.0, top_oil_max_degc=300.0)
    problem = problem_of(kvar=kvar)
    assert simulated(free, solved(site_with(free), problem).pcc_kw, problem)[1].max() > limit_degc + 1
    result = solved(site_with(transformer), problem)
    hot_spot = simulated(transformer, result.pcc_kw, problem)[1]
    assert hot_spot.max() <= limit_degc + 0.05
    predicted = result.hot_spot_degc["t1"]
    binds = predicted > limit_degc - 0.2
    assert binds.any()
    assert np.abs(predicted - hot_spot)[binds].max() < 0.5


def test_the_top_oil_has_a_limit_of_its_own() -> None:
    transformer, problem = unit(top_oil_max_degc=80.0), problem_of()
    top_oil, hot_spot = simulated(transformer, solved(site_with(transformer), problem).pcc_kw, problem)
    assert 79.5 < top_oil.max() <= 80.0 + 1e-6
    assert hot_spot.max() < 120.0


def test_loading_stays_within_its_limit_with_reactive_power() -> None:
    """At 1.05 pu and 150 kvar only 392 kW are left; 0.25 % of it is what the directions may cost."""
    transformer, problem = unit(loading_max_pu=1.05), problem_of(kvar=150.0)
    pcc_kw = solved(site_with(transformer), problem).pcc_kw
    most_kva = np.hypot(pcc_kw, 150.0).max()
    assert 0.9975 * 420.0 < most_kva <= 420.0 + 1e-6


def test_ratings_hold_in_their_hours() -> None:
    """From 18:00 to 22:00 UTC an emergency rating allows more than the rest of the day."""
    rating = Rating(hours=LocalHours(begin="18:00", end="22:00"), loading_max_pu=1.1)
    transformer, problem = unit(loading_max_pu=0.9, rating=(rating,)), problem_of()
    pcc_kw = solved(site_with(transformer, capacity_kwh=900.0), problem).pcc_kw
    evening = (np.arange(DAY) >= 72) & (np.arange(DAY) < 88)
    assert pcc_kw[~evening].max() <= 360.0 + 1e-6
    assert 360.0 < pcc_kw[evening].max() <= 440.0 + 1e-6


def test_priced_ageing_is_avoided_where_it_pays() -> None:
    """Ten of the currency an hour of life: the cost of energy rises by less than the life that is saved."""
    problem, plain, priced = (
        problem_of(),
        unit(hot_spot_max_degc=140.0),
        unit(hot_spot_max_degc=140.0, ageing_cost_per_h=10.0),
    )
    schedules = [solved(site_with(transformer), problem).pcc_kw for transformer in (plain, priced)]
    life_h = [ageing_h(simulated(plain, pcc_kw, problem)[1]) for pcc_kw in schedules]
    cost = [float(problem.import_price_per_kwh @ pcc_kw) / 4 for pcc_kw in schedules]
    assert life_h[1] < 0.9 * life_h[0]
    assert cost[1] + 10 * life_h[1] < cost[0] + 10 * life_h[0]


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_ageing_stays_within_its_day(share: float) -> None:
    """A limit of some of the life that the hours would use without it; 12 % is what chords and batteries may leave."""
    problem, watched = problem_of(), unit(hot_spot_max_degc=140.0, ageing_max_h_per_day=1e6)
    free_h = ageing_h(simulated(watched, solved(site_with(watched), problem).pcc_kw, problem)[1])
    limited = unit(hot_spot_max_degc=140.0, ageing_max_h_per_day=share * free_h)
    life_h = ageing_h(simulated(limited, solved(site_with(limited), problem).pcc_kw, problem)[1])
    assert 0.88 * share * free_h < life_h <= share * free_h


def test_an_unreachable_limit_does_not_pile_up_its_excess() -> None:
    """A price on the sum of excesses alone would make one step hotter than no limit at all."""
    transformer, free, problem = unit(hot_spot_max_degc=85.0), unit(hot_spot_max_degc=300.0), problem_of()
    highest = [simulated(free, solved(site_with(one), problem).pcc_kw, problem)[1].max() for one in (transformer, free)]
    assert highest[0] < highest[1]


def test_firm_capacity_leaves_room_for_the_largest_to_fail() -> None:
    """630 and 400 kVA: without the larger, 1.1 times 400 kVA are left for everything."""
    transformers = unit("t1", rated_power_kva=630.0), unit("t2")
    site, problem = site_with(*transformers, firm_loading_max_pu=1.1), problem_of(kvar=60.0)
    assert firm_capacity_kva(site) == pytest.approx(440.0)
    assert solved(site_with(*transformers), problem).pcc_kw.max() > 440.0
    most_kva = np.hypot(solved(site, problem).pcc_kw, 60.0).max()
    assert 0.9975 * 440.0 < most_kva <= 440.0 + 1e-6


def test_firm_capacity_is_that_of_the_one_that_is_full_first() -> None:
    """Of two that stay, the one that carries three quarters of their load is full first, at 1.1 times 400 kVA."""
    transformers = unit("t1", rated_power_kva=1000.0, share=0.6), unit("t2", share=0.3), unit("t3", share=0.1)
    assert firm_capacity_kva(site_with(*transformers, firm_loading_max_pu=1.1)) == pytest.approx(440.0 / 0.75)


def test_of_equally_large_transformers_the_one_fails_that_leaves_least() -> None:
    """Of 0.2, 0.6 and 0.2, the outage of 0.6 leaves half to each: 800 kVA, in whichever order they are configured."""
    pair, small = (
        (unit("t1", rated_power_kva=1000.0, share=0.2), unit("t2", rated_power_kva=1000.0, share=0.6)),
        unit("t3", share=0.2),
    )
    for order in (pair, pair[::-1]):
        assert firm_capacity_kva(site_with(*order, small, firm_loading_max_pu=1.0)) == pytest.approx(800.0)


def test_each_transformer_is_held_at_its_share() -> None:
    """t1 carries 70 % on 250 kVA and is full at 1.2 pu; t2 would carry three times as much."""
    transformers = unit("t1", rated_power_kva=250.0, share=0.7, loading_max_pu=1.2), unit("t2", rated_power_kva=400.0)
    states = {"t1": WARM, "t2": WARM}
    problem = problem_of(thermal_state=states)
    result = solved(site_with(*transformers, capacity_kwh=900.0), problem)
    hot_spot = simulated(transformers[0], result.pcc_kw, problem, share=0.7)[1]
    assert hot_spot.max() <= 120.0 + 1e-6
    assert 0.7 * result.pcc_kw.max() <= 1.2 * 250.0 + 1e-6
    assert set(result.hot_spot_degc) == {"t1", "t2"}


def test_the_oil_lag_follows_the_clock() -> None:
    """A later problem of the same dispatcher starts from its own first step: the limit holds in both."""
    transformer = unit(cooling=Cooling.ONAN, hot_spot_max_degc=106.0)
    dispatcher = Dispatcher(site_with(transformer))
    for passed in (0, 1, 8):
        problem = problem_of(
            load_kw=np.roll(problem_of().load_kw, -passed), net_high_kw=np.roll(problem_of().load_kw, -passed)
        )
        snapshot = problem.snapshot
        moved = Snapshot(
            **{f: getattr(snapshot, f) for f in snapshot.__struct_fields__} | {"issued_at_ms": START_MS + passed * 900_000}
        )
        problem = DispatchProblem(**(vars(problem) | {"snapshot": moved}))
        hot_spot = simulated(transformer, dispatcher.dispatch(problem).pcc_kw, problem)[1]
        assert hot_spot.max() <= 106.05


@pytest.mark.parametrize(
    "states",
    [
        {},
        {"t1": ThermalState(math.nan, 0.0, 0.0)},
        {"t1": ThermalState(1e12, -1e12, math.inf)},
        {"t1": ThermalState(250.0, 100.0, 90.0)},
    ],
)
def test_any_state_has_a_schedule(states: dict[str, ThermalState]) -> None:
    result = solved(site_with(unit(hot_spot_max_degc=100.0, ageing_max_h_per_day=0.001)), problem_of(thermal_state=states))
    assert np.isfinite(result.hot_spot_degc["t1"]).all()


@pytest.mark.parametrize("ambient_degc", [-1e6, -60.0, 90.0, 1e6])
def test_any_ambient_has_a_schedule(ambient_degc: float) -> None:
    problem = problem_of(ambient_degc={"t1": np.full(DAY, ambient_degc)})
    assert np.isfinite(solved(site_with(unit(hot_spot_max_degc=60.0)), problem).pcc_kw).all()


@pytest.mark.parametrize("cooling", Cooling)
@pytest.mark.parametrize("loading_max_pu", [1.0, 1.5, 1.8])
def test_chords_are_above_the_curves_by_at_most_their_error(cooling: Cooling, loading_max_pu: float) -> None:
    constants = thermal.constants(unit(cooling=cooling))
    errors, chords = chord_errors(constants, loading_max_pu), segments(constants, loading_max_pu)
    assert 0 < errors.top_oil_k <= errors.hot_spot_k < 0.3
    for loading in np.linspace(0, loading_max_pu, 997).tolist():
        left, oil, winding = loading, constants.oil(0.0), 0.0
        for chord in chords:
            filled = min(left, chord.width_pu)
            oil, winding, left = oil + filled * chord.oil_per_pu, winding + filled * chord.winding_per_pu, left - filled
        above_k = constants.top_oil_rise_k * (oil - constants.oil(loading))
        hot_k = above_k + constants.k21 * constants.hot_spot_rise_k * (winding - constants.winding(loading))
        assert -1e-9 <= above_k <= (errors.top_oil_k + 1e-3 if loading >= 0.5 else 1.8)
        assert -1e-9 <= hot_k <= (errors.hot_spot_k + 1e-3 if loading >= 0.5 else 1.8)


@given(
    active_kw=st.floats(-1000.0, 1000.0),
    load_kvar=st.floats(-1000.0, 1000.0),
    bank_kvar=st.sampled_from([None, -300.0, 0.0, 300.0]),
)
def test_apparent_power_is_never_seen_too_small(active_kw: float, load_kvar: float, bank_kvar: float | None) -> None:
    """And by at most 3.6 % too large, less at usual power factors; the sign of reactive power does not matter."""
    program = LinearProgram()
    seen, drawn, given_back, banks = (program.columns(1, lower=-INF) for _ in range(4))
    reactive = [] if bank_kvar is None else [Term(banks, 1.0)]
    pcc = [Term(drawn, 1.0), Term(given_back, -1.0)]
    apparent = ApparentPower(program, seen, pcc=pcc, reactive=reactive, factor=1.0)
    program.build()
    program.cost[seen] = 1.0
    for columns, value in ((drawn, max(active_kw, 0.0)), (given_back, max(-active_kw, 0.0)), (banks, bank_kvar or 0.0)):
        program.lower[columns] = program.upper[columns] = value
    apparent.write(np.array([load_kvar]))
    seen_kva = float(program.solve(time_limit_s=3.0).values[seen][0])
    true_kva = math.hypot(active_kw, load_kvar + (bank_kvar or 0.0))
    power_factor = abs(active_kw) / max(true_kva, 1e-9)
    share = 1.0025 if power_factor > 0.92 else 1.005 if power_factor > 0.87 else 1.036
    assert true_kva - 1e-6 <= seen_kva <= share * true_kva + 1e-6
