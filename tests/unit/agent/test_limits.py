"""Nothing passes that equipment could be hurt by; what cannot be made safe is released."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ringmain_agent.limits import limit_setpoints
from ringmain_agent.site import Site
from ringmain_agent.snapshot import Measurements, Sent

Measure = Callable[..., Measurements]


def limited(
    site: Site, measurements: Measurements, now_ms: int, sent: Sent | None = None, **setpoints: float | None
) -> dict[str, float | None]:
    previous = {} if sent is None else {"battery": sent}
    return limit_setpoints(setpoints, site=site, measurements=measurements, previous=previous, now_ms=now_ms).power_kw


@pytest.mark.parametrize(("wished", "granted"), [(9999.0, 2000.0), (-9999.0, -2000.0), (123.0, 123.0), (None, None)])
def test_setpoint_never_exceeds_the_nameplate(
    site: Site, measured: Measure, now_ms: int, wished: float | None, granted: float | None
) -> None:
    assert limited(site, measured(now_ms, battery_soc_kwh=4000.0), now_ms, battery=wished) == {"battery": granted}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_number_that_is_not_finite_releases_with_a_reason(site: Site, measured: Measure, now_ms: int, bad: float) -> None:
    result = limit_setpoints(
        {"battery": bad, "pv": bad},
        site=site,
        measurements=measured(now_ms, battery_soc_kwh=4000.0),
        previous={},
        now_ms=now_ms,
    )
    assert result.power_kw == {"battery": None, "pv": None}
    assert len(result.reasons) == 2


@pytest.mark.parametrize(("wished", "granted"), [(10.0, 0.0), (-9999.0, -3000.0), (-5.0, -5.0), (None, None)])
def test_pv_bound_stays_between_the_rating_and_nothing(
    site: Site, measured: Measure, now_ms: int, wished: float | None, granted: float | None
) -> None:
    assert limited(site, measured(now_ms), now_ms, pv=wished) == {"pv": granted}


def test_empty_battery_is_not_discharged_and_full_one_not_charged(site: Site, measured: Measure, now_ms: int) -> None:
    empty, full = measured(now_ms, battery_soc_kwh=400.0), measured(now_ms, battery_soc_kwh=7600.0)
    assert limited(site, empty, now_ms, battery=-500.0) == {"battery": 0.0}
    assert limited(site, empty, now_ms, battery=500.0) == {"battery": 500.0}
    assert limited(site, full, now_ms, battery=500.0) == {"battery": 0.0}
    assert limited(site, full, now_ms, battery=-500.0) == {"battery": -500.0}


def test_power_is_what_the_energy_left_can_give_for_the_whole_validity(site: Site, measured: Measure, now_ms: int) -> None:
    """95 kWh above the least, at 0.95 and over 10 minutes: 541.5 kW."""
    assert limited(site, measured(now_ms, battery_soc_kwh=495.0), now_ms, battery=-2000.0)["battery"] == pytest.approx(
        -541.5
    )


def test_battery_of_unknown_energy_is_released_with_a_reason(site: Site, measured: Measure, now_ms: int) -> None:
    stale = measured(now_ms - 301_000, battery_soc_kwh=4000.0)
    for measurements in (measured(now_ms), stale, measured(now_ms, battery_soc_kwh=float("nan"))):
        result = limit_setpoints({"battery": 100.0}, site=site, measurements=measurements, previous={}, now_ms=now_ms)
        assert result.power_kw == {"battery": None}
        assert result.reasons == ("battery released: its energy is not known",)


def test_ramp_starts_from_the_last_setpoint(site: Site, measured: Measure, now_ms: int) -> None:
    slow = replace(site, batteries=(replace(site.batteries[0], ramp_kw_per_min=60.0),))
    measurements = measured(now_ms, battery_soc_kwh=4000.0, battery_kw=0.0)
    last = Sent(500.0, now_ms - 10_000)
    assert limited(slow, measurements, now_ms, last, battery=2000.0) == {"battery": 510.0}
    assert limited(slow, measurements, now_ms, last, battery=-2000.0) == {"battery": 490.0}


def test_ramp_starts_from_the_measured_power_without_a_setpoint_in_force(site: Site, measured: Measure, now_ms: int) -> None:
    slow = replace(site, batteries=(replace(site.batteries[0], ramp_kw_per_min=60.0),))
    measurements = measured(now_ms - 2000, battery_soc_kwh=4000.0, battery_kw=100.0)
    for last in (None, Sent(500.0, now_ms - 601_000), Sent(None, now_ms - 1000)):
        assert limited(slow, measurements, now_ms, last, battery=2000.0) == {"battery": 102.0}


def test_energy_goes_before_ramp(site: Site, measured: Measure, now_ms: int) -> None:
    slow = replace(site, batteries=(replace(site.batteries[0], ramp_kw_per_min=60.0),))
    empty = measured(now_ms, battery_soc_kwh=400.0)
    assert limited(slow, empty, now_ms, Sent(-2000.0, now_ms - 1000), battery=-2000.0) == {"battery": 0.0}


def test_unknown_equipment_gets_nothing(site: Site, measured: Measure, now_ms: int) -> None:
    result = limit_setpoints({"pump": 1.0}, site=site, measurements=measured(now_ms), previous={}, now_ms=now_ms)
    assert result.power_kw == {}
    assert result.reasons == ("pump is not equipment of this site",)
