"""The last thing before equipment: no solver, no plan, no way round. Shares no code with what it guards.

Every setpoint is finite, inside the nameplate, inside the ramp from the last one, and safe for the energy in the battery
even if it stays in force for its whole validity. What cannot be made safe is released.
"""

import math
from collections.abc import Mapping

from msgspec import Struct

from ringmain_agent.nameplate import Battery, Generator
from ringmain_agent.site import Site
from ringmain_agent.snapshot import Measurements, Sent

ROUNDING_KW = 1e-9


class PowerRange(Struct, frozen=True):
    """Powers that a battery may be set to now."""

    least_kw: float
    most_kw: float


class Limited(Struct, frozen=True, kw_only=True):
    """Setpoints that may leave the agent (`None` releases), and what had to be changed for that.

    Invariants:
        * setpoints stay inside limits: finite and inside the nameplate, for whatever was wished;
        * a setpoint that is followed for its whole validity leaves the energy inside its band, or does not move it out.
    """

    power_kw: dict[str, float | None]
    reasons: tuple[str, ...] = ()


def battery_range(
    battery: Battery, *, site: Site, measurements: Measurements, previous: Mapping[str, Sent], now_ms: int
) -> PowerRange | None:
    """Powers that the nameplate, the energy left over a setpoint's validity and the ramp allow; `None` without energy.

    Energy goes before ramp: a battery that is empty stops at once.
    """
    soc_kwh = measurements.fresh(battery.soc_signal, now_ms, site.regulator.stale_after_s)
    if soc_kwh is None or not math.isfinite(soc_kwh):
        return None
    least, most = -battery.discharge_max_kw, battery.charge_max_kw
    base = _ramp_base(battery, site=site, measurements=measurements, previous=previous, now_ms=now_ms)
    if base is not None:
        reach_kw = battery.ramp_kw_per_min * max(now_ms - base.at_ms, 1000) / 60_000
        power_kw = base.power_kw if base.power_kw is not None else 0.0
        least = _clip(power_kw - reach_kw, least, most)
        most = _clip(power_kw + reach_kw, least, most)
    validity_h = site.regulator.valid_for_s / 3600
    room_kwh = max(battery.soc_max_pu * battery.capacity_kwh - soc_kwh, 0.0)
    left_kwh = max(soc_kwh - battery.soc_min_pu * battery.capacity_kwh, 0.0)
    highest = room_kwh / battery.charge_efficiency / validity_h
    lowest = -left_kwh * battery.discharge_efficiency / validity_h
    return PowerRange(_clip(least, lowest, highest), _clip(most, lowest, highest))


def limit_setpoints(
    setpoints: Mapping[str, float | None],
    *,
    site: Site,
    measurements: Measurements,
    previous: Mapping[str, Sent],
    now_ms: int,
) -> Limited:
    """The setpoints as they may leave the agent.

    Args:
        setpoints: What is wished, by equipment; `None` releases. Equipment that the site does not have is dropped.
        site: Nameplates.
        measurements: Newest values.
        previous: What was sent last to each equipment.
        now_ms: The present instant.
    """
    batteries = {battery.name: battery for battery in site.batteries}
    plants = {plant.name: plant for plant in site.generators}
    power_kw: dict[str, float | None] = {}
    reasons: list[str] = []
    for name, wished in setpoints.items():
        allowed: PowerRange | None = None
        if name in batteries:
            battery = batteries[name]
            allowed = battery_range(battery, site=site, measurements=measurements, previous=previous, now_ms=now_ms)
        elif name in plants:
            allowed = _plant_range(plants[name])
        else:
            reasons.append(f"{name} is not equipment of this site")
            continue
        if wished is None:
            power_kw[name] = None
        elif allowed is None:
            power_kw[name] = None
            reasons.append(f"{name} released: its energy is not known")
        elif not math.isfinite(wished):
            power_kw[name] = None
            reasons.append(f"{name} released: setpoint is {wished}")
        else:
            power_kw[name] = granted = _clip(wished, allowed.least_kw, allowed.most_kw)
            if abs(granted - wished) > ROUNDING_KW:
                reasons.append(f"{name} limited from {wished:.1f} to {granted:.1f} kW")
    return Limited(power_kw=power_kw, reasons=tuple(reasons))


def _ramp_base(
    battery: Battery, *, site: Site, measurements: Measurements, previous: Mapping[str, Sent], now_ms: int
) -> Sent | None:
    """Where the ramp starts: the last setpoint while it is in force, else the measured power, else nowhere."""
    last = previous.get(battery.name)
    if last is not None and last.power_kw is not None and 0 <= now_ms - last.at_ms <= 1000 * site.regulator.valid_for_s:
        return last
    power_kw = measurements.fresh(battery.power_signal, now_ms, site.regulator.stale_after_s)
    if power_kw is None or not math.isfinite(power_kw):
        return None
    return Sent(power_kw, measurements.newest[battery.power_signal].at_ms)


def _plant_range(plant: Generator) -> PowerRange:
    return PowerRange(-plant.rated_power_kw, 0.0)


def _clip(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
