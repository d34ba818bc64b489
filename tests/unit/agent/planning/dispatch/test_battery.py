"""Batteries in the program: losses, wear, bands, targets, and what is left at the end."""

from collections.abc import Callable

import numpy as np
import pytest

from ringmain_agent.planning.dispatch import Dispatcher, DispatchProblem
from support.one_battery import small_site
from support.sites import battery

Problem = Callable[..., DispatchProblem]


def test_losses_decide_whether_a_price_difference_pays(problem: Problem) -> None:
    """At 0.9 both ways 1.235 kWh are bought for each kWh used: 0.1 against 0.12 does not pay, 0.1 against 0.13 does."""
    dispatcher = Dispatcher(small_site(charge_efficiency=0.9, discharge_efficiency=0.9))
    poor = dispatcher.dispatch(problem(import_price_per_kwh=[0.1, 0.12, 0.1, 0.12]))
    good = dispatcher.dispatch(problem(import_price_per_kwh=[0.1, 0.13, 0.1, 0.13]))
    assert np.abs(poor.power_kw["battery"]).max() == pytest.approx(0.0, abs=1e-6)
    assert good.power_kw["battery"][1] == pytest.approx(-4 * 0.81)


def test_wear_decides_whether_a_price_difference_pays(problem: Problem) -> None:
    dispatcher = Dispatcher(small_site(wear_per_kwh=0.06))
    result = dispatcher.dispatch(problem(import_price_per_kwh=[0.1, 0.2, 0.1, 0.2]))
    assert np.abs(result.power_kw["battery"]).max() == pytest.approx(0.0, abs=1e-6)


def test_target_is_reached_where_nothing_speaks_against_it(problem: Problem) -> None:
    dispatcher = Dispatcher(small_site(soc_target_pu=0.5))
    assert dispatcher.dispatch(problem(soc_kwh={"battery": 0.0})).soc_kwh["battery"][-1] == pytest.approx(5.0)
    held = dispatcher.dispatch(problem(soc_kwh={"battery": 0.0}, load_kw=[8] * 4, import_ceiling_kw=[8] * 4))
    assert held.soc_kwh["battery"][-1] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("soc_kwh", [-5.0, 0.0, 0.4, 9.9, 10.0, 25.0])
def test_measured_energy_outside_its_band_is_no_obstacle(problem: Problem, soc_kwh: float) -> None:
    site = small_site(soc_min_pu=0.1, soc_max_pu=0.9, soc_target_pu=0.5)
    result = Dispatcher(site).dispatch(problem(soc_kwh={"battery": soc_kwh}))
    assert result.soc_kwh["battery"][-1] == pytest.approx(5.0)


@pytest.mark.parametrize("soc_kwh", [None, float("nan"), float("inf")])
def test_battery_with_unknown_energy_is_left_out(problem: Problem, soc_kwh: float | None) -> None:
    result = Dispatcher(small_site()).dispatch(
        problem(soc_kwh={"battery": soc_kwh}, import_price_per_kwh=[0.1, 0.3, 0.1, 0.3])
    )
    assert result.soc_kwh == {}
    np.testing.assert_allclose(result.power_kw["battery"], [0.0] * 4)
    np.testing.assert_allclose(result.pcc_kw, [5] * 4)


def test_energy_left_at_the_end_is_worth_what_the_nameplate_says(problem: Problem) -> None:
    worth = Dispatcher(small_site(end_value_per_kwh=0.25)).dispatch(problem())
    assert worth.soc_kwh["battery"][-1] == pytest.approx(10.0)
    little = Dispatcher(small_site(end_value_per_kwh=0.15)).dispatch(problem(soc_kwh={"battery": 10.0}))
    assert little.soc_kwh["battery"][-1] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("soc_kwh", [0.0, 10.0])
def test_target_with_a_price_is_met_from_either_side(problem: Problem, soc_kwh: float) -> None:
    site = small_site(soc_target_pu=0.6, target_miss_per_kwh=5.0)
    result = Dispatcher(site).dispatch(problem(soc_kwh={"battery": soc_kwh}, import_price_per_kwh=[0.2, 0.4, 0.2, 0.4]))
    assert result.soc_kwh["battery"][-1] == pytest.approx(6.0)


def test_energy_is_lost_at_rest(problem: Problem) -> None:
    site = small_site(self_discharge_per_h=0.1, soc_min_pu=0.1, soc_target_pu=0.1)
    result = Dispatcher(site).dispatch(problem(soc_kwh={"battery": 8.0}, import_price_per_kwh=[0.0, 0.0, 0.0, 0.0]))
    held = 8.0
    for power_kw, after_kwh in zip(result.power_kw["battery"], result.soc_kwh["battery"], strict=True):
        held = 0.9 * held + power_kw
        assert held == pytest.approx(after_kwh, abs=1e-6)


def test_energy_that_falls_out_of_its_band_by_itself_is_topped_up_at_a_price_and_no_obstacle(problem: Problem) -> None:
    site = small_site(self_discharge_per_h=0.2, soc_min_pu=0.5, soc_target_pu=0.5)
    result = Dispatcher(site).dispatch(problem(soc_kwh={"battery": 5.0}))
    np.testing.assert_allclose(result.soc_kwh["battery"], [5] * 4, atol=1e-6)
    stuck = Dispatcher(site).dispatch(problem(soc_kwh={"battery": 5.0}, unresponsive_kw={"battery": 0.0}))
    np.testing.assert_allclose(stuck.soc_kwh["battery"], 5 * 0.8 ** np.arange(1, 5), atol=1e-6)


def test_battery_that_does_not_follow_is_planned_around(problem: Problem) -> None:
    """It gives 3 kW until it is empty; the other one charges where the first makes it cheap to."""
    batteries = (
        *small_site().batteries,
        battery("stuck", 10.0, 4.0, discharge_efficiency=1.0, soc_target_pu=0.05),
    )
    result = Dispatcher(small_site(batteries=batteries)).dispatch(
        problem(
            soc_kwh={"battery": 0.0, "stuck": 7.0},
            unresponsive_kw={"stuck": -3.0},
            import_ceiling_kw=[5] * 4,
            load_kw=[5, 5, 5, 8],
        )
    )
    np.testing.assert_allclose(result.power_kw["stuck"], [-3, -3, -1, 0], atol=1e-6)
    assert result.import_excess_kw.max() == pytest.approx(0.0, abs=1e-9)
    assert result.power_kw["battery"][3] == pytest.approx(-3.0)


def test_several_batteries_share_what_there_is_to_do(problem: Problem) -> None:
    """The second wears more: it only gives what the first cannot."""
    first = small_site().batteries[0]
    second = battery("second", 10.0, 4.0, wear_per_kwh=0.01, discharge_efficiency=1.0, soc_target_pu=0.05)
    result = Dispatcher(small_site(batteries=(first, second))).dispatch(
        problem(
            load_kw=[5, 5, 5, 11],
            import_ceiling_kw=[5] * 4,
            soc_kwh={"battery": 4.0, "second": 4.0},
            import_price_per_kwh=[0.2] * 4,
        )
    )
    assert result.import_excess_kw.max() == pytest.approx(0.0, abs=1e-9)
    assert result.power_kw["battery"].sum() == pytest.approx(-4.0)
