"""The simulated battery: energy, limits, expiry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_simulation.battery import Battery, BatteryDesign, Command

DESIGN = BatteryDesign(
    capacity_kwh=1000.0,
    charge_max_kw=500.0,
    discharge_max_kw=400.0,
    charge_efficiency=0.9,
    discharge_efficiency=0.8,
    soc_start_pu=0.5,
)
HOUR_MS = 3_600_000


def _charged(power_kw: float, *, hours: float, valid_h: float) -> tuple[Battery, float]:
    battery = Battery(DESIGN)
    battery.command = Command(power_kw, round(valid_h * HOUR_MS))
    return battery, battery.advance(0, round(hours * HOUR_MS))


def test_charging_stores_less_and_discharging_takes_more_than_what_flows() -> None:
    assert pytest.approx(_charged(100.0, hours=1, valid_h=2)[0].soc_kwh) == 500 + 0.9 * 100
    assert pytest.approx(_charged(-100.0, hours=1, valid_h=2)[0].soc_kwh) == 500 - 100 / 0.8


@given(st.lists(st.tuples(st.floats(-400, 500), st.integers(1, 4 * HOUR_MS), st.integers(1, 8 * HOUR_MS)), max_size=30))
def test_energy_stays_within_its_limits_and_balances_with_what_flowed(steps: list[tuple[float, int, int]]) -> None:
    battery, now_ms, stored_kwh = Battery(DESIGN), 0, 500.0
    for power_kw, duration_ms, valid_ms in steps:
        battery.command = Command(power_kw, now_ms + valid_ms)
        mean_kw = battery.advance(now_ms, now_ms + duration_ms)
        now_ms += duration_ms
        flowed_kwh = mean_kw * duration_ms / HOUR_MS
        stored_kwh += flowed_kwh * 0.9 if flowed_kwh > 0 else flowed_kwh / 0.8
        assert stored_kwh == pytest.approx(battery.soc_kwh, abs=1e-6)
        assert 50 - 1e-6 <= battery.soc_kwh <= 950 + 1e-6
        assert -400 <= mean_kw <= 500


def test_setpoint_is_let_go_when_it_expires_within_an_interval() -> None:
    battery, mean_kw = _charged(-100.0, hours=1, valid_h=0.25)
    assert pytest.approx(mean_kw) == -25.0
    assert battery.advance(HOUR_MS, 2 * HOUR_MS) == 0.0


def test_stuck_battery_goes_on_and_hears_nothing() -> None:
    battery, _ = _charged(-100.0, hours=0.5, valid_h=0.6)
    battery.command = Command(200.0, 9 * HOUR_MS)
    assert battery.advance(HOUR_MS // 2, HOUR_MS, stuck=True) == -100.0


def test_power_beyond_the_nameplate_is_not_accepted() -> None:
    battery = Battery(DESIGN)
    assert battery.accepts(500.0)
    assert battery.accepts(-400.0)
    assert not battery.accepts(500.1)
    assert not battery.accepts(-400.1)
