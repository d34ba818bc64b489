"""Thermal loads in the program: kept in their band with the least energy, by the nameplate's own equation."""

import numpy as np
import pytest

from support.one_load import MIDNIGHT_MS, make_problem, room


def test_room_is_kept_in_its_band_with_the_least_energy() -> None:
    """In the end it is at the lower edge, and the temperature is that of the nameplate's own equation."""
    load = room(24)
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, temperature_degc={"room": 20.0}), np.full(24, 0.1))
    (equipment,) = load.site.thermal_loads
    now_degc = 20.0
    assert load.temperature_degc is not None
    for step in range(24):
        now_degc = equipment.after_degc(now_degc, power_kw[step], equipment.ambient_degc, 1.0)
        assert load.temperature_degc[step] == pytest.approx(now_degc, abs=1e-6)
        assert 19.0 - 1e-6 <= now_degc <= 22.0 + 1e-6
    assert now_degc == pytest.approx(19.0)


def test_room_is_heated_before_energy_is_dear() -> None:
    load = room(8)
    price = [0.1] * 4 + [0.9] * 4
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, temperature_degc={"room": 19.0}), price)
    assert load.temperature_degc is not None
    assert load.temperature_degc[3] > 20.5
    assert power_kw[4:].max() == pytest.approx(0.0)


def test_temperature_outside_its_band_is_brought_back() -> None:
    """Six degrees too cold: at full power until it is warm enough, and no longer."""
    load = room(24, discomfort_per_k_h=5.0)
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, temperature_degc={"room": 5.0}), np.full(24, 0.1))
    (equipment,) = load.site.thermal_loads
    now_degc, full = 5.0, 0
    while equipment.after_degc(now_degc, 5.0, 10.0, 1.0) < 19.0:
        now_degc, full = equipment.after_degc(now_degc, 5.0, 10.0, 1.0), full + 1
    assert full > 0
    assert power_kw[:full] == pytest.approx(np.full(full, 5.0))
    assert load.temperature_degc is not None
    assert load.temperature_degc[full:] == pytest.approx(np.full(24 - full, 19.0))


def test_room_too_warm_is_not_heated() -> None:
    load = room(6)
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, temperature_degc={"room": 90.0}), np.full(6, -0.05))
    assert power_kw == pytest.approx(np.zeros(6))


def test_cold_store_is_cooled() -> None:
    load = room(6, cools=True, temperature_min_degc=-22.0, temperature_max_degc=-18.0, ambient_degc=20.0)
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, temperature_degc={"room": -18.0}), np.full(6, 0.1))
    assert load.temperature_degc is not None
    assert power_kw == pytest.approx(np.full(6, 38 * 0.1 / 3.0))
    assert load.temperature_degc == pytest.approx(np.full(6, -18.0))


def test_series_of_the_surroundings_is_used() -> None:
    load = room(6)
    ambient = {"room": np.array([19.0, 19.0, 19.0, 9.0, 9.0, 9.0])}
    problem = make_problem(load.site, MIDNIGHT_MS, ambient, temperature_degc={"room": 19.0})
    power_kw, _ = load.solve(problem, np.full(6, 0.1))
    assert power_kw[:3].sum() < 1e-6 or power_kw.sum() == pytest.approx(1.0)
    assert power_kw.sum() == pytest.approx(3 * 10 * 0.1 / 3.0)


@pytest.mark.parametrize("temperature", [{}, {"room": None}, {"room": float("nan")}, {"room": 1e7}])
def test_load_without_a_temperature_rests(temperature: dict[str, float | None]) -> None:
    """And is planned again as soon as there is one."""
    load = room(6)
    power_kw, cost = load.solve(make_problem(load.site, MIDNIGHT_MS, temperature_degc=temperature), np.full(6, 0.1))
    assert power_kw == pytest.approx(np.zeros(6))
    assert cost == pytest.approx(0.0)
    assert load.temperature_degc is None
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, temperature_degc={"room": 19.0}), np.full(6, 0.1))
    assert power_kw.min() > 0
