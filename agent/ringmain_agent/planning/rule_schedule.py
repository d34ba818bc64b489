"""The rule over a horizon: the schedule when the optimization fails. Pure, plain floats."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from ringmain_agent.control.rule import in_order_of_urgency, share_room
from ringmain_agent.equipment.kind import PccRoom
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.site.nameplates import ThermalLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot

States = dict[str, Any]
"""State of each equipment; its type depends on the kind."""


class RuleSchedule(Struct, frozen=True, kw_only=True):
    """Powers by the rule over the horizon, energies and temperatures at the END of each step, and the power at the pcc."""

    power_kw: dict[str, list[float]]
    soc_kwh: dict[str, list[float]]
    pcc_kw: list[float]
    curtailed_kw: dict[str, list[float]] = {}
    temperature_degc: dict[str, list[float]] = {}
    positions: dict[str, list[int]] = {}


def rule_schedule(
    *, site: Site, snapshot: Snapshot, load_kw: Sequence[float], pv_kw: Mapping[str, Sequence[float]]
) -> RuleSchedule:
    """The rule over a horizon: self-consumption and import limit; loads run when they fit, or by their deadline.

    Args:
        site: Nameplates, and the margin below the limits.
        snapshot: Limits of each step, and present states; a battery of unknown energy is idle.
        load_kw: Median forecast of the load.
        pv_kw: Median forecast of each generator by name, negative when generating.
    """
    states: States = {e.name: kind_of(e).plausible(e, snapshot)[0] for e in site.powered}
    power_kw: dict[str, list[float]] = {}
    curtailed_kw: dict[str, list[float]] = {name: [] for name in pv_kw}
    courses: dict[str, dict[str, list[float]]] = {"soc_kwh": {}, "temperature_degc": {}}
    pcc_kw = []
    for step, load in enumerate(load_kw):
        period = _period(site, snapshot, step)
        available_kw = {name: values[step] for name, values in pv_kw.items()}
        step_kw = _step_kw(site, snapshot, states, period, room=_room(site, snapshot, step, load), available_kw=available_kw)
        for equipment in site.powered:
            if equipment.name not in step_kw:
                continue
            kind, name = kind_of(equipment), equipment.name
            power_kw.setdefault(name, []).append(step_kw[name])
            states[name] = state = kind.after(equipment, states[name], step_kw[name], period)
            if kind.plan_field is not None and state is not None:
                courses.setdefault(kind.plan_field, {}).setdefault(name, []).append(state)
        for name, available in available_kw.items():
            curtailed_kw[name].append(step_kw[name] - available)
        pcc_kw.append(load + math.fsum(step_kw.values()))
    positions = {name: [position] * len(pcc_kw) for name, position in snapshot.positions.items() if position is not None}
    return RuleSchedule(
        power_kw=power_kw,
        soc_kwh=courses["soc_kwh"],
        pcc_kw=pcc_kw,
        curtailed_kw=curtailed_kw,
        temperature_degc=courses["temperature_degc"],
        positions=positions,
    )


def _step_kw(  # noqa: PLR0913  keyword-only where it can be mistaken
    site: Site,
    snapshot: Snapshot,
    states: States,
    period: Period,
    *,
    room: PccRoom,
    available_kw: Mapping[str, float],
) -> dict[str, float]:
    """The power of all equipment in one step: loads, then batteries, then plants; unresponsive equipment is unchanged."""
    unresponsive_kw, connection = snapshot.unresponsive_kw, site.grid_connection
    net_kw = room.net_kw + math.fsum(available_kw.values())
    loads = in_order_of_urgency(site.controllable_loads)
    step_kw = {load.name: unresponsive_kw[load.name] for load in loads if load.name in unresponsive_kw}
    rule_ranges = {
        load.name: kind_of(load).rule(load, states[load.name], period, room._replace(net_kw=net_kw))
        for load in loads
        if load.name not in step_kw
    }
    step_kw |= share_room(rule_ranges, room.most_kw - net_kw - math.fsum(step_kw.values()))
    net_kw += math.fsum(step_kw.values())
    generated_kw = -math.fsum(min(power_kw, 0.0) for power_kw in available_kw.values())
    for battery in site.batteries:
        rule_kw = kind_of(battery).rule(battery, states[battery.name], period, room._replace(net_kw=net_kw)).interval.most
        if not connection.battery_grid_charge:
            rule_kw = min(rule_kw, generated_kw)
        step_kw[battery.name] = power_kw = unresponsive_kw.get(battery.name, rule_kw)
        generated_kw = max(generated_kw - max(power_kw, 0.0), 0.0)
        net_kw += power_kw
    for plant in site.generators:
        if plant.name not in available_kw:
            continue
        power_kw = available_kw[plant.name]
        least_kw = kind_of(plant).rule(plant, None, period, room._replace(net_kw=net_kw - power_kw)).interval.least
        if least_kw > -plant.rated_power_kw:
            power_kw = max(power_kw, least_kw)
        step_kw[plant.name] = power_kw
        net_kw += power_kw - available_kw[plant.name]
    return step_kw


def _period(site: Site, snapshot: Snapshot, step: int) -> Period:
    return Period(
        at_ms=snapshot.issued_at_ms + 1000 * site.step_s * step,
        duration_h=site.step_h,
        time_zone=site.time_zone,
        ambient_degc={load.name: _ambient_degc(load, snapshot, step) for load in site.thermal_loads},
    )


def _room(site: Site, snapshot: Snapshot, step: int, load_kw: float) -> PccRoom:
    """The limits of a step less their margin, with the load as the only power."""
    margin_kw = site.grid_connection.margin_kw
    least_kw = -max(snapshot.export_limit_kw[step] - margin_kw, 0.0)
    return PccRoom(load_kw, least_kw, max(snapshot.import_limit_kw[step] - margin_kw, 0.0))


def _ambient_degc(load: ThermalLoad, snapshot: Snapshot, step: int) -> float:
    series = snapshot.known_future.get(load.ambient_series or "", [])
    value = series[step] if step < len(series) else None
    return load.ambient_degc if value is None or not math.isfinite(value) else value
