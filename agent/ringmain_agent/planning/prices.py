"""What a kWh costs and earns in each planned step, from tariff and series; planner process.

A price that is missing, not a number or absurd is replaced by the fixed one; a note names the series, once for all steps.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from ringmain_agent.site.hours import ALWAYS, LocalHours, holds, step_starts_ms
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import per_kwh
from ringmain_agent.snapshot import Reason, Snapshot
from ringmain_protocol.messages import ReasonCode

PRICE_MAX_PER_KWH: Final = 100.0
"""A price beyond is not believed; the fixed one stands in for it."""
CO2_MAX_G_PER_KWH: Final = 5000.0
"""Nothing that is burned emits more."""
G_PER_T: Final = 1e6

Array = npt.NDArray[np.float64]


def import_price_per_kwh(snapshot: Snapshot, site: Site) -> tuple[Array, list[Reason]]:
    """Price of imported energy in each step, with surcharge and CO2; and what was wrong with the series."""
    tariff = site.tariff
    fixed = np.full(site.horizon_steps, tariff.import_price_per_kwh)
    for price in tariff.price:
        if price.import_price_per_kwh is not None:
            fixed[_holding(price.hours, snapshot, site)] = price.import_price_per_kwh
    price_per_kwh, notes = _series_or(fixed, tariff.price_series, snapshot, site)
    co2_per_kwh, co2_notes = _co2_per_kwh(snapshot, site)
    return price_per_kwh + tariff.import_surcharge_per_kwh + co2_per_kwh, notes + co2_notes


def export_price_per_kwh(snapshot: Snapshot, site: Site) -> tuple[Array, list[Reason]]:
    """What exported energy earns in each step; and what was wrong with the series."""
    tariff = site.tariff
    fixed = np.full(site.horizon_steps, tariff.export_price_per_kwh)
    for price in tariff.price:
        if price.export_price_per_kwh is not None:
            fixed[_holding(price.hours, snapshot, site)] = price.export_price_per_kwh
    return _series_or(fixed, tariff.export_price_series or tariff.price_series, snapshot, site)


def co2_g_per_kwh(snapshot: Snapshot, site: Site) -> tuple[Array, list[Reason]]:
    """CO2 of imported energy in each step, whether it is priced or not; and what was wrong with the series."""
    fixed = np.full(site.horizon_steps, site.tariff.co2_g_per_kwh)
    if site.tariff.co2_series is None:
        return fixed, []
    values = _series(site.tariff.co2_series, snapshot, site)
    values[~((values >= 0) & (values <= CO2_MAX_G_PER_KWH))] = np.nan
    return _filled(values, fixed, site.tariff.co2_series)


def _co2_per_kwh(snapshot: Snapshot, site: Site) -> tuple[Array, list[Reason]]:
    """Price of the CO2 in a kWh; a series that costs nothing is not looked at."""
    if site.tariff.co2_price_per_t <= 0:
        return np.zeros(site.horizon_steps), []
    emitted, notes = co2_g_per_kwh(snapshot, site)
    return emitted * site.tariff.co2_price_per_t / G_PER_T, notes


def _holding(hours: LocalHours, snapshot: Snapshot, site: Site) -> npt.NDArray[np.bool_]:
    if hours == ALWAYS:
        return np.full(site.horizon_steps, fill_value=True)
    starts_ms = step_starts_ms(snapshot.issued_at_ms, site.step_s, site.horizon_steps)
    return np.array(holds(hours, starts_ms, site.time_zone))


def _series_or(fixed: Array, series: str | None, snapshot: Snapshot, site: Site) -> tuple[Array, list[Reason]]:
    if series is None:
        return fixed, []
    values = _series(series, snapshot, site) * per_kwh(series)
    values[~(np.abs(values) <= PRICE_MAX_PER_KWH)] = np.nan
    return _filled(values, fixed, series)


def _series(series: str, snapshot: Snapshot, site: Site) -> Array:
    """Values of a series, NaN where it has none."""
    found = np.full(site.horizon_steps, np.nan)
    values = np.array(snapshot.known_future.get(series, ())[: site.horizon_steps], np.float64)
    found[: len(values)] = values
    return found


def _filled(values: Array, fixed: Array, series: str) -> tuple[Array, list[Reason]]:
    missing = np.isnan(values)
    if not missing.any():
        return values, []
    lacking = "all" if missing.all() else f"{np.count_nonzero(missing)} of {len(values)}"
    text = f"{series}: no plausible value for {lacking} steps; using the fixed one"
    return np.where(missing, fixed, values), [Reason(ReasonCode.PRICE_MISSING, text, series)]
