"""Sessions of a charging station: the present one from measurements, expected ones from the configuration. Pure."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from ringmain_agent.site.hours import minutes
from ringmain_agent.site.nameplates import ChargingStation, ExpectedVisit
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ChargingSession, Measurements

WANTED_MIN_KWH: Final = 0.01
"""A smaller energy counts as 0."""
WANTED_MAX_KWH: Final = 10_000.0
STAY_MAX_S: Final = 30 * 86_400.0
"""A reading above these is not plausible."""


def is_there(station: ChargingStation, measurements: Measurements) -> bool:
    """True while a vehicle at the station still wants energy."""
    return wanted_kwh(station, measurements) is not None


def charging_sessions(
    station: ChargingStation,
    measurements: Measurements,
    *,
    site: Site,
    last_there_ms: int | None = None,
) -> list[ChargingSession]:
    """The vehicle at the station and those expected within the horizon, one after the other.

    An expected visit is dropped if a vehicle is there in that time, or was there since the expected arrival
    (`last_there_ms`: the last instant of `is_there`, if known). A late vehicle is expected until its departure. A vehicle
    that stays past its departure may leave at any time; its session is extended by one step.
    """
    now_ms = measurements.now_ms
    horizon_to_ms = now_ms + 1000 * site.step_s * site.horizon_steps
    sessions: list[ChargingSession] = []
    energy_kwh = wanted_kwh(station, measurements)
    if energy_kwh is not None:
        to_ms = _departure_ms(station, measurements, site)
        to_ms = to_ms if to_ms > now_ms else now_ms + 1000 * site.step_s
        sessions.append(ChargingSession(from_ms=now_ms, to_ms=to_ms, energy_kwh=energy_kwh))
    for visit in sorted(_expected(station, site, now_ms, horizon_to_ms), key=lambda visit: visit.from_ms):
        is_over = last_there_ms is not None and visit.from_ms <= last_there_ms
        is_occupied = energy_kwh is not None and visit.from_ms < sessions[0].to_ms
        free_from_ms = max([now_ms, visit.from_ms] + [other.to_ms for other in sessions])
        if not is_over and not is_occupied and free_from_ms < visit.to_ms:
            sessions.append(replace(visit, from_ms=free_from_ms))
    return sessions


def wanted_kwh(station: ChargingStation, measurements: Measurements) -> float | None:
    """Energy that the vehicle at the station still wants; `None` without a vehicle or a plausible energy."""
    energy_kwh = measurements.fresh(station.energy_signal)
    if energy_kwh is None or not WANTED_MIN_KWH <= energy_kwh <= WANTED_MAX_KWH:
        return None
    return energy_kwh


def _departure_ms(station: ChargingStation, measurements: Measurements, site: Site) -> int:
    """Departure as measured, else the next occurrence of the station's configured departure."""
    stay_s = measurements.fresh(station.departure_signal)
    if stay_s is not None and 0 <= stay_s <= STAY_MAX_S:
        return measurements.newest[station.departure_signal].at_ms + round(1000 * stay_s)
    today = _local(measurements.now_ms, site).date()
    days = (_at_ms(today + timedelta(days=ahead), station.departure, site) for ahead in range(-1, 3))
    return next(at_ms for at_ms in days if at_ms > measurements.now_ms)


def _expected(station: ChargingStation, site: Site, now_ms: int, horizon_to_ms: int) -> Iterator[ChargingSession]:
    first, last = _local(now_ms, site).date() - timedelta(days=1), _local(horizon_to_ms, site).date()
    for expected in station.expected:
        for ahead in range((last - first).days + 1):
            visit = _visit(expected, first + timedelta(days=ahead), site)
            if visit is not None and visit.to_ms > now_ms and visit.from_ms < horizon_to_ms:
                yield visit


def _visit(expected: ExpectedVisit, day: date, site: Site) -> ChargingSession | None:
    if expected.weekdays and day.isoweekday() not in expected.weekdays:
        return None
    over_midnight = minutes(expected.departure) <= minutes(expected.arrival)
    from_ms = _at_ms(day, expected.arrival, site)
    to_ms = _at_ms(day + timedelta(days=int(over_midnight)), expected.departure, site)
    return ChargingSession(from_ms=from_ms, to_ms=to_ms, energy_kwh=expected.energy_kwh)


def _local(at_ms: int, site: Site) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(site.time_zone))


def _at_ms(day: date, clock_time: str, site: Site) -> int:
    """Instant of a local clock time; a time skipped in spring is one hour later."""
    days, minute = divmod(minutes(clock_time), 24 * 60)
    local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=ZoneInfo(site.time_zone))
    return round((local + timedelta(days=days)).timestamp() * 1000)
