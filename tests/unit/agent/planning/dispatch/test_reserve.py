"""Energy that a battery keeps for a load at its upper quantile, and for holding limits."""

from collections.abc import Callable

import pytest

from ringmain_agent.planning.dispatch import Dispatcher, DispatchProblem
from support.one_battery import small_site

Problem = Callable[..., DispatchProblem]


def test_reserve_is_kept_for_a_load_at_its_upper_quantile(problem: Problem) -> None:
    """By the median nothing is needed; at the upper quantile 3 kW are missing in the last two hours."""
    prices = [0.3, 0.1, 0.1, 0.1]
    site = small_site(soc_target_pu=0.0)
    greedy = Dispatcher(site).dispatch(
        problem(import_price_per_kwh=prices, import_ceiling_kw=[5] * 4, soc_kwh={"battery": 8.0})
    )
    assert greedy.soc_kwh["battery"][0] == pytest.approx(4.0)
    careful = Dispatcher(site).dispatch(
        problem(import_price_per_kwh=prices, import_ceiling_kw=[5] * 4, soc_kwh={"battery": 8.0}, net_high_kw=[5, 5, 8, 8])
    )
    assert careful.import_excess_kw.max() == pytest.approx(0.0)
    assert careful.soc_kwh["battery"][3] - careful.reserve_kwh["battery"][3] >= -1e-6
    assert careful.reserve_kwh["battery"][3] + (8.0 - careful.soc_kwh["battery"][3]) <= 8.0 + 1e-6
    assert careful.soc_kwh["battery"][0] >= greedy.soc_kwh["battery"][0] - 1e-6


def test_energy_that_is_kept_is_not_traded_but_holds_the_limit(problem: Problem) -> None:
    dispatcher = Dispatcher(small_site(soc_reserve_pu=0.6))
    dear_end = {"import_price_per_kwh": [0.1, 0.1, 0.1, 0.5]}
    traded = dispatcher.dispatch(problem(soc_kwh={"battery": 10.0}, **dear_end))
    assert traded.soc_kwh["battery"][-1] == pytest.approx(6.0)
    held = dispatcher.dispatch(
        problem(soc_kwh={"battery": 10.0}, load_kw=[5.0, 5.0, 8.0, 8.0], import_ceiling_kw=[5.0] * 4, **dear_end)
    )
    assert held.soc_kwh["battery"][-1] == pytest.approx(4.0)
    assert held.import_excess_kw.max() == pytest.approx(0.0, abs=1e-9)


def test_reserve_comes_back_where_the_upper_quantile_leaves_room(problem: Problem) -> None:
    result = Dispatcher(small_site()).dispatch(
        problem(load_kw=[5, 0, 5, 5], net_high_kw=[9, 0, 9, 5], import_ceiling_kw=[5] * 4, soc_kwh={"battery": 4.0})
    )
    assert result.reserve_kwh["battery"].max() <= 4.0 + 1e-6
