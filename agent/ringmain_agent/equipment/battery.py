"""Battery: it stores surplus, covers import above its target energy, and clears excess. Its state is its energy."""

import math
from collections.abc import Sequence
from typing import Final

from ringmain_agent.equipment import plausible_values as plausible
from ringmain_agent.equipment.binding_limit import NEAR_SHARE, Binding, highest, lowest
from ringmain_agent.equipment.cost import Cost
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import TOLERANCE_PU, Kind, PccRoom, PlanReview, ResponseTolerance
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.nameplates import Battery
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Reason, SentSetpoint, Snapshot
from ringmain_protocol.messages import ReasonCode

TARGET_FACTOR: Final = 1.1
"""Energy missing at the end is priced above the most expensive energy that could replace it."""
DOUBT_PU: Final = 0.01
"""A measured energy further outside the capacity than this is reported."""


class BatteryKind(Kind[Battery, float | None]):
    """A battery of unknown energy is released, and idle in a plan."""

    nameplate = Battery
    site_field = "batteries"
    state_field = "soc_kwh"
    plan_field = "soc_kwh"

    def feeds(self, nameplate: Battery) -> tuple[str, ...]:
        """Power and energy."""
        return nameplate.power_signal, nameplate.soc_signal

    def powers_kw(self, nameplate: Battery) -> Interval:
        """From discharging to charging."""
        return Interval(-nameplate.discharge_max_kw, nameplate.charge_max_kw)

    def response(self, nameplate: Battery) -> ResponseTolerance:
        """Near its setpoint, in either direction."""
        return ResponseTolerance(TOLERANCE_PU * max(nameplate.charge_max_kw, nameplate.discharge_max_kw))

    def plausible(self, nameplate: Battery, snapshot: Snapshot) -> tuple[float | None, tuple[Reason, ...]]:
        """The measured energy, clamped to the capacity."""
        soc_kwh = snapshot.soc_kwh.get(nameplate.name)
        inside_kwh = plausible.soc_kwh(nameplate, soc_kwh)
        if soc_kwh is None or inside_kwh is None:
            return None, ()
        if abs(inside_kwh - soc_kwh) <= DOUBT_PU * nameplate.capacity_kwh:
            return inside_kwh, ()
        most_kwh = nameplate.capacity_kwh
        text = f"{nameplate.name} reports {soc_kwh:g} kWh, outside 0 to {most_kwh:g} kWh; using {inside_kwh:g} kWh"
        return inside_kwh, (Reason(ReasonCode.IMPLAUSIBLE, text, nameplate.name),)

    def state_now(self, nameplate: Battery, measurements: Measurements) -> float | None:
        """The measured energy, clamped to the capacity."""
        return plausible.soc_kwh(nameplate, measurements.fresh(nameplate.soc_signal))

    def range_now(
        self, nameplate: Battery, measurements: Measurements, last: SentSetpoint | None, site: Site
    ) -> SetpointRange | None:
        """Nameplate, ramp, and the energy for the whole validity of a setpoint; the energy has priority over the ramp."""
        soc_kwh = self.state_now(nameplate, measurements)
        if soc_kwh is None:
            return None
        validity_h = site.regulator.valid_for_s / 3600
        room_kw = max(nameplate.soc_max_kwh - soc_kwh, 0.0) / nameplate.charge_efficiency / validity_h
        left_kw = max(soc_kwh - nameplate.soc_min_kwh, 0.0) * nameplate.discharge_efficiency / validity_h
        energy = Interval(-min(left_kw, nameplate.discharge_max_kw), min(room_kw, nameplate.charge_max_kw))
        start = _ramp_start(nameplate, measurements, last, site)
        if start is None or start.power_kw is None:
            return SetpointRange(energy)
        ramp_kw = nameplate.ramp_kw_per_min * max(measurements.now_ms - start.at_ms, 1000) / 60_000
        ramp = Interval(start.power_kw - ramp_kw, start.power_kw + ramp_kw)
        return SetpointRange(energy.intersect_or_nearest_end(ramp))

    def rule(self, nameplate: Battery, state: float | None, period: Period, room: PccRoom) -> SetpointRange:
        """Store surplus, cover import with energy above the target, and clear any excess over the limits."""
        if state is None:
            return OFF
        duration_h = max(period.duration_h, period.valid_h)
        kept_back_kwh = max(nameplate.soc_target_pu, nameplate.soc_reserve_pu) * nameplate.capacity_kwh
        spare_kw = max(state - kept_back_kwh, 0.0) * nameplate.discharge_efficiency / duration_h
        own_use_kw = -room.net_kw if room.net_kw < 0 else -min(room.net_kw, spare_kw)
        aim_kw = max(min(own_use_kw, room.most_kw - room.net_kw), room.least_kw - room.net_kw)
        kept_kwh = state * nameplate.kept_pu(duration_h)
        most_kw = max(nameplate.soc_max_kwh - kept_kwh, 0.0) / nameplate.charge_efficiency / duration_h
        least_kw = -max(kept_kwh - nameplate.soc_min_kwh, 0.0) * nameplate.discharge_efficiency / duration_h
        power_kw = min(max(aim_kw, -nameplate.discharge_max_kw, least_kw), nameplate.charge_max_kw, most_kw)
        return SetpointRange(Interval(power_kw, power_kw))

    def after(self, nameplate: Battery, state: float | None, power_kw: float, period: Period) -> float | None:
        """The energy after charging, discharging and self-discharge, clamped to the capacity."""
        if state is None:
            return None
        return min(max(nameplate.soc_after_kwh(state, power_kw, period.duration_h), 0.0), nameplate.capacity_kwh)

    def costs(self, nameplate: Battery, review: PlanReview) -> list[Cost]:
        """Wear, and the energy at the end of the horizon."""
        plan, name = review.plan, nameplate.name
        moved_kwh = math.fsum(abs(power_kw) for power_kw in plan.power_kw.get(name, [])) * review.site.step_h
        wear = Cost(component=f"wear of {name}", amount=nameplate.wear_per_kwh * moved_kwh, quantity=moved_kwh, unit="kWh")
        if not plan.soc_kwh.get(name):
            return [wear]
        end_kwh, target_kwh = plan.soc_kwh[name][-1], nameplate.soc_target_pu * nameplate.capacity_kwh
        if nameplate.end_value_per_kwh is not None:
            value = -nameplate.end_value_per_kwh * end_kwh
            return [wear, Cost(component=f"energy left in {name}", amount=value, quantity=end_kwh, unit="kWh")]
        if nameplate.target_miss_per_kwh is not None:
            missed_kwh, price_per_kwh = abs(target_kwh - end_kwh), nameplate.target_miss_per_kwh
        else:
            missed_kwh = max(target_kwh - end_kwh, 0.0)
            highest_per_kwh = TARGET_FACTOR * (review.largest_price_per_kwh + nameplate.wear_per_kwh)
            price_per_kwh = highest_per_kwh / nameplate.charge_efficiency
        component = f"end of {name} off its target"
        return [wear, Cost(component=component, amount=price_per_kwh * missed_kwh, quantity=missed_kwh, unit="kWh")]

    def binding(self, nameplate: Battery, review: PlanReview) -> list[Binding]:
        """Powers of the nameplate, ends of the energy band, and the reserve."""
        plan, name = review.plan, nameplate.name
        power_kw, energy_kwh = plan.power_kw.get(name, []), plan.soc_kwh.get(name, [])
        count, near = len(power_kw), NEAR_SHARE * nameplate.capacity_kwh
        discharge_kw = [-power for power in power_kw]
        limits = [
            highest(f"charging power of {name}", "kW", power_kw, [nameplate.charge_max_kw] * count, plan),
            highest(f"discharging power of {name}", "kW", discharge_kw, [nameplate.discharge_max_kw] * count, plan),
            highest(f"{name} full", "kWh", energy_kwh, [nameplate.soc_max_kwh] * count, plan, near=near),
            lowest(f"{name} empty", "kWh", energy_kwh, nameplate.soc_min_kwh, plan, near=near),
        ]
        if nameplate.soc_reserve_pu > nameplate.soc_min_pu:
            reserve_kwh = nameplate.soc_reserve_pu * nameplate.capacity_kwh
            limits.append(lowest(f"reserve of {name}", "kWh", energy_kwh, reserve_kwh, plan, near=near))
        return limits

    def worth_per_kwh(self, nameplate: Battery) -> float:
        """Price of energy at the end of the horizon."""
        return nameplate.target_miss_per_kwh or nameplate.end_value_per_kwh or 0.0


