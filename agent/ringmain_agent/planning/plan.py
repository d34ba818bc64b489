"""Forecast and schedule for one snapshot: the first of the agent's two pure functions. Read this first.

Seasonal persistence replaces a failed forecast, the rule a failed optimization; the plan reports each replacement with its
reason.
"""

from typing import Protocol

import numpy as np
from msgspec.structs import replace

from ringmain_agent.equipment import plausible_values as plausible
from ringmain_agent.errors import DispatchError, ForecastError
from ringmain_agent.planning import prices
from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch import Dispatch, DispatchProblem
from ringmain_agent.planning.plausibility import plausible_snapshot
from ringmain_agent.planning.resimulation import resimulate
from ringmain_agent.planning.rule_schedule import rule_schedule
from ringmain_agent.site.site import LOAD, Site
from ringmain_agent.snapshot import ForecastResult, Plan, Reason, Snapshot, distinct
from ringmain_model.errors import ModelRejectedError
from ringmain_protocol.messages import Fallback, ReasonCode


class ForecastSource(Protocol):
    """Source of forecasts: `forecast.Forecaster`."""

    def forecast(self, snapshot: Snapshot, signal: str) -> ForecastResult:
        """By the model of the signal."""

    def persistence(self, snapshot: Snapshot, signal: str, reason: str) -> ForecastResult:
        """By seasonal persistence."""


class Optimizer(Protocol):
    """Optimizer of a schedule: `dispatch.Dispatcher`."""

    def dispatch(self, problem: DispatchProblem) -> Dispatch:
        """The cheapest schedule."""


def plan(snapshot: Snapshot, site: Site, forecaster: ForecastSource, optimizer: Optimizer) -> Plan:
    """Forecast and schedule for one snapshot of the site.

    Reads model files only, and sends nothing. `Plan.fallback` is the origin of the schedule: optimal, incumbent or rule. The
    `release` of each forecast shows whether a model made it.

    Raises:
        ValueError: If the snapshot does not have the site's step and horizon: a bug of the caller.
    """
    _require_shape(snapshot, site)
    snapshot, replacements = plausible_snapshot(snapshot, site)
    forecasts: list[ForecastResult] = []
    try:
        forecasts.extend(_forecast(snapshot, site, signal, forecaster) for signal in site.forecast_signals)
    except ForecastError as error:
        return Plan(
            issued_at_ms=snapshot.issued_at_ms,
            step_s=snapshot.step_s,
            fallback=Fallback.RULE,
            reasons=[Reason(ReasonCode.NO_FORECAST, f"no forecast: {error}")],
            forecasts=forecasts,
        )
    reasons = replacements + [
        Reason(ReasonCode.PERSISTENCE, f"{forecast.signal} by persistence: {forecast.reason}", forecast.signal)
        for forecast in forecasts
        if forecast.release == 0
    ]
    median = {f.signal: np.array([row[f.quantiles.index(0.5)] for row in f.values]) for f in forecasts}
    snapshot = _with_controllable_limits(snapshot, median[LOAD].tolist())
    available_kw = {plant.name: np.minimum(median[plant.power_signal], 0.0) for plant in site.generators}
    try:
        problem, price_reasons = _problem(snapshot, site, forecasts, median[LOAD], available_kw)
        reasons += price_reasons
        dispatch = optimizer.dispatch(problem)
        schedule, excess = resimulate(dispatch, problem, site)
        reasons += [*excess, *([Reason(ReasonCode.SCHEDULE_SIMPLIFIED, dispatch.note)] if dispatch.note else [])]
    except DispatchError as error:
        schedule = _rule(snapshot, site, median[LOAD], available_kw)
        reasons.insert(0, Reason(ReasonCode.NO_SCHEDULE, f"no optimal schedule: {error}"))
    idle = [battery.name for battery in site.batteries if battery.name not in schedule.soc_kwh]
    reasons += [Reason(ReasonCode.ENERGY_UNKNOWN, f"{name} is idle: its energy is not known", name) for name in idle]
    return replace(schedule, forecasts=forecasts, reasons=distinct(reasons))


def _with_controllable_limits(snapshot: Snapshot, load_kw: list[float]) -> Snapshot:
    """Limits of the controllable equipment as limits at the pcc, where its power comes on top of the load."""
    imports, exports = list(snapshot.import_limit_kw), list(snapshot.export_limit_kw)
    for step, (import_kw, load) in enumerate(zip(snapshot.controllable_import_kw, load_kw, strict=False)):
        if import_kw is not None:
            imports[step] = min(imports[step], max(load + import_kw, 0.0))
    for step, (export_kw, load) in enumerate(zip(snapshot.controllable_export_kw, load_kw, strict=False)):
        if export_kw is not None:
            exports[step] = min(exports[step], max(export_kw - load, 0.0))
    return replace(snapshot, import_limit_kw=imports, export_limit_kw=exports)


def _rule(snapshot: Snapshot, site: Site, load_kw: Array, available_kw: dict[str, Array]) -> Plan:
    rule = rule_schedule(site=site, snapshot=snapshot, load_kw=load_kw.tolist(), pv_kw=_lists(available_kw))
    return Plan(
        issued_at_ms=snapshot.issued_at_ms,
        step_s=snapshot.step_s,
        fallback=Fallback.RULE,
        power_kw=rule.power_kw,
        curtailed_kw={name: [0.0] * site.horizon_steps for name in available_kw} | rule.curtailed_kw,
        soc_kwh=rule.soc_kwh,
        pcc_kw=rule.pcc_kw,
        positions=rule.positions,
        temperature_degc=rule.temperature_degc,
    )


