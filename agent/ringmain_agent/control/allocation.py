"""Who takes up what the plan did not foresee: the fastest equipment first, comfort later, a running load last. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ringmain_agent.equipment.interval import ROUNDING, Interval
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.site.site import Site

NOTHING_KW: Final = 1e-9


def allocate(  # noqa: PLR0913  keyword-only where it can be mistaken
    wished_kw: Mapping[str, float],
    ranges: Mapping[str, SetpointRange],
    site: Site,
    *,
    rest_kw: float,
    band: Interval,
    battery_floor_kw: float,
) -> dict[str, float]:
    """The power of each battery and load: as wished, moved as far as the limits at the pcc demand it and each can.

    Two passes over a list of priorities. Downwards, batteries give way first, then what can wait, then comfort, then each
    on/off load. Upwards, batteries take back what a load with a least power gave too much, then fill up to their floor;
    chargers and flexible loads take what may not be exported.

    Args:
        wished_kw: Of each that can be set.
        ranges: What each can be set to.
        site: Which equipment is of which kind.
        rest_kw: Power at the pcc of everything that is not set here.
        band: Where the power at the pcc may lie.
        battery_floor_kw: Least power at the pcc that batteries charge up to.
    """
    power_kw = {name: setpoint_range.at_most(wished_kw[name]) for name, setpoint_range in ranges.items()}
    batteries = [battery.name for battery in site.batteries if battery.name in ranges]
    flexible = [load.name for load in (*site.charging_stations, *site.flexible_loads) if load.name in ranges]
    thermal = [load.name for load in site.thermal_loads if load.name in ranges]
    on_off = [[load.name] for load in site.on_off_loads if load.name in ranges]
    for names in (batteries, flexible, thermal, *on_off):
        if not names:
            continue
        change_kw = band.most - rest_kw - math.fsum(power_kw.values())
        power_kw |= _moved(power_kw, ranges, names, min(change_kw, 0.0))
    back_to_wish = {name: ranges[name].up_to(max(wished_kw[name], power_kw[name])) for name in batteries}
    for names, up_to, pcc_kw in (
        (batteries, back_to_wish, band.most),
        (batteries, ranges, max(band.least, battery_floor_kw)),
        (flexible, ranges, band.least),
    ):
        if not names:
            continue
        change_kw = min(pcc_kw, band.most) - rest_kw - math.fsum(power_kw.values())
        power_kw |= _moved(power_kw, up_to, names, max(change_kw, 0.0))
    return power_kw


def restrict_batteries(
    ranges: Mapping[str, SetpointRange], site: Site, *, net_kw: float, generated_kw: float
) -> dict[str, SetpointRange]:
    """The ranges less what batteries may not do here: export to the grid, or charge from it."""
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
    """Setpoint of each plant: its share of `least_kw`, the lowest sum that may flow; release when that suffices."""
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
    band: Interval,
    dead_band_kw: float,
) -> dict[str, float]:
    """The powers without changes below the dead band, as far as no limit needs them."""
    kept = dict(power_kw)
    for name, last_kw in before_kw.items():
        if name in kept and 0 < abs(kept[name] - last_kw) < dead_band_kw and ranges[name].possible(last_kw):
            unchanged = kept | {name: last_kw}
            if band.holds(rest_kw + math.fsum(unchanged.values())):
                kept = unchanged
    return kept


def _moved(
    power_kw: Mapping[str, float], ranges: Mapping[str, SetpointRange], names: Sequence[str], change_kw: float
) -> dict[str, float]:
    """The powers of these after a change of their sum, each by its share of the room that all have."""
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
