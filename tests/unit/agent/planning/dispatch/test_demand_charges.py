"""Demand charges in the program: means of quarter-hours by the clock, in the hours of each charge."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ringmain_agent.planning.dispatch import Dispatcher, DispatchProblem
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import DemandCharge
from support.one_battery import small_site

Problem = Callable[..., DispatchProblem]


def test_demand_charge_shaves_the_peak_but_not_below_what_the_month_has_seen(problem: Problem) -> None:
    dispatcher = Dispatcher(small_site(demand_charge_per_kw=10.0))
    load_kw = [2.0, 2.0, 8.0, 2.0]
    assert dispatcher.dispatch(problem(load_kw=load_kw)).pcc_kw.max() == pytest.approx(4.0)
    flat = dispatcher.dispatch(problem(load_kw=load_kw, billing_peak_kw={"month": 7.0}))
    assert flat.pcc_kw.max() == pytest.approx(7.0)
    assert flat.objective == pytest.approx(7.0 * 10 + 14 * 0.2)


def quarter_site(**charge: Any) -> Site:
    """Four steps of five minutes with a demand charge and no battery's worth of energy."""
    charges = (DemandCharge(name="peak", per_kw=10.0, **charge),)
    return small_site(step_s=300, demand_charge=charges, capacity_kwh=1.0)


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
    site = small_site(demand_charge=charges, time_zone="Europe/Amsterdam")
    result = Dispatcher(site).dispatch(
        problem(load_kw=[9, 8, 7, 6], soc_kwh={"battery": None}, import_price_per_kwh=[0.0] * 4)
    )
    assert result.objective == pytest.approx(80.0)
