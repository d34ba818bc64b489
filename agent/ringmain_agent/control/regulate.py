"""The regulator: each cycle follows the plan, corrected by measurements, so that limits hold despite forecast errors.

Pure: measurements, plan and state come in, setpoints and the next state leave. There is no filter and no second closed loop:
the fastest equipment compensates exactly the excess over the allowed power at the pcc. The energy of the current settlement
period is the only memory.
"""

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from ringmain_agent.control.allocation import allocate, apply_dead_band, curtail, restrict_batteries
from ringmain_agent.control.balance import Balance, balance_reasons, update_balance, without_faulty_pcc
from ringmain_agent.control.failsafe import (
    Failsafe,
    failsafe_powers,
    is_within,
    load_range_kw,
    possible_pcc_kw,
    return_bounds,
    shortfalls,
    unmeasured,
    update_failsafe,
    worst_kw,
)
from ringmain_agent.control.lost_power import PccExcess, held_equipment, held_kw, lost_equipment
from ringmain_agent.control.pcc_limits import PccRange, by_the_meter, failsafe_interval, pcc_range
from ringmain_agent.control.planned_step import PlannedStep, present_step
from ringmain_agent.control.rule import rule_setpoints
from ringmain_agent.control.setpoint_ranges import setpoint_ranges
from ringmain_agent.control.settlement_period import SettlementPeriod, update_period
from ringmain_agent.control.uncontrolled_load import available_kw, load_is_measured, uncontrolled_load_kw
from ringmain_agent.equipment.failsafe_power import failsafe_powers_kw
from ringmain_agent.equipment.interval import ROUNDING
from ringmain_agent.equipment.registry import within_nameplates_kw
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.site.nameplates import Generator
from ringmain_agent.site.site import PCC, PoweredEquipment, Site
from ringmain_agent.snapshot import Measurements, Plan, Reason, SentSetpoint, reason_text
from ringmain_protocol.messages import Fallback, ReasonCode

AT_LIMIT_KW: Final = 1.0
"""In a plan this close to the import limit, the limit determines the battery power, not prices."""
MOVES_MAX: Final = 32
LOAD_UNKNOWN: Final = "load_kw is missing or stale, and cannot be derived from pcc_kw and the equipment; check these feeds"
SOC_DOUBT_PU: Final = 0.01
"""An energy further outside the capacity than this share of it is reported."""


class RegulatorState(Struct, frozen=True, kw_only=True):
    """State from one cycle to the next, kept over a restart."""

    period: SettlementPeriod = field(default=SettlementPeriod(), name="quarter")
    sent: dict[str, SentSetpoint] = {}
    moves: dict[str, tuple[SentSetpoint, ...]] = {}
    """Changes of setpoints, oldest first: the ones that measurements may still show, and the two newest."""
    free_kw: dict[str, float] = {}
    """Last measured power of each plant without curtailment."""
    load_kw: float | None = None
    balance: Balance = Balance()
    failsafe: Failsafe | None = None
    metered: bool = False
    """True once the connection was measured since the start of the agent."""

    @property
    def billing_peak_kw(self) -> float:
        """Highest quarter-hour mean import of the billing month so far."""
        return self.period.billing_peak_kw

    @property
    def peaks_kw(self) -> dict[str, float]:
        """Peak of the billing period so far, by the name of the demand charge."""
        return self.period.peaks_kw


