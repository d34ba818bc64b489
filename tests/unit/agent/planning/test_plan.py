"""One snapshot in, one plan out; what failed is named, and something usable is always there."""

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.dispatch import Dispatch, Dispatcher, DispatchProblem
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ForecastResult, Plan, Snapshot
from ringmain_protocol.messages import Fallback
from support.changed_dispatcher import Changed


def made(snapshot: Snapshot, site: Site) -> Plan:
    return plan(snapshot, site, Forecaster(site), Dispatcher(site))


def test_plan_is_complete_and_balanced(snapshot: Snapshot, site: Site) -> None:
    result = made(snapshot, site)
    assert result.fallback == Fallback.OPTIMAL
    assert [f.signal for f in result.forecasts] == ["load_kw", "pv_kw"]
    load_kw = np.array([row[1] for row in result.forecasts[0].values])
    np.testing.assert_allclose(load_kw + result.power_kw["battery"] + result.power_kw["pv"], result.pcc_kw, atol=1e-6)
    assert max(result.pcc_kw) <= 4950 + 1e-6
    assert len(result.soc_kwh["battery"]) == len(result.reserve_kwh["battery"]) == len(result.curtailed_kw["pv"]) == 96


def test_forecasts_say_that_they_are_persistence_and_why(snapshot: Snapshot, site: Site) -> None:
    result = made(snapshot, site)
    assert [(f.release, f.reason) for f in result.forecasts] == [(0, "no model yet")] * 2
    assert result.reason == "load_kw by persistence: no model yet; pv_kw by persistence: no model yet"


def test_model_that_is_there_is_used(snapshot: Snapshot, site: Site, model_file: Callable[..., Path]) -> None:
    result = made(replace(snapshot, models={"load_kw": str(model_file())}), site)
    assert [f.release for f in result.forecasts] == [3, 0]
    assert result.reason == "pv_kw by persistence: no model yet"


def test_model_that_is_rejected_is_replaced_and_named(
    snapshot: Snapshot, site: Site, model_file: Callable[..., Path]
) -> None:
    result = made(replace(snapshot, models={"load_kw": str(model_file(golden_error=5.0))}), site)
    assert result.fallback == Fallback.OPTIMAL
    assert result.forecasts[0].release == 0
    assert "golden vectors are off by 5" in result.reason


@pytest.mark.parametrize(
    "error", [IndexError("no such row"), MemoryError(), RuntimeError("x" * 1000), TypeError(), KeyError(1)]
)
def test_whatever_fails_in_one_forecast_leaves_the_optimizer_and_the_other_forecasts(
    snapshot: Snapshot, site: Site, error: Exception
) -> None:
    class Failing(Forecaster):
        def forecast(self, snapshot: Snapshot, signal: str) -> ForecastResult:
            if signal == "load_kw":
                raise error
            return super().forecast(snapshot, signal)

    result = plan(snapshot, site, Failing(site), Dispatcher(site))
    assert result.fallback == Fallback.OPTIMAL
    assert [forecast.release for forecast in result.forecasts] == [0, 0]
    assert f"load_kw by persistence: {type(error).__name__} in the forecast" in result.reason


def test_no_history_at_all_leaves_the_rule(snapshot: Snapshot, site: Site) -> None:
    result = made(replace(snapshot, history={}), site)
    assert (result.fallback, result.reason) == (Fallback.RULE, "no forecast: there is no history")
    assert (result.power_kw, result.pcc_kw) == ({}, [])


def test_failed_optimization_leaves_the_rule_with_the_forecast(snapshot: Snapshot, site: Site) -> None:
    def fail(_: Dispatch) -> Dispatch:
        raise DispatchError("Time limit reached", "the linear program has no usable solution")

    result = plan(snapshot, site, Forecaster(site), Changed(site, fail))
    assert result.fallback == Fallback.RULE
    assert result.reason.startswith("no optimal schedule: the linear program has no usable solution (Time limit reached)")
    assert len(result.forecasts) == 2
    assert max(result.pcc_kw) <= 4950 + 1e-6


def test_feasible_point_at_the_time_limit_is_an_incumbent(snapshot: Snapshot, site: Site) -> None:
    def stopped(dispatch: Dispatch) -> Dispatch:
        return Dispatch(**(vars(dispatch) | {"optimal": False}))

    assert plan(snapshot, site, Forecaster(site), Changed(site, stopped)).fallback == Fallback.INCUMBENT


def test_battery_of_unknown_energy_rests_and_is_named(snapshot: Snapshot, site: Site) -> None:
    for soc_kwh in ({}, {"battery": None}, {"battery": float("nan")}):
        result = made(replace(snapshot, soc_kwh=soc_kwh), site)
        assert result.power_kw["battery"] == [0.0] * 96
        assert "battery is idle: its energy is not known" in result.reason


