"""An on/off load by hand: on, off or both, by its run, its starts and its hours."""

import pytest

from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import PccRoom
from ringmain_agent.equipment.on_off_load import OnOffLoadKind
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import OnOffLoad
from ringmain_agent.snapshot import LoadUsage
from support.sites import NOW_MS, measured, station

KIND = OnOffLoadKind()
MINUTE_MS = 60_000
MILL = OnOffLoad(name="it", power_kw=60.0, run_h=4.0, run_min_h=0.5, starts_max=2)
ON, EITHER = SetpointRange(Interval(60.0, 60.0), 60.0), SetpointRange(Interval(0.0, 60.0), 60.0)
LATER = OnOffLoad(name="it", power_kw=60.0, run_h=4.0, hours=LocalHours(begin="12:00", end="18:00"))


@pytest.mark.parametrize(
    ("load", "usage", "expected"),
    [
        (MILL, LoadUsage(), EITHER),
        (MILL, LoadUsage(on=True, since_ms=NOW_MS - 29 * MINUTE_MS, starts=2), ON),
        (MILL, LoadUsage(on=True, since_ms=NOW_MS - 30 * MINUTE_MS, starts=2), EITHER),
        (MILL, LoadUsage(starts=2), OFF),
        (LATER, LoadUsage(), OFF),
    ],
)
def test_range_is_on_off_or_either(load: OnOffLoad, usage: LoadUsage, expected: SetpointRange) -> None:
    """The run that has begun is finished, and is a start that was used; the site's clock shows midnight."""
    site = station(on_off_loads=(load,))
    assert KIND.range_now(load, measured(site, NOW_MS, runs={"it": usage}), None, site) == expected


def test_rule_runs_it_until_it_has_run_long_enough() -> None:
    period, room = Period(NOW_MS, 0.25, "UTC", {}), PccRoom(0.0, -1e6, 1e6)
    assert KIND.rule(MILL, LoadUsage(run_h=3.75), period, room) == EITHER
    assert KIND.rule(MILL, LoadUsage(run_h=4.0), period, room) == OFF
    assert KIND.rule(MILL, LoadUsage(on=True, since_ms=NOW_MS - MINUTE_MS, run_h=4.0), period, room) == ON
