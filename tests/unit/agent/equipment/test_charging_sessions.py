"""Vehicles at a charging station and expected there: from what is measured, and from the configuration."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from ringmain_agent.equipment.charging_sessions import charging_sessions, is_there
from ringmain_agent.site.nameplates import ChargingStation, ExpectedVisit
from ringmain_agent.snapshot import ChargingSession
from support.sites import measured, station

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
STATION = ChargingStation(name="charger", power_max_kw=11.0, departure="07:00")
SITE = station(time_zone="Europe/Amsterdam", charging_stations=(STATION,))
EVENING = ExpectedVisit(arrival="18:00", departure="07:30", energy_kwh=20.0)


def at_ms(clock: str, *, day: int = 2, month: int = 11) -> int:
    """A local time of 2020; 2020-11-02 is a Monday."""
    hour, minute = clock.split(":")
    return round(datetime(2020, month, day, int(hour), int(minute), tzinfo=AMSTERDAM).timestamp() * 1000)


def expecting(*expected: ExpectedVisit, **fields: Any) -> ChargingStation:
    return replace(STATION, expected=expected, **fields)


def test_vehicle_stays_as_long_as_it_says() -> None:
    now_ms = at_ms("12:00")
    measurements = measured(SITE, now_ms, charger_energy_kwh=9.0, charger_departure_s=5400.0)
    found = charging_sessions(STATION, measurements, site=SITE)
    assert found == [ChargingSession(from_ms=now_ms, to_ms=at_ms("13:30"), energy_kwh=9.0)]


def test_stay_counts_from_when_it_was_measured() -> None:
    now_ms = at_ms("12:00")
    measurements = measured(SITE, now_ms - 120_000, now_ms=now_ms, charger_energy_kwh=9.0, charger_departure_s=5400.0)
    assert charging_sessions(STATION, measurements, site=SITE)[0].to_ms == at_ms("13:28")


@pytest.mark.parametrize(
    ("clock", "departure", "day"),
    [("12:00", "07:00", 3), ("06:59", "07:00", 2), ("07:00", "07:00", 3), ("12:00", "24:00", 3)],
)
def test_vehicle_without_a_departure_stays_until_the_clock_shows_that_of_the_station(
    clock: str, departure: str, day: int
) -> None:
    now_ms = at_ms(clock)
    station = replace(STATION, departure=departure)
    (visit,) = charging_sessions(station, measured(SITE, now_ms, charger_energy_kwh=9.0), site=SITE)
    assert visit.to_ms == at_ms(departure.replace("24", "00"), day=day)


@pytest.mark.parametrize("stay_s", [float("nan"), -5.0, 1e9])
def test_stay_that_cannot_be_is_not_believed(stay_s: float) -> None:
    now_ms = at_ms("12:00")
    measurements = measured(SITE, now_ms, charger_energy_kwh=9.0, charger_departure_s=stay_s)
    assert charging_sessions(STATION, measurements, site=SITE)[0].to_ms == at_ms("07:00", day=3)


def test_vehicle_that_has_outstayed_its_departure_is_planned_for_a_step_more() -> None:
    now_ms = at_ms("12:00")
    measurements = measured(SITE, now_ms - 60_000, now_ms=now_ms, charger_energy_kwh=9.0, charger_departure_s=0.0)
    assert charging_sessions(STATION, measurements, site=SITE)[0].to_ms == at_ms("12:15")


@pytest.mark.parametrize("energy_kwh", [None, 0.0, 0.001, -2.0, float("nan"), float("inf"), 1e7])
def test_without_a_wish_that_can_be_there_is_no_vehicle(energy_kwh: float | None) -> None:
    now_ms = at_ms("12:00")
    measurements = measured(SITE, now_ms, charger_energy_kwh=energy_kwh)
    assert not is_there(STATION, measurements)
    assert charging_sessions(STATION, measurements, site=SITE) == []


def test_wish_that_is_too_old_is_none() -> None:
    now_ms = at_ms("12:00")
    measurements = measured(SITE, now_ms - 600_000, now_ms=now_ms, charger_energy_kwh=9.0)
    assert charging_sessions(STATION, measurements, site=SITE) == []


def test_expected_vehicle_comes_and_goes_by_the_local_clock() -> None:
    now_ms = at_ms("12:00")
    found = charging_sessions(expecting(EVENING), measured(SITE, now_ms), site=SITE)
    assert found == [ChargingSession(from_ms=at_ms("18:00"), to_ms=at_ms("07:30", day=3), energy_kwh=20.0)]


def test_expected_vehicle_comes_on_its_weekdays() -> None:
    """Monday's noon to Tuesday's; the visit of a Sunday evening would still run on Monday at six."""
    sunday, tuesday = replace(EVENING, weekdays=(7,)), replace(EVENING, weekdays=(2,))
    assert charging_sessions(expecting(sunday), measured(SITE, at_ms("12:00")), site=SITE) == []
    assert charging_sessions(expecting(tuesday), measured(SITE, at_ms("12:00")), site=SITE) == []
    (late,) = charging_sessions(expecting(sunday), measured(SITE, at_ms("06:00")), site=SITE)
    assert (late.from_ms, late.to_ms) == (at_ms("06:00"), at_ms("07:30"))


def test_every_day_of_a_long_horizon_has_its_visit() -> None:
    site = replace(SITE, horizon_steps=4 * 48)
    found = charging_sessions(expecting(EVENING), measured(SITE, at_ms("12:00")), site=site)
    assert [visit.from_ms for visit in found] == [at_ms("18:00"), at_ms("18:00", day=3)]


def test_expected_vehicle_is_dropped_while_another_is_there() -> None:
    now_ms = at_ms("12:00")
    measurements = measured(SITE, now_ms, charger_energy_kwh=9.0)  # until seven the next morning
    assert len(charging_sessions(expecting(EVENING), measurements, site=SITE)) == 1


def test_expected_vehicle_comes_after_one_that_leaves_in_time() -> None:
    now_ms = at_ms("12:00")
    measurements = measured(SITE, now_ms, charger_energy_kwh=9.0, charger_departure_s=3600.0)
    found = charging_sessions(expecting(EVENING), measurements, site=SITE)
    assert [visit.energy_kwh for visit in found] == [9.0, 20.0]


def test_vehicle_that_is_late_is_expected_until_its_departure() -> None:
    now_ms = at_ms("21:00")
    today, tomorrow = charging_sessions(expecting(EVENING), measured(SITE, now_ms), site=SITE)
    assert (today.from_ms, today.to_ms) == (now_ms, at_ms("07:30", day=3))
    assert tomorrow.from_ms == at_ms("18:00", day=3)


@pytest.mark.parametrize(("last_there", "days"), [("19:30", [3]), ("17:30", [2, 3])])
def test_visit_that_was_had_is_not_expected_again(last_there: str, days: list[int]) -> None:
    """A vehicle seen since the arrival was this one; one seen before it was another."""
    now_ms = at_ms("21:00")
    found = charging_sessions(expecting(EVENING), measured(SITE, now_ms), site=SITE, last_there_ms=at_ms(last_there))
    assert [visit.from_ms for visit in found] == [max(at_ms("18:00", day=day), now_ms) for day in days]


def test_expected_visits_do_not_overlap() -> None:
    """One vehicle at a time: the second begins when the first leaves."""
    morning = ExpectedVisit(arrival="13:00", departure="19:00", energy_kwh=5.0)
    found = charging_sessions(expecting(EVENING, morning), measured(SITE, at_ms("12:00")), site=SITE)
    assert [(visit.from_ms, visit.to_ms) for visit in found] == [
        (at_ms("13:00"), at_ms("19:00")),
        (at_ms("19:00"), at_ms("07:30", day=3)),
    ]


def test_night_of_the_change_of_the_clock_is_an_hour_longer() -> None:
    now_ms = at_ms("12:00", day=24, month=10)
    (visit,) = charging_sessions(expecting(EVENING), measured(SITE, now_ms), site=SITE)
    assert visit.to_ms - visit.from_ms == round((13.5 + 1) * 3_600_000)
