"""Flexible loads in the program, for every position of the clock, against a program built directly.

The block's matrix is fixed and its windows are bounds; the program built directly has a row for each window instead.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace
from scipy.optimize import Bounds, LinearConstraint, milp  # type: ignore[import-untyped]

from ringmain_agent.site.hours import ALWAYS, LocalHours
from ringmain_agent.site.nameplates import FlexibleLoad
from ringmain_agent.snapshot import LoadUsage
from support.one_load import HOUR_MS, MIDNIGHT_MS, OneLoad, at_ms, flexible, make_problem

Array = npt.NDArray[np.float64]


def test_flexible_load_takes_its_energy_in_the_cheapest_steps() -> None:
    load = flexible(24)
    price = np.array([5.0, 1.0, 2.0, 4.0] * 6) / 10
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS), price)
    assert power_kw.sum() == pytest.approx(6.0)
    assert set(np.flatnonzero(power_kw > 1e-6) % 4) == {1}


def test_flexible_load_takes_no_more_when_energy_is_given_away() -> None:
    load = flexible(24)
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS), np.full(24, -0.5))
    assert power_kw.sum() == pytest.approx(6.0)


def test_what_was_drawn_in_the_hours_that_run_now_is_not_drawn_again() -> None:
    """And the hours of the next day want all of it: their share within the horizon is 10 of 24 hours."""
    load = flexible(24)
    problem = make_problem(load.site, at_ms("10:00"), runs={"washing": LoadUsage(drawn_kwh=4.5)})
    power_kw, _ = load.solve(problem, np.full(24, 0.1))
    assert power_kw[:14].sum() == pytest.approx(1.5)
    assert power_kw[14:].sum() == pytest.approx(6.0 * 10 / 24)


def test_what_was_drawn_before_the_hours_begin_does_not_count() -> None:
    load = flexible(24, hours=LocalHours(begin="12:00", end="16:00"))
    problem = make_problem(load.site, at_ms("10:00"), runs={"washing": LoadUsage(drawn_kwh=4.5)})
    power_kw, _ = load.solve(problem, np.full(24, 0.1))
    assert power_kw[2:6].sum() == pytest.approx(6.0)
    assert power_kw.sum() == pytest.approx(6.0)


def test_energy_that_cannot_be_delivered_is_delivered_as_far_as_possible() -> None:
    load = flexible(24, hours=LocalHours(begin="00:00", end="02:00"), energy_kwh=20.0, missing_per_kwh=1.0)
    power_kw, cost = load.solve(make_problem(load.site, at_ms("01:00")), np.full(24, 0.1))
    assert power_kw[0] == pytest.approx(4.0)
    assert power_kw[1:23].max() == pytest.approx(0.0)
    assert power_kw[23] == pytest.approx(4.0)  # the first of the next day's two hours, of which one lies in the horizon
    assert cost == pytest.approx(0.1 * 8 + 1.0 * (16 + 6))


def test_energy_dearer_than_its_absence_is_not_bought() -> None:
    load = flexible(24, missing_per_kwh=0.2)
    power_kw, cost = load.solve(make_problem(load.site, MIDNIGHT_MS), np.full(24, 0.3))
    assert power_kw.max() == pytest.approx(0.0)
    assert cost == pytest.approx(0.2 * 6.0)


def _flexible_directly(load: FlexibleLoad, windows: Sequence[tuple[list[int], float]], price: Array) -> float:
    """Cost of the best plan of a program with one row for each window, of hourly steps."""
    count, parts = len(price), len(windows)
    inside = np.zeros(count)
    delivered = np.zeros((parts, 2 * count + 2 * parts))
    for row, (steps, _) in enumerate(windows):
        inside[steps] = 1
        delivered[row, steps], delivered[row, 2 * count + row], delivered[row, 2 * count + parts + row] = 1, 1, -1
    least, most = (
        np.hstack([np.eye(count), -kw * np.eye(count), np.zeros((count, 2 * parts))])
        for kw in (load.power_min_kw, load.power_max_kw)
    )
    due = [kwh for _, kwh in windows]
    more_kwh = np.maximum(load.power_min_kw - np.array(due), 0.0)  # the least that can come in an hour
    answer = milp(
        np.concatenate([price, np.zeros(count), np.full(parts, load.missing_per_kwh), np.zeros(parts)]),
        constraints=[
            LinearConstraint(delivered, due, due),
            LinearConstraint(least, 0, np.inf),
            LinearConstraint(most, -np.inf, 0),
        ],
        bounds=Bounds(0, np.concatenate([inside * load.power_max_kw, inside, np.full(parts, np.inf), more_kwh])),
        integrality=np.concatenate([np.zeros(count), np.ones(count), np.zeros(2 * parts)]),
    )
    assert answer.success
    return float(answer.fun)


@pytest.mark.parametrize("power_min_kw", [0.0, 1.5])
def test_one_matrix_serves_every_position_of_the_clock(power_min_kw: float) -> None:
    """Hours over midnight that move through the horizon, in one program, against a program built for each position."""
    hours = LocalHours(begin="21:00", end="03:00")
    load = flexible(24, hours=hours, power_min_kw=power_min_kw)
    (equipment,) = load.site.flexible_loads
    random = np.random.default_rng(5)
    for now in range(24):
        clock = [(now + index) % 24 for index in range(24)]
        inside = [index for index in range(24) if clock[index] >= 21 or clock[index] < 3]
        first = [index for index in inside if index < inside[0] + 6 and index - inside[0] == inside.index(index)]
        second = [index for index in inside if index not in first]
        drawn_kwh = float(random.uniform(0, 5)) if inside[0] == 0 else 0.0
        windows = [(first, 6.0 - drawn_kwh)]
        if second:
            windows.append((second, 6.0 * len(second) / 6))
        elif inside[-1] == 23:
            windows = [(first, (6.0 - drawn_kwh) * len(first) / 6)]
        price = random.uniform(-0.3, 1.2, 24)
        problem = make_problem(load.site, MIDNIGHT_MS + now * HOUR_MS, runs={"washing": LoadUsage(drawn_kwh=drawn_kwh)})
        power_kw, cost = load.solve(problem, price)
        assert cost == pytest.approx(_flexible_directly(equipment, windows, price), abs=1e-4), now
        for steps, due_kwh in windows:
            assert power_kw[steps].sum() <= max(due_kwh, power_min_kw) + 1e-6
        assert power_kw[[index for index in range(24) if index not in inside]].max(initial=0.0) == pytest.approx(0.0)
        if power_min_kw:
            assert not ((power_kw > 1e-6) & (power_kw < power_min_kw - 1e-6)).any()


def test_hours_on_the_day_the_clock_is_set_back_have_an_hour_more() -> None:
    """Amsterdam, 2020-10-25: local midnight to midnight are 25 hours, and all of the energy is due in them."""
    load = flexible(25, energy_kwh=100.0)
    load = OneLoad(replace(load.site, time_zone="Europe/Amsterdam"))
    power_kw, cost = load.solve(make_problem(load.site, 1_603_576_800_000), np.full(25, 0.1))
    assert power_kw == pytest.approx(np.full(25, 4.0))
    assert cost == pytest.approx(10.0)


def test_deferrable_flexible_load_of_emhass_takes_exactly_its_energy() -> None:
    """Energy is power times hours, in any steps of a day that begins at midnight, also at negative prices."""
    load = flexible(48, step_s=1800, power_max_kw=3.0, energy_kwh=12.0, hours=ALWAYS)
    price = np.random.default_rng(3).uniform(-0.1, 0.3, 48)
    planned_kw, cost = load.solve(make_problem(load.site, MIDNIGHT_MS), price)
    assert planned_kw.sum() / 2 == pytest.approx(12.0, abs=1e-9)
    assert cost == pytest.approx(np.sort(price)[:8].sum() * 3.0 / 2, abs=1e-6)
