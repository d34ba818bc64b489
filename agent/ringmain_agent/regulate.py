"""Every cycle: follow the plan, corrected by what is measured now, so that limits hold when reality leaves the forecast.

Pure: measurements, plan and state go in, setpoints and the next state come out. No filter and no second closed loop: the
battery takes exactly what exceeds the limit, and the energy of the running quarter of an hour is the only memory.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.fallback import PlannedStep, present_step
from ringmain_agent.limits import PowerRange, battery_range
from ringmain_agent.nameplate import Generator
from ringmain_agent.quarter import Quarter, counted, energy_kwh
from ringmain_agent.site import BILLING_PERIOD_S, LOAD, PCC, Site
from ringmain_agent.snapshot import Measurements, Plan, Sent
from ringmain_protocol.messages import Fallback

HASTE_S: Final = 60.0
"""An excess of the running quarter is made up over at least this time, so that its last seconds do not slam the battery."""
AT_BOUND_PU: Final = 0.02
"""A PV plant this close to its bound is held back by it: what it could give is not measured."""
AT_LIMIT_KW: Final = 1.0
"""A plan this close to the import limit has its battery power from the limit and not from prices."""
ROUNDING_KW: Final = 1e-6


class RegulatorState(Struct, frozen=True, kw_only=True):
    """What a cycle hands to the next one; worth keeping over a restart."""

    quarter: Quarter = Quarter()
    sent: dict[str, Sent] = {}
    free_kw: dict[str, float] = {}
    """Last measured power of each PV plant while nothing held it back."""

    @property
    def billing_peak_kw(self) -> float:
        """Highest quarter-hour mean import of the billing month so far."""
        return self.quarter.billing_peak_kw


class Regulation(Struct, frozen=True, kw_only=True):
    """Setpoints of one cycle before `limits`; `None` releases the equipment."""

    setpoints: dict[str, float | None]
    fallback: Fallback
    reason: str = ""


def regulate(
    measurements: Measurements, plan: Plan | None, state: RegulatorState, site: Site, now_ms: int
) -> tuple[Regulation, RegulatorState]:
    """Setpoints of one cycle.

    Args:
        measurements: Newest value of each signal and the limits in force.
        plan: The newest plan; `None` if there never was one.
        state: From the cycle before.
        site: Nameplates and settings.
        now_ms: The present instant.

    Returns:
        The setpoints with the rung of the ladder that they stand on, and the state for the next cycle. Without what it
        takes to know the load, everything is released.
    """
    pcc = measurements.newest.get(PCC)
    state = replace(state, quarter=counted(state.quarter, pcc, site=site, now_ms=now_ms))
    step = present_step(plan, now_ms=now_ms, site=site)
    load_kw = _load_kw(measurements, site, now_ms)
    if load_kw is None:
        names = [*(battery.name for battery in site.batteries), *(plant.name for plant in site.generators)]
        reason = "load_kw is missing or stale, and cannot be derived from pcc_kw and the equipment"
        return Regulation(setpoints=dict.fromkeys(names), fallback=Fallback.RELEASE, reason=reason), state
    available_kw, free_kw = _available_kw(measurements, step, state, site, now_ms)
    state = replace(state, free_kw=free_kw)
    lowest_kw, highest_kw = _band_kw(measurements, step, state, site, now_ms)
    ranges = {
        battery.name: battery_range(battery, site=site, measurements=measurements, previous=state.sent, now_ms=now_ms)
        for battery in site.batteries
    }
    planned = {name: step.battery_kw.get(name, 0.0) if step else 0.0 for name in ranges}
    curtailed_kw = step.curtailed_kw if step else {}
    expected_kw = [min(power_kw + curtailed_kw.get(name, 0.0), 0.0) for name, power_kw in available_kw.items()]
    rest_kw = load_kw + math.fsum(expected_kw)
    ceiling_kw = max(measurements.import_limit_kw - site.grid_connection.margin_kw, 0.0)
    meets_limit = step is not None and step.pcc_kw >= ceiling_kw - AT_LIMIT_KW
    least_kw = _least_at_limit_kw(planned, rest_kw, highest_kw) if meets_limit else lowest_kw
    power_kw = _shared(planned, ranges, rest_kw, max(lowest_kw, least_kw), highest_kw)
    if step and math.fsum(curtailed_kw.values()) > ROUNDING_KW:
        lowest_kw = max(lowest_kw, step.pcc_kw)  # the plan gives PV away down to this: with more load, less of it
    setpoints: dict[str, float | None] = {name: power_kw.get(name) for name in ranges}
    setpoints |= _held_back(available_kw, lowest_kw - load_kw - math.fsum(power_kw.values()))
    unknown = [name for name, allowed in ranges.items() if allowed is None]
    reasons = [_reason(plan, step)] + [f"{name} released: its energy is not known" for name in unknown]
    return (
        Regulation(
            setpoints=setpoints,
            fallback=step.fallback if step else Fallback.RULE,
            reason="; ".join(reason for reason in reasons if reason),
        ),
        state,
    )


def encode_state(state: RegulatorState) -> bytes:
    """The state as it is kept over a restart; JSON, in which a number that is not finite has no place."""
    return msgspec.json.encode(state)


def decode_state(kept: object) -> RegulatorState:
    """The state that was kept.

    Raises:
        ValueError: If it is damaged or of another version.
    """
    if not isinstance(kept, bytes):
        raise ValueError(f"{type(kept).__name__} is no state")  # noqa: TRY004  what a file holds is a value
    try:
        return msgspec.json.decode(kept, type=RegulatorState)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{error}") from error


def remember(state: RegulatorState, sent: Mapping[str, float | None], now_ms: int) -> RegulatorState:
    """The state after setpoints have left the agent; not to be called in observe, when nothing leaves."""
    return replace(state, sent=state.sent | {name: Sent(power_kw, now_ms) for name, power_kw in sent.items()})


def _load_kw(measurements: Measurements, site: Site, now_ms: int) -> float | None:
    """The load now: its own feed with all PV plants known, else pcc minus all equipment."""
    stale_after_s = site.regulator.stale_after_s
    load_kw = measurements.fresh(LOAD, now_ms, stale_after_s)
    plants = [measurements.fresh(plant.power_signal, now_ms, stale_after_s) for plant in site.generators]
    if load_kw is not None and None not in plants:
        return load_kw if math.isfinite(load_kw) else None
    pcc_kw = measurements.fresh(PCC, now_ms, stale_after_s)
    batteries = [measurements.fresh(battery.power_signal, now_ms, stale_after_s) for battery in site.batteries]
    if pcc_kw is None or None in batteries:
        return None
    # Plants without a value stay inside what is called load: their sum with it is what counts.
    load_kw = math.fsum([pcc_kw, *(-power_kw for power_kw in (*batteries, *plants) if power_kw is not None)])
    return load_kw if math.isfinite(load_kw) else None


def _available_kw(
    measurements: Measurements, step: PlannedStep | None, state: RegulatorState, site: Site, now_ms: int
) -> tuple[dict[str, float], dict[str, float]]:
    """What each PV plant could give now, and the same as last measured while nothing held it back.

    A plant at its bound shows the bound and not the sun: then the plan's forecast says what it could give.
    """
    available_kw: dict[str, float] = {}
    free_kw = dict(state.free_kw)
    for plant in site.generators:
        power_kw = measurements.fresh(plant.power_signal, now_ms, site.regulator.stale_after_s)
        if power_kw is None or not math.isfinite(power_kw):
            available_kw[plant.name] = 0.0
            continue
        power_kw = min(power_kw, 0.0)
        if _is_held_back(plant, power_kw, state.sent.get(plant.name), site, now_ms):
            could_kw = step.available_kw.get(plant.name, power_kw) if step else free_kw.get(plant.name, power_kw)
            available_kw[plant.name] = min(power_kw, max(could_kw, -plant.rated_power_kw))
        else:
            available_kw[plant.name] = free_kw[plant.name] = power_kw
    return available_kw, free_kw


def _is_held_back(plant: Generator, power_kw: float, sent: Sent | None, site: Site, now_ms: int) -> bool:
    if sent is None or sent.power_kw is None or now_ms - sent.at_ms > 1000 * site.regulator.valid_for_s:
        return False
    return power_kw <= sent.power_kw + AT_BOUND_PU * plant.rated_power_kw


def _band_kw(
    measurements: Measurements, step: PlannedStep | None, state: RegulatorState, site: Site, now_ms: int
) -> tuple[float, float]:
    """Lowest and highest pcc power for the rest of the quarter-hour, so that its mean keeps the limits with their margin.

    Never outside the limits themselves: room that was left unused earlier in the quarter is not spent.
    """
    margin_kw, tariff = site.grid_connection.margin_kw, site.tariff
    highest_kw = max(measurements.import_limit_kw - margin_kw, 0.0)
    lowest_kw = -max(measurements.export_limit_kw - margin_kw, 0.0)
    if step is not None and tariff.demand_charge_per_kw > 0:
        highest_kw = min(highest_kw, max(state.billing_peak_kw, step.pcc_max_kw))
    left_h = max((state.quarter.start_ms - now_ms) / 3.6e6 + BILLING_PERIOD_S / 3600, HASTE_S / 3600)
    so_far = energy_kwh(state.quarter, now_ms=now_ms, hold_s=site.regulator.stale_after_s)
    # Time of the quarter that nobody measured counts as lived at the limit: it neither gives room nor takes any.
    allowed = [bound + (bound * so_far.covered_h - so_far.energy_kwh) / left_h for bound in (lowest_kw, highest_kw)]
    highest_kw = min(highest_kw, allowed[1])
    return min(max(lowest_kw, allowed[0]), highest_kw), highest_kw


def _least_at_limit_kw(planned: Mapping[str, float], rest_kw: float, highest_kw: float) -> float:
    """Lowest pcc power where the plan meets the import limit and the load is lower than it was forecast.

    A plan that charges takes all that the limit leaves: so do we. A plan that discharges gives what the limit demands: with
    less load that is less, and none of it is worth anything at another time of need.
    """
    return highest_kw if math.fsum(planned.values()) >= 0 else min(highest_kw, rest_kw)


def _shared(
    planned: Mapping[str, float],
    ranges: Mapping[str, PowerRange | None],
    rest_kw: float,
    lowest_kw: float,
    highest_kw: float,
) -> dict[str, float]:
    """The batteries' powers: as planned, moved together as far as the band at the pcc wants it and each can."""
    usable = {name: allowed for name, allowed in ranges.items() if allowed is not None}
    power_kw = {name: min(max(planned[name], r.least_kw), r.most_kw) for name, r in usable.items()}
    total_kw = math.fsum(power_kw.values())
    change_kw = min(max(total_kw, lowest_kw - rest_kw), highest_kw - rest_kw) - total_kw
    room_kw = {n: (r.most_kw - power_kw[n]) if change_kw > 0 else (power_kw[n] - r.least_kw) for n, r in usable.items()}
    if (whole_kw := math.fsum(room_kw.values())) <= 0:
        return power_kw
    share = min(max(change_kw / whole_kw, -1.0), 1.0)
    return {name: power_kw[name] + share * room_kw[name] for name in power_kw}


def _held_back(available_kw: Mapping[str, float], least_kw: float) -> dict[str, float | None]:
    """Setpoint of each PV plant: its share of `least_kw`, the lowest sum that may flow; release when that suffices."""
    total_kw = math.fsum(available_kw.values())
    if total_kw >= min(least_kw, 0.0) - ROUNDING_KW:
        return dict.fromkeys(available_kw)
    share = max(min(least_kw, 0.0) / total_kw, 0.0)
    return {name: share * power_kw for name, power_kw in available_kw.items()}


def _reason(plan: Plan | None, step: PlannedStep | None) -> str:
    if step is not None:
        return step.reason
    if plan is None:
        return "no plan yet"
    if plan.fallback in {Fallback.RULE, Fallback.RELEASE}:
        return plan.reason or "the plan itself is a rule"
    return "plan is too old, past its horizon or from the future"
