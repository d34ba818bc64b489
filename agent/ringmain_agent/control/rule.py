"""The rule that needs no forecast and no solver: self-consumption and peak clamp. Pure; for an instant and for a horizon.

Vehicles charge as soon as they can within the limit, flexible loads spread their energy up to their deadline, on/off loads
run as soon as they may, thermal loads keep their temperature. A battery stores surplus generation and gives above its target
energy what surplus has put there; the rest is for what exceeds the limits. Positions stay.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.hours import LocalHours, holds, minutes
from ringmain_agent.site.nameplates import Battery, ChargingStation, FlexibleLoad, OnOffLoad, ThermalLoad
from ringmain_agent.snapshot import LoadUsage

COMFORT_PU: Final = 0.1
"""The thermostat stays this share of the band inside it."""


def hours_left_h(hours: LocalHours, now_ms: int, time_zone: str) -> float:
    """Time until the hours that hold now are over; 0 outside them."""
    if not holds(hours, [now_ms], time_zone)[0]:
        return 0.0
    local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(time_zone))
    end_min = minutes(hours.end)
    over_midnight = end_min <= minutes(hours.begin) and 60 * local.hour + local.minute >= end_min
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1 if over_midnight else 0)
    end = midnight + timedelta(minutes=end_min)  # on the wall: the zone finds the instant
    return max((end.timestamp() * 1000 - now_ms) / 3.6e6, 0.0)


def wanted_charging(station: ChargingStation, energy_kwh: float, duration_h: float) -> SetpointRange:
    """As soon as possible, but not more than the vehicle wants."""
    most_kw = min(station.power_max_kw, max(energy_kwh, 0.0) / station.efficiency / duration_h)
    return SetpointRange(Interval(0.0, most_kw), station.power_min_kw) if most_kw >= station.power_min_kw else OFF


def wanted_flexible(load: FlexibleLoad, drawn_kwh: float, left_h: float, duration_h: float) -> SetpointRange:
    """What is missing, spread over the hours that are left."""
    missing_kwh = max(load.energy_kwh - drawn_kwh, 0.0)
    if left_h <= 0 or missing_kwh <= 0:
        return OFF
    most_kw = min(missing_kwh / duration_h, load.power_max_kw)
    even_kw = max(missing_kwh / max(left_h, duration_h), load.power_min_kw)
    return SetpointRange(Interval(0.0, min(even_kw, most_kw)), load.power_min_kw) if most_kw >= load.power_min_kw else OFF


def wanted_on_off(load: OnOffLoad, run: LoadUsage, reach: SetpointRange) -> SetpointRange:
    """On as soon as it may, until it has run long enough."""
    return reach if run.run_h < load.run_h - 1e-6 or reach.interval.least > 0 else OFF


def wanted_thermal(load: ThermalLoad, temperature_degc: float, ambient_degc: float, duration_h: float) -> SetpointRange:
    """What keeps the temperature at the cheap end of its band, a little inside."""
    inside_k = COMFORT_PU * (load.temperature_max_degc - load.temperature_min_degc)
    aim_degc = load.temperature_max_degc - inside_k if load.cools else load.temperature_min_degc + inside_k
    at_rest_degc = load.after_degc(temperature_degc, 0.0, ambient_degc, duration_h)
    wished_kw = (aim_degc - at_rest_degc) / load.rise_k_per_kw(duration_h)
    return SetpointRange(Interval(0.0, min(max(wished_kw, 0.0), load.power_max_kw)))


def loads_kw(wanted: Mapping[str, SetpointRange], room_kw: float) -> dict[str, float]:
    """What each load may draw within the room: first what must run, then one after the other."""
    room_kw -= math.fsum(reach.interval.least for reach in wanted.values())
    power_kw = {}
    for name, reach in wanted.items():
        power_kw[name] = reach.at_most(reach.interval.least + max(room_kw, 0.0))
        room_kw -= power_kw[name] - reach.interval.least
    return power_kw


def battery_kw(  # noqa: PLR0913  one battery, and where the site stands
    battery: Battery, soc_kwh: float, net_kw: float, *, ceiling_kw: float, floor_kw: float, duration_h: float
) -> float:
    """Store surplus, cover import from what is above the target, and take whatever exceeds the limits."""
    above_kwh = max(soc_kwh - max(battery.soc_target_pu, battery.soc_reserve_pu) * battery.capacity_kwh, 0.0)
    spare_kw = above_kwh * battery.discharge_efficiency / duration_h
    own_use_kw = -net_kw if net_kw < 0 else -min(net_kw, spare_kw)
    wished_kw = max(min(own_use_kw, ceiling_kw - net_kw), floor_kw - net_kw)
    kept_kwh = soc_kwh * battery.kept_pu(duration_h)
    most_kw = max(battery.soc_max_kwh - kept_kwh, 0.0) / battery.charge_efficiency / duration_h
    least_kw = -max(kept_kwh - battery.soc_min_kwh, 0.0) * battery.discharge_efficiency / duration_h
    return min(max(wished_kw, -battery.discharge_max_kw, least_kw), battery.charge_max_kw, most_kw)
