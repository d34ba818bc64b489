"""The linear program against schedules that can be worked out by hand."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.dispatch import Dispatcher, DispatchProblem
from ringmain_agent.planning.dispatch.linear_program import Solution
from ringmain_agent.planning.dispatch.program import DispatchProgram
from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import Battery, ChargingStation, FlexibleLoad, Generator
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import DemandCharge, Tariff
from ringmain_agent.snapshot import ChargingSession, Snapshot

Problem = Callable[..., DispatchProblem]


def small_site(*, demand_charge_per_kw: float = 0.0, site: dict[str, Any] | None = None, **battery: float) -> Site:
    """Four steps of an hour; a lossless battery of 10 kWh and 4 kW that costs nothing to use."""
    nameplate: dict[str, float] = {
        "capacity_kwh": 10.0,
        "charge_max_kw": 4.0,
        "discharge_max_kw": 4.0,
        "charge_efficiency": 1.0,
        "discharge_efficiency": 1.0,
        "soc_min_pu": 0.0,
        "soc_max_pu": 1.0,
        "soc_target_pu": 0.0,
        "wear_per_kwh": 0.0,
    } | battery
    parts: dict[str, Any] = {
        "step_s": 3600,
        "grid_connection": GridConnection(import_limit_kw=100.0, export_limit_kw=100.0),
        "batteries": (Battery(name="battery", **nameplate),),
        "generators": (Generator(name="pv", rated_power_kw=50.0),),
        "tariff": Tariff(demand_charge_per_kw=demand_charge_per_kw),
    }
    return Site(site="site-1", horizon_steps=4, **(parts | (site or {})))


@pytest.fixture
def problem() -> Problem:
    def make(**change: Any) -> DispatchProblem:
        values: dict[str, Any] = {
            "load_kw": [5.0] * 4,
            "import_ceiling_kw": [100.0] * 4,
            "export_ceiling_kw": [100.0] * 4,
            "import_price_per_kwh": [0.2] * 4,
            "export_price_per_kwh": [0.0] * 4,
            "load_kvar": [0.0] * 4,
        } | {key: value for key, value in change.items() if key not in {"pv_kw", *Snapshot.__struct_fields__}}
        arrays: dict[str, Any] = {key: np.array(value, np.float64) for key, value in values.items()}
        pv_kw = np.array(change.get("pv_kw", [0.0] * 4), np.float64)
        arrays.setdefault("net_high_kw", arrays["load_kw"] + pv_kw)
        state: dict[str, Any] = {
            "issued_at_ms": 0,
            "step_s": 3600,
            "history": {},
            "known_future": {},
            "import_limit_kw": [],
            "export_limit_kw": [],
            "soc_kwh": {"battery": 0.0},
        } | {key: value for key, value in change.items() if key in Snapshot.__struct_fields__}
        return DispatchProblem(
            **arrays,
            available_kw={"pv": pv_kw},
            snapshot=Snapshot(**state),
        )

    return make


def test_energy_is_bought_cheap_and_used_dear(problem: Problem) -> None:
    result = Dispatcher(small_site()).dispatch(problem(import_price_per_kwh=[0.1, 0.3, 0.1, 0.3]))
    assert result.optimal
    np.testing.assert_allclose(result.power_kw["battery"], [4, -4, 4, -4], atol=1e-6)
    np.testing.assert_allclose(result.pcc_kw, [9, 1, 9, 1], atol=1e-6)
    # 9 kWh at 0.1 and 1 kWh at 0.3, twice.
    assert result.objective == pytest.approx(2.4, rel=1e-4)


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


def test_pv_is_stored_before_it_is_curtailed_and_curtailed_before_the_export_limit_breaks(problem: Problem) -> None:
    result = Dispatcher(small_site()).dispatch(problem(pv_kw=[-20, 0, 0, 0], export_ceiling_kw=[5] * 4))
    assert result.power_kw["battery"][0] == pytest.approx(4.0)
    assert result.curtailed_kw["pv"][0] == pytest.approx(20 - 5 - 4 - 5)
    assert result.export_excess_kw.max() == pytest.approx(0.0)


def test_pv_is_given_away_when_export_costs(problem: Problem) -> None:
    result = Dispatcher(small_site()).dispatch(
        problem(
            pv_kw=[-20, 0, 0, 0], export_price_per_kwh=[-0.1] * 4, import_price_per_kwh=[0.0] * 4, soc_kwh={"battery": 10.0}
        )
    )
    assert result.pcc_kw[0] == pytest.approx(0.0, abs=1e-6)


def test_demand_charge_shaves_the_peak_but_not_below_what_the_month_has_seen(problem: Problem) -> None:
    dispatcher = Dispatcher(small_site(demand_charge_per_kw=10.0))
    load_kw = [2.0, 2.0, 8.0, 2.0]
    assert dispatcher.dispatch(problem(load_kw=load_kw)).pcc_kw.max() == pytest.approx(4.0)
    flat = dispatcher.dispatch(problem(load_kw=load_kw, billing_peak_kw={"month": 7.0}))
    assert flat.pcc_kw.max() == pytest.approx(7.0)
    assert flat.objective == pytest.approx(7.0 * 10 + 14 * 0.2)


def test_target_is_reached_where_nothing_speaks_against_it(problem: Problem) -> None:
    dispatcher = Dispatcher(small_site(soc_target_pu=0.5))
    assert dispatcher.dispatch(problem(soc_kwh={"battery": 0.0})).soc_kwh["battery"][-1] == pytest.approx(5.0)
    held = dispatcher.dispatch(problem(soc_kwh={"battery": 0.0}, load_kw=[8] * 4, import_ceiling_kw=[8] * 4))
    assert held.soc_kwh["battery"][-1] == pytest.approx(0.0, abs=1e-6)


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


def test_export_dearer_than_import_is_no_money_machine(problem: Problem) -> None:
    result = Dispatcher(small_site()).dispatch(problem(export_price_per_kwh=[0.9] * 4))
    np.testing.assert_allclose(result.pcc_kw, [5] * 4, atol=1e-6)


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
    dispatcher = Dispatcher(small_site(site=load))
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
    site = Site(
        site="site-1",
        step_s=3600,
        horizon_steps=4,
        grid_connection=GridConnection(import_limit_kw=1.0, export_limit_kw=1.0),
        generators=(Generator(name="pv", rated_power_kw=50.0),),
    )
    np.testing.assert_allclose(Dispatcher(site).dispatch(problem()).pcc_kw, [5] * 4)


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


def quarter_site(**charge: Any) -> Site:
    """Four steps of five minutes with a demand charge and no battery's worth of energy."""
    charges = (DemandCharge(name="peak", per_kw=10.0, **charge),)
    return small_site(site={"step_s": 300, "tariff": Tariff(demand_charge=charges)}, capacity_kwh=1.0)


