"""Every cycle: follow the plan, corrected by what is measured now, so that limits hold when reality leaves the forecast.

Pure: measurements, plan and state go in, setpoints and the next state come out. No filter and no second closed loop: the
fastest equipment takes exactly what exceeds the band at the pcc, and the energy of the running quarter of an hour is the
only memory of it.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.control.allocation import allocate, apply_dead_band, curtail, restrict_batteries
from ringmain_agent.control.pcc_limits import PccRange, pcc_range
from ringmain_agent.control.planned_step import PlannedStep, present_step
from ringmain_agent.control.rule import rule_setpoints
from ringmain_agent.control.setpoint_ranges import setpoint_ranges
from ringmain_agent.control.settlement_period import SettlementPeriod, update_period
from ringmain_agent.control.uncontrolled_load import available_kw, uncontrolled_load_kw
from ringmain_agent.equipment.interval import ROUNDING
from ringmain_agent.equipment.registry import within_nameplates_kw
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.site.site import PCC, Site
from ringmain_agent.snapshot import Measurements, Plan, Reason, SentSetpoint, reason_text
from ringmain_protocol.messages import Fallback, ReasonCode

AT_LIMIT_KW: Final = 1.0
"""A plan this close to the import limit has its battery power from the limit and not from prices."""
MOVES_MAX: Final = 32
LOAD_UNKNOWN: Final = "load_kw is missing or stale, and cannot be derived from pcc_kw and the equipment; check these feeds"
SOC_DOUBT_PU: Final = 0.01
"""A battery that reports this much more than it holds, or less than nothing, is named."""


class RegulatorState(Struct, frozen=True, kw_only=True):
    """What a cycle hands to the next one; worth keeping over a restart."""

    quarter: SettlementPeriod = SettlementPeriod()
    sent: dict[str, SentSetpoint] = {}
    moves: dict[str, tuple[SentSetpoint, ...]] = {}
    """Setpoints that differed from the one before, oldest first: those that may still show, and the two newest."""
    free_kw: dict[str, float] = {}
    """Last measured power of each PV plant while nothing held it back."""
    load_kw: float | None = None

    @property
    def billing_peak_kw(self) -> float:
        """Highest quarter-hour mean import of the billing month so far."""
        return self.quarter.billing_peak_kw

    @property
    def peaks_kw(self) -> dict[str, float]:
        """Peak of the billing period so far, by the name of the demand charge."""
        return self.quarter.peaks_kw


class Regulation(Struct, frozen=True, kw_only=True):
    """Setpoints of one cycle before `limits`; `None` releases the equipment, or leaves a position as it is."""

    setpoints: dict[str, float | None]
    fallback: Fallback
    reasons: tuple[Reason, ...] = ()
    positions: dict[str, int | None] = {}

    @property
    def reason(self) -> str:
        """The reasons as one text for people."""
        return reason_text(self.reasons)


def regulate(
    measurements: Measurements, plan: Plan | None, state: RegulatorState, site: Site
) -> tuple[Regulation, RegulatorState]:
    """Setpoints of one cycle.

    Args:
        measurements: The process image of this cycle.
        plan: The newest plan; `None` if there never was one.
        state: From the cycle before.
        site: Nameplates and settings.

    Returns:
        The setpoints with their fallback level, and the state for the next cycle. Without a known load everything is
        released.
    """
    now_ms = measurements.now_ms
    quarter = update_period(state.quarter, measurements.newest.get(PCC), site=site, now_ms=now_ms)
    step = present_step(plan, now_ms=now_ms, site=site)
    held_kw = _held_kw(measurements, site)
    if held_kw != measurements.unresponsive_kw:
        measurements = replace(measurements, unresponsive_kw=held_kw)
    load_kw = uncontrolled_load_kw(
        measurements, moves=state.moves, free_kw=state.free_kw, before_kw=state.load_kw, site=site
    )
    if load_kw is None:
        return _released(site), replace(state, quarter=quarter, load_kw=None)
    available, free_kw = available_kw(
        measurements,
        step=step,
        sent=state.sent,
        moves=state.moves,
        free_kw=state.free_kw,
        site=site,
    )
    state = replace(state, quarter=quarter, load_kw=load_kw, free_kw=free_kw)
    ranges = setpoint_ranges(measurements, state.sent, state.moves, site)
    cycle = _Cycle(
        measurements=measurements,
        step=step,
        site=site,
        band=pcc_range(measurements, step, quarter, site),
        setpoint_ranges={name: one for name, one in ranges.items() if one is not None and name not in held_kw},
        fixed_kw=load_kw + math.fsum(held_kw.values()),
        available_kw=available,
        in_force_kw=_in_force_kw(state, site, now_ms),
    )
    power_kw = _powers_kw(cycle)
    setpoints: dict[str, float | None] = {name: power_kw.get(name) for name in ranges}
    setpoints |= {name: state.sent[name].power_kw for name in held_kw if name in state.sent}  # so that it can come back
    setpoints |= curtail(available, _least_kw(cycle) - cycle.fixed_kw - math.fsum(power_kw.values()), site)
    regulation = Regulation(
        setpoints=setpoints,
        fallback=step.fallback if step else Fallback.RULE,
        reasons=(*_plan_reasons(plan, step), *_equipment_reasons(cycle, ranges, held_kw)),
        positions=_positions(cycle),
    )
    return regulation, state


class _Cycle(Struct, frozen=True, kw_only=True):
    """What one cycle works on."""

    measurements: Measurements
    step: PlannedStep | None
    site: Site
    band: PccRange
    setpoint_ranges: dict[str, SetpointRange]
    fixed_kw: float
    """The load, and equipment that stays where it is."""
    available_kw: dict[str, float]
    in_force_kw: dict[str, float]


def _held_kw(measurements: Measurements, site: Site) -> dict[str, float]:
    """Powers of batteries and loads that do not follow; a plant gives what it gives, and is never taken to stay."""
    held_kw = within_nameplates_kw(measurements.unresponsive_kw, site)
    return {name: kw for name, kw in held_kw.items() if all(name != plant.name for plant in site.generators)}


def _powers_kw(cycle: _Cycle) -> dict[str, float]:
    """The power of each battery and load: the plan or the rule, moved as far as the band wants it."""
    step, site, band = cycle.step, cycle.site, cycle.band.interval
    curtailed_kw = step.curtailed_kw if step else {}
    generated_kw = math.fsum(min(kw + curtailed_kw.get(name, 0.0), 0.0) for name, kw in cycle.available_kw.items())
    rest_kw = cycle.fixed_kw + generated_kw
    if step is not None:
        wished_kw = {name: step.power_kw.get(name, 0.0) for name in cycle.setpoint_ranges}
    else:
        wished_kw = rule_setpoints(cycle.measurements, cycle.setpoint_ranges, site, rest_kw=rest_kw, band=band)
    batteries = [battery.name for battery in site.batteries if battery.name in wished_kw]
    net_kw = rest_kw + math.fsum(kw for name, kw in wished_kw.items() if name not in batteries)
    allowed = restrict_batteries(cycle.setpoint_ranges, site, net_kw=net_kw, generated_kw=-generated_kw)
    if step is None:
        floor_kw = 0.0
    elif step.pcc_kw >= cycle.band.ceiling_kw - AT_LIMIT_KW:
        floor_kw = _floor_at_limit_kw(math.fsum(wished_kw[name] for name in batteries), net_kw, band.most)
    else:
        floor_kw = band.least
    power_kw = allocate(wished_kw, allowed, site, rest_kw=rest_kw, band=band, battery_floor_kw=floor_kw)
    dead_band_kw = site.regulator.dead_band_kw
    return apply_dead_band(power_kw, cycle.in_force_kw, allowed, rest_kw=rest_kw, band=band, dead_band_kw=dead_band_kw)


def _floor_at_limit_kw(planned_kw: float, net_kw: float, most_kw: float) -> float:
    """Least pcc power where the plan meets the import limit and the load is lower than it was forecast.

    Charging that the plan fits under the limit grows by the load that did not come. A discharge that the plan makes to hold
    the limit shrinks with the load, so that the energy is kept for later.
    """
    return most_kw if planned_kw >= 0 else min(most_kw, net_kw)


def _least_kw(cycle: _Cycle) -> float:
    """Lowest pcc power before plants are curtailed: the lower limit, or the planned power where the plan curtails."""
    step, band = cycle.step, cycle.band.interval
    curtails = step is not None and math.fsum(step.curtailed_kw.values()) > ROUNDING
    return max(band.least, min(step.pcc_kw, band.most)) if step is not None and curtails else band.least


def _positions(cycle: _Cycle) -> dict[str, int | None]:
    """Positions of the plan; those without operations left, and all without a plan, stay as they are."""
    planned = cycle.step.positions if cycle.step else {}
    left = cycle.measurements.operations_left
    return {
        switched.name: planned.get(switched.name) if left.get(switched.name, 1) > 0 else None
        for switched in cycle.site.switched
    }


def _released(site: Site) -> Regulation:
    return Regulation(
        setpoints=dict.fromkeys(equipment.name for equipment in site.powered),
        positions=dict.fromkeys(switched.name for switched in site.switched),
        fallback=Fallback.RELEASE,
        reasons=(Reason(ReasonCode.LOAD_UNKNOWN, LOAD_UNKNOWN),),
    )


def _in_force_kw(state: RegulatorState, site: Site, now_ms: int) -> dict[str, float]:
    return {
        name: sent.power_kw
        for name, sent in state.sent.items()
        if sent.power_kw is not None and 0 <= now_ms - sent.at_ms <= 1000 * site.regulator.valid_for_s
    }


def _plan_reasons(plan: Plan | None, step: PlannedStep | None) -> tuple[Reason, ...]:
    """Why the cycle stands on its fallback level."""
    if step is not None:
        return step.reasons
    if plan is None:
        return (Reason(ReasonCode.NO_PLAN, "no plan yet"),)
    if plan.fallback in {Fallback.RULE, Fallback.RELEASE}:
        return tuple(plan.reasons) or (Reason(ReasonCode.NO_SCHEDULE, "the plan itself is by the rule"),)
    return (Reason(ReasonCode.PLAN_UNUSABLE, "plan is too old, past its horizon, from the future or not of numbers"),)


def _equipment_reasons(
    cycle: _Cycle, ranges: Mapping[str, SetpointRange | None], held_kw: Mapping[str, float]
) -> Iterator[Reason]:
    """Equipment that is released, implausible or does not follow, and the transformer that limits the pcc."""
    batteries = {battery.name for battery in cycle.site.batteries}
    for name, setpoint_range in ranges.items():
        if setpoint_range is None and name in batteries:
            yield Reason(ReasonCode.ENERGY_UNKNOWN, f"{name} released: its energy is not known", name)
        elif setpoint_range is None:
            yield Reason(ReasonCode.TEMPERATURE_UNKNOWN, f"{name} released: its temperature is not known", name)
    for battery in cycle.site.batteries:
        soc_kwh = cycle.measurements.fresh(battery.soc_signal)
        if soc_kwh is not None and not -SOC_DOUBT_PU <= soc_kwh / battery.capacity_kwh <= 1 + SOC_DOUBT_PU:
            text = f"{battery.name} reports {100 * soc_kwh / battery.capacity_kwh:.0f} % of its capacity"
            yield Reason(ReasonCode.IMPLAUSIBLE, text, battery.name)
    for name, kw in held_kw.items():
        yield Reason(ReasonCode.NOT_FOLLOWED, f"{name} does not follow and is taken to stay at {kw:.1f} kW", name)
    if cycle.band.transformer:
        text = f"{cycle.band.transformer} allows {cycle.band.interval.most:.0f} kW"
        yield Reason(ReasonCode.TRANSFORMER_LIMIT, text, cycle.band.transformer)


def remember(state: RegulatorState, sent: Mapping[str, float | None], now_ms: int) -> RegulatorState:
    """The state after setpoints have left the agent; not to be called in observe, when nothing leaves."""
    moves = dict(state.moves)
    for name, power_kw in sent.items():
        before = moves.get(name, ())
        if not before or before[-1].power_kw != power_kw or before[-1].at_ms > now_ms:
            kept = before if before and before[-1].at_ms <= now_ms else ()  # unless the clock was set back
            moves[name] = (*kept[1 - MOVES_MAX :], SentSetpoint(power_kw, now_ms))
    return replace(
        state, moves=moves, sent=state.sent | {name: SentSetpoint(power_kw, now_ms) for name, power_kw in sent.items()}
    )
