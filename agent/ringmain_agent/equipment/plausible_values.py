"""Plausible values in place of measured or announced ones, shared by plan and regulator. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from ringmain_agent.site.nameplates import Battery, ThermalLoad, Transformer

AMBIENT_DEGC: Final = (-80.0, 80.0)
"""Range of plausible ambient temperatures."""
TEMPERATURE_MAX_DEGC: Final = 300.0
"""Highest plausible temperature at a site; its negative is the lowest."""
POWER_MAX_KW: Final = 1e8
"""Highest plausible power at a site in either direction, in kW or kvar."""


def ambient_degc(equipment: Transformer | ThermalLoad, announced_degc: float | None) -> float:
    """Ambient temperature of a transformer or thermal load: as announced if plausible, else as configured."""
    return equipment.ambient_degc if (degc := within(announced_degc, *AMBIENT_DEGC)) is None else degc


def ambient_at_degc(
    equipment: Transformer | ThermalLoad, known_future: Mapping[str, Sequence[float | None]], step: int
) -> float:
    """Ambient temperature in a step of a horizon, by the series of the equipment."""
    series = known_future.get(equipment.ambient_series or "", ())
    return ambient_degc(equipment, series[step] if step < len(series) else None)


def soc_kwh(battery: Battery, reported_kwh: float | None) -> float | None:
    """Reported energy of a battery, clamped to its capacity; `None` if it is not a number."""
    if reported_kwh is None or not math.isfinite(reported_kwh):
        return None
    return min(max(reported_kwh, 0.0), battery.capacity_kwh)


def temperature_degc(measured_degc: float | None) -> float | None:
    """Measured temperature, or `None` if it is not plausible."""
    return within(measured_degc, -TEMPERATURE_MAX_DEGC, TEMPERATURE_MAX_DEGC)


def power_kw(measured_kw: float | None) -> float | None:
    """Measured power at the pcc, in kW or kvar, or `None` if it is not plausible."""
    return within(measured_kw, -POWER_MAX_KW, POWER_MAX_KW)


def limit_kw(announced_kw: float, own_kw: float) -> float:
    """Import or export limit: as announced, or the site's own if it is not a number; never negative."""
    return min(max(announced_kw if math.isfinite(announced_kw) else own_kw, 0.0), POWER_MAX_KW)


def requested_limit_kw(announced_kw: float | None) -> float | None:
    """Limit that may be breached at a price, or `None` if it is not plausible."""
    return within(announced_kw, 0.0, POWER_MAX_KW)


def within(value: float | None, lowest: float, highest: float) -> float | None:
    """The value if it lies between two bounds, else `None`; NaN never does."""
    return value if value is not None and lowest <= value <= highest else None
