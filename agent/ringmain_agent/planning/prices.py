"""Prices of imported and exported energy in each planned step, from tariff and series. Planner process only.

The fixed price replaces a missing or implausible one; one reason names the series for all steps.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from ringmain_agent.planning.arrays import Array
from ringmain_agent.site.hours import ALWAYS, LocalHours, holds, step_starts_ms
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import per_kwh
from ringmain_agent.snapshot import Reason, Snapshot
from ringmain_protocol.messages import ReasonCode

PRICE_MAX_PER_KWH: Final = 100.0
"""Highest plausible absolute price; the fixed price replaces a higher one."""
CO2_MAX_G_PER_KWH: Final = 5000.0
"""Highest plausible emission of CO2."""
G_PER_T: Final = 1e6


def import_price_per_kwh(snapshot: Snapshot, site: Site) -> tuple[Array, list[Reason]]:
    """Price of imported energy in each step, with surcharge and CO2; and the reasons of replacements."""
    tariff = site.tariff
    fixed = np.full(site.horizon_steps, tariff.import_price_per_kwh)
    for price in tariff.price:
        if price.import_price_per_kwh is not None:
            fixed[_in_force(price.hours, snapshot, site)] = price.import_price_per_kwh
    price_per_kwh, reasons = _series_or(fixed, tariff.price_series, snapshot, site)
    co2_per_kwh, co2_reasons = _co2_per_kwh(snapshot, site)
    return price_per_kwh + tariff.import_surcharge_per_kwh + co2_per_kwh, reasons + co2_reasons


def export_price_per_kwh(snapshot: Snapshot, site: Site) -> tuple[Array, list[Reason]]:
    """Price of exported energy in each step, and the reasons of replacements."""
    tariff = site.tariff
    fixed = np.full(site.horizon_steps, tariff.export_price_per_kwh)
    for price in tariff.price:
        if price.export_price_per_kwh is not None:
            fixed[_in_force(price.hours, snapshot, site)] = price.export_price_per_kwh
    return _series_or(fixed, tariff.export_price_series or tariff.price_series, snapshot, site)


def co2_g_per_kwh(snapshot: Snapshot, site: Site) -> tuple[Array, list[Reason]]:
    """CO2 of imported energy in each step, priced or not; and the reasons of replacements."""
    fixed = np.full(site.horizon_steps, site.tariff.co2_g_per_kwh)
    if site.tariff.co2_series is None:
        return fixed, []
    values = _series(site.tariff.co2_series, snapshot, site)
    values[~((values >= 0) & (values <= CO2_MAX_G_PER_KWH))] = np.nan
    return _fill(values, fixed, site.tariff.co2_series)


def _co2_per_kwh(snapshot: Snapshot, site: Site) -> tuple[Array, list[Reason]]:
    """Price of the CO2 in a kWh; without a price the series is not read."""
    if site.tariff.co2_price_per_t <= 0:
        return np.zeros(site.horizon_steps), []
    emitted, reasons = co2_g_per_kwh(snapshot, site)
    return emitted * site.tariff.co2_price_per_t / G_PER_T, reasons


def _in_force(hours: LocalHours, snapshot: Snapshot, site: Site) -> npt.NDArray[np.bool_]:
    if hours == ALWAYS:
        return np.full(site.horizon_steps, fill_value=True)
    starts_ms = step_starts_ms(snapshot.issued_at_ms, site.step_s, site.horizon_steps)
    return np.array(holds(hours, starts_ms, site.time_zone))


def _series_or(fixed: Array, series: str | None, snapshot: Snapshot, site: Site) -> tuple[Array, list[Reason]]:
    if series is None:
        return fixed, []
    values = _series(series, snapshot, site) * per_kwh(series)
    values[~(np.abs(values) <= PRICE_MAX_PER_KWH)] = np.nan
    return _fill(values, fixed, series)


def _series(series: str, snapshot: Snapshot, site: Site) -> Array:
    """Values of a series; NaN where missing."""
    values = np.full(site.horizon_steps, np.nan)
    known = np.array(snapshot.known_future.get(series, ())[: site.horizon_steps], np.float64)
    values[: len(known)] = known
    return values


def _fill(values: Array, fixed: Array, series: str) -> tuple[Array, list[Reason]]:
    missing = np.isnan(values)
    if not missing.any():
        return values, []
    count = "all" if missing.all() else f"{np.count_nonzero(missing)} of {len(values)}"
    text = f"{series}: no plausible value for {count} steps; using the fixed one"
    return np.where(missing, fixed, values), [Reason(ReasonCode.PRICE_MISSING, text, series)]
