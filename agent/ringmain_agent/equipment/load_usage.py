"""Energy, run hours and starts of flexible and on/off loads in their current time window. Pure; survives a restart."""

import math
from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from ringmain_agent.equipment.period import Period
from ringmain_agent.site.hours import MS_PER_H, LocalHours, hours_left_h, minutes, windows
from ringmain_agent.site.nameplates import FlexibleLoad, OnOffLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Measured
from ringmain_protocol.messages import AtMs, Quality

ON_SHARE: Final = 0.5
"""An on/off load counts as on from this share of its rated power."""
ON_SHARE_FLEXIBLE: Final = 0.01


class UsageCount(Struct, frozen=True, kw_only=True):
    """Usage counted up to `counted_to_ms`; `last_reading` holds since then; its hours began on `day`."""

    usage: LoadUsage = field(default=LoadUsage(), name="run")
    day: int | None = None
    counted_to_ms: AtMs = 0
    last_reading: Measured | None = field(default=None, name="held")


def update_usage(  # noqa: PLR0913  keyword-only where it can be mistaken
    count: UsageCount,
    power: Measured | None,
    *,
    load: FlexibleLoad | OnOffLoad,
    site: Site,
    now_ms: int,
    clock_trusted: bool = True,
) -> UsageCount:
    """The usage after the newest reading of the load's power; it resets when new hours begin by a trusted clock.

    A reading holds from its instant until the next one, for at most `stale_after_s`. A gap in the readings is not a start.
    """
    if now_ms < count.counted_to_ms:  # the clock was set back: counting goes on with the next reading
        usage = replace(count.usage, since_ms=min(count.usage.since_ms, now_ms))
        count = replace(count, usage=usage, counted_to_ms=now_ms, last_reading=None)
    if power is not None and _is_new(power, count.last_reading, now_ms):
        count = _switch(_advance(count, power.at_ms, load, site, clock_trusted=clock_trusted), power, load)
    return _advance(count, now_ms, load, site, clock_trusted=clock_trusted)


def move_count(count: UsageCount, moved_ms: int) -> UsageCount:
    """The count after the wall clock was set: times on and off go on by the monotonic clock."""
    last = count.last_reading
    return replace(
        count,
        usage=replace(count.usage, since_ms=count.usage.since_ms + moved_ms),
        counted_to_ms=count.counted_to_ms + moved_ms,
        last_reading=None if last is None else Measured(last.value, last.at_ms + moved_ms, last.quality),
    )


def usage_at(count: UsageCount, *, load: FlexibleLoad | OnOffLoad, site: Site, at_ms: int) -> LoadUsage:
    """The usage at the START of a plan: the newest reading holds until then."""
    return _advance(count, at_ms, load, site).usage


def plausible_usage(usage: LoadUsage) -> LoadUsage:
    """The usage with plausible counts; a count that is negative or not a number becomes 0."""
    run_h, drawn_kwh = (max(count, 0.0) if math.isfinite(count) else 0.0 for count in (usage.run_h, usage.drawn_kwh))
    return replace(usage, run_h=run_h, drawn_kwh=drawn_kwh, starts=max(usage.starts, 0))


def usage_after(usage: LoadUsage, hours: LocalHours, power_kw: float, period: Period) -> LoadUsage:
    """The usage after a constant power; it resets if new hours begin at the end of the period."""
    on = power_kw > 0
    began = hours_left_h(hours, period.end_ms, period.time_zone) > hours_left_h(hours, period.at_ms, period.time_zone)
    return LoadUsage(
        on=on,
        since_ms=usage.since_ms if on == usage.on else period.at_ms,
        run_h=0.0 if began else usage.run_h + period.duration_h * on,
        starts=0 if began else usage.starts + int(on and not usage.on),
        drawn_kwh=0.0 if began else usage.drawn_kwh + power_kw * period.duration_h,
    )


def hours_advice(name: str, hours: LocalHours, needed_h: float) -> Iterator[str]:
    """Advice if a load needs longer at full power than its hours last."""
    hours_h = (minutes(hours.end) - minutes(hours.begin)) / 60
    hours_h += 24 if hours_h <= 0 else 0
    if needed_h > hours_h:
        yield f"{name} needs {needed_h:g} h at full power, but its hours last {hours_h:g} h"


def is_on(load: FlexibleLoad | OnOffLoad, power_kw: float) -> bool:
    """True if a load draws enough power to count as on."""
    if isinstance(load, OnOffLoad):
        return power_kw >= ON_SHARE * load.power_kw
    return power_kw >= max(ON_SHARE * load.power_min_kw, ON_SHARE_FLEXIBLE * load.power_max_kw)


def _is_new(power: Measured, last_reading: Measured | None, now_ms: int) -> bool:
    usable = power.value is not None and math.isfinite(power.value) and power.quality != Quality.MISSING
    return usable and power.at_ms <= now_ms and (last_reading is None or power.at_ms > last_reading.at_ms)


def _switch(count: UsageCount, power: Measured, load: FlexibleLoad | OnOffLoad) -> UsageCount:
    usage, on = count.usage, is_on(load, power.value or 0.0)
    if on != usage.on:
        was_off = count.last_reading is not None  # without an earlier reading its start is unknown
        usage = replace(usage, on=on, since_ms=power.at_ms, starts=usage.starts + int(on and was_off))
    return replace(count, usage=usage, last_reading=power)


def _advance(
    count: UsageCount, until_ms: int, load: FlexibleLoad | OnOffLoad, site: Site, *, clock_trusted: bool = True
) -> UsageCount:
    """The count advanced to an instant; an earlier instant changes nothing."""
    if until_ms <= count.counted_to_ms:
        return count
    hold_ms = round(1000 * site.regulator.stale_after_s)
    from_ms, usage, day = count.counted_to_ms, count.usage, _day(load.hours, until_ms, site)
    if not clock_trusted and count.day is not None:
        day = count.day
    if day != count.day:
        usage = replace(usage, run_h=0.0, starts=0, drawn_kwh=0.0)
    if count.last_reading is not None and count.last_reading.value is not None and day is not None:
        known_from_ms = max(from_ms, count.last_reading.at_ms)
        known_to_ms = min(until_ms, count.last_reading.at_ms + hold_ms)
        if day != count.day:
            known_from_ms = max(known_from_ms, _began_ms(load.hours, known_from_ms, until_ms, site))
        known_h = max(known_to_ms - known_from_ms, 0) / MS_PER_H
        drawn_kwh = usage.drawn_kwh + max(count.last_reading.value, 0.0) * known_h
        usage = replace(usage, drawn_kwh=drawn_kwh, run_h=usage.run_h + known_h * usage.on)
    return replace(count, usage=usage, day=day, counted_to_ms=until_ms)


def _day(hours: LocalHours, at_ms: int, site: Site) -> int | None:
    return windows(hours, [at_ms], site.time_zone)[0]


def _began_ms(hours: LocalHours, from_ms: int, until_ms: int, site: Site) -> int:
    """Begin of the hours at `until_ms`, if later than `from_ms`; by bisection, to the millisecond."""
    day = _day(hours, until_ms, site)
    if from_ms >= until_ms or _day(hours, from_ms, site) == day:
        return from_ms
    outside_ms, inside_ms = from_ms, until_ms
    while inside_ms - outside_ms > 1:
        middle_ms = (outside_ms + inside_ms) // 2
        if _day(hours, middle_ms, site) == day:
            inside_ms = middle_ms
        else:
            outside_ms = middle_ms
    return inside_ms
