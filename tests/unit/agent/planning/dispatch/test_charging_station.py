"""Charging stations in the program: every vehicle has its energy when it leaves, as far as that can be."""

import numpy as np
import pytest

from ringmain_agent.snapshot import ChargingSession
from support.one_load import HOUR_MS, MIDNIGHT_MS, at_ms, charger, make_problem


def test_vehicle_has_its_energy_when_it_leaves() -> None:
    """Eight kWh wanted are ten at the grid side, and those after the departure do not help, however cheap."""
    load = charger(12)
    visit = ChargingSession(from_ms=MIDNIGHT_MS, to_ms=at_ms("04:30"), energy_kwh=8.0)
    price = [0.5, 0.4, 0.3, 0.2, 0.1, *[0.0] * 7]
    power_kw, cost = load.solve(make_problem(load.site, MIDNIGHT_MS, visits={"charger": [visit]}), price)
    assert power_kw == pytest.approx([0.0] * 3 + [10.0] + [0.0] * 8)
    assert cost == pytest.approx(2.0)


def test_several_vehicles_get_each_its_own_energy() -> None:
    load = charger(12)
    stays = [(at_ms("06:00"), at_ms("09:00"), 16.0), (MIDNIGHT_MS, at_ms("05:00"), 4.0)]
    found = [ChargingSession(from_ms=begin, to_ms=end, energy_kwh=kwh) for begin, end, kwh in stays]
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, visits={"charger": found}), np.full(12, 0.1))
    assert power_kw[:5].sum() == pytest.approx(5.0)
    assert power_kw[6:9].sum() == pytest.approx(20.0)
    assert power_kw.sum() == pytest.approx(25.0)


def test_vehicle_that_leaves_too_early_gets_what_it_can() -> None:
    load = charger(12, missing_per_kwh=2.0)
    visit = ChargingSession(from_ms=MIDNIGHT_MS, to_ms=at_ms("02:00"), energy_kwh=50.0)
    power_kw, cost = load.solve(make_problem(load.site, MIDNIGHT_MS, visits={"charger": [visit]}), np.full(12, 0.5))
    assert power_kw == pytest.approx([10.0, 10.0] + [0.0] * 10)
    assert cost == pytest.approx(0.5 * 20 + 2.0 * (50 - 16))


def test_vehicle_that_leaves_within_the_first_step_charges_in_it() -> None:
    load = charger(12)
    visit = ChargingSession(from_ms=MIDNIGHT_MS + 4000, to_ms=at_ms("00:20"), energy_kwh=50.0)
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, visits={"charger": [visit]}), np.full(12, 0.5))
    assert power_kw == pytest.approx([10.0] + [0.0] * 11)


@pytest.mark.parametrize(("arrival", "first"), [("00:50", 0), ("01:00", 1), ("01:30", 1), ("01:31", 2)])
def test_vehicle_is_charged_from_the_step_of_which_it_is_there_half(arrival: str, first: int) -> None:
    """One that is there now is charged now, however little is left of the step."""
    load = charger(12)
    visit = ChargingSession(from_ms=at_ms(arrival), to_ms=at_ms("12:00"), energy_kwh=500.0)
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, visits={"charger": [visit]}), np.full(12, 0.5))
    assert power_kw == pytest.approx([0.0] * first + [10.0] * (12 - first))


def test_vehicle_that_stays_beyond_the_horizon_gets_its_share_within() -> None:
    load = charger(12)
    visit = ChargingSession(from_ms=MIDNIGHT_MS, to_ms=MIDNIGHT_MS + 16 * HOUR_MS, energy_kwh=32.0)
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, visits={"charger": [visit]}), np.full(12, 0.5))
    assert power_kw.sum() == pytest.approx(32.0 / 0.8 * 12 / 16)


def test_charger_is_off_or_above_its_least_power() -> None:
    """Eleven kWh at the grid side, at least 6 kW when on: two hours, of which the cheaper one has as much as it can."""
    load = charger(4, power_min_kw=6.0)
    visit = ChargingSession(from_ms=MIDNIGHT_MS, to_ms=at_ms("04:00"), energy_kwh=0.8 * 13.0)
    price = [0.4, 0.1, 0.3, 0.2]
    power_kw, cost = load.solve(make_problem(load.site, MIDNIGHT_MS, visits={"charger": [visit]}), price)
    assert power_kw == pytest.approx([0.0, 7.0, 0.0, 6.0])
    assert cost == pytest.approx(0.7 + 1.2)


def test_last_of_the_energy_comes_at_the_least_power() -> None:
    """A charger that is on for less than a step gives less; left alone the vehicle would never be full."""
    load = charger(4, power_min_kw=6.0)
    visit = ChargingSession(from_ms=MIDNIGHT_MS, to_ms=at_ms("04:00"), energy_kwh=1.0)
    problem = make_problem(load.site, MIDNIGHT_MS, visits={"charger": [visit]})
    power_kw, _ = load.solve(problem, [0.4, 0.1, 0.3, -0.2])
    assert power_kw == pytest.approx([0.0, 0.0, 0.0, 6.0])


@pytest.mark.parametrize("absurd_kwh", [float("nan"), float("inf"), -3.0])
def test_absurd_wish_of_a_vehicle_is_no_wish(absurd_kwh: float) -> None:
    load = charger(4)
    visit = ChargingSession(from_ms=MIDNIGHT_MS, to_ms=at_ms("04:00"), energy_kwh=absurd_kwh)
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, visits={"charger": [visit]}), np.full(4, 0.1))
    assert power_kw == pytest.approx(np.zeros(4))
