"""A charging station by hand: off without a vehicle, and the rule charges at once what the vehicle wants."""

import pytest

from ringmain_agent.equipment.charging_station import ChargingStationKind
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import PccRoom
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.nameplates import ChargingStation
from ringmain_agent.snapshot import ChargingSession
from support.sites import NOW_MS, measured, snapshot_of, station

KIND = ChargingStationKind()
CHARGER = ChargingStation(name="it", power_max_kw=22.0, power_min_kw=4.0, efficiency=0.8)
SITE = station(charging_stations=(CHARGER,))
HOUR, ANYTHING = Period(NOW_MS, 1.0, "UTC", {}), PccRoom(0.0, -1e6, 1e6)


def session(energy_kwh: float, from_h: float = 0.0, to_h: float = 2.0) -> ChargingSession:
    from_ms, to_ms = (NOW_MS + round(3_600_000 * hours) for hours in (from_h, to_h))
    return ChargingSession(from_ms=from_ms, to_ms=to_ms, energy_kwh=energy_kwh)


def test_range_is_off_without_a_vehicle_that_wants_energy() -> None:
    there, full = (measured(SITE, NOW_MS, it_energy_kwh=energy_kwh) for energy_kwh in (9.0, 0.0))
    assert KIND.range_now(CHARGER, there, None, SITE) == SetpointRange(Interval(0.0, 22.0), 4.0)
    assert KIND.range_now(CHARGER, full, None, SITE) == OFF


@pytest.mark.parametrize(
    ("visit", "most_kw"),
    [
        (session(8.0), 10.0),  # of which 80 % arrive
        (session(80.0), 22.0),
        (session(2.0), 0.0),  # less than its least power brings in an hour
        (session(8.0, from_h=0.5), 0.0),
        (session(8.0, to_h=0.5), 0.0),
    ],
)
def test_rule_charges_at_once_what_the_vehicle_wants(visit: ChargingSession, most_kw: float) -> None:
    assert KIND.rule(CHARGER, [visit], HOUR, ANYTHING).interval.most == pytest.approx(most_kw)


def test_energy_that_has_arrived_is_wanted_no_more() -> None:
    other = session(5.0, from_h=3.0, to_h=4.0)
    assert KIND.after(CHARGER, [session(8.0), other], 5.0, HOUR) == [session(4.0), other]
    assert KIND.after(CHARGER, [session(8.0), other], 20.0, HOUR) == [session(0.0), other]


def test_wish_that_cannot_be_is_no_session() -> None:
    found = [session(energy_kwh) for energy_kwh in (-1.0, 0.0, 5.0, 1e9, float("nan"))]
    assert KIND.plausible(CHARGER, snapshot_of(SITE, visits={"it": found})) == ([session(5.0)], ())
