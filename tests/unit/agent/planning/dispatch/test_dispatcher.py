"""The linear program against schedules that can be worked out by hand."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.dispatch import Dispatcher, DispatchProblem
from ringmain_agent.planning.dispatch.linear_program import Solution
from ringmain_agent.planning.dispatch.program import DispatchProgram
from ringmain_agent.site.nameplates import ChargingStation, FlexibleLoad
from ringmain_agent.snapshot import ChargingSession
from support.one_battery import small_site

Problem = Callable[..., DispatchProblem]


def test_energy_is_bought_cheap_and_used_dear(problem: Problem) -> None:
    result = Dispatcher(small_site()).dispatch(problem(import_price_per_kwh=[0.1, 0.3, 0.1, 0.3]))
    assert result.optimal
    np.testing.assert_allclose(result.power_kw["battery"], [4, -4, 4, -4], atol=1e-6)
    np.testing.assert_allclose(result.pcc_kw, [9, 1, 9, 1], atol=1e-6)
    # 9 kWh at 0.1 and 1 kWh at 0.3, twice.
    assert result.objective == pytest.approx(2.4, rel=1e-4)


@pytest.mark.parametrize("price", [-0.05, -0.2, -0.9])
def test_negative_prices_never_make_it_charge_and_discharge_at_once(problem: Problem, price: float) -> None:
    """The predicted energy is what the exact equations give from the net power."""
    site = small_site(charge_efficiency=0.9, discharge_efficiency=0.9)
    result = Dispatcher(site).dispatch(
        problem(import_price_per_kwh=[price] * 4, export_price_per_kwh=[price] * 4, soc_kwh={"battery": 10.0})
    )
    held = 10.0
    for power_kw, soc_kwh in zip(result.power_kw["battery"], result.soc_kwh["battery"], strict=True):
        held = site.batteries[0].soc_after_kwh(held, power_kw, 1.0)
        assert held == pytest.approx(soc_kwh, abs=1e-6)


def test_negative_price_in_one_step_makes_no_trade_in_others_dearer(problem: Problem) -> None:
    """4 kWh at 0.1 are 3.24 kWh at 0.2, and the last step pays for another 4 kWh."""
    site = small_site(charge_efficiency=0.9, discharge_efficiency=0.9)
    prices = [0.1, 0.2, 0.1, -0.9]
    result = Dispatcher(site).dispatch(problem(import_price_per_kwh=prices, export_price_per_kwh=prices))
    np.testing.assert_allclose(result.power_kw["battery"], [4, -3.24, 0, 4], atol=1e-6)
    assert result.objective == pytest.approx(0.9 + 0.352 + 0.5 - 8.1, rel=1e-4)


DESTROYING_PAYS: Final = {
    "import_price_per_kwh": [-0.4, -0.3, -0.2, -0.4],
    "export_price_per_kwh": [-0.4, -0.3, -0.2, -0.4],
    "soc_kwh": {"battery": 9.0},
}


def test_full_battery_makes_room_where_that_costs_least_at_negative_prices(problem: Problem) -> None:
    """It is filled at once; 3.24 kWh are then given where that costs 0.2, to take 4 kWh where 0.4 is paid for each."""
    site = small_site(charge_efficiency=0.9, discharge_efficiency=0.9)
    result = Dispatcher(site).dispatch(problem(**DESTROYING_PAYS))
    np.testing.assert_allclose(result.power_kw["battery"], [1 / 0.9, 0, -3.24, 4], atol=1e-6)
    assert (result.optimal, result.note) == (True, "")


@pytest.mark.parametrize(("dearer", "taken"), [(0.0, "incumbent"), (1.0, "surcharged"), (None, "surcharged")])
def test_cheaper_of_two_schedules_is_taken_where_the_integers_take_too_long(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, dearer: float | None, taken: str
) -> None:
    """What branch and bound has at the time limit, which costs so much more than the best, or nothing."""
    solve = DispatchProgram.solve

    def stopped(program: DispatchProgram, *given: Any) -> Solution:
        found = solve(program, *given)
        if not program.formulation.exclusive_charging:
            return found
        if dearer is None:
            raise DispatchError("Time limit reached", "no schedule yet")
        return found._replace(optimal=False, objective=found.objective + dearer, gap=0.5)

    site = small_site(charge_efficiency=0.9, discharge_efficiency=0.9)
    prices = [-0.9, 0.2, 0.1, 0.2]
    case = problem(import_price_per_kwh=prices, export_price_per_kwh=prices, soc_kwh={"battery": 9.0})
    exact = Dispatcher(site).dispatch(case)
    assert exact.optimal
    monkeypatch.setattr(DispatchProgram, "solve", stopped)
    result = Dispatcher(site).dispatch(case)
    assert not result.optimal
    assert result.objective == pytest.approx(np.array(prices) @ result.pcc_kw, abs=1e-3)
    assert result.objective - result.gap * abs(result.objective) <= exact.objective + 1e-6
    if taken == "incumbent":
        assert result.objective == pytest.approx(exact.objective)
    else:
        assert exact.objective + 1e-3 < result.objective < exact.objective + 1.0


def test_solves_of_a_plan_share_its_time(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planner is killed when it is late, so a limit is one of the plan, also if each solve takes all that it may."""
    granted_s: list[float] = []
    solve = DispatchProgram.solve

    def slow(program: DispatchProgram, limit_s: float) -> Solution:
        granted_s.append(limit_s)
        return solve(program, 60.0)._replace(optimal=False, solve_s=limit_s)

    monkeypatch.setattr(DispatchProgram, "solve", slow)
    site = small_site(charge_efficiency=0.9, discharge_efficiency=0.9)
    result = Dispatcher(site).dispatch(problem(**DESTROYING_PAYS), time_limit_s=2.5)
    assert granted_s == pytest.approx([2.0, 0.4, 0.08])
    assert result.solve_ms == pytest.approx(2480)


