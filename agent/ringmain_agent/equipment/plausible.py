"""Which value holds where one that was measured or announced cannot be true: plan and regulator ask here. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from ringmain_agent.site.nameplates import Battery, ThermalLoad, Transformer

AMBIENT_DEGC: Final = (-80.0, 80.0)
"""Air around equipment is not believed beyond these."""
TEMPERATURE_MAX_DEGC: Final = 300.0
"""Nothing at a site is hotter, nor colder than minus this."""
POWER_MAX_KW: Final = 1e8
"""No power at a site is larger, in either direction; kvar likewise."""


def ambient_degc(equipment: Transformer | ThermalLoad, announced_degc: float | None) -> float:
    """Air around a transformer or thermal load: as announced if that is plausible, else as configured."""
    return equipment.ambient_degc if (degc := within(announced_degc, *AMBIENT_DEGC)) is None else degc


def ambient_at_degc(
    equipment: Transformer | ThermalLoad, known_future: Mapping[str, Sequence[float | None]], step: int
) -> float:
    """The same in a step of a horizon, as the series of the equipment announces it."""
    series = known_future.get(equipment.ambient_series or "", ())
    return ambient_degc(equipment, series[step] if step < len(series) else None)


def soc_kwh(battery: Battery, reported_kwh: float | None) -> float | None:
    """Energy in a battery: what it reports, inside what it can hold; `None` for what is no number."""
    if reported_kwh is None or not math.isfinite(reported_kwh):
        return None
    return min(max(reported_kwh, 0.0), battery.capacity_kwh)


def temperature_degc(measured_degc: float | None) -> float | None:
    """Temperature behind a thermal load, if anything can have it."""
    return within(measured_degc, -TEMPERATURE_MAX_DEGC, TEMPERATURE_MAX_DEGC)


def power_kw(measured_kw: float | None) -> float | None:
    """Power at the pcc, in kW or kvar, if a site can have it."""
    return within(measured_kw, -POWER_MAX_KW, POWER_MAX_KW)


def limit_kw(given_kw: float, own_kw: float) -> float:
    """Limit of import or export: as given, or that of the site where it is no number; never negative."""
    return min(max(given_kw if math.isfinite(given_kw) else own_kw, 0.0), POWER_MAX_KW)


def wished_kw(given_kw: float | None) -> float | None:
    """Limit that may be breached at a price, if it is one."""
    return within(given_kw, 0.0, POWER_MAX_KW)


def within(value: float | None, lowest: float, highest: float) -> float | None:
    """The value if it lies between two others, which NaN never does."""
    return value if value is not None and lowest <= value <= highest else None
