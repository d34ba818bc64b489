"""A battery by hand: what its energy and its ramp let it do now, what the rule wants of it, and what a schedule leaves."""

import pytest

from ringmain_agent.equipment.battery import BatteryKind, follow
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import PccRoom
from ringmain_agent.equipment.period import Period
from ringmain_agent.snapshot import SentSetpoint
from support.sites import LOSSLESS, NOW_MS, battery, measured, station

KIND = BatteryKind()
BATTERY = battery("it", 100.0, 50.0, ramp_kw_per_min=60.0, **LOSSLESS)
SITE = station(batteries=(BATTERY,), valid_for_s=360.0)
HOUR = Period(NOW_MS, 1.0, "UTC", {})


def range_now(soc_kwh: float, last: SentSetpoint | None = None) -> Interval:
    found = KIND.range_now(BATTERY, measured(SITE, NOW_MS, it_soc_kwh=soc_kwh), last, SITE)
    assert found is not None
    return found.interval


@pytest.mark.parametrize(
    ("soc_kwh", "least_kw", "most_kw"), [(50.0, -50.0, 50.0), (7.0, -20.0, 50.0), (93.0, -50.0, 20.0), (5.0, 0.0, 50.0)]
)
def test_range_ends_where_the_energy_of_a_whole_validity_does(soc_kwh: float, least_kw: float, most_kw: float) -> None:
    """Six minutes between 5 and 95 kWh."""
    found = range_now(soc_kwh)
    assert (found.least, found.most) == pytest.approx((least_kw, most_kw))


def test_energy_goes_before_the_ramp_of_the_last_setpoint() -> None:
    """Ten seconds at 60 kW a minute are 10 kW; an empty battery stops at once."""
    last = SentSetpoint(-40.0, NOW_MS - 10_000)
    assert range_now(50.0, last) == Interval(-50.0, -30.0)
    assert range_now(5.0, last) == Interval(0.0, 0.0)


@pytest.mark.parametrize(
    ("net_kw", "power_kw"), [(-15.0, 15.0), (-200.0, 25.0), (5.0, -5.0), (30.0, -20.0), (140.0, -40.0), (-10.0, 10.0)]
)
def test_rule_stores_surplus_covers_import_above_the_target_and_takes_what_exceeds_the_limit(
    net_kw: float, power_kw: float
) -> None:
    """70 kWh for an hour: 20 above the target of 50, and 25 of room; above the limit of 100 kW also energy below it."""
    found = KIND.rule(BATTERY, 70.0, HOUR, PccRoom(net_kw, -100.0, 100.0)).interval
    assert (found.least, found.most) == pytest.approx((power_kw, power_kw))


def test_schedule_ends_where_the_band_ends() -> None:
    power_kw, energy_kwh = follow(BATTERY, [50.0, 50.0, -10.0], 30.0, 1.0)
    assert power_kw == pytest.approx([50.0, 15.0, -10.0])
    assert energy_kwh == pytest.approx([80.0, 95.0, 85.0])
    assert follow(BATTERY, [50.0, 50.0], 30.0, 1.0, whole=True)[1] == pytest.approx([80.0, 100.0])
