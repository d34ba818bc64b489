"""Hours of the day by the local clock of the site, for tariffs, ratings, limits and time windows. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

ClockTime = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]
Weekday = Annotated[int, Meta(ge=1, le=7)]
Month = Annotated[int, Meta(ge=1, le=12)]


class LocalHours(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From `begin` up to `end` in local time. Spans midnight if `end` is not after `begin`.

    `weekdays` (1 is Monday) and `months` refer to the day on which it begins; empty means all of them.
    """

    begin: ClockTime = "00:00"
    end: ClockTime = "24:00"
    weekdays: tuple[Weekday, ...] = ()
    months: tuple[Month, ...] = ()


ALWAYS = LocalHours()
MS_PER_H: Final = 3_600_000


def minutes(clock_time: str) -> int:
    """Minutes since midnight of a clock time."""
    return 60 * int(clock_time[:2]) + int(clock_time[3:])


def holds(hours: LocalHours, starts_ms: Sequence[int], time_zone: str) -> list[bool]:
    """For each instant, True within the hours."""
    if hours == ALWAYS:
        return [True] * len(starts_ms)
    zone, begin, end = ZoneInfo(time_zone), minutes(hours.begin), minutes(hours.end)
    in_hours = []
    for start_ms in starts_ms:
        local = datetime.fromtimestamp(start_ms / 1000, zone)
        minute, weekday, month = 60 * local.hour + local.minute, local.isoweekday(), local.month
        within = begin <= minute < end if begin < end else minute >= begin or minute < end
        if begin >= end and minute < end:  # the hours began the day before
            weekday = (weekday - 2) % 7 + 1
        fits = (not hours.weekdays or weekday in hours.weekdays) and (not hours.months or month in hours.months)
        in_hours.append(within and fits)
    return in_hours


def windows(hours: LocalHours, starts_ms: Sequence[int], time_zone: str) -> list[int | None]:
    """For each instant the day (proleptic ordinal) on which its hours began, `None` outside."""
    zone, begin, end = ZoneInfo(time_zone), minutes(hours.begin), minutes(hours.end)
    days: list[int | None] = []
    for start_ms, within in zip(starts_ms, holds(hours, starts_ms, time_zone), strict=True):
        if not within:
            days.append(None)
            continue
        local = datetime.fromtimestamp(start_ms / 1000, zone)
        began_the_day_before = begin >= end and 60 * local.hour + local.minute < end
        days.append(local.toordinal() - began_the_day_before)
    return days


def hours_left_h(hours: LocalHours, now_ms: int, time_zone: str) -> float:
    """Time until the end of the present hours; 0 outside them."""
    if not holds(hours, [now_ms], time_zone)[0]:
        return 0.0
    local = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(time_zone))
    end_min = minutes(hours.end)
    over_midnight = end_min <= minutes(hours.begin) and 60 * local.hour + local.minute >= end_min
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1 if over_midnight else 0)
    end = midnight + timedelta(minutes=end_min)  # local time: the zone gives the instant
    return max((end.timestamp() * 1000 - now_ms) / MS_PER_H, 0.0)


def step_starts_ms(start_ms: int, step_s: int, steps: int) -> range:
    """STARTs of the steps of a horizon."""
    return range(start_ms, start_ms + 1000 * step_s * steps, 1000 * step_s)
