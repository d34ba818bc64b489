"""The quarter of an hour by the clock over which limits and demand charges hold: its energy so far, the month's peak."""

import math
from datetime import UTC, datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.site import BILLING_PERIOD_S, Site
from ringmain_agent.snapshot import Measured
from ringmain_protocol.messages import AtMs

PERIOD_MS: Final = 1000 * BILLING_PERIOD_S
MS_PER_H: Final = 3_600_000
COVERAGE_MIN: Final = 0.5
"""A quarter with less measured time than this share has no mean that counts as a peak."""


class Quarter(Struct, frozen=True, kw_only=True):
    """Energy through the pcc in the running quarter, counted up to `counted_to_ms`; `held` is the reading since then."""

    start_ms: AtMs = 0
    counted_to_ms: AtMs = 0
    counted_kwh: float = 0.0
    covered_ms: AtMs = 0
    held: Measured | None = None
    billing_month: str = ""
    billing_peak_kw: float = 0.0


class SoFar(NamedTuple):
    """Energy of the running quarter up to now (import positive), and the time of it that was measured."""

    energy_kwh: float
    covered_h: float


def counted(quarter: Quarter, pcc: Measured | None, *, site: Site, now_ms: int) -> Quarter:
    """The quarter with the newest reading of the pcc counted in, and closed when its time is over.

    A reading holds from its instant until the next one, for at most `stale_after_s`.
    """
    hold_ms = round(1000 * site.regulator.stale_after_s)
    start_ms = now_ms - now_ms % PERIOD_MS
    if start_ms < quarter.start_ms:  # the clock was set back: what was counted belongs to another time
        quarter = replace(quarter, start_ms=start_ms, counted_to_ms=start_ms, counted_kwh=0.0, covered_ms=0, held=None)
    usable = pcc is not None and pcc.value is not None and math.isfinite(pcc.value) and pcc.at_ms <= now_ms
    if usable and pcc is not None and (quarter.held is None or pcc.at_ms > quarter.held.at_ms):
        pcc_start_ms = pcc.at_ms - pcc.at_ms % PERIOD_MS
        if pcc_start_ms > quarter.start_ms:
            quarter = _closed(quarter, pcc_start_ms, hold_ms, site)
        quarter = replace(_advanced(quarter, pcc.at_ms, hold_ms), held=pcc)
    if start_ms > quarter.start_ms:
        quarter = _closed(quarter, start_ms, hold_ms, site)
    return quarter


def energy_kwh(quarter: Quarter, *, now_ms: int, hold_s: float) -> SoFar:
    """Energy of the running quarter up to now, with the newest reading held."""
    until = _advanced(quarter, now_ms, round(1000 * hold_s))
    return SoFar(until.counted_kwh, until.covered_ms / MS_PER_H)


def _advanced(quarter: Quarter, until_ms: int, hold_ms: int) -> Quarter:
    if until_ms <= quarter.counted_to_ms:
        return quarter
    held = quarter.held
    if held is None or held.value is None:
        return replace(quarter, counted_to_ms=until_ms)
    covered_ms = max(min(until_ms, held.at_ms + hold_ms) - max(quarter.counted_to_ms, held.at_ms), 0)
    return replace(
        quarter,
        counted_to_ms=until_ms,
        counted_kwh=quarter.counted_kwh + held.value * covered_ms / MS_PER_H,
        covered_ms=quarter.covered_ms + covered_ms,
    )


def _closed(quarter: Quarter, next_start_ms: int, hold_ms: int, site: Site) -> Quarter:
    """The quarter that begins at `next_start_ms`, with the mean of the one before taken into the month's peak."""
    ended = _advanced(quarter, quarter.start_ms + PERIOD_MS, hold_ms)
    peak_kw = ended.billing_peak_kw
    if ended.covered_ms >= COVERAGE_MIN * PERIOD_MS:
        peak_kw = max(peak_kw, ended.counted_kwh / (ended.covered_ms / MS_PER_H))
    month = datetime.fromtimestamp(next_start_ms / 1000, UTC).astimezone(ZoneInfo(site.time_zone)).strftime("%Y-%m")
    return replace(
        ended,
        start_ms=next_start_ms,
        counted_to_ms=next_start_ms,
        counted_kwh=0.0,
        covered_ms=0,
        billing_month=month,
        billing_peak_kw=peak_kw if month == ended.billing_month else 0.0,
    )
