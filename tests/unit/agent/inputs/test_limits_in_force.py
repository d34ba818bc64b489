"""The narrowest limit counts, the status says whose it is, and a clock in doubt leaves the narrowest hours."""

from ringmain_agent.inputs.envelopes import Envelopes
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.limit_source import LimitSource
from ringmain_agent.inputs.limits_in_force import (
    LimitRecord,
    LimitsInForce,
    limit_reasons,
    limits_in_force,
    narrowest_of_parts,
)
from ringmain_agent.site.grid_connection import LimitsWithoutEnvelope, TimedLimit
from ringmain_agent.site.hours import LocalHours
from ringmain_protocol.messages import Limit
from support.sites import station

MORNING = TimedLimit(hours=LocalHours(begin="01:15", end="02:00"), import_limit_kw=120.0, export_limit_kw=10.0)
MINUTES = TimedLimit(hours=LocalHours(begin="01:30", end="01:45"), import_limit_kw=30.0)
SITE = station(time_zone="Europe/London", import_limit_kw=100.0, export_limit_kw=50.0, limit=(MORNING, MINUTES))
STARTS = [0, 900_000, 1_800_000, 2_700_000, 3_600_000]


def test_of_the_timed_limits_of_a_site_the_last_that_holds_counts() -> None:
    """On 1970-01-01 clocks in London were an hour ahead of UTC."""
    limits = limits_in_force(SITE, Envelopes(), (), STARTS, Instant(0, 0.0))
    assert limits.import_kw == [100.0, 120.0, 30.0, 120.0, 100.0]
    assert limits.export_kw == [50.0, 10.0, 10.0, 10.0, 50.0]


def test_clock_in_doubt_leaves_the_limits_of_the_narrowest_hours() -> None:
    limits = limits_in_force(SITE, Envelopes(), (), STARTS, Instant(0, 0.0, clock_trusted=False))
    assert limits.import_kw == [30.0] * 5
    assert limits.export_kw == [10.0] * 5


def test_status_names_the_source_of_each_limit_the_narrowest_first() -> None:
    site = station(import_limit_kw=100.0, export_limit_kw=50.0, without_envelope=LimitsWithoutEnvelope(import_kw=80.0))
    record = LimitRecord()

    def limits(now_ms: int, ripple_kw: float) -> list[Limit]:
        ripple = LimitSource("local limit ripple", [None], [ripple_kw])
        sources = limits_in_force(site, Envelopes(), (ripple,), [now_ms], Instant(now_ms, 0.0)).sources
        return record.limits(sources, now_ms)

    limits(1000, 20.0)
    limits(2000, 30.0)
    named = [(one.name, one.value, one.source, one.since_ms) for one in limits(3000, 30.0)]
    assert named == [
        ("export_kw", 30.0, "local limit ripple", 2000),
        ("export_kw", 50.0, "connection", 1000),
        ("import_kw", 80.0, "without envelope", 1000),
        ("import_kw", 100.0, "connection", 1000),
    ]
    texts = [reason.text for reason in limit_reasons((), limits(3000, 60.0))]
    assert texts == ["import limit 80 kW by without envelope"]


def test_plan_gets_the_narrowest_part_of_each_step() -> None:
    limits = LimitsInForce([5.0, 4.0, 9.0, 8.0], [1.0, 2.0, 3.0, 4.0], [None, 7.0, None, None], [None] * 4, [])
    assert narrowest_of_parts(limits, 2) == LimitsInForce([4.0, 8.0], [1.0, 3.0], [7.0, None], [None, None], [])
