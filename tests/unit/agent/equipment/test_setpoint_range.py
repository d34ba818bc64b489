"""A setpoint is off, or between the ends of its range."""

import pytest

from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.setpoint_range import SetpointRange


@pytest.mark.parametrize(
    ("wished", "granted"), [(-5.0, 0.0), (0.0, 0.0), (19.0, 0.0), (20.0, 20.0), (80.0, 80.0), (500.0, 150.0)]
)
def test_reach_is_off_or_between_its_ends(wished: float, granted: float) -> None:
    assert SetpointRange(Interval(0.0, 150.0), 20.0).at_most(wished) == granted
