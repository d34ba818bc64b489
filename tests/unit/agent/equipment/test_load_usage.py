"""What a load has had in the hours that run now: energy, run hours, starts; gaps, restarts and clocks set back."""

import pytest
from msgspec import json

from ringmain_agent.equipment.load_usage import UsageCount, is_on, update_usage, usage_at
from ringmain_agent.site.hours import ALWAYS, LocalHours
from ringmain_agent.site.nameplates import FlexibleLoad, OnOffLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Measured
from ringmain_protocol.messages import Quality

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
MIDNIGHT_MS = 1_604_185_200_000 + 24 * HOUR_MS  # 2020-11-02T00:00 in Amsterdam


def washing(hours: LocalHours = ALWAYS) -> FlexibleLoad:
    return FlexibleLoad(name="washing", power_max_kw=4.0, energy_kwh=6.0, hours=hours)


def pump(hours: LocalHours = ALWAYS) -> OnOffLoad:
    return OnOffLoad(name="pump", power_kw=3.0, run_h=2.0, hours=hours)


def count_of(
    readings: list[tuple[float, float]], load: FlexibleLoad | OnOffLoad, site: Site, count: UsageCount | None = None
) -> UsageCount:
    """After readings `(minute after midnight, kW)`, each counted when it arrives."""
    count = count or UsageCount()
    for minute, power_kw in readings:
        at_ms = MIDNIGHT_MS + round(minute * MINUTE_MS)
        count = update_usage(count, Measured(power_kw, at_ms), load=load, site=site, now_ms=at_ms)
    return count


def test_energy_is_that_of_each_reading_until_the_next(site: Site) -> None:
    count = count_of([(60, 2.0), (63, 4.0), (66, 0.0), (69, 0.0)], washing(), site)
    assert count.usage.drawn_kwh == pytest.approx((2.0 + 4.0) * 3 / 60)
    assert not count.usage.on


def test_reading_holds_in_a_gap_for_as_long_as_it_is_fresh_and_the_gap_is_no_start(site: Site) -> None:
    """`stale_after_s` is five minutes; what is drawn in the other 25 nobody knows."""
    count = count_of([(59, 0.0), (60, 3.0), (90, 3.0), (91, 0.0)], pump(), site)
    assert count.usage.run_h == pytest.approx(6 / 60)
    assert count.usage.drawn_kwh == pytest.approx(3.0 * 6 / 60)
    assert count.usage.starts == 1


def test_cycles_without_a_new_reading_change_nothing_in_the_end(site: Site) -> None:
    load, readings = washing(), [(60, 2.0), (64, 0.0)]
    often = UsageCount()
    for second in range(59 * 60, 65 * 60, 7):
        now_ms = MIDNIGHT_MS + second * 1000
        newest = [Measured(kw, MIDNIGHT_MS + minute * MINUTE_MS) for minute, kw in readings if minute * 60 <= second]
        often = update_usage(often, newest[-1] if newest else None, load=load, site=site, now_ms=now_ms)
    assert often.usage.drawn_kwh == pytest.approx(count_of([(60, 2.0), (64, 0.0)], load, site).usage.drawn_kwh)
    assert often.usage.drawn_kwh == pytest.approx(2.0 * 4 / 60)


def test_starts_are_counted_and_the_run_knows_since_when_it_is_on(site: Site) -> None:
    count = count_of([(10, 0.0), (11, 3.1), (12, 2.9), (13, 0.1), (14, 3.0)], pump(), site)
    assert count.usage.starts == 2
    assert (count.usage.on, count.usage.since_ms) == (True, MIDNIGHT_MS + 14 * MINUTE_MS)


def test_load_found_running_has_not_started(site: Site) -> None:
    """Nothing is known of the time before the first reading; its least time on counts from there."""
    run = count_of([(10, 3.0), (11, 3.0)], pump(), site).usage
    assert (run.starts, run.on, run.since_ms) == (0, True, MIDNIGHT_MS + 10 * MINUTE_MS)


