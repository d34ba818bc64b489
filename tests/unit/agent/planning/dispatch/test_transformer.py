"""Transformers in the dispatch: every schedule is re-simulated with the exact equations of thermal.py."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.transformer import firm_capacity_kva
from ringmain_agent.planning.dispatch import Dispatch, Dispatcher, DispatchProblem
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import Cooling, Paper, Rating, Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ThermalState
from support.sites import battery, problem_of, station

DAY = 96
START_MS = 1_784_851_200_000  # 2026-07-24T00:00:00Z
WARM = ThermalState(75.0, 15.0, 0.0)

Array = npt.NDArray[np.float64]


def unit(name: str = "t1", **change: Any) -> Transformer:
    return Transformer(name=name, **({"rated_power_kva": 400.0, "ambient_degc": 27.0} | change))


def site_with(*transformers: Transformer, capacity_kwh: float = 600.0, **connection: Any) -> Site:
    """An evening peak of 490 kW behind a limit that never binds, and a battery."""
    limits = {"import_limit_kw": 2000.0, "export_limit_kw": 2000.0} | connection
    store = battery("battery", capacity_kwh, 200.0)
    return station(batteries=(store,), transformers=transformers, **limits)


def problem_with(
    *, kvar: float = 0.0, thermal_state: dict[str, ThermalState] | None = None, **change: Any
) -> DispatchProblem:
    """A day from midnight; energy is dear in the evening, so that price alone unloads the transformer then."""
    hour = np.arange(DAY) / 4
    load_kw = 300 + 70 * np.exp(-(((hour - 9) / 2) ** 2)) + 190 * np.exp(-(((hour - 19) / 2) ** 2))
    price = np.where((hour >= 17) & (hour < 21), 0.26, np.where(hour < 7, 0.13, 0.22))
    usual: dict[str, Any] = {
        "load_kw": load_kw,
        "load_kvar": kvar,
        "import_price_per_kwh": price,
        "export_price_per_kwh": price - 0.02,
        "issued_at_ms": START_MS,
        "soc_kwh": {"battery": 300.0},
        "thermal": {"t1": WARM} if thermal_state is None else thermal_state,
    }
    return problem_of(site_with(), **usual | change)


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
    problem = problem_with(kvar=kvar)
    assert simulated(free, solved(site_with(free), problem).pcc_kw, problem)[1].max() > limit_degc + 1
    result = solved(site_with(transformer), problem)
    hot_spot = simulated(transformer, result.pcc_kw, problem)[1]
    assert hot_spot.max() <= limit_degc + 0.05
    predicted = result.hot_spot_degc["t1"]
    binds = predicted > limit_degc - 0.2
    assert binds.any()
    assert np.abs(predicted - hot_spot)[binds].max() < 0.5


def test_the_top_oil_has_a_limit_of_its_own() -> None:
    transformer, problem = unit(top_oil_max_degc=80.0), problem_with()
    top_oil, hot_spot = simulated(transformer, solved(site_with(transformer), problem).pcc_kw, problem)
    assert 79.5 < top_oil.max() <= 80.0 + 1e-6
    assert hot_spot.max() < 120.0


def test_loading_stays_within_its_limit_with_reactive_power() -> None:
    """At 1.05 pu and 150 kvar only 392 kW are left; 0.25 % of it is what the directions may cost."""
    transformer, problem = unit(loading_max_pu=1.05), problem_with(kvar=150.0)
    pcc_kw = solved(site_with(transformer), problem).pcc_kw
    most_kva = np.hypot(pcc_kw, 150.0).max()
    assert 0.9975 * 420.0 < most_kva <= 420.0 + 1e-6


def test_ratings_hold_in_their_hours() -> None:
    """From 18:00 to 22:00 UTC an emergency rating allows more than the rest of the day."""
    rating = Rating(hours=LocalHours(begin="18:00", end="22:00"), loading_max_pu=1.1)
    transformer, problem = unit(loading_max_pu=0.9, rating=(rating,)), problem_with()
    pcc_kw = solved(site_with(transformer, capacity_kwh=900.0), problem).pcc_kw
    evening = (np.arange(DAY) >= 72) & (np.arange(DAY) < 88)
    assert pcc_kw[~evening].max() <= 360.0 + 1e-6
    assert 360.0 < pcc_kw[evening].max() <= 440.0 + 1e-6


def test_priced_ageing_is_avoided_where_it_pays() -> None:
    """Ten of the currency an hour of life: the cost of energy rises by less than the life that is saved."""
    problem, plain, priced = (
        problem_with(),
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
    problem, watched = problem_with(), unit(hot_spot_max_degc=140.0, ageing_max_h_per_day=1e6)
    free_h = ageing_h(simulated(watched, solved(site_with(watched), problem).pcc_kw, problem)[1])
    limited = unit(hot_spot_max_degc=140.0, ageing_max_h_per_day=share * free_h)
    life_h = ageing_h(simulated(limited, solved(site_with(limited), problem).pcc_kw, problem)[1])
    assert 0.88 * share * free_h < life_h <= share * free_h


def test_an_unreachable_limit_does_not_pile_up_its_excess() -> None:
    """A price on the sum of excesses alone would make one step hotter than no limit at all."""
    transformer, free, problem = unit(hot_spot_max_degc=85.0), unit(hot_spot_max_degc=300.0), problem_with()
    highest = [simulated(free, solved(site_with(one), problem).pcc_kw, problem)[1].max() for one in (transformer, free)]
    assert highest[0] < highest[1]


def test_firm_capacity_leaves_room_for_the_largest_to_fail() -> None:
    """630 and 400 kVA: without the larger, 1.1 times 400 kVA are left for everything."""
    transformers = unit("t1", rated_power_kva=630.0), unit("t2")
    site, problem = site_with(*transformers, firm_loading_max_pu=1.1), problem_with(kvar=60.0)
    assert firm_capacity_kva(site) == pytest.approx(440.0)
    assert solved(site_with(*transformers), problem).pcc_kw.max() > 440.0
    most_kva = np.hypot(solved(site, problem).pcc_kw, 60.0).max()
    assert 0.9975 * 440.0 < most_kva <= 440.0 + 1e-6


def test_each_transformer_is_held_at_its_share() -> None:
    """t1 carries 70 % on 250 kVA and is full at 1.2 pu; t2 would carry three times as much."""
    transformers = unit("t1", rated_power_kva=250.0, share=0.7, loading_max_pu=1.2), unit("t2", rated_power_kva=400.0)
    states = {"t1": WARM, "t2": WARM}
    problem = problem_with(thermal_state=states)
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
        problem = problem_with(load_kw=np.roll(problem_with().load_kw, -passed), issued_at_ms=START_MS + passed * 900_000)
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
    result = solved(site_with(unit(hot_spot_max_degc=100.0, ageing_max_h_per_day=0.001)), problem_with(thermal_state=states))
    assert np.isfinite(result.hot_spot_degc["t1"]).all()


@pytest.mark.parametrize("ambient_degc", [-1e6, -60.0, 90.0, 1e6])
def test_any_ambient_has_a_schedule(ambient_degc: float) -> None:
    problem = problem_with(ambient_degc={"t1": np.full(DAY, ambient_degc)})
    assert np.isfinite(solved(site_with(unit(hot_spot_max_degc=60.0)), problem).pcc_kw).all()
