"""The quarter of an hour by the clock over which limits and demand charges hold: its energy so far, the peaks so far."""

import math
from datetime import UTC, datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct, field
from msgspec.structs import replace

from ringmain_agent.site.hours import holds
from ringmain_agent.site.site import SETTLEMENT_PERIOD_S, Site
from ringmain_agent.site.tariff import MONTHLY, DemandCharge
from ringmain_agent.snapshot import Measured
from ringmain_protocol.messages import AtMs

PERIOD_MS: Final = 1000 * SETTLEMENT_PERIOD_S
MS_PER_H: Final = 3_600_000
COVERAGE_MIN: Final = 0.5
"""A quarter with less measured time than this share has no mean that counts as a peak."""


class Peak(Struct, frozen=True):
    """Highest quarter-hour mean import within the hours of a demand charge, in the billing period that began in `month`."""

    month: str
    power_kw: float


class SettlementPeriod(Struct, frozen=True, kw_only=True):
    """Energy through the pcc in the running quarter, counted up to `counted_to_ms`; `last_reading` holds since then.

    `billing_peak_kw` is the highest mean of the month, whether it is charged or not; `peaks` holds that of each demand
    charge with hours or a period of its own, by its name.
    """

    start_ms: AtMs = 0
    counted_to_ms: AtMs = 0
    counted_kwh: float = 0.0
    covered_ms: AtMs = 0
    last_reading: Measured | None = field(default=None, name="held")
    billing_month: str = ""
    billing_peak_kw: float = 0.0
    peaks: dict[str, Peak] = {}

    @property
    def peaks_kw(self) -> dict[str, float]:
        """Peak of the billing period so far, by the name of the demand charge."""
        return {MONTHLY: self.billing_peak_kw} | {name: peak.power_kw for name, peak in self.peaks.items()}


class SoFar(NamedTuple):
    """Energy of the running quarter up to now (import positive), and the time of it that was measured."""

    energy_kwh: float
    covered_h: float


def update_period(quarter: SettlementPeriod, pcc: Measured | None, *, site: Site, now_ms: int) -> SettlementPeriod:
    """The quarter with the newest reading of the pcc counted in, and closed when its time is over.

    A reading holds from its instant until the next one, for at most `stale_after_s`.
    """
    hold_ms = round(1000 * site.regulator.stale_after_s)
    start_ms = now_ms - now_ms % PERIOD_MS
    if start_ms < quarter.start_ms:  # the clock was set back: what was counted belongs to another time
        quarter = replace(
            quarter, start_ms=start_ms, counted_to_ms=start_ms, counted_kwh=0.0, covered_ms=0, last_reading=None
        )
    usable = pcc is not None and pcc.value is not None and math.isfinite(pcc.value) and pcc.at_ms <= now_ms
    if usable and pcc is not None and (quarter.last_reading is None or pcc.at_ms > quarter.last_reading.at_ms):
        pcc_start_ms = pcc.at_ms - pcc.at_ms % PERIOD_MS
        if pcc_start_ms > quarter.start_ms:
            quarter = _closed(quarter, pcc_start_ms, hold_ms, site)
        quarter = replace(_advanced(quarter, pcc.at_ms, hold_ms), last_reading=pcc)
    if start_ms > quarter.start_ms:
        quarter = _closed(quarter, start_ms, hold_ms, site)
    return quarter


def energy_kwh(quarter: SettlementPeriod, *, now_ms: int, hold_s: float) -> SoFar:
    """Energy of the running quarter up to now, with the newest reading held."""
    until = _advanced(quarter, now_ms, round(1000 * hold_s))
    return SoFar(until.counted_kwh, until.covered_ms / MS_PER_H)


def _advanced(quarter: SettlementPeriod, until_ms: int, hold_ms: int) -> SettlementPeriod:
    if until_ms <= quarter.counted_to_ms:
        return quarter
    last = quarter.last_reading
    if last is None or last.value is None:
        return replace(quarter, counted_to_ms=until_ms)
    covered_ms = max(min(until_ms, last.at_ms + hold_ms) - max(quarter.counted_to_ms, last.at_ms), 0)
    return replace(
        quarter,
        counted_to_ms=until_ms,
        counted_kwh=quarter.counted_kwh + last.value * covered_ms / MS_PER_H,
        covered_ms=quarter.covered_ms + covered_ms,
    )


def _closed(quarter: SettlementPeriod, next_start_ms: int, hold_ms: int, site: Site) -> SettlementPeriod:
    """The quarter that begins at `next_start_ms`, with the mean of the one before taken into the peaks."""
    ended = _advanced(quarter, quarter.start_ms + PERIOD_MS, hold_ms)
    mean_kw = 0.0
    if ended.covered_ms >= COVERAGE_MIN * PERIOD_MS:
        mean_kw = max(ended.counted_kwh / (ended.covered_ms / MS_PER_H), 0.0)
    month = _billing_month(next_start_ms, 1, site)
    return replace(
        ended,
        start_ms=next_start_ms,
        counted_to_ms=next_start_ms,
        counted_kwh=0.0,
        covered_ms=0,
        billing_month=month,
        billing_peak_kw=max(ended.billing_peak_kw, mean_kw) if month == ended.billing_month else 0.0,
        peaks={
            charge.name: _peak(charge, ended, mean_kw, next_start_ms, site)
            for charge in site.tariff.demand_charge
            if charge.per_kw > 0
        },
    )


def _peak(charge: DemandCharge, ended: SettlementPeriod, mean_kw: float, next_start_ms: int, site: Site) -> Peak:
    """The peak of a demand charge in the billing period of the next quarter."""
    month, kept_kw = _billing_month(next_start_ms, charge.period_months, site), 0.0
    known = ended.peaks.get(charge.name)
    if known is not None and known.month == month:
        kept_kw = known.power_kw
    same = _billing_month(ended.start_ms, charge.period_months, site) == month
    if same and holds(charge.hours, [ended.start_ms], site.time_zone)[0]:
        kept_kw = max(kept_kw, mean_kw)
    return Peak(month, kept_kw)


def _billing_month(at_ms: int, period_months: int, site: Site) -> str:
    """First month of the billing period, by the calendar of the site; periods begin in January."""
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(site.time_zone))
    return f"{local.year:04d}-{(local.month - 1) // period_months * period_months + 1:02d}"
