"""Cost and limit excesses of a closed loop, from metered values alone, not from reports of the agent.

Steps are quarter-hours, the period of limits and demand charges.
"""

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from msgspec import Struct

from ringmain_agent.equipment.transformer_thermal import after, constants, hot_spot_degc, steady_state
from ringmain_agent.site.hours import holds
from ringmain_agent.site.site import Site
from ringmain_simulation.closed_loop.loop import FloatArray, Record, Trace

TOLERANCE: Final = 1e-6
"""Share of a limit that counts as rounding, not as an excess."""


class Bill(Struct, frozen=True, kw_only=True):
    """Cost of a whole run. `total` values stored energy at the mean import price: an emptied battery is no saving."""

    energy: float
    demand_charge: float
    wear: float
    stored: float

    @property
    def total(self) -> float:
        """Sum of all costs, less the value of the stored energy."""
        return self.energy + self.demand_charge + self.wear - self.stored


class Excesses(Struct, frozen=True, kw_only=True):
    """Quarter-hours beyond a limit, the worst of them, and the highest hot spot of any transformer."""

    import_count: int
    import_worst_kw: float
    export_count: int
    hot_spot_max_degc: float | None


def excesses(pcc_kw: FloatArray, site: Site, record: Record) -> Excesses:
    """Excesses of a profile at the pcc over the limits of the site."""
    connection = site.grid_connection
    over_kw = pcc_kw - connection.import_limit_kw
    under_kw = -pcc_kw - connection.export_limit_kw
    hottest = [values.max() for values in hot_spots_degc(pcc_kw, site, record).values()]
    return Excesses(
        import_count=int((over_kw > TOLERANCE * connection.import_limit_kw).sum()),
        import_worst_kw=max(float(over_kw.max()), 0.0),
        export_count=int((under_kw > TOLERANCE * max(connection.export_limit_kw, connection.import_limit_kw)).sum()),
        hot_spot_max_degc=float(max(hottest)) if hottest else None,
    )


def hot_spots_degc(pcc_kw: FloatArray, site: Site, record: Record) -> dict[str, FloatArray]:
    """Hot spot of each transformer at the END of each step, by the exact recursion of IEC 60076-7."""
    hot_spots, shares = {}, site.transformer_shares()
    for transformer in site.transformers:
        known, share = constants(transformer), shares[transformer.name]
        loading_pu = np.hypot(share * pcc_kw, share * record.load_kvar) / transformer.rated_power_kva
        state = steady_state(float(loading_pu[0]), transformer.ambient_degc, known)
        hot = np.empty(len(pcc_kw))
        for step, load_pu in enumerate(loading_pu.tolist()):
            state = after(state, load_pu, transformer.ambient_degc, site.step_s / 60, known)
            hot[step] = hot_spot_degc(state)
        hot_spots[transformer.name] = hot
    return hot_spots


def bill(pcc_kw: FloatArray, site: Site, record: Record, trace: Trace | None = None) -> Bill:
    """Cost of a profile at the pcc by the site's tariff; with a trace, also the wear and the energy left in batteries."""
    import_price, export_price = prices_per_kwh(site, record)
    energy = np.maximum(pcc_kw, 0.0) * import_price - np.maximum(-pcc_kw, 0.0) * export_price
    wear = stored = 0.0
    if trace is not None:
        for battery in site.batteries:
            wear += battery.wear_per_kwh * trace.throughput_kwh[battery.name]
            gained_kwh = float(trace.soc_kwh[battery.name][-1]) - trace.soc_start_kwh[battery.name]
            worth = battery.discharge_efficiency if gained_kwh > 0 else 1 / battery.charge_efficiency
            stored += gained_kwh * worth * float(import_price.mean())
    return Bill(
        energy=float(energy.sum()) * site.step_h,
        demand_charge=site.tariff.demand_charge_per_kw * sum(monthly_peaks_kw(pcc_kw, site, record).values()),
        wear=wear,
        stored=stored,
    )


def prices_per_kwh(site: Site, record: Record) -> tuple[FloatArray, FloatArray]:
    """Import and export price of each step: the fixed prices, or the prices of the tariff hours that apply."""
    starts_ms = _starts_ms(site, record)
    prices = []
    for kind in ("import_price_per_kwh", "export_price_per_kwh"):
        price = np.full(len(starts_ms), float(getattr(site.tariff, kind)))
        for entry in site.tariff.price:
            if getattr(entry, kind) is not None:
                price[np.array(holds(entry.hours, starts_ms, site.time_zone))] = getattr(entry, kind)
        prices.append(price)
    return prices[0], prices[1]


def monthly_peaks_kw(pcc_kw: FloatArray, site: Site, record: Record) -> dict[str, float]:
    """Highest quarter-hour import of each month in the site's time zone."""
    zone = ZoneInfo(site.time_zone)
    peaks_kw: dict[str, float] = {}
    for start_ms, power_kw in zip(_starts_ms(site, record), pcc_kw.tolist(), strict=True):
        month = datetime.fromtimestamp(start_ms / 1000, UTC).astimezone(zone).strftime("%Y-%m")
        peaks_kw[month] = max(peaks_kw.get(month, 0.0), power_kw)
    return peaks_kw


def _starts_ms(site: Site, record: Record) -> list[int]:
    return [record.start_ms + 1000 * site.step_s * step for step in range(len(record.load_kw))]
