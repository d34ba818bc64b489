"""Allocation of unforeseen power: to the fastest equipment first, to comfort later, to a running load last. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ringmain_agent.equipment.interval import ROUNDING, Interval
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.site.site import Site

NOTHING_KW: Final = 1e-9


def allocate(  # noqa: PLR0913  keyword-only where it can be mistaken
    target_kw: Mapping[str, float],
    ranges: Mapping[str, SetpointRange],
    site: Site,
    *,
    rest_kw: float,
    pcc_interval: Interval,
    battery_floor_kw: float,
) -> dict[str, float]:
    """The power of each battery and load: its target, changed as far as the limits at the pcc require and its range allows.

    Two passes over a list of priorities. The first reduces power: of batteries, of loads that can wait, of comfort,
    then of each on/off load. The second raises it: batteries take back any reduction that a load with a minimum power made
    too large, then charge up to their floor; chargers and flexible loads take power that may not be exported.

    Args:
        target_kw: Target of each battery and load that takes a setpoint.
        ranges: Possible setpoints of each.
        site: Kinds of the equipment.
        rest_kw: Power at the pcc of everything else.
        pcc_interval: Allowed power at the pcc.
        battery_floor_kw: Power at the pcc up to which batteries charge.
    """
    power_kw = {name: setpoint_range.at_most(target_kw[name]) for name, setpoint_range in ranges.items()}
    batteries = [battery.name for battery in site.batteries if battery.name in ranges]
    flexible = [load.name for load in (*site.charging_stations, *site.flexible_loads) if load.name in ranges]
    thermal = [load.name for load in site.thermal_loads if load.name in ranges]
    on_off = [[load.name] for load in site.on_off_loads if load.name in ranges]
    for names in (batteries, flexible, thermal, *on_off):
        if not names:
            continue
        change_kw = pcc_interval.most - rest_kw - math.fsum(power_kw.values())
        power_kw |= _move(power_kw, ranges, names, min(change_kw, 0.0))
    back_to_target = {name: ranges[name].up_to(max(target_kw[name], power_kw[name])) for name in batteries}
    for names, up_to, pcc_kw in (
        (batteries, back_to_target, pcc_interval.most),
        (batteries, ranges, max(pcc_interval.least, battery_floor_kw)),
        (flexible, ranges, pcc_interval.least),
    ):
        if not names:
            continue
        change_kw = min(pcc_kw, pcc_interval.most) - rest_kw - math.fsum(power_kw.values())
        power_kw |= _move(power_kw, up_to, names, max(change_kw, 0.0))
    return power_kw


def restrict_batteries(
    ranges: Mapping[str, SetpointRange], site: Site, *, net_kw: float, generated_kw: float
) -> dict[str, SetpointRange]:
    """The ranges, without export or grid charging by batteries where the connection forbids it."""
    restricted = dict(ranges)
    if site.grid_connection.battery_export and site.grid_connection.battery_grid_charge:
        return restricted
    names = [battery.name for battery in site.batteries if battery.name in ranges]
    export_share = charge_share = 1.0
    if not site.grid_connection.battery_export:
        export_share = _share(max(net_kw, 0.0), (-ranges[name].interval.least for name in names))
    if not site.grid_connection.battery_grid_charge:
        charge_share = _share(max(generated_kw, 0.0), (ranges[name].interval.most for name in names))
    for name in names:
        interval = ranges[name].interval
        least_kw = export_share * interval.least if interval.least < 0 else interval.least
        most_kw = charge_share * interval.most if interval.most > 0 else interval.most
        restricted[name] = SetpointRange(interval.intersect_or_nearest_end(Interval(least_kw, max(most_kw, least_kw))))
    return restricted


def curtail(available_kw: Mapping[str, float], least_kw: float, site: Site) -> dict[str, float | None]:
    """Setpoint of each plant: its share of the lowest allowed sum, `least_kw`; release if no curtailment is needed."""
    if not available_kw:
        return {}
    free = [plant.name for plant in site.generators if plant.curtailable]
    least_kw -= math.fsum(power_kw for name, power_kw in available_kw.items() if name not in free)
    total_kw = math.fsum(available_kw[name] for name in free)
    setpoints: dict[str, float | None] = dict.fromkeys(available_kw)
    if total_kw < min(least_kw, 0.0) - ROUNDING:
        share = max(min(least_kw, 0.0) / total_kw, 0.0)
        setpoints |= {name: share * available_kw[name] for name in free}
    return setpoints


def apply_dead_band(  # noqa: PLR0913  keyword-only where it can be mistaken
    power_kw: Mapping[str, float],
    before_kw: Mapping[str, float],
    ranges: Mapping[str, SetpointRange],
    *,
    rest_kw: float,
    pcc_interval: Interval,
    dead_band_kw: float,
) -> dict[str, float]:
    """The powers without changes below the dead band, unless a limit requires the change."""
    kept = dict(power_kw)
    for name, last_kw in before_kw.items():
        if name in kept and 0 < abs(kept[name] - last_kw) < dead_band_kw and ranges[name].possible(last_kw):
            unchanged = kept | {name: last_kw}
            if pcc_interval.holds(rest_kw + math.fsum(unchanged.values())):
                kept = unchanged
    return kept


def _move(
    power_kw: Mapping[str, float], ranges: Mapping[str, SetpointRange], names: Sequence[str], change_kw: float
) -> dict[str, float]:
    """The powers after a change of their sum, shared in proportion to the room of each."""
    if abs(change_kw) <= NOTHING_KW:
        return {}
    room_kw = {
        name: (ranges[name].interval.most if change_kw > 0 else ranges[name].interval.least) - power_kw[name]
        for name in names
    }
    if abs(whole_kw := math.fsum(room_kw.values())) <= NOTHING_KW:
        return {}
    share = min(max(change_kw / whole_kw, 0.0), 1.0)
    return {name: ranges[name].at_most(power_kw[name] + share * room_kw[name]) for name in names}


def _share(allowed_kw: float, wanted_kw: Iterable[float]) -> float:
    whole_kw = math.fsum(power_kw for power_kw in wanted_kw if power_kw > 0)
    return min(allowed_kw / whole_kw, 1.0) if whole_kw > 0 else 1.0