class Regulation(Struct, frozen=True, kw_only=True):
    """Setpoints of one cycle before `limits`; `None` releases the equipment, or leaves a position unchanged."""

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
        plan: The newest plan; `None` before the first one.
        state: State of the previous cycle.
        site: Nameplates and settings.

    Returns:
        The setpoints with their fallback level, and the state for the next cycle. While the connection is unmeasured,
        equipment goes to its fail-safe powers; it is released only if nothing can break a limit.
    """
    now_ms = measurements.now_ms
    balance = update_balance(state.balance, measurements, moves=state.moves, free_kw=state.free_kw, site=site)
    measurements = without_faulty_pcc(measurements, balance)
    period = update_period(state.period, measurements.newest.get(PCC), site=site, now_ms=now_ms)
    step = present_step(plan, now_ms=now_ms, site=site)
    state = replace(state, balance=balance)
    not_followed = {*measurements.unresponsive_kw, *balance.stopped}
    unresponsive_kw = _unresponsive_kw(measurements, balance.stopped, site)
    if unresponsive_kw != measurements.unresponsive_kw:
        measurements = replace(measurements, unresponsive_kw=unresponsive_kw)
    load_kw = uncontrolled_load_kw(
        measurements, moves=state.moves, free_kw=state.free_kw, before_kw=state.load_kw, site=site
    )
    why = unmeasured(measurements, site)
    if why is None and load_kw is None:
        why = Reason(ReasonCode.LOAD_UNKNOWN, LOAD_UNKNOWN)
    failsafe = update_failsafe(
        state.failsafe, why, now_ms=now_ms, starting=not state.metered, limits=site.grid_connection.failsafe
    )
    state = replace(state, period=period, failsafe=failsafe, metered=state.metered or why is None)
    if load_kw is None or (failsafe is not None and failsafe.is_active):
        return _failsafe(measurements, not_followed, state, why, site)
    available, free_kw = available_kw(
        measurements,
        step=step,
        sent=state.sent,
        moves=state.moves,
        free_kw=state.free_kw,
        site=site,
    )
    state = replace(state, load_kw=load_kw, free_kw=free_kw)
    bounds = return_bounds(failsafe, site, now_ms=now_ms)
    available = {name: max(kw, bounds[name].least) if name in bounds else kw for name, kw in available.items()}
    ranges = setpoint_ranges(measurements, state.sent, state.moves, site)
    held = held_equipment(measurements, site)
    unmeasured_kw = balance.unmeasured_kw if load_is_measured(measurements, site) else 0.0
    cycle = _Cycle(
        measurements=measurements,
        step=step,
        site=site,
        pcc_range=by_the_meter(pcc_range(measurements, step, period, site, load_kw=load_kw), unmeasured_kw),
        setpoint_ranges={
            name: possible.up_to(bounds[name].most) if name in bounds else possible
            for name, possible in ranges.items()
            if possible is not None and name not in unresponsive_kw and name not in held
        },
        fixed_kw=load_kw + math.fsum(unresponsive_kw.values()) + _released_kw(measurements, ranges, unresponsive_kw, site),
        unmeasured_kw=unmeasured_kw,
        available_kw=available,
        in_force_kw=_in_force_kw(state, site, now_ms),
    )
    power_kw = _powers_kw(cycle)
    is_limited = (bool(held) or None in ranges.values()) and not _is_free(measurements, site)
    # Equipment of unknown energy or temperature is released only where it cannot break a limit.
    safe_kw = failsafe_powers_kw(site) if is_limited else {}
    setpoints: dict[str, float | None] = {name: power_kw.get(name, safe_kw.get(name)) for name in ranges}
    # Unresponsive equipment keeps its last setpoint, so that it can recover.
    setpoints |= {name: state.sent[name].power_kw for name in unresponsive_kw if name in state.sent}
    setpoints |= dict.fromkeys(balance.stopped, 0.0)
    setpoints |= curtail(available, _least_kw(cycle) - cycle.fixed_kw - math.fsum(power_kw.values()), site)
    for plant in available.keys() & bounds.keys():
        setpoint_kw = setpoints[plant]
        setpoints[plant] = bounds[plant].least if setpoint_kw is None else max(setpoint_kw, bounds[plant].least)
    if held:
        setpoints |= _held_setpoints(cycle, held, state.sent, setpoints, is_limited=is_limited)
    regulation = Regulation(
        setpoints=setpoints,
        fallback=step.fallback if step else Fallback.RULE,
        reasons=(
            *_plan_reasons(plan, step),
            *([Reason(ReasonCode.FAILSAFE_HELD, f"return from the fail-safe: {failsafe.why}")] if failsafe else ()),
            *_equipment_reasons(
                cycle, ranges, {n: kw for n, kw in unresponsive_kw.items() if n not in balance.stopped}, setpoints
            ),
            *_lost_reasons(measurements, setpoints, site),
            *balance_reasons(balance, measurements, site),
        ),
        positions=_positions(cycle),
    )
    return regulation, state


class _Cycle(Struct, frozen=True, kw_only=True):
    """Inputs of one cycle."""

    measurements: Measurements
    step: PlannedStep | None
    site: Site
    pcc_range: PccRange
    setpoint_ranges: dict[str, SetpointRange]
    fixed_kw: float
    """The load, and equipment that is unresponsive or takes no setpoint by plan."""
    unmeasured_kw: float
    """Load that only the pcc shows; negative for generation. The range at the pcc is narrowed by it already."""
    available_kw: dict[str, float]
    in_force_kw: dict[str, float]


def _unresponsive_kw(measurements: Measurements, stopped: Iterable[str], site: Site) -> dict[str, float]:
    """Powers of unresponsive and stopped batteries and loads; a plant's setpoint is only its upper bound."""
    measured_kw = {name: measurements.fresh(f"{name}_kw") for name in stopped}
    powers_kw = measurements.unresponsive_kw | {name: kw for name, kw in measured_kw.items() if kw is not None}
    unresponsive_kw = within_nameplates_kw(powers_kw, site)
    return {name: kw for name, kw in unresponsive_kw.items() if all(name != plant.name for plant in site.generators)}


