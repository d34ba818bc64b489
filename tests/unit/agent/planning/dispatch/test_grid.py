"""Import and export in the program: limits, wishes at a price, and two prices that make no money machine."""

from collections.abc import Callable

import numpy as np
import pytest

from ringmain_agent.planning.dispatch import Dispatcher, DispatchProblem
from support.one_battery import small_site

Problem = Callable[..., DispatchProblem]


def test_import_limit_is_held_with_energy_charged_before(problem: Problem) -> None:
    result = Dispatcher(small_site()).dispatch(problem(load_kw=[5, 5, 11, 11], import_ceiling_kw=[8] * 4))
    assert result.pcc_kw.max() <= 8 + 1e-6
    assert result.soc_kwh["battery"][1] == pytest.approx(6.0)


def test_excess_that_cannot_be_avoided_is_spread_and_not_stacked_up(problem: Problem) -> None:
    """4 kWh are there for 12 kWh above the limit: the highest excess is as low as it can be."""
    result = Dispatcher(small_site()).dispatch(
        problem(load_kw=[12] * 4, import_ceiling_kw=[9] * 4, soc_kwh={"battery": 4.0})
    )
    np.testing.assert_allclose(result.import_excess_kw, [2] * 4, atol=1e-6)
    np.testing.assert_allclose(result.pcc_kw, [11] * 4, atol=1e-6)


def test_export_dearer_than_import_is_no_money_machine(problem: Problem) -> None:
    result = Dispatcher(small_site()).dispatch(problem(export_price_per_kwh=[0.9] * 4))
    np.testing.assert_allclose(result.pcc_kw, [5] * 4, atol=1e-6)


def test_selling_above_the_buying_price_is_paid_in_full_and_never_bought_for_in_the_same_step(problem: Problem) -> None:
    """8 kWh stored, 7 of PV and 5 of load in the hours in which selling pays 0.9: 6 kW are sold in each."""
    result = Dispatcher(small_site()).dispatch(
        problem(export_price_per_kwh=[0.9, 0.1, 0.1, 0.9], pv_kw=[-7, 0, 0, -7], soc_kwh={"battery": 8.0})
    )
    np.testing.assert_allclose(result.pcc_kw[[0, 3]], [-6, -6], atol=1e-6)
    # 12 kWh are sold at 0.9, 10 bought at 0.2.
    assert result.objective == pytest.approx(10 * 0.2 - 12 * 0.9, rel=1e-4)
    assert (result.optimal, result.note) == (True, "")


def test_wish_is_kept_where_breaching_it_costs_more_and_given_up_where_it_costs_less(problem: Problem) -> None:
    """The wish is 3 of the 5 kW; keeping it costs 2 kWh stored at 0.2 instead of used at 0.3."""
    asked = {"requested_import_kw": [3.0, None, None, None], "import_price_per_kwh": [0.2, 0.3, 0.3, 0.3]}
    dispatcher = Dispatcher(small_site())
    kept = dispatcher.dispatch(problem(breach_price_per_kwh=0.5, soc_kwh={"battery": 2.0}, **asked))
    assert kept.pcc_kw[0] == pytest.approx(3.0)
    given_up = dispatcher.dispatch(problem(breach_price_per_kwh=0.05, soc_kwh={"battery": 2.0}, **asked))
    assert given_up.pcc_kw[0] >= 5.0 - 1e-6
    assert given_up.import_excess_kw.max() == pytest.approx(0.0)


def test_limit_holds_before_a_wish(problem: Problem) -> None:
    """2 kWh are stored: for the limit in the last step, not for the wish in the first."""
    result = Dispatcher(small_site()).dispatch(
        problem(
            load_kw=[5, 5, 5, 7],
            import_ceiling_kw=[5] * 4,
            requested_import_kw=[3.0, None, None, None],
            breach_price_per_kwh=50.0,
            soc_kwh={"battery": 2.0},
        )
    )
    np.testing.assert_allclose(result.pcc_kw, [5] * 4, atol=1e-6)


def test_battery_does_not_export_where_it_must_not(problem: Problem) -> None:
    dear = {"export_price_per_kwh": [0.2] * 4, "import_price_per_kwh": [0.2] * 4}
    result = Dispatcher(small_site(battery_export=False)).dispatch(
        problem(load_kw=[1] * 4, pv_kw=[-3, 0, 0, 0], soc_kwh={"battery": 10.0}, **dear)
    )
    assert (result.pcc_kw >= np.array([-2, 0, 0, 0]) - 1e-6).all()
    free = Dispatcher(small_site()).dispatch(
        problem(load_kw=[1] * 4, pv_kw=[-3, 0, 0, 0], soc_kwh={"battery": 10.0}, **dear)
    )
    assert free.pcc_kw.sum() == pytest.approx(4 - 3 - 10)


def test_batteries_charge_from_generation_only_where_they_must(problem: Problem) -> None:
    result = Dispatcher(small_site(battery_grid_charge=False)).dispatch(
        problem(import_price_per_kwh=[0.1, 0.1, 0.5, 0.5], pv_kw=[-1, 0, 0, 0])
    )
    np.testing.assert_allclose(np.maximum(result.power_kw["battery"], 0.0), [1, 0, 0, 0], atol=1e-6)
