"""The true plant: powers add up, setpoints end, and the reachable range is that of the obeying equipment."""

import numpy as np
import pytest
from benchmarks.failsafe.plant import Manner, Plant
from benchmarks.failsafe.site import BATTERY, CHARGERS, PV, designs

from ringmain_simulation.replay import Replay

IMPORT, EXPORT, *_ = designs()
MINUTES = 10


def plant(design: object = IMPORT) -> Plant:
    ones = np.ones(MINUTES)
    record = Replay(0, 900 * ones, -100 * ones, 10 * ones, (True,))
    return Plant(design, record, load_scale=1.0, sun_scale=1.0)  # type: ignore[arg-type]


def test_the_connection_has_the_sum_of_all_powers() -> None:
    made = plant()
    made.receive(BATTERY, -200.0, 30.0)
    made.receive(PV, None, 30.0)
    truth = made.advance()
    assert truth.powers_kw == {BATTERY: -200.0, PV: -100.0} | dict.fromkeys(CHARGERS, 0.0)
    assert truth.pcc_kw == pytest.approx(600.0)
    assert truth.reachable == (900 - 600 - 100, 900 + 600 + 2 * 100)


def test_a_setpoint_ends_after_its_validity() -> None:
    made = plant()
    made.receive(BATTERY, -500.0, 2.0)
    powers = [made.advance().powers_kw[BATTERY] for _ in range(3)]
    assert powers == [-500.0, -500.0, IMPORT.when_silent_kw[BATTERY]]


def test_equipment_that_stays_keeps_its_power_and_leaves_the_reachable_range() -> None:
    made = plant()
    made.receive(BATTERY, 300.0, 60.0)
    made.advance()
    made.manner[BATTERY] = Manner.STAYS
    made.receive(BATTERY, -600.0, 60.0)
    truth = made.advance()
    assert truth.powers_kw[BATTERY] == 300.0
    assert truth.reachable == (900 + 300 - 100, 900 + 300 + 2 * 100)


def test_a_battery_that_opposes_charges_where_it_should_discharge() -> None:
    made = plant()
    made.manner[BATTERY] = Manner.OPPOSES
    made.receive(BATTERY, -400.0, 60.0)
    assert made.advance().powers_kw[BATTERY] == 400.0


def test_silent_equipment_falls_back_to_its_own_power() -> None:
    made = plant(EXPORT)
    made.receive(PV, None, 5.0)
    made.manner[PV] = Manner.SILENT
    made.receive(PV, None, 60.0)
    powers = [made.advance().powers_kw[PV] for _ in range(6)]
    assert powers == [-100.0] * 5 + [0.0]


def test_energy_is_that_of_the_power_and_a_full_charger_gets_its_next_vehicle() -> None:
    made = plant()
    made.receive(BATTERY, 360.0, 60.0)
    before = made.soc_kwh
    made.advance()
    assert made.soc_kwh - before == pytest.approx(0.095)
    made.wanted_kwh[CHARGERS[0]] = 0.001
    made.receive(CHARGERS[0], 100.0, 60.0)
    made.advance()
    assert made.wanted_kwh[CHARGERS[0]] == 60.0
