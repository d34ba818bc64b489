"""Hours by the clock on the wall of the site: which of them each instant lies in, also when the clock changes."""

from datetime import UTC, date, datetime, timedelta

import pytest

from ringmain_agent.site.hours import ALWAYS, LocalHours, holds, hours_left_h, windows

HOUR_MS = 3_600_000
AMSTERDAM = "Europe/Amsterdam"
MONDAY = date(2020, 11, 2)


def hourly(first: datetime, count: int) -> list[int]:
    """Instants an hour apart."""
    return [round(first.timestamp() * 1000) + index * HOUR_MS for index in range(count)]


def days(found: list[int | None], first: date) -> list[int | None]:
    """Days since the first one."""
    return [None if day is None else day - first.toordinal() for day in found]


def test_always_is_one_window_for_each_local_day() -> None:
    """Midnight in Amsterdam is 23:00 UTC in winter."""
    starts_ms = hourly(datetime(2020, 11, 1, 21, tzinfo=UTC), 28)
    assert days(windows(ALWAYS, starts_ms, AMSTERDAM), MONDAY) == [-1] * 2 + [0] * 24 + [1] * 2


def test_hours_over_midnight_are_one_window_named_by_the_day_they_begin_on() -> None:
    hours = LocalHours(begin="22:00", end="03:00")
    starts_ms = hourly(datetime(2020, 11, 2, 0, tzinfo=UTC), 28)
    expected = [-1] * 3 + [None] * 19 + [0] * 5 + [None]
    assert days(windows(hours, starts_ms, "UTC"), MONDAY) == expected


def test_hours_on_some_weekdays_have_no_window_on_others() -> None:
    hours = LocalHours(begin="22:00", end="03:00", weekdays=(1,))
    starts_ms = hourly(datetime(2020, 11, 2, 0, tzinfo=UTC), 60)
    assert days(windows(hours, starts_ms, "UTC"), MONDAY) == [None] * 22 + [0] * 5 + [None] * 33


@pytest.mark.parametrize(("day", "steps"), [(date(2020, 3, 29), 23), (date(2020, 10, 25), 25), (date(2020, 10, 26), 24)])
def test_day_of_the_change_of_the_clock_is_one_window(day: date, steps: int) -> None:
    starts_ms = hourly(datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=6), 40)
    assert days(windows(ALWAYS, starts_ms, AMSTERDAM), day).count(0) == steps


def test_hour_that_comes_twice_lies_twice_in_the_same_hours() -> None:
    """On 2020-10-25 the clock shows 02:00 to 03:00 twice; 02:30 to 04:00 has a break in it."""
    starts_ms = [
        round(datetime(2020, 10, 24, 23, tzinfo=UTC).timestamp() * 1000) + index * HOUR_MS // 2 for index in range(9)
    ]
    hours = LocalHours(begin="02:30", end="04:00")
    found = days(windows(hours, starts_ms, AMSTERDAM), date(2020, 10, 25))
    assert found == [None, None, None, 0, None, 0, 0, 0, None]


@pytest.mark.parametrize(
    "hours",
    [ALWAYS, LocalHours(begin="21:30", end="06:15", weekdays=(5, 6)), LocalHours(begin="07:00", end="09:00", months=(10,))],
)
def test_a_step_has_a_window_when_the_hours_hold(hours: LocalHours) -> None:
    starts_ms = hourly(datetime(2020, 10, 20, tzinfo=UTC), 24 * 14)
    found = windows(hours, starts_ms, AMSTERDAM)
    assert [day is not None for day in found] == holds(hours, starts_ms, AMSTERDAM)


@pytest.mark.parametrize(
    ("day", "hours", "left_h"),
    [
        ("2020-10-24T22:00", ALWAYS, 25.0),  # midnight in Amsterdam before the clock is set back
        ("2021-03-27T23:00", ALWAYS, 23.0),
        ("2020-10-24T20:00", LocalHours(begin="22:00", end="06:00"), 9.0),
        ("2021-03-27T21:00", LocalHours(begin="22:00", end="06:00"), 7.0),
        ("2021-03-28T00:30", LocalHours(begin="00:00", end="06:00"), 3.5),
        ("2021-03-28T04:00", LocalHours(begin="00:00", end="06:00"), 0.0),
    ],
)
def test_hours_of_a_load_follow_the_clock_on_the_wall_when_it_is_changed(day: str, hours: LocalHours, left_h: float) -> None:
    at_ms = round(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
    assert hours_left_h(hours, at_ms, "Europe/Amsterdam") == pytest.approx(left_h)
