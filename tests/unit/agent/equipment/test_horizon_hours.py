"""Steps of a horizon that lie in the hours of a load, or in the stay of a vehicle."""

import pytest

from ringmain_agent.equipment.horizon_hours import HoursSteps, is_current, steps_of_hours, steps_of_session
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.snapshot import ChargingSession
from support.sites import NOW_MS, station

SITE = station(step_s=3600, horizon_steps=8)
HOUR_MS = 3_600_000


def test_hours_that_go_on_after_the_horizon_have_a_share_in_it() -> None:
    """From midnight UTC: 02:00 to 04:00 lie within eight hours, of 06:00 to 12:00 two."""
    inside = steps_of_hours(LocalHours(begin="02:00", end="04:00"), NOW_MS, SITE)
    beyond = steps_of_hours(LocalHours(begin="06:00", end="12:00"), NOW_MS, SITE)
    assert (inside, beyond) == ([HoursSteps([2, 3], 0)], [HoursSteps([6, 7], 4)])
    assert [hours[0].share for hours in (inside, beyond)] == pytest.approx([1.0, 1 / 3])


def test_hours_of_two_days_are_two() -> None:
    """At 22:00 the present hours end after two steps, and those of the next night are not seen yet."""
    night = LocalHours(begin="20:00", end="24:00")
    found = steps_of_hours(night, NOW_MS + 22 * HOUR_MS, station(step_s=3600, horizon_steps=24))
    assert found == [HoursSteps([0, 1], 0), HoursSteps([22, 23], 2)]
    assert is_current(found)
    assert not is_current(found[1:])
    assert not is_current([])


@pytest.mark.parametrize(
    ("from_h", "to_h", "expected"),
    [
        (-1.0, 3.0, HoursSteps([0, 1, 2], 0)),
        (0.9, 3.9, HoursSteps([0, 1, 2], 0)),
        (1.5, 4.0, HoursSteps([1, 2, 3], 0)),
        (1.6, 4.0, HoursSteps([2, 3], 0)),
        (-1.0, 0.1, HoursSteps([0], 0)),
        (6.0, 11.0, HoursSteps([6, 7], 3)),
        (9.0, 11.0, HoursSteps([], 2)),
        (-3.0, -1.0, HoursSteps([], 0)),
    ],
)
def test_visit_has_the_steps_in_which_the_vehicle_is_there(from_h: float, to_h: float, expected: HoursSteps) -> None:
    """From the first half of a step on and to its end; of the first step any part will do."""
    from_ms, to_ms = (NOW_MS + round(hours * HOUR_MS) for hours in (from_h, to_h))
    assert steps_of_session(ChargingSession(from_ms=from_ms, to_ms=to_ms, energy_kwh=1.0), NOW_MS, SITE) == expected
