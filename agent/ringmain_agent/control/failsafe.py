"""Fail-safe: powers that hold the limits while the connection is unmeasured, its begin, hold and return. Pure.

Every equipment is asked for its `failsafe_kw`, narrowed until the sum holds the limits for the worst uncontrolled load:
import at the highest load without generation, export at the lowest load with full uncontrolled generation. Loads give way
first, then plants, then batteries: these go beyond their `failsafe_kw` only while their energy is known.
"""

import math
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.site.grid_connection import FailsafeLimits
from ringmain_agent.site.nameplates import Generator, OnOffLoad
from ringmain_agent.site.site import LOAD, PCC, ControllableLoad, PoweredEquipment, Site
from ringmain_agent.snapshot import Measurements, Reason
from ringmain_protocol.messages import AtMs, ReasonCode

SHORTFALL_KW: Final = 0.05


class Failsafe(Struct, frozen=True, kw_only=True):
    """A fail-safe from its begin to the end of the return from it; kept over a restart.

    `returns_ms` is the begin of the return. `starting` means that the connection was not measured yet since the start of the
    agent: the first measurement ends it.
    """

    since_ms: AtMs
    why: str
    starting: bool = False
    returns_ms: AtMs | None = None
    power_kw: dict[str, float] = {}
    """The powers of its last cycle, from which the return starts."""

    @property
    def is_active(self) -> bool:
        """True until the return begins."""
        return self.returns_ms is None

    def returned_share(self, now_ms: int, limits: FailsafeLimits) -> float:
        """Share of the way back, from 0 to 1."""
        if self.returns_ms is None:
            return 0.0
        return min(max(now_ms - self.returns_ms, 0) / 1000 / limits.ramp_s, 1.0) if limits.ramp_s > 0 else 1.0


class FailsafePowers(Struct, frozen=True, kw_only=True):
    """Powers of all equipment that follows setpoints, and the excess over each limit that they leave at the worst.

    Invariants:
        * the sum holds the limits for every load within the range, if batteries of known energy can do it at all;
        * otherwise the shortfall says by how much it does not.
    """

    power_kw: dict[str, float]
    import_shortfall_kw: float
    export_shortfall_kw: float


def unmeasured(measurements: Measurements, site: Site) -> Reason | None:
    """The reason why the connection is unmeasured, or `None`.

    Without a `pcc_kw` feed, `load_kw` and the measured plants and batteries are the meter.
    """
    lost_after_s = site.grid_connection.meter_lost_after_s
    meter = PCC if site.pcc_feed or PCC in measurements.newest else LOAD
    measured = measurements.newest.get(meter)
    if measured is None or measurements.fresh(meter) is None:
        return Reason(ReasonCode.METER_LOST, f"{meter} is missing or stale: connection unmeasured; check the meter", meter)
    age_s = (measurements.now_ms - measured.at_ms) / 1000
    if age_s > lost_after_s:
        text = f"{meter} is {age_s:.0f} s old, the limit is {lost_after_s:g} s: connection unmeasured; check the meter"
        return Reason(ReasonCode.METER_LOST, text, meter)
    for equipment in (*site.generators, *site.batteries) if meter == LOAD else ():
        if measurements.fresh(equipment.power_signal) is None:
            text = f"{equipment.power_signal} is missing or stale, and there is no pcc_kw: connection unmeasured"
            return Reason(ReasonCode.METER_LOST, text, equipment.power_signal)
    return None


def update_failsafe(
    before: Failsafe | None, why: Reason | None, *, now_ms: int, starting: bool, limits: FailsafeLimits
) -> Failsafe | None:
    """The fail-safe of this cycle, also while it is held or returns; `None` once all is as usual.

    Args:
        before: That of the previous cycle.
        why: The reason why the connection is unmeasured now.
        now_ms: The present. If the clock was set back, the hold begins again.
        starting: The connection was not measured yet since the start.
        limits: Hold and return.
    """
    active = before if before is not None and before.is_active else None
    if why is not None:
        if active is None:
            return Failsafe(since_ms=now_ms, why=why.text, starting=starting)
        return replace(active, since_ms=min(active.since_ms, now_ms), why=why.text)
    if before is None or before.starting:
        return None
    if active is not None:
        since_ms = min(active.since_ms, now_ms)
        is_over = now_ms - since_ms >= 1000 * limits.hold_min_s
        return replace(active, since_ms=since_ms, returns_ms=now_ms if is_over else None)
    returning = replace(before, returns_ms=min(before.returns_ms or now_ms, now_ms))
    return returning if returning.returned_share(now_ms, limits) < 1 else None