def test_other_hours_begin_empty_and_take_what_falls_into_them(site: Site) -> None:
    """At local midnight: of the three minutes at 4 kW two lie in the new day. The run goes on."""
    count = count_of([(-20, 0.0), (-10, 4.0), (-6, 4.0), (-1, 4.0), (2, 0.0)], washing(), site)
    assert count.usage.drawn_kwh == pytest.approx(4.0 * 2 / 60, abs=1e-5)
    assert count.usage.starts == 0
    before = count_of([(-20, 0.0), (-10, 4.0), (-6, 4.0), (-1, 4.0)], washing(), site)
    assert before.usage.drawn_kwh == pytest.approx(4.0 * 9 / 60)
    assert before.usage.starts == 1
    at_midnight = usage_at(before, load=washing(), site=site, at_ms=MIDNIGHT_MS)
    assert at_midnight == LoadUsage(on=True, since_ms=MIDNIGHT_MS - 10 * MINUTE_MS)


def test_what_is_drawn_outside_the_hours_does_not_count(site: Site) -> None:
    hours = LocalHours(begin="01:00", end="02:00")
    count = count_of([(50, 3.0), (54, 3.0), (58, 3.0), (62, 3.0)], pump(hours), site)
    assert count.usage.run_h == pytest.approx(2 / 60, abs=1e-6)
    assert count.usage.drawn_kwh == pytest.approx(0.1, abs=1e-5)
    assert count_of([(119, 3.0), (121, 3.0)], pump(hours), site).usage.drawn_kwh == 0.0


def test_days_without_the_program_leave_nothing_of_the_old_hours(site: Site) -> None:
    count = count_of([(600, 3.0), (601, 3.0), (601 + 3 * 24 * 60, 0.0)], pump(), site)
    assert (count.usage.drawn_kwh, count.usage.run_h) == (0.0, 0.0)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_reading_without_a_number_is_none(site: Site, value: float | None) -> None:
    count = count_of([(60, 3.0)], pump(), site)
    now_ms = MIDNIGHT_MS + 62 * MINUTE_MS
    assert update_usage(count, Measured(value, now_ms), load=pump(), site=site, now_ms=now_ms).usage.run_h == pytest.approx(
        2 / 60
    )


def test_missing_old_and_future_readings_are_not_taken(site: Site) -> None:
    count = count_of([(60, 3.0)], pump(), site)
    now_ms = MIDNIGHT_MS + 61 * MINUTE_MS
    for power in (
        Measured(0.0, now_ms, Quality.MISSING),
        Measured(0.0, now_ms - 2 * MINUTE_MS),
        Measured(0.0, now_ms + HOUR_MS),
    ):
        assert update_usage(count, power, load=pump(), site=site, now_ms=now_ms).usage.on


def test_feeding_back_is_no_negative_energy(site: Site) -> None:
    assert count_of([(60, -3.0), (62, -3.0)], washing(), site).usage.drawn_kwh == 0.0


def test_clock_set_back_by_an_hour_loses_nothing_and_counts_nothing_twice(site: Site) -> None:
    count = count_of([(120, 2.0), (123, 2.0)], washing(), site)
    drawn_kwh = count.usage.drawn_kwh
    count = count_of([(64, 2.0), (67, 0.0)], washing(), site, count)
    assert count.usage.drawn_kwh == pytest.approx(drawn_kwh + 2.0 * 3 / 60)
    assert count.usage.since_ms <= MIDNIGHT_MS + 67 * MINUTE_MS


def test_count_survives_a_restart(site: Site) -> None:
    count = count_of([(60, 2.0), (63, 4.0)], washing(), site)
    restored = json.decode(json.encode(count), type=UsageCount)
    assert restored == count
    assert count_of([(66, 0.0)], washing(), site, restored) == count_of([(66, 0.0)], washing(), site, count)


def test_load_is_on_from_half_its_least_power() -> None:
    assert [is_on(pump(), power_kw) for power_kw in (0.0, 1.4, 1.5, 3.0)] == [False, False, True, True]
    assert [is_on(washing(), power_kw) for power_kw in (0.0, 0.03, 0.05)] == [False, False, True]


def test_usage_kept_over_a_restart_has_its_names_in_the_state_file() -> None:
    """A state file of an earlier agent is read; so the names in it stay."""
    count = UsageCount(usage=LoadUsage(drawn_kwh=3.0), day=5, counted_to_ms=7, last_reading=Measured(2.0, 6))
    kept = json.encode(count)
    assert set(json.decode(kept)) == {"run", "day", "counted_to_ms", "held"}
    assert json.decode(kept, type=UsageCount) == count