def _released_kw(
    measurements: Measurements, ranges: Mapping[str, SetpointRange | None], unresponsive_kw: Mapping[str, float], site: Site
) -> float:
    """Measured power of batteries and loads that take no setpoint now, because too little of them is known."""
    names = [name for name, possible in ranges.items() if possible is None and name not in unresponsive_kw]
    measured_kw = {name: kw for name in names if (kw := measurements.fresh(f"{name}_kw")) is not None}
    return math.fsum(within_nameplates_kw(measured_kw, site).values())


def _powers_kw(cycle: _Cycle) -> dict[str, float]:
    """The power of each battery and load: by plan or rule, corrected for the allowed power at the pcc."""
    step, site, pcc_interval = cycle.step, cycle.site, cycle.pcc_range.interval
    curtailed_kw = step.curtailed_kw if step else {}
    generated_kw = math.fsum(min(kw + curtailed_kw.get(name, 0.0), 0.0) for name, kw in cycle.available_kw.items())
    rest_kw = cycle.fixed_kw + generated_kw
    if step is not None:
        target_kw = {name: step.power_kw.get(name, 0.0) for name in cycle.setpoint_ranges}
    else:
        target_kw = rule_setpoints(
            cycle.measurements, cycle.setpoint_ranges, site, rest_kw=rest_kw, pcc_interval=pcc_interval
        )
    batteries = [battery.name for battery in site.batteries if battery.name in target_kw]
    net_kw = rest_kw + math.fsum(kw for name, kw in target_kw.items() if name not in batteries)
    least_net_kw = net_kw + min(cycle.unmeasured_kw, 0.0)
    allowed = restrict_batteries(cycle.setpoint_ranges, site, net_kw=least_net_kw, generated_kw=-generated_kw)
    if step is None:
        floor_kw = 0.0
    elif step.pcc_kw >= cycle.pcc_range.ceiling_kw - AT_LIMIT_KW:
        floor_kw = _floor_at_limit_kw(math.fsum(target_kw[name] for name in batteries), net_kw, pcc_interval.most)
    else:
        floor_kw = pcc_interval.least
    power_kw = allocate(target_kw, allowed, site, rest_kw=rest_kw, pcc_interval=pcc_interval, battery_floor_kw=floor_kw)
    dead_band_kw = site.regulator.dead_band_kw
    return apply_dead_band(
        power_kw, cycle.in_force_kw, allowed, rest_kw=rest_kw, pcc_interval=pcc_interval, dead_band_kw=dead_band_kw
    )


def _floor_at_limit_kw(planned_kw: float, net_kw: float, most_kw: float) -> float:
    """Lowest power at the pcc if the plan is at the import limit and the load is lower than forecast.

    Charging below the limit grows by the missing load. A discharge planned to hold the limit shrinks with the load, so that
    the energy is kept for later.
    """
    return most_kw if planned_kw >= 0 else min(most_kw, net_kw)


def _least_kw(cycle: _Cycle) -> float:
    """Power at the pcc below which plants are curtailed: the lower limit, or the planned power if the plan curtails."""
    step, pcc_interval = cycle.step, cycle.pcc_range.interval
    curtails = step is not None and math.fsum(step.curtailed_kw.values()) > ROUNDING
    return (
        max(pcc_interval.least, min(step.pcc_kw, pcc_interval.most)) if step is not None and curtails else pcc_interval.least
    )