def test_export_excess_that_nothing_can_avoid_is_not_burned_by_charging_and_discharging_at_once(problem: Problem) -> None:
    """8 kW come back through the feeder, 5 may leave, and the battery has room for 2 kWh of the 12 that are too much."""
    site = small_site(charge_efficiency=0.9, discharge_efficiency=0.9)
    result = Dispatcher(site).dispatch(problem(load_kw=[-8] * 4, export_ceiling_kw=[5] * 4, soc_kwh={"battery": 8.2}))
    assert result.soc_kwh["battery"][-1] == pytest.approx(10.0)
    assert result.power_kw["battery"].sum() == pytest.approx(2.0)
    np.testing.assert_allclose(result.export_excess_kw, [2.5] * 4, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize(
    "name", ["load_kw", "net_high_kw", "pv_kw", "import_price_per_kwh", "export_price_per_kwh", "import_ceiling_kw"]
)
def test_bad_numbers_never_reach_the_solver(problem: Problem, name: str, bad: float) -> None:
    with pytest.raises(DispatchError) as caught:
        Dispatcher(small_site()).dispatch(problem(**{name: [0.1, bad, 0.1, 0.1]}))
    assert caught.value.condition == "input"


def test_no_time_at_all_gives_an_error_with_its_condition_and_the_next_call_works(problem: Problem) -> None:
    dispatcher = Dispatcher(small_site())
    hard = problem(import_price_per_kwh=[0.1, 0.3, 0.1, 0.3], load_kw=[5, 5, 11, 11], import_ceiling_kw=[8] * 4)
    with pytest.raises(DispatchError) as caught:
        dispatcher.dispatch(hard, time_limit_s=0.0)
    assert caught.value.condition == "Time limit reached"
    assert dispatcher.dispatch(hard).optimal


@pytest.mark.parametrize(
    "load",
    [
        {"flexible_loads": (FlexibleLoad(name="washing", power_max_kw=4.0, energy_kwh=6.0),)},
        {"flexible_loads": (FlexibleLoad(name="washing", power_max_kw=4.0, power_min_kw=1.0, energy_kwh=6.0),)},
        {"charging_stations": (ChargingStation(name="charger", power_max_kw=10.0),)},
    ],
    ids=["flexible", "flexible with a least power", "charger"],
)
def test_plans_go_on_for_ever_whatever_time_the_earlier_ones_took(problem: Problem, load: dict[str, Any]) -> None:
    """The planner lives for months, so the time of all its solves is far beyond what one may take."""
    rng = np.random.default_rng(0)
    dispatcher = Dispatcher(small_site(**load))
    visits = {"charger": (ChargingSession(from_ms=0, to_ms=3 * 3_600_000, energy_kwh=12.0),)}
    spent_s, limit_s = 0.0, 0.3
    while spent_s < 1.5 * limit_s:
        case = problem(
            load_kw=rng.uniform(0, 12, 4),
            import_price_per_kwh=rng.uniform(0.1, 0.3, 4),
            import_ceiling_kw=[14] * 4,
            visits=visits,
        )
        result = dispatcher.dispatch(case, time_limit_s=limit_s)
        assert (result.optimal, result.gap < 1e-4) == (True, True), f"after {spent_s} s"
        spent_s += result.solve_ms / 1000


def test_schedule_does_not_depend_on_the_plans_before_it(problem: Problem) -> None:
    """Two dispatchers of a site, one new and one that has made other plans, give the same to the last bit."""
    rng = np.random.default_rng(0)
    site = small_site(charge_efficiency=0.9, discharge_efficiency=0.95, soc_min_pu=0.1, soc_target_pu=0.5)
    used = Dispatcher(site)
    for _ in range(30):
        case = problem(
            load_kw=rng.uniform(0, 12, 4),
            pv_kw=-rng.uniform(0, 12, 4),
            import_price_per_kwh=rng.uniform(-0.1, 0.3, 4),
            export_price_per_kwh=rng.uniform(-0.2, 0.2, 4),
            import_ceiling_kw=rng.uniform(0, 10, 4),
            export_ceiling_kw=rng.uniform(0, 10, 4),
            soc_kwh={"battery": rng.uniform(0, 10)},
        )
        again, first = used.dispatch(case), Dispatcher(site).dispatch(case)
        assert again.objective == first.objective
        np.testing.assert_array_equal(again.power_kw["battery"], first.power_kw["battery"])


def test_site_without_equipment_is_only_its_load(problem: Problem) -> None:
    site = small_site(batteries=())
    np.testing.assert_allclose(Dispatcher(site).dispatch(problem()).pcc_kw, [5] * 4)
