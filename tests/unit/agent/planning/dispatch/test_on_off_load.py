"""On/off loads in the program, against enumeration.

The block's matrix is fixed and its windows are bounds.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from ringmain_agent.site.hours import ALWAYS, LocalHours
from ringmain_agent.site.nameplates import OnOffLoad
from ringmain_agent.snapshot import LoadUsage
from support.one_load import HOUR_MS, MIDNIGHT_MS, at_ms, make_problem, on_off

Array = npt.NDArray[np.float64]


def _best_runs(
    load: OnOffLoad, allowed: Sequence[bool], *, was_on: bool, forced: int, due: int, starts: int, price: Array
) -> float:
    """Cost of the best of all on/off sequences, for one window of hourly steps."""
    run_steps, best = max(int(load.run_min_h), 1), np.inf
    most = max(due, forced, run_steps if due else 0)
    for on in product((0, 1), repeat=len(price)):
        if any(on[i] and not allowed[i] and i >= forced for i in range(len(on))) or not all(on[:forced]):
            continue
        begun = [i for i in range(len(on)) if on[i] and not (on[i - 1] if i else was_on)]
        whole = all(i + run_steps <= len(on) and all(on[i : i + run_steps]) for i in begun)
        if sum(on) > most or len(begun) > starts or not whole:
            continue
        energy = float(np.dot(on, price)) * load.power_kw
        best = min(best, energy + max(due - sum(on), 0) * load.power_kw * load.missing_per_kwh)
    return best


@pytest.mark.parametrize("run_min_h", [0.0, 2.0, 3.0])
@pytest.mark.parametrize("starts_max", [None, 1, 2])
def test_on_off_load_is_as_good_as_the_best_of_all_sequences(run_min_h: float, starts_max: int | None) -> None:
    """Ten hours that end with the horizon, at many states of the current run and prices of both signs."""
    hours = LocalHours(begin="08:00", end="18:00")
    load = on_off(10, run_h=4.0, run_min_h=run_min_h, starts_max=starts_max, hours=hours)
    (equipment,) = load.site.on_off_loads
    random = np.random.default_rng(7)
    for _ in range(25):
        was_on, had = bool(random.integers(2)), int(random.integers(5))
        been_h = int(random.integers(1, 4))
        starts = int(random.integers(2)) + int(was_on)
        run = LoadUsage(on=was_on, since_ms=at_ms("08:00") - been_h * HOUR_MS, run_h=had, starts=starts)
        price = random.uniform(-0.5, 1.5, 10)
        problem = make_problem(load.site, at_ms("08:00"), runs={"pump": run})
        power_kw, cost = load.solve(problem, price)
        forced = max(int(run_min_h) - been_h, 0) if was_on else 0
        left = max(starts_max - starts, 0) if starts_max is not None else 10
        expected = _best_runs(equipment, [True] * 10, was_on=was_on, forced=forced, due=4 - had, starts=left, price=price)
        assert cost == pytest.approx(expected, abs=1e-4)
        assert set(power_kw.round(9)) <= {0.0, 3.0}


def test_a_run_that_has_begun_is_finished_outside_its_hours() -> None:
    load = on_off(24, run_min_h=4.0, hours=LocalHours(begin="10:00", end="12:00"))
    run = LoadUsage(on=True, since_ms=at_ms("04:00"), run_h=1.0)
    power_kw, _ = load.solve(make_problem(load.site, at_ms("05:00"), runs={"pump": run}), np.full(24, 0.1))
    assert power_kw[:3] == pytest.approx([3.0] * 3)
    assert power_kw[3:].max() == pytest.approx(0.0)  # four hours do not fit into the two that are allowed


def test_a_run_rather_lasts_longer_than_its_hours_are_missed() -> None:
    load = on_off(24, run_h=1.0, run_min_h=3.0, hours=LocalHours(begin="06:00", end="20:00"))
    power_kw, _ = load.solve(make_problem(load.site, MIDNIGHT_MS), np.full(24, 0.1))
    assert np.count_nonzero(power_kw) == 3


@pytest.mark.parametrize(("end", "running"), [("24:00", 0), ("02:00", 2)])
def test_a_run_that_ends_after_the_horizon_must_lie_within_its_hours(end: str, running: int) -> None:
    """A run of three hours has room only in hours that go on; then two of its hours are seen, and due."""
    load = on_off(2, run_h=4.0, run_min_h=3.0, hours=LocalHours(begin="20:00", end=end))
    power_kw, _ = load.solve(make_problem(load.site, at_ms("22:00")), [0.2, 0.1])
    assert np.count_nonzero(power_kw) == running


def test_starts_of_the_hours_that_run_now_are_used_up() -> None:
    load = on_off(24, starts_max=1, missing_per_kwh=2.0)
    used = {"pump": LoadUsage(starts=1, run_h=1.0)}
    power_kw, cost = load.solve(make_problem(load.site, MIDNIGHT_MS, runs=used), np.full(24, 0.1))
    assert power_kw.max() == pytest.approx(0.0)
    assert cost == pytest.approx(2.0 * 3.0)


@pytest.mark.parametrize(("hours", "power_kw"), [(4.0, 3.0), (0.0, 0.75)])
def test_deferrable_on_off_load_of_emhass_takes_exactly_its_energy(hours: float, power_kw: float) -> None:
    """Energy is power times hours, in any steps of a day that begins at midnight, also at negative prices."""
    load = on_off(48, step_s=1800, power_kw=power_kw, run_h=hours, hours=ALWAYS)
    price = np.random.default_rng(3).uniform(-0.1, 0.3, 48)
    planned_kw, cost = load.solve(make_problem(load.site, MIDNIGHT_MS), price)
    steps = round(2 * hours)
    assert planned_kw.sum() / 2 == pytest.approx(power_kw * hours, abs=1e-9)
    assert cost == pytest.approx(np.sort(price)[:steps].sum() * power_kw / 2, abs=1e-6)
    assert set(planned_kw) <= {0.0, power_kw}
