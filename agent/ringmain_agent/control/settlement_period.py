"""The settlement period, a quarter hour by the clock, for limits and demand charges: its energy and the peaks so far."""

import math
from datetime import UTC, datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct, field
from msgspec.structs import replace

from ringmain_agent.site.hours import MS_PER_H, holds
from ringmain_agent.site.site import SETTLEMENT_PERIOD_S, Site
from ringmain_agent.site.tariff import MONTHLY, DemandCharge
from ringmain_agent.snapshot import Measured
from ringmain_protocol.messages import AtMs

PERIOD_MS: Final = 1000 * SETTLEMENT_PERIOD_S
OTHER_PEAKS_MAX: Final = 24
"""Billing periods whose peak is kept beside the present one: a wrong clock adds one for each month that it shows."""
_MONTH: Final = ""
COVERAGE_MIN: Final = 0.5
"""The mean of a period counts as a peak if at least this share of its time was measured."""


class Peak(Struct, frozen=True):
    """Highest quarter-hour mean import within the hours of a demand charge, in the billing period that began in `month`."""

    month: str
    power_kw: float


class SettlementPeriod(Struct, frozen=True, kw_only=True):
    """Energy through the pcc in the current period, counted up to `counted_to_ms`; `last_reading` holds since then.

    `billing_peak_kw` is the highest mean of the month, charged or not; `peaks` holds the peak of each demand charge
    with hours or a billing period of its own, by name. A peak belongs to the billing period that its quarter-hour began in;
    `other_peaks` holds those of other billing periods: after a wrong clock was put right, its own period has its peak again.
    """

    start_ms: AtMs = 0
    counted_to_ms: AtMs = 0
    counted_kwh: float = 0.0
    covered_ms: AtMs = 0
    last_reading: Measured | None = field(default=None, name="held")
    billing_month: str = ""
    billing_peak_kw: float = 0.0
    peaks: dict[str, Peak] = {}
    other_peaks: dict[str, tuple[Peak, ...]] = {}
    """By name of the demand charge, those of the plain month under the empty name; the least recent first."""

    @property
    def peaks_kw(self) -> dict[str, float]:
        """Peak of the billing period so far, by the name of the demand charge."""
        return {MONTHLY: self.billing_peak_kw} | {name: peak.power_kw for name, peak in self.peaks.items()}


class SoFar(NamedTuple):
    """Energy of the current period up to now (import positive), and its measured time."""

    energy_kwh: float
    covered_h: float


def update_period(period: SettlementPeriod, pcc: Measured | None, *, site: Site, now_ms: int) -> SettlementPeriod:
    """The period after the newest reading of the pcc; at its end the next period begins.

    A reading holds from its instant until the next one, for at most `stale_after_s`.
    """
    hold_ms = round(1000 * site.regulator.stale_after_s)
    start_ms = now_ms - now_ms % PERIOD_MS
    if start_ms < period.start_ms:  # the clock was set back: the counted energy belongs to another period
        period = replace(period, start_ms=start_ms, counted_to_ms=start_ms, counted_kwh=0.0, covered_ms=0, last_reading=None)
    usable = pcc is not None and pcc.value is not None and math.isfinite(pcc.value) and pcc.at_ms <= now_ms
    if usable and pcc is not None and (period.last_reading is None or pcc.at_ms > period.last_reading.at_ms):
        pcc_start_ms = pcc.at_ms - pcc.at_ms % PERIOD_MS
        if pcc_start_ms > period.start_ms:
            period = _close(period, pcc_start_ms, hold_ms, site)
        period = replace(_advance(period, pcc.at_ms, hold_ms), last_reading=pcc)
    if start_ms > period.start_ms:
        period = _close(period, start_ms, hold_ms, site)
    return period