def _positions(cycle: _Cycle) -> dict[str, int | None]:
    """Positions of the plan; without a plan or a remaining operation they stay unchanged."""
    planned = cycle.step.positions if cycle.step else {}
    left = cycle.measurements.operations_left
    return {
        switched.name: planned.get(switched.name) if left.get(switched.name, 1) > 0 else None
        for switched in cycle.site.switched
    }


def _failsafe(
    measurements: Measurements, not_followed: Container[str], state: RegulatorState, why: Reason | None, site: Site
) -> tuple[Regulation, RegulatorState]:
    """Fail-safe powers, or release at a site where nothing can break a limit; without a cause it is held."""
    load_kw = load_range_kw(measurements, site)
    pcc_interval = failsafe_interval(measurements, load_kw, site)
    cause = why or Reason(ReasonCode.FAILSAFE_HELD, _held_text(state.failsafe, site))
    unresponsive_kw = {n: kw for n, kw in measurements.unresponsive_kw.items() if n not in state.balance.stopped}
    reasons = [cause, *_unresponsive_reasons(unresponsive_kw), *balance_reasons(state.balance, measurements, site)]
    positions: dict[str, int | None] = dict.fromkeys(switched.name for switched in site.switched)
    if _is_free(measurements, site):
        setpoints: dict[str, float | None] = dict.fromkeys(equipment.name for equipment in site.powered)
        regulation = Regulation(setpoints=setpoints, positions=positions, fallback=Fallback.RELEASE, reasons=tuple(reasons))
        return regulation, replace(state, load_kw=None)
    ranges = setpoint_ranges(measurements, state.sent, state.moves, site)
    batteries = {battery.name: ranges[battery.name] for battery in site.batteries}
    known = {name: possible for name, possible in batteries.items() if possible is not None}
    known = restrict_batteries(known, site, net_kw=load_kw.least, generated_kw=0.0)
    unresponsive = {e.name: e for e in site.powered if e.name in not_followed}
    powers = failsafe_powers(
        pcc_interval,
        load_kw,
        site,
        batteries=batteries | known,
        fixed={name: worst_kw(e, measurements.fresh(e.power_signal)) for name, e in unresponsive.items()},
    )
    # Unresponsive equipment is asked for its fail-safe power as well.
    asked_kw = {name: kw for name, kw in failsafe_powers_kw(site).items() if name in unresponsive} | powers.power_kw
    asked_kw |= dict.fromkeys(state.balance.stopped, 0.0)
    regulation = Regulation(
        setpoints=dict.fromkeys(equipment.name for equipment in site.powered) | asked_kw,
        positions=positions,
        fallback=Fallback.FAILSAFE,
        reasons=(*reasons, *shortfalls(powers, pcc_interval)),
    )
    failsafe = None if state.failsafe is None else replace(state.failsafe, power_kw=dict(asked_kw))
    return regulation, replace(state, load_kw=None, failsafe=failsafe)


def _is_free(measurements: Measurements, site: Site) -> bool:
    """True if no power of the equipment can break a limit."""
    load_kw = load_range_kw(measurements, site)
    return is_within(possible_pcc_kw(load_kw, site), failsafe_interval(measurements, load_kw, site))


def _held_setpoints(
    cycle: _Cycle,
    held: Mapping[str, PoweredEquipment],
    sent: Mapping[str, SentSetpoint],
    setpoints: Mapping[str, float | None],
    *,
    is_limited: bool,
) -> dict[str, float | None]:
    """Setpoints of equipment without a measured power; its power is part of `fixed_kw`."""
    if not is_limited:
        return {name: None if isinstance(e, Generator) else e.failsafe_kw for name, e in held.items()}
    others_kw = [
        cycle.available_kw.get(name, 0.0) if setpoint_kw is None else setpoint_kw
        for name, setpoint_kw in setpoints.items()
        if name not in held and (name in cycle.available_kw or name in cycle.setpoint_ranges)
    ]
    excess = PccExcess(cycle.fixed_kw + math.fsum(others_kw), cycle.pcc_range.interval)
    curtailable = {name: e for name, e in held.items() if not isinstance(e, Generator) or e.curtailable}
    return {name: held_kw(e, sent.get(name), cycle.measurements, excess) for name, e in curtailable.items()}