def within_nameplate_kw(battery: Battery, power_kw: float) -> float:
    """The power clamped to the nameplate; a power that is not a number counts as 0."""
    if not math.isfinite(power_kw):
        return 0.0
    return min(max(power_kw, -battery.discharge_max_kw), battery.charge_max_kw)


def follow(
    battery: Battery, schedule_kw: Sequence[float], soc_kwh: float, step_h: float, *, whole: bool = False
) -> tuple[list[float], list[float]]:
    """Feasible power of the battery with a schedule, and its energy at the END of each step.

    Power stops at the end of the energy band, or of the capacity with `whole`. An energy outside the band moves no further
    out than at rest.
    """
    energy = idle_energy = min(max(soc_kwh, 0.0), battery.capacity_kwh)
    kept_pu = battery.kept_pu(step_h)
    floor, ceiling = (0.0, battery.capacity_kwh) if whole else (battery.soc_min_kwh, battery.soc_max_kwh)
    power_kw, energy_kwh = [], []
    for scheduled_kw in schedule_kw:
        rest, idle_energy = energy * kept_pu, idle_energy * kept_pu
        most = max(max(ceiling, idle_energy) - rest, 0.0) / battery.charge_efficiency / step_h
        least = -max(rest - min(floor, idle_energy), 0.0) * battery.discharge_efficiency / step_h
        power = min(max(within_nameplate_kw(battery, scheduled_kw), least), most)
        energy = battery.soc_after_kwh(energy, power, step_h)
        power_kw.append(power)
        energy_kwh.append(energy)
    return power_kw, energy_kwh


def _ramp_start(battery: Battery, measurements: Measurements, last: SentSetpoint | None, site: Site) -> SentSetpoint | None:
    """The last setpoint while it is in force; without one the measured power."""
    valid_ms = 1000 * site.regulator.valid_for_s
    if last is not None and last.power_kw is not None and 0 <= measurements.now_ms - last.at_ms <= valid_ms:
        return last
    power_kw = measurements.fresh(battery.power_signal)
    return None if power_kw is None else SentSetpoint(power_kw, measurements.newest[battery.power_signal].at_ms)
