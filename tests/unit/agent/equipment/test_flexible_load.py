"""A flexible load by hand: off once it has its energy, and the rule spreads what is missing over the hours left."""

import pytest

from ringmain_agent.equipment.flexible_load import FlexibleLoadKind
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import PccRoom
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import FlexibleLoad
from ringmain_agent.snapshot import LoadUsage
from support.sites import NOW_MS, measured, station

KIND = FlexibleLoadKind()
PUMP = FlexibleLoad(
    name="it", power_max_kw=100.0, power_min_kw=20.0, energy_kwh=300.0, hours=LocalHours(begin="00:00", end="06:00")
)
SITE = station(flexible_loads=(PUMP,))
QUARTER, ANYTHING = Period(NOW_MS, 0.25, "UTC", {}), PccRoom(0.0, -1e6, 1e6)


@pytest.mark.parametrize(("drawn_kwh", "hour", "on"), [(299.0, 5, True), (300.0, 5, False), (0.0, 6, False)])
def test_range_is_off_outside_the_hours_and_once_the_energy_is_there(drawn_kwh: float, hour: int, *, on: bool) -> None:
    measurements = measured(SITE, NOW_MS + 3_600_000 * hour, runs={"it": LoadUsage(drawn_kwh=drawn_kwh)})
    assert KIND.range_now(PUMP, measurements, None, SITE) == (SetpointRange(Interval(0.0, 100.0), 20.0) if on else OFF)


@pytest.mark.parametrize(
    ("drawn_kwh", "most_kw"), [(0.0, 50.0), (240.0, 20.0), (294.0, 20.0), (296.0, 0.0), (-600.0, 100.0)]
)
def test_rule_spreads_what_is_missing_over_the_hours_left(drawn_kwh: float, most_kw: float) -> None:
    """Six hours; at least 20 kW, for which a quarter-hour needs 5 kWh."""
    assert KIND.rule(PUMP, LoadUsage(drawn_kwh=drawn_kwh), QUARTER, ANYTHING).interval.most == pytest.approx(most_kw)
