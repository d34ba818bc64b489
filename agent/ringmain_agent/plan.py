"""Forecast and schedule for one snapshot: the first of the agent's two pure functions. Read this first.

A failed forecast is replaced by seasonal persistence, a failed optimization by the rule; the plan names what was used
and why.
"""

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from ringmain_agent.dispatch import Dispatch, DispatchProblem
from ringmain_agent.errors import DispatchError, ForecastError, ModelRejectedError
from ringmain_agent.fallback import rule_schedule
from ringmain_agent.nameplate import Battery
from ringmain_agent.site import LOAD, Site
from ringmain_agent.snapshot import ForecastResult, Plan, Snapshot
from ringmain_agent.tariff import MONTHLY, per_kwh
from ringmain_protocol.messages import Fallback

PRICE_MAX_PER_KWH: Final = 100.0
"""A price beyond is not believed; the fixed one stands in for it."""
RESIMULATION_KW: Final = 0.1
"""How much more than predicted the exact simulation may exceed a limit."""

Array = npt.NDArray[np.float64]


class ForecastSource(Protocol):
    """Where forecasts come from: `forecast.Forecaster`."""

    def forecast(self, snapshot: Snapshot, signal: str) -> ForecastResult:
        """By the model of the signal."""

    def persistence(self, snapshot: Snapshot, signal: str, reason: str) -> ForecastResult:
        """By what happened before."""


class Optimizer(Protocol):
    """What turns a problem into a schedule: `dispatch.Dispatcher`."""

    def dispatch(self, problem: DispatchProblem) -> Dispatch:
        """The cheapest schedule."""


def plan(snapshot: Snapshot, site: Site, forecaster: ForecastSource, optimizer: Optimizer) -> Plan:
    """Forecast and schedule for one snapshot of the site.

    Reads nothing but the model files and sends nothing. `Plan.fallback` says what the schedule is: optimal, incumbent or
    rule; each forecast says for itself whether it is of a model.

    Raises:
        ValueError: If the snapshot is not of this site's step and horizon: a bug of the caller.
    """
    _require_shape(snapshot, site)
    forecasts: list[ForecastResult] = []
    try:
        forecasts.extend(_forecast(snapshot, signal, forecaster) for signal in site.forecast_signals)
    except ForecastError as error:
        reason = f"no forecast: {error}"
        rule = Plan(issued_at_ms=snapshot.issued_at_ms, step_s=snapshot.step_s, fallback=Fallback.RULE, reason=reason)
        return replace(rule, forecasts=forecasts)
    notes = [f"{f.signal} by persistence: {f.reason}" for f in forecasts if f.release == 0]
    median = {f.signal: np.array([row[f.quantiles.index(0.5)] for row in f.values]) for f in forecasts}
    available_kw = {plant.name: np.minimum(median[plant.power_signal], 0.0) for plant in site.generators}
    problem = _problem(snapshot, site, forecasts, median[LOAD], available_kw)
    try:
        schedule, excess = _checked(optimizer.dispatch(problem), problem, snapshot, site)
        notes += excess
    except DispatchError as error:
        schedule = _rule(snapshot, site, median[LOAD], available_kw)
        notes.insert(0, f"no optimal schedule: {error}")
    rest = [battery.name for battery in site.batteries if battery.name not in schedule.soc_kwh]
    notes += [f"{name} rests: its energy is not known" for name in rest]
    return replace(schedule, forecasts=forecasts, reason="; ".join(notes))


def _rule(snapshot: Snapshot, site: Site, load_kw: Array, available_kw: dict[str, Array]) -> Plan:
    rule = rule_schedule(site=site, snapshot=snapshot, load_kw=load_kw.tolist(), pv_kw=_lists(available_kw))
    return Plan(
        issued_at_ms=snapshot.issued_at_ms,
        step_s=snapshot.step_s,
        fallback=Fallback.RULE,
        power_kw=rule.power_kw,
        curtailed_kw={name: [0.0] * site.horizon_steps for name in available_kw},
        soc_kwh=rule.soc_kwh,
        pcc_kw=rule.pcc_kw,
    )


def _require_shape(snapshot: Snapshot, site: Site) -> None:
    if snapshot.step_s != site.step_s or snapshot.issued_at_ms % (1000 * site.step_s):
        raise ValueError(f"snapshot of {snapshot.issued_at_ms} ms is not at a step of {site.step_s} s")
    if not len(snapshot.import_limit_kw) == len(snapshot.export_limit_kw) == site.horizon_steps:
        raise ValueError(f"limits must be given for {site.horizon_steps} steps")


def _forecast(snapshot: Snapshot, signal: str, forecaster: ForecastSource) -> ForecastResult:
    try:
        return forecaster.forecast(snapshot, signal)
    except (ForecastError, ModelRejectedError) as error:
        return forecaster.persistence(snapshot, signal, str(error))


