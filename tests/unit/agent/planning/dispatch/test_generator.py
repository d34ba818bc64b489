"""Plants in the program: curtailed only where nothing else helps, or where export costs."""

from collections.abc import Callable

import pytest

from ringmain_agent.planning.dispatch import Dispatcher, DispatchProblem
from ringmain_agent.site.nameplates import Generator
from support.one_battery import small_site

Problem = Callable[..., DispatchProblem]


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


def test_plant_that_takes_no_setpoint_is_not_curtailed(problem: Problem) -> None:
    plant = (Generator(name="pv", rated_power_kw=50.0, curtailable=False),)
    result = Dispatcher(small_site(generators=plant)).dispatch(
        problem(pv_kw=[-20, 0, 0, 0], export_ceiling_kw=[5] * 4, soc_kwh={"battery": None})
    )
    assert result.curtailed_kw["pv"].max() == 0.0
    assert result.export_excess_kw[0] == pytest.approx(10.0)