def move_failsafe(failsafe: Failsafe, moved_ms: int) -> Failsafe:
    """The fail-safe after the wall clock was set by `moved_ms`."""
    returns_ms = None if failsafe.returns_ms is None else max(failsafe.returns_ms + moved_ms, 0)
    return replace(failsafe, since_ms=max(failsafe.since_ms + moved_ms, 0), returns_ms=returns_ms)


def return_bounds(failsafe: Failsafe | None, site: Site, *, now_ms: int) -> dict[str, Interval]:
    """Powers of loads and plants during the return from a fail-safe; batteries hold the limits and are not bounded."""
    limits = site.grid_connection.failsafe
    if failsafe is None or failsafe.is_active:
        return {}
    share = failsafe.returned_share(now_ms, limits)
    bounds = {}
    for equipment in (*site.controllable_loads, *(plant for plant in site.generators if plant.curtailable)):
        nameplate = kind_of(equipment).powers_kw(equipment)
        start_kw = nameplate.clamp(failsafe.power_kw.get(equipment.name, 0.0))
        bounds[equipment.name] = Interval(
            start_kw + share * (nameplate.least - start_kw), start_kw + share * (nameplate.most - start_kw)
        )
    return bounds


def load_range_kw(measurements: Measurements, site: Site) -> Interval:
    """The uncontrolled load at its worst: of the last week, else between 0 and the import limit of the connection.

    A measured load may lie outside: it widens the range, and thereby narrows the powers.
    """
    least_kw, most_kw = measurements.load_least_kw, measurements.load_most_kw
    if least_kw is None or most_kw is None or not (math.isfinite(least_kw) and math.isfinite(most_kw)):
        least_kw, most_kw = 0.0, site.grid_connection.import_limit_kw
    load_kw = measurements.fresh(LOAD)
    if load_kw is not None:
        least_kw, most_kw = min(least_kw, load_kw), max(most_kw, load_kw)
    return Interval(least_kw, max(least_kw, most_kw))


def possible_pcc_kw(load_kw: Interval, site: Site) -> Interval:
    """Range of the power at the pcc if nothing controls the equipment."""
    powers = [kind_of(equipment).powers_kw(equipment) for equipment in site.powered]
    return Interval(
        load_kw.least + math.fsum(power.least for power in powers), load_kw.most + math.fsum(power.most for power in powers)
    )


def is_within(inner: Interval, outer: Interval) -> bool:
    """True if an interval lies inside another one."""
    return outer.holds(inner.least) and outer.holds(inner.most)


