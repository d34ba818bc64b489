"""The worst uncontrolled load: of the last seven days, at this hour."""

from ringmain_agent.equipment.interval import Interval
from ringmain_agent.inputs.load_last_week import load_last_week_kw
from ringmain_agent.inputs.step_history import StepHistory
from support.sites import NOW_MS, battery, station

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SITE = station(batteries=(battery("battery", 400.0, 100.0),))


def history(*steps: tuple[str, int, float]) -> StepHistory:
    past = StepHistory(dict.fromkeys(("load_kw", "pcc_kw", "battery_kw"), 900.0), step_s=900, steps_kept=768)
    past.open_start_ms = NOW_MS
    past.restore_steps(steps)
    return past


def test_lowest_and_highest_load_of_the_week_at_this_hour() -> None:
    past = history(
        ("load_kw", NOW_MS - DAY_MS, 300.0),
        ("load_kw", NOW_MS - 3 * DAY_MS + HOUR_MS, 500.0),
        ("load_kw", NOW_MS - 7 * DAY_MS, 100.0),
        ("load_kw", NOW_MS - HOUR_MS, 350.0),
        ("load_kw", NOW_MS - 12 * HOUR_MS, 9000.0),
    )
    assert load_last_week_kw(past, SITE, now_ms=NOW_MS) == Interval(100.0, 500.0)


def test_load_is_what_the_equipment_leaves_of_the_pcc_where_it_has_no_feed() -> None:
    past = history(
        ("pcc_kw", NOW_MS - DAY_MS, 300.0),
        ("battery_kw", NOW_MS - DAY_MS, -100.0),
        ("pcc_kw", NOW_MS - 2 * DAY_MS, 7000.0),
    )
    assert load_last_week_kw(past, SITE, now_ms=NOW_MS) == Interval(400.0, 400.0)


def test_nothing_is_known_without_a_step_at_this_hour() -> None:
    assert load_last_week_kw(history(("load_kw", NOW_MS - 12 * HOUR_MS, 1.0)), SITE, now_ms=NOW_MS) is None
