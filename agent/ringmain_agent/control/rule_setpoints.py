"""What the rule wishes for this cycle, from measurements alone. Pure."""

import math
from collections.abc import Mapping

from ringmain_agent.control import rule
from ringmain_agent.equipment import plausible
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.nameplates import ChargingStation, FlexibleLoad, OnOffLoad, ThermalLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Measurements


def rule_setpoints(
    measurements: Measurements,
    reaches: Mapping[str, SetpointRange],
    site: Site,
    *,
    rest_kw: float,
    band: Interval,
) -> dict[str, float]:
    """The power of each battery and load by the rule.

    Batteries cover import from what is above their target energy; surplus and what exceeds the band is theirs anyway.
    """
    wanted = {
        load.name: _wanted(load, reaches[load.name], measurements, site)
        for kind in (site.thermal_loads, site.on_off_loads, site.charging_stations, site.flexible_loads)
        for load in kind
        if load.name in reaches
    }
    wished_kw = rule.loads_kw(wanted, band.most - rest_kw)
    import_kw = max(rest_kw + math.fsum(wished_kw.values()), 0.0)
    spare_kw = {}
    for battery in site.batteries:
        soc_kwh = plausible.soc_kwh(battery, measurements.fresh(battery.soc_signal))
        if battery.name in reaches and soc_kwh is not None:
            spare_kw[battery.name] = -rule.battery_kw(
                battery,
                soc_kwh,
                import_kw,
                ceiling_kw=math.inf,
                floor_kw=-math.inf,
                duration_h=max(site.step_h, site.regulator.valid_for_s / 3600),
            )
    whole_kw = math.fsum(spare_kw.values())
    share = min(import_kw / whole_kw, 1.0) if whole_kw > 0 else 0.0
    return wished_kw | {name: -share * power_kw for name, power_kw in spare_kw.items()}


def _wanted(
    load: ChargingStation | FlexibleLoad | ThermalLoad | OnOffLoad,
    reach: SetpointRange,
    measurements: Measurements,
    site: Site,
) -> SetpointRange:
    run = measurements.runs.get(load.name, LoadUsage())
    match load:
        case ChargingStation():
            return reach
        case FlexibleLoad():
            left_h = rule.hours_left_h(load.hours, measurements.now_ms, site.time_zone)
            return reach.up_to(rule.wanted_flexible(load, run.drawn_kwh, left_h, site.step_h).interval.most)
        case OnOffLoad():
            return rule.wanted_on_off(load, run, reach)
        case ThermalLoad():
            measured_degc = measurements.fresh(load.temperature_signal)
            degc = plausible.temperature_degc(measured_degc)
            if degc is None:
                return OFF
            ambient_degc = plausible.ambient_degc(load, measurements.ambient_degc.get(load.name))
            return reach.up_to(rule.wanted_thermal(load, degc, ambient_degc, site.step_h).interval.most)