@pytest.mark.parametrize("change", [{"price_eur_per_mwh": []}, {}, {"price_eur_per_mwh": [None] * 96}])
def test_missing_prices_are_replaced_by_the_fixed_ones(
    snapshot: Snapshot, site: Site, change: dict[str, list[float | None]]
) -> None:
    assert made(replace(snapshot, known_future=change), site).fallback == Fallback.OPTIMAL


def test_absurd_price_is_not_believed(snapshot: Snapshot, site: Site) -> None:
    normal = made(replace(snapshot, known_future={}), site)
    absurd = made(replace(snapshot, known_future={"price_eur_per_mwh": [1e300] + [None] * 95}), site)
    np.testing.assert_allclose(absurd.power_kw["battery"], normal.power_kw["battery"], atol=1e-6)


def test_battery_is_charged_when_the_price_is_low(snapshot: Snapshot, site: Site) -> None:
    result = made(snapshot, site)
    price = np.array(snapshot.known_future["price_eur_per_mwh"], np.float64)
    power_kw = np.array(result.power_kw["battery"])
    assert price[power_kw > 1].mean() < price[power_kw < -1].mean() - 10


@pytest.mark.parametrize("change", [{"step_s": 300}, {"issued_at_ms": 1}, {"import_limit_kw": [1.0]}])
def test_snapshot_of_another_shape_is_a_bug_and_not_a_plan(
    snapshot: Snapshot, site: Site, change: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"step|limits"):
        made(msgspec.structs.replace(snapshot, **change), site)


def test_forecasts_that_come_with_the_snapshot_are_used_and_bad_ones_are_not(snapshot: Snapshot, site: Site) -> None:
    row = [900.0, 1000.0, 1100.0]
    known = ForecastResult(signal="load_kw", quantiles=[0.1, 0.5, 0.9], values=[row] * 96, release=5)
    short = ForecastResult(signal="pv_kw", quantiles=[0.5], values=[[-1.0]] * 95, release=5)
    result = made(replace(snapshot, forecasts=[known, short]), site)
    assert [f.release for f in result.forecasts] == [5, 0]
    assert "pv_kw by persistence: forecast of pv_kw has no median for 96 steps" in result.reason


@pytest.mark.parametrize(("quantile", "beyond_kw"), [(0.5, 0.0), (0.7, 50.0), (0.9, 100.0), (0.99, 100.0)])
def test_margin_is_the_distance_of_the_site_quantile_interpolated(
    snapshot: Snapshot, site: Site, quantile: float, beyond_kw: float
) -> None:
    """Between the median of 1000 kW and the quantile 0.9 of 1100 kW; beyond the last quantile it is that one."""
    seen: list[DispatchProblem] = []

    class Asked:
        def dispatch(self, problem: DispatchProblem) -> Dispatch:
            seen.append(problem)
            return Dispatcher(site).dispatch(problem)

    forecasts = [
        ForecastResult(signal="load_kw", quantiles=[0.1, 0.5, 0.9], values=[[900.0, 1000.0, 1100.0]] * 96, release=5),
        ForecastResult(signal="pv_kw", quantiles=[0.5], values=[[0.0]] * 96, release=5),
    ]
    careful = msgspec.structs.replace(site, limit_quantile=quantile)
    plan(replace(snapshot, forecasts=forecasts), careful, Forecaster(site), Asked())
    np.testing.assert_allclose(seen[0].net_high_kw, [1000.0 + beyond_kw] * 96)


def test_equipment_that_does_not_follow_is_planned_around(snapshot: Snapshot, site: Site) -> None:
    result = made(replace(snapshot, unresponsive_kw={"battery": 100.0, "pv": -50.0}), site)
    assert result.fallback == Fallback.OPTIMAL
    assert result.power_kw["battery"] == [100.0] * 96
    assert min(result.power_kw["pv"]) == pytest.approx(-50.0)


def test_limit_of_the_controllable_equipment_is_planned_on_top_of_the_load(snapshot: Snapshot, site: Site) -> None:
    """The battery would charge at a low price; with the plant it may draw 20 kW."""

    def most_kw(controllable_kw: list[float | None]) -> float:
        planned = plan(replace(snapshot, controllable_import_kw=controllable_kw), site, Forecaster(site), Dispatcher(site))
        assert planned.fallback in {Fallback.OPTIMAL, Fallback.INCUMBENT}
        return max(map(math.fsum, zip(*planned.power_kw.values(), strict=True)))

    assert most_kw([20.0] * site.horizon_steps) <= 20.0 + 0.1 < most_kw([])
