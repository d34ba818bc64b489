"""A simulated substation: power balance, sensors, expiry, faults, violations."""

import numpy as np
import pytest

from ringmain_protocol.steps import Reading
from ringmain_simulation.battery import BatteryDesign
from ringmain_simulation.replay import Replay
from ringmain_simulation.site import SIGNALS, Fault, FaultKind, SimulatedSite, SiteDesign

STEP_MS = 900_000
STEPS = 8
LOAD_KW = (1000.0,) * STEPS


def _site(load_kw: tuple[float, ...] = LOAD_KW, *, hole: int | None = None) -> SimulatedSite:
    design = SiteDesign(
        site="test",
        import_limit_kw=1100.0,
        export_limit_kw=5000.0,
        margin_kw=10.0,
        pv_rated_power_kw=500.0,
        battery=BatteryDesign(capacity_kwh=1000.0, charge_max_kw=500.0, discharge_max_kw=500.0),
    )
    minutes = STEPS * 15
    record = Replay(
        start_ms=0,
        load_kw=np.repeat(np.array(load_kw), 15),
        pv_available_kw=np.full(minutes, -200.0),
        temperature_degc=np.linspace(5.0, 6.0, minutes),
        load_known=tuple(step != hole for step in range(STEPS)),
    )
    return SimulatedSite(design, record)


def _values(readings: list[Reading], signal: str) -> list[float]:
    return [reading.value for reading in readings if reading.signal == signal and reading.value is not None]


def test_power_at_the_connection_is_the_sum_of_load_and_equipment() -> None:
    site = _site()
    site.receive("battery", -300.0, 450)
    site.receive("pv", -100.0, 270)
    readings = site.advance(2 * STEP_MS, 180)
    parts = [_values(readings, signal) for signal in ("load_kw", "pv_kw", "battery_kw", "pcc_kw")]
    for load, pv, battery, pcc in zip(*parts, strict=True):
        assert load + pv + battery == pytest.approx(pcc)


def test_reading_is_stamped_with_the_start_of_its_interval_and_energy_is_that_of_its_end() -> None:
    site = _site()
    site.receive("battery", 100.0, 3600)
    readings = site.advance(STEP_MS, 180)
    assert [i * 180_000 for i in range(5) for _ in SIGNALS] == [reading.at_ms for reading in readings]
    assert pytest.approx(_values(readings, "battery_soc_kwh")[-1]) == 700 + 0.95 * 25
    assert pytest.approx(_values(readings, "battery_soc_kwh")[0]) == 700 + 0.95 * 5


def test_every_setpoint_expires_by_itself() -> None:
    site = _site()
    site.receive("battery", -300.0, 360)
    site.receive("pv", -50.0, 450)
    readings = site.advance(STEP_MS, 180)
    assert _values(readings, "battery_kw") == [-300.0, -300.0, 0.0, 0.0, 0.0]
    assert _values(readings, "pv_kw") == [-50.0, -50.0, -125.0, -200.0, -200.0]


def test_release_lets_go_at_once() -> None:
    site = _site()
    site.receive("battery", -300.0, 3600)
    site.receive("pv", 0.0, 3600)
    site.advance(180_000, 180)
    site.receive("battery", None, 0)
    site.receive("pv", None, 0)
    readings = site.advance(360_000, 180)
    assert _values(readings, "battery_kw") == [0.0]
    assert _values(readings, "pv_kw") == [-200.0]


def test_setpoint_beyond_the_nameplate_is_refused_and_counted() -> None:
    site = _site()
    assert not site.receive("battery", -501.0, 600)
    assert not site.receive("pv", 1.0, 600)
    assert site.refused == 2
    assert _values(site.advance(180_000, 180), "battery_kw") == [0.0]


def test_unknown_equipment_is_an_error() -> None:
    with pytest.raises(ValueError, match="no equipment 'heater'"):
        _site().receive("heater", 1.0, 600)


def test_violation_is_a_quarter_hour_mean_above_the_limit_with_and_without_control() -> None:
    site = _site((1000.0, 1310.0, 1310.0, 1300.0, 1299.9, 1500.0, 1000.0, 1000.0))
    site.advance(STEP_MS, 180)
    site.receive("battery", -10.0, 900)  # exactly at the limit is no violation
    site.advance(6 * STEP_MS, 180)
    assert site.violations(0, 8 * STEP_MS) == (2, 3)
    assert site.violations(3 * STEP_MS, 8 * STEP_MS) == (1, 1)


def test_without_control_counts_neither_battery_nor_curtailment() -> None:
    site = _site()
    site.receive("battery", 400.0, 3600)
    site.receive("pv", 0.0, 3600)
    site.advance(STEP_MS, 180)
    assert pytest.approx(site.exchanges[0].pcc_kw) == 1400.0
    assert pytest.approx(site.exchanges[0].uncontrolled_kw) == 800.0


def test_silent_sensor_says_nothing_while_it_is_broken() -> None:
    site = _site()
    site.add_fault(Fault(kind=FaultKind.SILENT_SENSOR, signal="pcc_kw", from_ms=180_000, to_ms=540_000))
    readings = site.advance(STEP_MS, 180)
    assert [reading.at_ms for reading in readings if reading.signal == "pcc_kw"] == [0, 540_000, 720_000]
    assert len(_values(readings, "load_kw")) == 5


def test_stuck_battery_keeps_its_power_whatever_it_is_told() -> None:
    site = _site()
    site.receive("battery", -100.0, 180)
    site.add_fault(Fault(kind=FaultKind.STUCK_BATTERY, from_ms=180_000, to_ms=540_000))
    assert _values(site.advance(STEP_MS, 180), "battery_kw") == [-100.0, -100.0, -100.0, 0.0, 0.0]


def test_refused_setpoint_leaves_the_equipment_as_it_was() -> None:
    site = _site()
    site.receive("battery", -100.0, 3600)
    site.add_fault(Fault(kind=FaultKind.REFUSED_SETPOINT, from_ms=0, to_ms=540_000))
    assert not site.receive("battery", -200.0, 3600)
    assert _values(site.advance(180_000, 180), "battery_kw") == [-100.0]
    assert site.refused == 1


def test_hole_of_the_record_silences_the_load_sensor_only() -> None:
    readings = _site(hole=1).advance(3 * STEP_MS, 900)
    assert [reading.at_ms for reading in readings if reading.signal == "load_kw"] == [0, 2 * STEP_MS]
    assert len(_values(readings, "pcc_kw")) == 3