def test_demand_is_charged_on_the_mean_of_a_quarter_hour_by_the_clock(problem: Problem) -> None:
    """Steps of 5 min: the first three make a quarter of 6 kW on average, the fourth begins the next one with 3 kW."""
    result = Dispatcher(quarter_site()).dispatch(
        problem(load_kw=[0, 0, 18, 3], soc_kwh={"battery": None}, import_price_per_kwh=[0.0] * 4)
    )
    assert result.objective == pytest.approx(60.0)


def test_what_has_flowed_in_the_quarter_counts_into_its_mean(problem: Problem) -> None:
    """12 kW in the 5 min before the first step and 3 and 0 kW in it are a mean of 5 kW; then 4.5 kW in half a quarter."""
    result = Dispatcher(quarter_site()).dispatch(
        problem(
            load_kw=[3, 0, 4.5, 4.5],
            soc_kwh={"battery": None},
            import_price_per_kwh=[0.0] * 4,
            issued_at_ms=300_000,
            history={"pcc_kw": np.array([99.0, 12.0], "<f4").tobytes()},
        )
    )
    assert result.objective == pytest.approx(50.0)


def test_demand_outside_the_hours_of_the_charge_costs_nothing(problem: Problem) -> None:
    """02:00 in Amsterdam is 01:00 UTC in winter: of 9, 8, 7 and 6 kW from 00:00 UTC on, 8 kW is the highest that counts."""
    charges = (DemandCharge(name="day", per_kw=10.0, hours=LocalHours(begin="02:00", end="24:00")),)
    site = small_site(site={"tariff": Tariff(demand_charge=charges), "time_zone": "Europe/Amsterdam"})
    result = Dispatcher(site).dispatch(
        problem(load_kw=[9, 8, 7, 6], soc_kwh={"battery": None}, import_price_per_kwh=[0.0] * 4)
    )
    assert result.objective == pytest.approx(80.0)