def _require_shape(snapshot: Snapshot, site: Site) -> None:
    if snapshot.step_s != site.step_s or snapshot.issued_at_ms % (1000 * site.step_s):
        raise ValueError(f"snapshot of {snapshot.issued_at_ms} ms is not at a step of {site.step_s} s")
    if not len(snapshot.import_limit_kw) == len(snapshot.export_limit_kw) == site.horizon_steps:
        raise ValueError(f"limits must be given for {site.horizon_steps} steps")


def _forecast(snapshot: Snapshot, site: Site, signal: str, forecaster: ForecastSource) -> ForecastResult:
    """By the model, or by persistence whatever happens in it: a file or a library must not end all planning."""
    try:
        supplied = next((f for f in snapshot.forecasts if f.signal == signal), None)
        return forecaster.forecast(snapshot, signal) if supplied is None else _usable(supplied, site.horizon_steps)
    except (ForecastError, ModelRejectedError) as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001  no error of one model concerns the optimizer
        reason = f"{type(error).__name__} in the forecast: {error}"[:300]
    return forecaster.persistence(snapshot, signal, reason)


def _usable(forecast: ForecastResult, steps: int) -> ForecastResult:
    """A forecast supplied with the snapshot, cut to the horizon.

    Raises:
        ForecastError: If it is shorter than the horizon or has no median; persistence takes over.
    """
    if len(forecast.values) < steps or 0.5 not in forecast.quantiles or forecast.quantiles != sorted(forecast.quantiles):
        raise ForecastError(f"forecast of {forecast.signal} has no median for {steps} steps")
    values = forecast.values[:steps]
    if not all(
        len(row) == len(forecast.quantiles) and all(abs(value) < plausible.POWER_MAX_KW for value in row) for row in values
    ):
        raise ForecastError(
            f"forecast of {forecast.signal} has values that are not powers below {plausible.POWER_MAX_KW:g} kW"
        )
    return forecast if len(values) == len(forecast.values) else replace(forecast, values=values)


def _problem(
    snapshot: Snapshot, site: Site, forecasts: list[ForecastResult], load_kw: Array, available_kw: dict[str, Array]
) -> tuple[DispatchProblem, list[Reason]]:
    """The problem of the optimizer, and the reasons of replaced prices."""
    connection = site.grid_connection
    # Errors of load and generation are independent: their distances to the upper quantile add as squares.
    distances_kw = [_above_median_kw(forecast, site.limit_quantile) for forecast in forecasts]
    net_kw = load_kw + sum(available_kw.values(), np.zeros(site.horizon_steps))
    import_price, import_reasons = prices.import_price_per_kwh(snapshot, site)
    export_price, export_reasons = prices.export_price_per_kwh(snapshot, site)
    problem = DispatchProblem(
        snapshot=snapshot,
        load_kw=load_kw,
        load_kvar=np.full(site.horizon_steps, _load_kvar(snapshot, site)),
        available_kw=available_kw,
        net_high_kw=net_kw + np.sqrt(np.sum(np.square(distances_kw), axis=0)),
        import_ceiling_kw=np.array([connection.less_margin_kw(limit_kw) for limit_kw in snapshot.import_limit_kw]),
        export_ceiling_kw=np.array([connection.less_margin_kw(limit_kw) for limit_kw in snapshot.export_limit_kw]),
        import_price_per_kwh=import_price,
        export_price_per_kwh=export_price,
        ambient_degc=_ambients(snapshot, site),
    )
    return problem, import_reasons + export_reasons


def _above_median_kw(forecast: ForecastResult, quantile: float) -> Array:
    """Distance of a quantile from the median, interpolated between the forecast's quantiles; never negative."""
    values = np.array(forecast.values, np.float64)
    index = min(max(int(np.searchsorted(forecast.quantiles, quantile)), 1), len(forecast.quantiles) - 1)
    median = values[:, forecast.quantiles.index(0.5)]
    if index < 1:
        return np.zeros(len(values))
    below, above = forecast.quantiles[index - 1], forecast.quantiles[index]
    share = min((quantile - below) / (above - below), 1.0)
    return np.maximum((1 - share) * values[:, index - 1] + share * values[:, index] - median, 0.0)


def _load_kvar(snapshot: Snapshot, site: Site) -> float:
    """Present reactive power of the load: measured at the pcc plus that of the capacitors."""
    pcc_kvar = plausible.power_kw(snapshot.pcc_kvar)
    if pcc_kvar is None:
        return 0.0
    return pcc_kvar + sum(bank.step_kvar * (snapshot.positions.get(bank.name) or 0) for bank in site.capacitor_banks)


def _ambients(snapshot: Snapshot, site: Site) -> dict[str, Array]:
    """Ambient temperature of each transformer and thermal load."""
    steps = range(site.horizon_steps)
    return {
        equipment.name: np.array([plausible.ambient_at_degc(equipment, snapshot.known_future, step) for step in steps])
        for equipment in site.surrounded
    }


def _lists(arrays: dict[str, Array]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in arrays.items()}
