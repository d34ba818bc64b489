"""Peaks of demand charges: means of quarter-hours by the clock, within the hours and billing periods of each charge."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.control.regulate import RegulatorState
from ringmain_agent.control.settlement_period import (
    OTHER_PEAKS_MAX,
    PERIOD_MS,
    SettlementPeriod,
    energy_kwh,
    move_period,
    update_period,
)
from ringmain_agent.gateway.kept import decode_kept, encode_kept
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import DemandCharge, Tariff
from ringmain_agent.snapshot import Measured
from support.sites import station

WORKDAYS = DemandCharge(name="workdays", per_kw=5.0, hours=LocalHours(begin="08:00", end="20:00", weekdays=(1, 2, 3, 4, 5)))
YEARLY = DemandCharge(name="year", per_kw=40.0, period_months=12)
SITE = station(time_zone="Europe/Amsterdam", demand_charge_per_kw=2.0, demand_charge=(WORKDAYS, YEARLY), stale_after_s=900.0)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def after(quarter: SettlementPeriod, begin: str, *means_kw: float) -> SettlementPeriod:
    """Quarter-hours with these means from an instant on; the last one is closed."""
    begin_ms = ms(begin)
    for index, power_kw in enumerate(means_kw):
        at_ms = begin_ms + index * PERIOD_MS
        quarter = update_period(quarter, Measured(power_kw, at_ms), site=SITE, now_ms=at_ms)
    return update_period(quarter, None, site=SITE, now_ms=begin_ms + len(means_kw) * PERIOD_MS)


def test_each_charge_sees_the_quarters_of_its_own_hours() -> None:
    """07:45 in Amsterdam is 06:45 UTC in winter, 05:45 in summer; 2024-01-06 is a Saturday."""
    quarter = after(SettlementPeriod(), "2024-01-03T06:45", 50.0, 30.0)
    assert quarter.peaks_kw == pytest.approx({"month": 50.0, "workdays": 30.0, "year": 50.0})
    quarter = after(quarter, "2024-01-06T12:00", 60.0)
    assert quarter.peaks_kw == pytest.approx({"month": 60.0, "workdays": 30.0, "year": 60.0})
    summer = after(SettlementPeriod(), "2024-07-03T05:45", 50.0, 30.0)
    assert summer.peaks_kw == pytest.approx({"month": 50.0, "workdays": 30.0, "year": 50.0})


def test_a_peak_counts_until_the_end_of_its_billing_period_by_the_clock_on_the_wall() -> None:
    """January ends at 23:00 UTC in Amsterdam, the year likewise."""
    quarter = after(SettlementPeriod(), "2024-01-31T12:00", 50.0)
    quarter = after(quarter, "2024-01-31T22:30", 20.0, 70.0)  # the second ends the month
    assert quarter.peaks_kw == pytest.approx({"month": 0.0, "workdays": 0.0, "year": 70.0})
    quarter = after(quarter, "2024-12-31T22:45", 90.0)
    assert quarter.peaks_kw == {"month": 0.0, "workdays": 0.0, "year": 0.0}


def test_a_period_of_several_months_begins_with_those_before_it_in_the_year() -> None:
    quarterly = DemandCharge(name="q", per_kw=1.0, period_months=3)
    site = msgspec.structs.replace(SITE, tariff=Tariff(demand_charge=(quarterly,)))
    quarter = update_period(
        SettlementPeriod(), Measured(50.0, ms("2024-04-01T00:00")), site=site, now_ms=ms("2024-04-01T00:00")
    )
    quarter = update_period(quarter, None, site=site, now_ms=ms("2024-06-30T12:00"))
    assert quarter.peaks_kw == pytest.approx({"month": 0.0, "q": 50.0})
    assert update_period(quarter, None, site=site, now_ms=ms("2024-06-30T22:00")).peaks_kw == {"month": 0.0, "q": 0.0}


def test_a_quarter_that_was_hardly_measured_is_no_peak() -> None:
    at_ms = ms("2024-01-03T12:10")
    quarter = update_period(SettlementPeriod(), Measured(50.0, at_ms), site=SITE, now_ms=at_ms)
    quarter = update_period(quarter, None, site=SITE, now_ms=ms("2024-01-03T12:15"))
    assert quarter.peaks_kw == {"month": 0.0, "workdays": 0.0, "year": 0.0}


def test_peaks_survive_a_restart_and_those_of_an_older_version_are_read() -> None:
    state = RegulatorState(period=after(SettlementPeriod(), "2024-01-03T12:00", 50.0))
    assert decode_kept(encode_kept(state), RegulatorState).period.peaks_kw == state.period.peaks_kw
    older = b'{"quarter": {"start_ms": 1704283200000, "billing_month": "2024-01", "billing_peak_kw": 70.0}}'
    assert decode_kept(older, RegulatorState).period.peaks_kw == {"month": 70.0}


CYCLE_MS = 180_000


def test_month_peak_is_the_highest_quarter_hour_mean_and_ends_with_the_local_month(site: Site) -> None:
    """November begins in Amsterdam at 23:00 UTC."""
    november_ms = 1_604_188_800_000 - 3_600_000
    quarter = RegulatorState().period
    for minute in range(-60, 15, 3):
        at_ms = november_ms + minute * 60_000
        power_kw = 9000.0 if -30 <= minute < -24 else 1000.0
        quarter = update_period(quarter, Measured(power_kw, at_ms - CYCLE_MS), site=site, now_ms=at_ms)
        if minute == -12:
            # Stamped with its START, the high reading covers minutes -33 to -27, of which 3 lie in the quarter from -30.
            assert quarter.billing_peak_kw == pytest.approx(1000.0 + 8000.0 * 3 / 15)
    assert (quarter.billing_month, quarter.billing_peak_kw) == ("2020-11", 0.0)


def test_quarter_that_was_hardly_measured_makes_no_peak(site: Site, now_ms: int) -> None:
    quarter = update_period(RegulatorState().period, Measured(9000.0, now_ms + 10), site=site, now_ms=now_ms + 10)
    quarter = update_period(quarter, None, site=site, now_ms=now_ms + 2_000_000)
    assert quarter.billing_peak_kw == 0.0


@pytest.mark.parametrize("wrong", ["1970-01-01T00:00", "2024-02-12T12:00", "2074-01-03T12:00"])
def test_a_clock_that_is_wrong_over_a_quarter_of_an_hour_loses_no_peak(wrong: str) -> None:
    """Neither a boot in 1970 nor a clock 40 days ahead; what was measured meanwhile is not the peak of this month."""
    quarter = after(SettlementPeriod(), "2024-01-03T12:00", 800.0)
    known = quarter.peaks_kw
    assert after(quarter, wrong, 300.0, 300.0).billing_peak_kw != 800.0
    quarter = after(after(quarter, wrong, 900.0, 900.0), "2024-01-03T13:00", 300.0)
    assert quarter.peaks_kw["month"] == known["month"] == 800.0
    assert quarter.peaks_kw["workdays"] == known["workdays"] == 800.0
    again = decode_kept(encode_kept(quarter), SettlementPeriod)
    assert after(after(again, wrong, 10.0), "2024-01-03T14:00", 900.0).billing_peak_kw == 900.0


@given(
    st.lists(
        st.tuples(st.integers(0, 60 * 365 * 96), st.integers(1, 3), st.floats(0.0, 2000.0, allow_subnormal=False)),
        max_size=40,
    )
)
def test_a_peak_of_this_month_never_falls_whatever_the_clock_shows(visits: list[tuple[int, int, float]]) -> None:
    begin = ms("2024-01-03T12:00")
    quarter, highest_kw = after(SettlementPeriod(), "2024-01-03T12:00", 500.0), 500.0
    for number, (at, count, power_kw) in enumerate(visits):
        at_ms = (at * PERIOD_MS) % ms("2074-01-01T00:00")
        for index in range(count + 1):
            now_ms = at_ms + index * PERIOD_MS
            quarter = update_period(quarter, Measured(power_kw, now_ms), site=SITE, now_ms=now_ms)
        now_ms = begin + (number + 2) * PERIOD_MS
        for back_ms in (now_ms, now_ms + PERIOD_MS):
            quarter = update_period(quarter, Measured(300.0, back_ms), site=SITE, now_ms=back_ms)
        assert quarter.billing_month == "2024-01"
        assert quarter.billing_peak_kw >= highest_kw
        highest_kw = quarter.billing_peak_kw
    assert sum(map(len, quarter.other_peaks.values())) <= 3 * OTHER_PEAKS_MAX


def test_a_set_clock_leaves_the_age_of_the_last_reading() -> None:
    at_ms = ms("2024-01-03T12:00")
    quarter = update_period(SettlementPeriod(), Measured(400.0, at_ms), site=SITE, now_ms=at_ms)
    moved = move_period(quarter, 60_000)
    so_far = energy_kwh(moved, now_ms=at_ms + 120_000, hold_s=900.0)
    assert so_far.energy_kwh == pytest.approx(400.0 / 60)
