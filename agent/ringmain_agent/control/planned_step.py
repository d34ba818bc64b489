"""The rungs below a fresh optimal plan: an older plan shifted to now, and the rule over a horizon. Pure.

The last rung, release, needs no calculation: `regulate` lets go when the measurements are not there.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.control import rule
from ringmain_agent.equipment import plausible
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange, on_off_range
from ringmain_agent.site.hours import holds
from ringmain_agent.site.nameplates import ChargingStation, FlexibleLoad, OnOffLoad, ThermalLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ChargingSession, LoadUsage, Plan, Snapshot
from ringmain_protocol.messages import Fallback

FRESH_S: Final = 60.0
"""How long into the second step a plan still counts as the newest: its successor is being made."""


class PlannedStep(Struct, frozen=True, kw_only=True):
    """What a plan says about the present step, and which rung of the ladder that is."""

    fallback: Fallback
    reason: str
    power_kw: dict[str, float]
    """Of batteries and loads."""
    available_kw: dict[str, float]
    """Median forecast of each PV plant before curtailment."""
    curtailed_kw: dict[str, float]
    positions: dict[str, int]
    pcc_kw: float
    peak_kw: dict[str, float]
    """Highest import that the plan has in the hours of each demand charge."""


class RuleSchedule(Struct, frozen=True, kw_only=True):
    """What the rule would do over the horizon: powers, energies and temperatures at the END of each step, and the pcc."""

    power_kw: dict[str, list[float]]
    soc_kwh: dict[str, list[float]]
    pcc_kw: list[float]
    curtailed_kw: dict[str, list[float]] = {}
    temperature_degc: dict[str, list[float]] = {}
    positions: dict[str, list[int]] = {}


def present_step(plan: Plan | None, *, now_ms: int, site: Site) -> PlannedStep | None:
    """The step of the plan that holds `now_ms`, or `None` when the plan cannot be used.

    A plan from the future (the clock was set back), past its horizon or older than `plan_age_max_s` is not used, nor is
    one that is only the rule: the regulator knows more than a rule on forecasts. Nor is one with a power that is no number.
    """
    if plan is None or plan.fallback in {Fallback.RULE, Fallback.RELEASE}:
        return None
    age_ms = now_ms - plan.issued_at_ms
    index = age_ms // (1000 * plan.step_s)
    steps = min((len(power_kw) for power_kw in plan.power_kw.values()), default=0)
    if not 0 <= index < steps or age_ms > 1000 * site.regulator.plan_age_max_s:
        return None
    planned_kw = {name: power_kw[index] for name, power_kw in plan.power_kw.items()}
    curtailed_kw = {name: values[index] for name, values in plan.curtailed_kw.items() if index < len(values)}
    pcc_kw = plan.pcc_kw[index] if index < len(plan.pcc_kw) else 0.0
    if not all(math.isfinite(value) for value in (*planned_kw.values(), *curtailed_kw.values(), pcc_kw)):
        return None
    fresh = age_ms < 1000 * (plan.step_s + FRESH_S)
    plants = [plant.name for plant in site.generators if plant.name in planned_kw]
    return PlannedStep(
        fallback=plan.fallback if fresh else Fallback.SHIFTED,
        reason=plan.reason if fresh else f"plan is {age_ms // 60_000} min old",
        power_kw={name: power_kw for name, power_kw in planned_kw.items() if name not in plants},
        available_kw={name: planned_kw[name] - curtailed_kw.get(name, 0.0) for name in plants},
        curtailed_kw={name: curtailed_kw.get(name, 0.0) for name in plants},
        positions={name: values[index] for name, values in plan.positions.items() if index < len(values)},
        pcc_kw=pcc_kw,
        peak_kw=_peaks_kw(plan, index, site),
    )


def _peaks_kw(plan: Plan, index: int, site: Site) -> dict[str, float]:
    starts_ms = [plan.issued_at_ms + 1000 * plan.step_s * step for step in range(index, len(plan.pcc_kw))]
    peaks_kw = {}
    for charge in site.tariff.demand_charges:
        counts = holds(charge.hours, starts_ms, site.time_zone)
        planned_kw = (pcc_kw for pcc_kw, count in zip(plan.pcc_kw[index:], counts, strict=True) if count)
        peaks_kw[charge.name] = max(planned_kw, default=0.0)
    return peaks_kw


def rule_schedule(
    *, site: Site, snapshot: Snapshot, load_kw: Sequence[float], pv_kw: Mapping[str, Sequence[float]]
) -> RuleSchedule:
    """The rule over a horizon: self-consumption and peak clamp, loads as soon as they fit or by their deadline.

    Args:
        site: Nameplates; `margin_kw` is kept from the limits.
        snapshot: Limits of each step and the state of everything now; a battery without its energy rests.
        load_kw: Median forecast of the load.
        pv_kw: Median forecast of each PV plant by name, negative when generating.
    """
    connection, step_h = site.grid_connection, site.step_h
    loads = _Loads(site, snapshot)
    soc = {battery.name: snapshot.soc_kwh.get(battery.name) for battery in site.batteries}
    power: dict[str, list[float]] = {equipment.name: [] for equipment in site.powered}
    curtailed: dict[str, list[float]] = {name: [] for name in pv_kw}
    energy: dict[str, list[float]] = {battery.name: [] for battery in site.batteries}
    pcc_kw = []
    for step, load in enumerate(load_kw):
        ceiling_kw = connection.less_margin_kw(snapshot.import_limit_kw[step])
        floor_kw = -connection.less_margin_kw(snapshot.export_limit_kw[step])
        net_kw = load + math.fsum(plant[step] for plant in pv_kw.values())
        for name, power_kw in loads.taken_kw(step, ceiling_kw - net_kw).items():
            power[name].append(power_kw)
            net_kw += power_kw
        generated_kw = -math.fsum(min(plant[step], 0.0) for plant in pv_kw.values())
        for battery in site.batteries:
            held_kwh, kept_kw = soc[battery.name], snapshot.held_kw.get(battery.name)
            if held_kwh is None:
                power[battery.name].append(kept_kw or 0.0)
                net_kw += kept_kw or 0.0
                continue
            taken_kw = rule.battery_kw(
                battery, held_kwh, net_kw, ceiling_kw=ceiling_kw, floor_kw=floor_kw, duration_h=step_h
            )
            if not connection.battery_grid_charge:
                taken_kw = min(taken_kw, generated_kw)
                generated_kw -= max(taken_kw, 0.0)
            taken_kw = taken_kw if kept_kw is None else kept_kw
            soc[battery.name] = held_kwh = battery.soc_after_kwh(held_kwh, taken_kw, step_h)
            power[battery.name].append(taken_kw)
            energy[battery.name].append(held_kwh)
            net_kw += taken_kw
        for name, given_kw in _curtailed_kw(site, pv_kw, step, floor_kw - net_kw).items():
            curtailed[name].append(given_kw)
            power[name].append(pv_kw[name][step] + given_kw)
            net_kw += given_kw
        pcc_kw.append(net_kw)
    positions = {name: [position] * len(pcc_kw) for name, position in snapshot.positions.items() if position is not None}
    return RuleSchedule(
        power_kw={name: values for name, values in power.items() if values},
        soc_kwh={name: values for name, values in energy.items() if values},
        pcc_kw=pcc_kw,
        curtailed_kw=curtailed,
        temperature_degc=loads.temperature_degc,
        positions=positions,
    )


def _curtailed_kw(site: Site, pv_kw: Mapping[str, Sequence[float]], step: int, excess_kw: float) -> dict[str, float]:
    """What each plant gives away so that no more is exported than may be."""
    given_kw = dict.fromkeys(pv_kw, 0.0)
    for plant in site.generators:
        if plant.name in pv_kw and plant.curtailable and excess_kw > 0:
            given_kw[plant.name] = min(excess_kw, max(-pv_kw[plant.name][step], 0.0))
            excess_kw -= given_kw[plant.name]
    return given_kw


class _Loads:
    """The loads of a site on their way through the horizon."""

    def __init__(self, site: Site, snapshot: Snapshot) -> None:
        self._site, self._snapshot = site, snapshot
        self._runs = dict(snapshot.runs)
        self._left_h: dict[str, float] = {}
        self._visits = {name: list(visits) for name, visits in snapshot.visits.items()}
        self._degc = {
            load.name: degc
            for load in site.thermal_loads
            if (degc := plausible.temperature_degc(snapshot.temperature_degc.get(load.name))) is not None
        }
        self.temperature_degc: dict[str, list[float]] = {name: [] for name in self._degc}

    def taken_kw(self, step: int, room_kw: float) -> dict[str, float]:
        """What each load draws in a step, and everything counted forward to its end."""
        at_ms = self._snapshot.issued_at_ms + 1000 * self._site.step_s * step
        loads = sorted(self._site.controllable_loads, key=_urgency)
        held_kw = {load.name: self._snapshot.held_kw[load.name] for load in loads if load.name in self._snapshot.held_kw}
        wanted = {load.name: self._wanted(load, step, at_ms) for load in loads if load.name not in held_kw}
        power_kw = held_kw | rule.loads_kw(wanted, room_kw - math.fsum(held_kw.values()))
        for load in loads:
            self._count(load, power_kw[load.name], step, at_ms)
        return power_kw

    def _wanted(
        self, load: ChargingStation | FlexibleLoad | ThermalLoad | OnOffLoad, step: int, at_ms: int
    ) -> SetpointRange:
        step_h = self._site.step_h
        match load:
            case ChargingStation():
                visit = self._visit(load.name, at_ms)
                return OFF if visit is None else rule.wanted_charging(load, visit.energy_kwh, step_h)
            case FlexibleLoad():
                left_h = self._renewed(load, at_ms)
                return rule.wanted_flexible(load, self._run(load.name).drawn_kwh, left_h, step_h)
            case OnOffLoad():
                self._renewed(load, at_ms)
                run = self._run(load.name)
                return rule.wanted_on_off(load, run, on_off_range(load, run, self._site, at_ms))
            case ThermalLoad():
                degc = self._degc.get(load.name)
                return OFF if degc is None else rule.wanted_thermal(load, degc, self._ambient(load, step), step_h)

    def _count(
        self, load: ChargingStation | FlexibleLoad | ThermalLoad | OnOffLoad, power_kw: float, step: int, at_ms: int
    ) -> None:
        step_h = self._site.step_h
        if isinstance(load, ThermalLoad):
            if load.name in self._degc:
                degc = load.after_degc(self._degc[load.name], power_kw, self._ambient(load, step), step_h)
                self._degc[load.name] = degc
                self.temperature_degc[load.name].append(degc)
            return
        if isinstance(load, ChargingStation):
            visit = self._visit(load.name, at_ms)
            if visit is not None:
                left_kwh = max(visit.energy_kwh - power_kw * load.efficiency * step_h, 0.0)
                visits = self._visits[load.name]
                visits[visits.index(visit)] = replace(visit, energy_kwh=left_kwh)
            return
        run, on = self._run(load.name), power_kw > 0
        self._runs[load.name] = LoadUsage(
            on=on,
            since_ms=run.since_ms if on == run.on else at_ms,
            run_h=run.run_h + step_h * on,
            starts=run.starts + (on and not run.on),
            drawn_kwh=run.drawn_kwh + power_kw * step_h,
        )

    def _visit(self, name: str, at_ms: int) -> ChargingSession | None:
        """The vehicle that is there for the whole step."""
        end_ms = at_ms + 1000 * self._site.step_s
        return next((v for v in self._visits.get(name, []) if v.from_ms <= at_ms and end_ms <= v.to_ms), None)

    def _renewed(self, load: FlexibleLoad | OnOffLoad, at_ms: int) -> float:
        """Time left in the hours of a load; its count begins anew where they do."""
        left_h = rule.hours_left_h(load.hours, at_ms, self._site.time_zone)
        before_h = self._left_h.get(load.name)
        self._left_h[load.name] = left_h
        if before_h is not None and left_h > before_h:
            self._runs[load.name] = replace(self._run(load.name), run_h=0.0, starts=0, drawn_kwh=0.0)
        return left_h

    def _run(self, name: str) -> LoadUsage:
        return self._runs.get(name, LoadUsage())

    def _ambient(self, load: ThermalLoad, step: int) -> float:
        return plausible.ambient_at_degc(load, self._snapshot.known_future, step)


def _urgency(load: object) -> int:
    """Comfort and what must run without a break first, what can wait last."""
    return [ThermalLoad, OnOffLoad, ChargingStation, FlexibleLoad].index(type(load))  # type: ignore[arg-type]