def failsafe_powers(
    pcc_interval: Interval,
    load_kw: Interval,
    site: Site,
    *,
    batteries: Mapping[str, SetpointRange | None],
    fixed: Mapping[str, Interval],
) -> FailsafePowers:
    """The power of each equipment while the connection is unmeasured.

    Args:
        pcc_interval: Power at the pcc that the limits allow.
        load_kw: The uncontrolled load at its worst.
        site: Nameplates.
        batteries: Possible setpoints of each battery; `None` if its energy is not known.
        fixed: Powers of equipment that does not follow its setpoints.
    """
    uncontrolled = dict(fixed)
    uncontrolled |= {plant.name: kind_of(plant).powers_kw(plant) for plant in site.generators if not plant.curtailable}
    import_room_kw = pcc_interval.most - load_kw.most - math.fsum(power.most for power in uncontrolled.values())
    export_room_kw = load_kw.least - pcc_interval.least + math.fsum(power.least for power in uncontrolled.values())
    power_kw: dict[str, float] = {}

    def take(name: str, granted_kw: float, *, certain: bool) -> None:
        nonlocal import_room_kw, export_room_kw
        power_kw[name] = granted_kw
        import_room_kw -= granted_kw if certain else max(granted_kw, 0.0)
        export_room_kw += granted_kw if certain else min(granted_kw, 0.0)

    followers = [battery for battery in site.batteries if battery.name not in uncontrolled]
    known = [(battery, possible.interval) for battery in followers if (possible := batteries.get(battery.name)) is not None]
    least_kw = math.fsum(interval.least for _, interval in known)
    most_kw = math.fsum(interval.most for _, interval in known)
    for battery in followers:
        if batteries.get(battery.name) is None:  # leaves the others a power that holds both limits
            up_kw = import_room_kw - max(-export_room_kw, least_kw, 0.0)
            down_kw = export_room_kw + min(import_room_kw, most_kw, 0.0)
            take(battery.name, Interval(min(-down_kw, 0.0), max(up_kw, 0.0)).clamp(battery.failsafe_kw), certain=False)
    wanted_kw = {battery.name: interval.clamp(battery.failsafe_kw) for battery, interval in known}
    sum_kw = math.fsum(wanted_kw.values())
    ends_kw = sorted((-export_room_kw, import_room_kw))
    change_kw = Interval(ends_kw[0], ends_kw[1]).clamp(sum_kw) - sum_kw
    for battery, interval in known:
        granted_kw = interval.clamp(wanted_kw[battery.name] + change_kw)
        change_kw -= granted_kw - wanted_kw[battery.name]
        take(battery.name, granted_kw, certain=True)
    for load in sorted(site.controllable_loads, key=lambda load: kind_of(load).urgency):
        if load.name not in uncontrolled:
            granted_kw = _load_setpoints(load).at_most(min(_failsafe_kw(load), max(import_room_kw, 0.0)))
            take(load.name, granted_kw, certain=False)
    plants = [plant for plant in site.generators if plant.name not in uncontrolled]
    wishes_kw = {plant.name: _failsafe_kw(plant) for plant in plants}
    whole_kw = -math.fsum(wishes_kw.values())
    share = min(max(export_room_kw, 0.0) / whole_kw, 1.0) if whole_kw > 0 else 1.0
    for plant in plants:
        take(plant.name, share * wishes_kw[plant.name] + 0.0, certain=False)
    return FailsafePowers(
        power_kw=power_kw,
        import_shortfall_kw=max(-import_room_kw, 0.0),
        export_shortfall_kw=max(-export_room_kw, 0.0),
    )


def shortfalls(powers: FailsafePowers, pcc_interval: Interval) -> tuple[Reason, ...]:
    """What the powers cannot hold, each with its shortfall."""
    parts = (
        ("import", pcc_interval.most, powers.import_shortfall_kw),
        ("export", -pcc_interval.least, powers.export_shortfall_kw),
    )
    return tuple(
        Reason(
            ReasonCode.FAILSAFE_SHORTFALL,
            f"fail-safe cannot hold the {direction} limit of {limit_kw:.0f} kW at the worst: {lacking_kw:.0f} kW lack",
            direction,
        )
        for direction, limit_kw, lacking_kw in parts
        if lacking_kw > SHORTFALL_KW
    )


def _failsafe_kw(equipment: ControllableLoad | Generator) -> float:
    stated_kw = equipment.failsafe_kw
    return kind_of(equipment).powers_kw(equipment).least if stated_kw is None else stated_kw


def _load_setpoints(load: ControllableLoad) -> SetpointRange:
    least_on_kw = load.power_kw if isinstance(load, OnOffLoad) else getattr(load, "power_min_kw", 0.0)
    return SetpointRange(kind_of(load).powers_kw(load), least_on_kw)


def worst_kw(equipment: PoweredEquipment, measured_kw: float | None) -> Interval:
    """Power of an equipment that does not follow: as measured, else anything within its nameplate."""
    nameplate = kind_of(equipment).powers_kw(equipment)
    if measured_kw is None or isinstance(equipment, Generator):
        return nameplate
    power_kw = nameplate.clamp(measured_kw)
    return Interval(power_kw, power_kw)
