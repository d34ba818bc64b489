"""The rule, without forecast and solver: self-consumption and import limit. Pure.

Each kind of equipment has its rule in `equipment/`. Here loads share the room within the limits, in the present cycle and in
a step of a schedule. Batteries cover import with energy above their target; the regulator also lets them take surplus and
excess.
"""

import math
from collections.abc import Iterable, Mapping

from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import PccRoom
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.site.nameplates import Equipment
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements


def in_order_of_urgency(loads: Iterable[Equipment]) -> list[Equipment]:
    """Loads in the order in which the rule serves them."""
    return sorted(loads, key=lambda load: kind_of(load).urgency)


def share_room(rule_ranges: Mapping[str, SetpointRange], room_kw: float) -> dict[str, float]:
    """The power of each load within the room: minimum powers first, then one load after the other."""
    room_kw -= math.fsum(setpoints.interval.least for setpoints in rule_ranges.values())
    power_kw = {}
    for name, setpoints in rule_ranges.items():
        power_kw[name] = setpoints.at_most(setpoints.interval.least + max(room_kw, 0.0))
        room_kw -= power_kw[name] - setpoints.interval.least
    return power_kw


def rule_setpoints(
    measurements: Measurements,
    ranges: Mapping[str, SetpointRange],
    site: Site,
    *,
    rest_kw: float,
    pcc_interval: Interval,
) -> dict[str, float]:
    """The power of each battery and load in the present cycle, from measurements alone.

    Args:
        measurements: The process image.
        ranges: Possible setpoints of batteries and loads.
        site: Nameplates and settings.
        rest_kw: Power at the pcc of everything else.
        pcc_interval: Allowed power at the pcc.
    """
    period = Period(
        at_ms=measurements.now_ms,
        duration_h=site.step_h,
        time_zone=site.time_zone,
        ambient_degc=measurements.ambient_degc,
        valid_h=site.regulator.valid_for_s / 3600,
    )

    def by_rule(equipment: Equipment, room: PccRoom) -> SetpointRange:
        kind = kind_of(equipment)
        return kind.rule(equipment, kind.state_now(equipment, measurements), period, room)

    loads = [load for load in in_order_of_urgency(site.controllable_loads) if load.name in ranges]
    room = PccRoom(rest_kw, pcc_interval.least, pcc_interval.most)
    rule_ranges = {load.name: ranges[load.name].up_to(by_rule(load, room).interval.most) for load in loads}
    power_kw = share_room(rule_ranges, pcc_interval.most - rest_kw)
    import_kw = max(rest_kw + math.fsum(power_kw.values()), 0.0)
    unlimited = PccRoom(import_kw, -math.inf, math.inf)  # the regulator keeps the limits
    spare_kw = {b.name: -by_rule(b, unlimited).interval.most for b in site.batteries if b.name in ranges}
    whole_kw = math.fsum(spare_kw.values())
    share = min(import_kw / whole_kw, 1.0) if whole_kw > 0 else 0.0
    return power_kw | {name: -share * battery_kw for name, battery_kw in spare_kw.items()}