def test_battery_does_not_export_where_it_must_not(problem: Problem) -> None:
    connection = GridConnection(import_limit_kw=100.0, export_limit_kw=100.0, battery_export=False)
    dear = {"export_price_per_kwh": [0.2] * 4, "import_price_per_kwh": [0.2] * 4}
    result = Dispatcher(small_site(site={"grid_connection": connection})).dispatch(
        problem(load_kw=[1] * 4, pv_kw=[-3, 0, 0, 0], soc_kwh={"battery": 10.0}, **dear)
    )
    assert (result.pcc_kw >= np.array([-2, 0, 0, 0]) - 1e-6).all()
    free = Dispatcher(small_site()).dispatch(
        problem(load_kw=[1] * 4, pv_kw=[-3, 0, 0, 0], soc_kwh={"battery": 10.0}, **dear)
    )
    assert free.pcc_kw.sum() == pytest.approx(4 - 3 - 10)


def test_batteries_charge_from_generation_only_where_they_must(problem: Problem) -> None:
    connection = GridConnection(import_limit_kw=100.0, export_limit_kw=100.0, battery_grid_charge=False)
    result = Dispatcher(small_site(site={"grid_connection": connection})).dispatch(
        problem(import_price_per_kwh=[0.1, 0.1, 0.5, 0.5], pv_kw=[-1, 0, 0, 0])
    )
    np.testing.assert_allclose(np.maximum(result.power_kw["battery"], 0.0), [1, 0, 0, 0], atol=1e-6)


def test_plant_that_takes_no_setpoint_is_not_curtailed(problem: Problem) -> None:
    plant = (Generator(name="pv", rated_power_kw=50.0, curtailable=False),)
    result = Dispatcher(small_site(site={"generators": plant})).dispatch(
        problem(pv_kw=[-20, 0, 0, 0], export_ceiling_kw=[5] * 4, soc_kwh={"battery": None})
    )
    assert result.curtailed_kw["pv"].max() == 0.0
    assert result.export_excess_kw[0] == pytest.approx(10.0)


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
        Battery(
            name="stuck",
            capacity_kwh=10.0,
            charge_max_kw=4.0,
            discharge_max_kw=4.0,
            discharge_efficiency=1.0,
            soc_target_pu=0.05,
        ),
    )
    result = Dispatcher(small_site(site={"batteries": batteries})).dispatch(
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
    second = Battery(
        name="second",
        capacity_kwh=10.0,
        charge_max_kw=4.0,
        discharge_max_kw=4.0,
        wear_per_kwh=0.01,
        discharge_efficiency=1.0,
        soc_target_pu=0.05,
    )
    result = Dispatcher(small_site(site={"batteries": (first, second)})).dispatch(
        problem(
            load_kw=[5, 5, 5, 11],
            import_ceiling_kw=[5] * 4,
            soc_kwh={"battery": 4.0, "second": 4.0},
            import_price_per_kwh=[0.2] * 4,
        )
    )
    assert result.import_excess_kw.max() == pytest.approx(0.0, abs=1e-9)
    assert result.power_kw["battery"].sum() == pytest.approx(-4.0)