def energy_kwh(period: SettlementPeriod, *, now_ms: int, hold_s: float) -> SoFar:
    """Energy of the current period up to now; the newest reading holds until then."""
    until = _advance(period, now_ms, round(1000 * hold_s))
    return SoFar(until.counted_kwh, until.covered_ms / MS_PER_H)


def _advance(period: SettlementPeriod, until_ms: int, hold_ms: int) -> SettlementPeriod:
    if until_ms <= period.counted_to_ms:
        return period
    last = period.last_reading
    if last is None or last.value is None:
        return replace(period, counted_to_ms=until_ms)
    covered_ms = max(min(until_ms, last.at_ms + hold_ms) - max(period.counted_to_ms, last.at_ms), 0)
    return replace(
        period,
        counted_to_ms=until_ms,
        counted_kwh=period.counted_kwh + last.value * covered_ms / MS_PER_H,
        covered_ms=period.covered_ms + covered_ms,
    )


def _close(period: SettlementPeriod, next_start_ms: int, hold_ms: int, site: Site) -> SettlementPeriod:
    """The period that begins at `next_start_ms`, with peaks that include the mean of the previous one."""
    ended = _advance(period, period.start_ms + PERIOD_MS, hold_ms)
    mean_kw = None
    if ended.covered_ms >= COVERAGE_MIN * PERIOD_MS:
        mean_kw = max(ended.counted_kwh / (ended.covered_ms / MS_PER_H), 0.0)
    monthly = DemandCharge(name=_MONTH, per_kw=1.0)
    before = {_MONTH: Peak(ended.billing_month, ended.billing_peak_kw)} | ended.peaks
    peaks: dict[str, Peak] = {}
    other_peaks: dict[str, tuple[Peak, ...]] = {}
    for charge in (monthly, *(charge for charge in site.tariff.demand_charge if charge.per_kw > 0)):
        known = [*ended.other_peaks.get(charge.name, ()), *([before[charge.name]] if charge.name in before else [])]
        if mean_kw is not None and holds(charge.hours, [ended.start_ms], site.time_zone)[0]:
            known = _raised(known, _billing_month(ended.start_ms, charge.period_months, site), mean_kw)
        month = _billing_month(next_start_ms, charge.period_months, site)
        peaks[charge.name] = next((peak for peak in known if peak.month == month), Peak(month, 0.0))
        others = [peak for peak in known if peak.month != month and peak.power_kw > 0]
        if others:
            other_peaks[charge.name] = tuple(others[-OTHER_PEAKS_MAX:])
    month_peak = peaks.pop(_MONTH)
    return replace(
        ended,
        start_ms=next_start_ms,
        counted_to_ms=next_start_ms,
        counted_kwh=0.0,
        covered_ms=0,
        billing_month=month_peak.month,
        billing_peak_kw=month_peak.power_kw,
        peaks=peaks,
        other_peaks=other_peaks,
    )


def _raised(peaks: list[Peak], month: str, mean_kw: float) -> list[Peak]:
    """The peaks with a mean of a quarter-hour in a billing period; that period becomes the most recent."""
    peak_kw = max([mean_kw, *(peak.power_kw for peak in peaks if peak.month == month)])
    return [*(peak for peak in peaks if peak.month != month), Peak(month, peak_kw)]


def move_period(period: SettlementPeriod, moved_ms: int) -> SettlementPeriod:
    """The period after the wall clock was set: its last reading keeps its age."""
    last = period.last_reading
    moved = None if last is None else Measured(last.value, last.at_ms + moved_ms, last.quality)
    return replace(period, counted_to_ms=period.counted_to_ms + moved_ms, last_reading=moved)


def _billing_month(at_ms: int, period_months: int, site: Site) -> str:
    """First month of the billing period, by the calendar of the site; billing periods begin in January.

    Empty outside the years 1 to 9999, which only a damaged state names.
    """
    try:
        local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(site.time_zone))
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{local.year:04d}-{(local.month - 1) // period_months * period_months + 1:02d}"
