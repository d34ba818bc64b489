"""Energy of a battery between two values of its feed."""

import math
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.equipment.stored_energy import StoredEnergy, update_stored_energy, with_stored_energy
from ringmain_agent.site.nameplates import Battery
from ringmain_agent.snapshot import Measured, Measurements
from support.sites import LOSSLESS, NOW_MS, battery, station

BATTERY: Final[Battery] = battery("battery", 1000.0, 200.0, **LOSSLESS)
SITE: Final = station(batteries=(BATTERY,), stale_after_s=300.0)
CYCLE_MS: Final = 10_000


def image(now_ms: int, soc: Measured | None, power_kw: float | None, stale_after_s: float | None = None) -> Measurements:
    newest = {} if soc is None else {"battery_soc_kwh": soc}
    newest |= {} if power_kw is None else {"battery_kw": Measured(power_kw, now_ms)}
    return Measurements(
        now_ms=now_ms,
        stale_after_s=300.0,
        feed_stale_after_s={} if stale_after_s is None else {"battery_soc_kwh": stale_after_s},
        newest=newest,
        import_limit_kw=1000.0,
        export_limit_kw=1000.0,
    )


def after(
    seconds: int, power_kw: float | None, *, setpoint_kw: float | None = None, stale_after_s: float | None = None
) -> Measurements:
    """The image after a time of one power since the only value, 500 kWh."""
    known: StoredEnergy | None = None
    soc = Measured(500.0, NOW_MS)
    for now_ms in range(NOW_MS, NOW_MS + 1000 * seconds + 1, CYCLE_MS):
        measured = image(now_ms, soc, power_kw, stale_after_s)
        known = update_stored_energy(known, BATTERY, measured, setpoint_kw)
    return with_stored_energy(measured, {} if known is None else {"battery": known}, SITE)


def test_measured_power_is_integrated_between_two_values() -> None:
    assert after(180, 200.0).fresh("battery_soc_kwh") == pytest.approx(510.0)
    assert after(180, -200.0).fresh("battery_soc_kwh") == pytest.approx(490.0)


def test_setpoint_stands_in_for_a_power_that_is_not_measured() -> None:
    assert after(180, None, setpoint_kw=-100.0).fresh("battery_soc_kwh") == pytest.approx(495.0)


def test_energy_is_unknown_beyond_its_age_without_a_measured_power() -> None:
    assert after(310, None, setpoint_kw=0.0).fresh("battery_soc_kwh") is None


def test_battery_that_reports_changes_only_stays_usable_while_it_is_idle() -> None:
    assert after(6 * 3600, 0.0).fresh("battery_soc_kwh") == pytest.approx(500.0)


def test_energy_is_unknown_once_much_was_moved_since_its_last_value() -> None:
    assert after(1700, 200.0).fresh("battery_soc_kwh") == pytest.approx(594.4, abs=0.6)
    assert after(1900, 200.0).fresh("battery_soc_kwh") is None
    assert after(1900, 200.0, stale_after_s=3600.0).fresh("battery_soc_kwh") == pytest.approx(605.6, abs=0.6)


def test_last_value_of_the_feed_is_kept_beside_the_calculated_one() -> None:
    assert after(180, 200.0).replaced == {"battery_soc_kwh": Measured(500.0, NOW_MS)}


def test_value_that_arrives_replaces_what_was_calculated() -> None:
    known = update_stored_energy(None, BATTERY, image(NOW_MS, Measured(500.0, NOW_MS), 200.0), None)
    later = image(NOW_MS + CYCLE_MS, Measured(470.0, NOW_MS + CYCLE_MS), 200.0)
    known = update_stored_energy(known, BATTERY, later, None)
    assert known is not None
    assert with_stored_energy(later, {"battery": known}, SITE) == later


def test_nothing_is_known_after_a_gap_between_cycles() -> None:
    soc = Measured(500.0, NOW_MS)
    known = update_stored_energy(None, BATTERY, image(NOW_MS, soc, 200.0), None)
    assert update_stored_energy(known, BATTERY, image(NOW_MS + 3_600_000, soc, 200.0), None) is None
    assert update_stored_energy(known, BATTERY, image(NOW_MS - 1, soc, 200.0), None) is None
    assert update_stored_energy(None, BATTERY, image(NOW_MS + 3_600_000, soc, 200.0), None) is None
    assert update_stored_energy(known, BATTERY, image(NOW_MS, None, 200.0), None) is None


@given(
    powers_kw=st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), max_size=30),
    value_kwh=st.floats(allow_nan=True, allow_infinity=True),
    setpoint_kw=st.one_of(st.none(), st.floats(-200, 200)),
)
def test_calculated_energy_stays_within_the_capacity(
    powers_kw: list[float | None], value_kwh: float, setpoint_kw: float | None
) -> None:
    known, soc = None, Measured(value_kwh, NOW_MS)
    for cycle, power_kw in enumerate(powers_kw):
        measured = image(NOW_MS + CYCLE_MS * cycle, soc, power_kw)
        known = update_stored_energy(known, BATTERY, measured, setpoint_kw)
        if known is not None:
            assert 0.0 <= known.energy_kwh <= BATTERY.capacity_kwh
            assert math.isfinite(known.moved_kwh)
