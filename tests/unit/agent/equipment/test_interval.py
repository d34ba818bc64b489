"""A wish outside what safety has left gives the nearest end of it."""

import math

import pytest

from ringmain_agent.equipment.interval import ANYTHING, Interval

LEFT = Interval(-10.0, 20.0)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Interval(0.0, 5.0), Interval(0.0, 5.0)),
        (Interval(-50.0, 5.0), Interval(-10.0, 5.0)),
        (Interval(30.0, 40.0), Interval(20.0, 20.0)),
        (Interval(-math.inf, -30.0), Interval(-10.0, -10.0)),
        (Interval(15.0, math.inf), Interval(15.0, 20.0)),
        (ANYTHING, LEFT),
        (Interval(math.nan, math.nan), LEFT),
    ],
)
def test_wish_narrows_and_never_widens(wish: Interval, expected: Interval) -> None:
    assert LEFT.intersect_or_nearest_end(wish) == expected
