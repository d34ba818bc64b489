"""What each equipment can be set to now: nameplate, energy and ramp, whether anybody is there, how long it has to run. Pure.

The regulator chooses inside it. `limits` guards the same things with code of its own.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from ringmain_agent.equipment import charging_sessions as vehicles
from ringmain_agent.equipment import plausible
from ringmain_agent.equipment.interval import ROUNDING, Interval
from ringmain_agent.site.hours import holds
from ringmain_agent.site.nameplates import Battery, ChargingStation, FlexibleLoad, OnOffLoad, ThermalLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Measurements, SentSetpoint

REST_S: Final = 60.0
"""A load that was switched off is not switched on again before this time has passed: it would flutter at a limit."""
MS_PER_H: Final = 3_600_000

Moves = Mapping[str, Sequence[SentSetpoint]]
"""The last setpoints that differed, by equipment, oldest first; the last one is in force."""


class SetpointRange(Struct, frozen=True):
    """Powers that an equipment can be set to: those of the interval, but between 0 and `power_min_kw` none."""

    interval: Interval
    power_min_kw: float = 0.0

    def at_most(self, power_kw: float) -> float:
        """The highest possible power up to one, or else the lowest possible."""
        power_kw = self.interval.clamp(power_kw)
        if not 0 < power_kw < self.power_min_kw:
            return power_kw
        if power_kw >= self.power_min_kw - ROUNDING and self.interval.holds(self.power_min_kw):
            return self.power_min_kw
        return max(self.interval.least, 0.0)

    def possible(self, power_kw: float) -> bool:
        """Whether it can be set to that."""
        return self.interval.holds(power_kw) and abs(self.at_most(power_kw) - power_kw) <= ROUNDING

    def up_to(self, power_kw: float) -> "SetpointRange":
        """What is left of it below a power."""
        return SetpointRange(self.interval.intersect_or_nearest_end(Interval(-math.inf, power_kw)), self.power_min_kw)


OFF: Final = SetpointRange(Interval(0.0, 0.0))


def setpoint_ranges(
    measurements: Measurements, sent: Mapping[str, SentSetpoint], moves: Moves, site: Site
) -> dict[str, SetpointRange | None]:
    """The reach of every battery and load; `None` where too little is known to set it."""
    found: dict[str, SetpointRange | None] = {}
    for battery in site.batteries:
        found[battery.name] = _battery(battery, measurements, sent.get(battery.name), site)
    for load in site.controllable_loads:
        match load:
            case ChargingStation():
                reach: SetpointRange | None = _charging(load, measurements)
            case FlexibleLoad():
                reach = _flexible(load, measurements, site)
            case ThermalLoad():
                reach = _thermal(load, measurements)
            case OnOffLoad():
                reach = on_off_range(load, measurements.runs.get(load.name, LoadUsage()), site, measurements.now_ms)
        found[load.name] = _rested(reach, moves.get(load.name, ()), measurements.now_ms)
    return found


def on_off_range(load: OnOffLoad, run: LoadUsage, site: Site, now_ms: int) -> SetpointRange:
    """On or off; only on before its minimum run time is over, only off outside its hours or without starts left."""
    if run.on and 0 <= now_ms - run.since_ms < load.run_min_h * MS_PER_H:
        return SetpointRange(Interval(load.power_kw, load.power_kw), load.power_kw)
    spent = not run.on and load.starts_max is not None and run.starts >= load.starts_max
    if spent or not holds(load.hours, [now_ms], site.time_zone)[0]:
        return OFF
    return SetpointRange(Interval(0.0, load.power_kw), load.power_kw)


def _battery(battery: Battery, measurements: Measurements, last: SentSetpoint | None, site: Site) -> SetpointRange | None:
    """Nameplate, then ramp, then the energy for a setpoint's whole validity, which goes before the ramp."""
    soc_kwh = plausible.soc_kwh(battery, measurements.fresh(battery.soc_signal))
    if soc_kwh is None:
        return None
    validity_h = site.regulator.valid_for_s / 3600
    room_kw = max(battery.soc_max_kwh - soc_kwh, 0.0) / battery.charge_efficiency / validity_h
    left_kw = max(soc_kwh - battery.soc_min_kwh, 0.0) * battery.discharge_efficiency / validity_h
    energy = Interval(-min(left_kw, battery.discharge_max_kw), min(room_kw, battery.charge_max_kw))
    started = _ramp_start(battery, measurements, last, site)
    if started is None or started.power_kw is None:
        return SetpointRange(energy)
    reach_kw = battery.ramp_kw_per_min * max(measurements.now_ms - started.at_ms, 1000) / 60_000
    return SetpointRange(energy.intersect_or_nearest_end(Interval(started.power_kw - reach_kw, started.power_kw + reach_kw)))


def _ramp_start(battery: Battery, measurements: Measurements, last: SentSetpoint | None, site: Site) -> SentSetpoint | None:
    """The last setpoint while it is in force; without one the measured power."""
    if (
        last is not None
        and last.power_kw is not None
        and 0 <= measurements.now_ms - last.at_ms <= 1000 * site.regulator.valid_for_s
    ):
        return last
    power_kw = measurements.fresh(battery.power_signal)
    return None if power_kw is None else SentSetpoint(power_kw, measurements.newest[battery.power_signal].at_ms)


def _charging(station: ChargingStation, measurements: Measurements) -> SetpointRange:
    if not vehicles.is_there(station, measurements):
        return OFF
    return SetpointRange(Interval(0.0, station.power_max_kw), station.power_min_kw)


def _flexible(load: FlexibleLoad, measurements: Measurements, site: Site) -> SetpointRange:
    drawn_kwh = measurements.runs.get(load.name, LoadUsage()).drawn_kwh
    if drawn_kwh >= load.energy_kwh or not holds(load.hours, [measurements.now_ms], site.time_zone)[0]:
        return OFF
    return SetpointRange(Interval(0.0, load.power_max_kw), load.power_min_kw)


def _thermal(load: ThermalLoad, measurements: Measurements) -> SetpointRange | None:
    """Off beyond the end of the band that it drives towards."""
    degc = plausible.temperature_degc(measurements.fresh(load.temperature_signal))
    if degc is None:
        return None
    beyond = degc <= load.temperature_min_degc if load.cools else degc >= load.temperature_max_degc
    return OFF if beyond else SetpointRange(Interval(0.0, load.power_max_kw))


def _rested(reach: SetpointRange | None, moves: Sequence[SentSetpoint], now_ms: int) -> SetpointRange | None:
    """The reach of a load with a least power; it stays off for a while once it was switched off."""
    if reach is None or reach.power_min_kw <= 0 or len(moves) < 2 or reach.interval.least > 0:
        return reach
    just_off = moves[-1].power_kw == 0 and 0 <= now_ms - moves[-1].at_ms < 1000 * REST_S
    return OFF if just_off else reach