def _problem(
    snapshot: Snapshot, site: Site, forecasts: list[ForecastResult], load_kw: Array, available_kw: dict[str, Array]
) -> DispatchProblem:
    margin_kw, tariff = site.grid_connection.margin_kw, site.tariff
    # Load and PV miss independently: their distances to the upper quantile add as squares.
    beyond = [np.array([row[-1] - row[f.quantiles.index(0.5)] for row in f.values]) for f in forecasts]
    net_kw = load_kw + sum(available_kw.values(), np.zeros(site.horizon_steps))
    series = _price_series(snapshot, site)
    missing = np.isnan(series)
    return DispatchProblem(
        load_kw=load_kw,
        available_kw=available_kw,
        net_high_kw=net_kw + np.sqrt(np.sum(np.square(beyond), axis=0)),
        import_ceiling_kw=np.maximum(np.array(snapshot.import_limit_kw) - margin_kw, 0.0),
        export_ceiling_kw=np.maximum(np.array(snapshot.export_limit_kw) - margin_kw, 0.0),
        import_price_per_kwh=np.where(missing, tariff.import_price_per_kwh, series) + tariff.import_surcharge_per_kwh,
        export_price_per_kwh=np.where(missing, tariff.export_price_per_kwh, series),
        soc_kwh=snapshot.soc_kwh,
        billing_peak_kw=snapshot.billing_peak_kw.get(MONTHLY, 0.0),
    )


def _price_series(snapshot: Snapshot, site: Site) -> Array:
    """Price of each step per kWh, NaN where the series has none that can be believed."""
    prices = np.full(site.horizon_steps, np.nan)
    if site.tariff.price_series is not None:
        values = np.array(snapshot.known_future.get(site.tariff.price_series, ()), np.float64)[: site.horizon_steps]
        prices[: len(values)] = values * per_kwh(site.tariff.price_series)
    return np.where(np.abs(prices) <= PRICE_MAX_PER_KWH, prices, np.nan)


def _checked(dispatch: Dispatch, problem: DispatchProblem, snapshot: Snapshot, site: Site) -> tuple[Plan, list[str]]:
    """The schedule, re-simulated with the exact equations, and where it cannot keep a limit.

    Raises:
        DispatchError: If what would happen is not what the linear program said.
    """
    power_kw: dict[str, list[float]] = {}
    soc_kwh: dict[str, list[float]] = {}
    notes: list[str] = []
    for battery in site.batteries:
        held = problem.soc_kwh.get(battery.name)
        if battery.name not in dispatch.battery_kw or held is None:
            power_kw[battery.name] = [0.0] * site.horizon_steps
            continue
        power_kw[battery.name], soc_kwh[battery.name] = _simulated(
            battery, dispatch.battery_kw[battery.name], held, site.step_h
        )
    for name, available_kw in problem.available_kw.items():
        power_kw[name] = np.minimum(available_kw + dispatch.curtailed_kw[name], 0.0).tolist()
    pcc_kw = problem.load_kw + sum((np.array(values) for values in power_kw.values()), np.zeros(site.horizon_steps))
    for side, excess_kw, predicted_kw in (
        ("import", pcc_kw - problem.import_ceiling_kw, dispatch.import_excess_kw),
        ("export", -pcc_kw - problem.export_ceiling_kw, dispatch.export_excess_kw),
    ):
        if float((excess_kw - predicted_kw).max()) > RESIMULATION_KW:
            raise DispatchError("re-simulation", f"{side} would exceed its limit by {excess_kw.max():.1f} kW")
        if (most_kw := float(predicted_kw.max())) > RESIMULATION_KW:
            notes.append(f"{side} limit less margin is exceeded by up to {most_kw:.0f} kW")
    schedule = Plan(
        issued_at_ms=snapshot.issued_at_ms,
        step_s=snapshot.step_s,
        fallback=Fallback.OPTIMAL if dispatch.optimal else Fallback.INCUMBENT,
        power_kw=power_kw,
        curtailed_kw=_lists(dispatch.curtailed_kw),
        soc_kwh=soc_kwh,
        reserve_kwh=_lists(dispatch.reserve_kwh),
        pcc_kw=pcc_kw.tolist(),
        solve_ms=dispatch.solve_ms,
    )
    return schedule, notes


def _simulated(battery: Battery, wished_kw: Array, held_kwh: float, step_h: float) -> tuple[list[float], list[float]]:
    """What the battery really does with the schedule: its power and its energy at the END of each step."""
    if not np.isfinite(wished_kw).all():
        raise DispatchError("re-simulation", f"{battery.name} has a power that is not finite")
    held = min(max(held_kwh, 0.0), battery.capacity_kwh)
    lowest, highest = min(battery.soc_min_kwh, held), max(battery.soc_max_kwh, held)
    power_kw, soc_kwh = [], []
    for wished in wished_kw.tolist():
        most = max(highest - held, 0.0) / battery.charge_efficiency / step_h
        least = -max(held - lowest, 0.0) * battery.discharge_efficiency / step_h
        power = min(max(wished, -battery.discharge_max_kw, least), battery.charge_max_kw, most)
        held = battery.soc_after_kwh(held, power, step_h)
        power_kw.append(power)
        soc_kwh.append(held)
    return power_kw, soc_kwh


def _lists(arrays: dict[str, Array]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in arrays.items()}