def _lost_reasons(measurements: Measurements, setpoints: Mapping[str, float | None], site: Site) -> Iterator[Reason]:
    for name, equipment in lost_equipment(measurements, site).items():
        setpoint_kw = setpoints.get(name)
        state = "released" if setpoint_kw is None else f"at {setpoint_kw + 0.0:.0f} kW"
        yield Reason(ReasonCode.POWER_UNKNOWN, f"{equipment.power_signal} is missing or stale: {name} {state}", name)


def _unresponsive_reasons(unresponsive_kw: Mapping[str, float]) -> Iterator[Reason]:
    for name, kw in unresponsive_kw.items():
        yield Reason(ReasonCode.NOT_FOLLOWED, f"{name} does not follow its setpoint: {kw:.1f} kW is assumed", name)


def _held_text(failsafe: Failsafe | None, site: Site) -> str:
    hold_s = site.grid_connection.failsafe.hold_min_s
    return f"fail-safe is held for at least {hold_s:g} s; it began because {failsafe.why if failsafe else 'of a lost meter'}"


def _in_force_kw(state: RegulatorState, site: Site, now_ms: int) -> dict[str, float]:
    return {
        name: sent.power_kw
        for name, sent in state.sent.items()
        if sent.power_kw is not None and 0 <= now_ms - sent.at_ms <= 1000 * site.regulator.valid_for_s
    }


def _plan_reasons(plan: Plan | None, step: PlannedStep | None) -> tuple[Reason, ...]:
    """Reasons for the fallback level of the cycle."""
    if step is not None:
        return step.reasons
    if plan is None:
        return (Reason(ReasonCode.NO_PLAN, "no plan yet"),)
    if plan.fallback in {Fallback.RULE, Fallback.RELEASE}:
        return tuple(plan.reasons) or (Reason(ReasonCode.NO_SCHEDULE, "the plan follows the rule"),)
    return (
        Reason(
            ReasonCode.PLAN_UNUSABLE,
            "plan is too old, past its horizon, from the future, or has a power that is not a number",
        ),
    )


def _equipment_reasons(
    cycle: _Cycle,
    ranges: Mapping[str, SetpointRange | None],
    unresponsive_kw: Mapping[str, float],
    setpoints: Mapping[str, float | None],
) -> Iterator[Reason]:
    """Equipment that is released, implausible or does not follow, and the transformer that limits the pcc."""
    batteries = {battery.name for battery in cycle.site.batteries}
    for name, setpoint_range in ranges.items():
        if setpoint_range is not None:
            continue
        setpoint_kw = setpoints.get(name)
        state = "released" if setpoint_kw is None else f"held at {setpoint_kw + 0.0:.0f} kW"
        if name in batteries:
            yield Reason(ReasonCode.ENERGY_UNKNOWN, f"{name} {state}: its energy is not known", name)
        else:
            yield Reason(ReasonCode.TEMPERATURE_UNKNOWN, f"{name} {state}: its temperature is not known", name)
    for battery in cycle.site.batteries:
        soc_kwh = cycle.measurements.fresh(battery.soc_signal)
        if soc_kwh is not None and not -SOC_DOUBT_PU <= soc_kwh / battery.capacity_kwh <= 1 + SOC_DOUBT_PU:
            text = f"{battery.name} reports {100 * soc_kwh / battery.capacity_kwh:.0f} % of its capacity, outside 0 to 100 %"
            yield Reason(ReasonCode.IMPLAUSIBLE, text, battery.name)
    yield from _unresponsive_reasons(unresponsive_kw)
    if cycle.pcc_range.transformer:
        text = f"{cycle.pcc_range.transformer} allows {cycle.pcc_range.interval.most:.0f} kW"
        yield Reason(ReasonCode.TRANSFORMER_LIMIT, text, cycle.pcc_range.transformer)


def remember(state: RegulatorState, in_force: Mapping[str, float | None], now_ms: int) -> RegulatorState:
    """The state after a cycle in control: each setpoint in force at its equipment now, sent in this cycle or before."""
    moves = dict(state.moves)
    for name, power_kw in in_force.items():
        before = moves.get(name, ())
        if not before or before[-1].power_kw != power_kw or before[-1].at_ms > now_ms:
            kept = before if before and before[-1].at_ms <= now_ms else ()  # unless the clock was set back
            moves[name] = (*kept[1 - MOVES_MAX :], SentSetpoint(power_kw, now_ms))
    return replace(state, moves=moves, sent={name: SentSetpoint(power_kw, now_ms) for name, power_kw in in_force.items()})
