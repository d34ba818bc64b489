"""Loads in the program: what they get, for every position of the clock, against enumeration and a program built directly.

The blocks' matrix is fixed and their windows are bounds; the program built directly has a row for each window instead.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace
from scipy.optimize import Bounds, LinearConstraint, milp  # type: ignore[import-untyped]

from ringmain_agent.planning.dispatch.block import Block, Parts, Prices
from ringmain_agent.planning.dispatch.blocks import load_blocks
from ringmain_agent.planning.dispatch.linear_program import LinearProgram
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.hours import ALWAYS, LocalHours
from ringmain_agent.site.nameplates import ChargingStation, FlexibleLoad, OnOffLoad, ThermalLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ChargingSession, LoadUsage, Snapshot

Array = npt.NDArray[np.float64]

MIDNIGHT_MS = 1_604_188_800_000  # 2020-11-01T00:00:00Z
HOUR_MS = 3_600_000
TIE = 1e-6
"""Decides between plans of equal cost; not part of the costs that are compared."""


def at_ms(clock: str, day: int = 1) -> int:
    """An instant of November 2020."""
    hour, minute = clock.split(":")
    return round(datetime(2020, 11, day, int(hour), int(minute), tzinfo=UTC).timestamp() * 1000)


def make_site(steps: int, *, step_s: int = 3600, **equipment: Any) -> Site:
    connection = GridConnection(import_limit_kw=100.0, export_limit_kw=100.0)
    return Site(site="site-1", grid_connection=connection, step_s=step_s, horizon_steps=steps, **equipment)


def make_problem(
    site: Site, issued_at_ms: int, ambient_degc: dict[str, Array] | None = None, **known: Any
) -> DispatchProblem:
    zero = np.zeros(site.horizon_steps)
    snapshot = Snapshot(
        issued_at_ms=issued_at_ms,
        step_s=site.step_s,
        history={},
        known_future={},
        import_limit_kw=zero.tolist(),
        export_limit_kw=zero.tolist(),
        soc_kwh={},
        **known,
    )
    return DispatchProblem(
        snapshot=snapshot,
        load_kw=zero,
        load_kvar=zero,
        available_kw={},
        net_high_kw=zero,
        import_ceiling_kw=zero,
        export_ceiling_kw=zero,
        import_price_per_kwh=zero,
        export_price_per_kwh=zero,
        ambient_degc=ambient_degc or {},
    )


class OneLoad:
    """The program of a site with one load and nothing else; kept over several problems, as in the planner."""

    def __init__(self, site: Site) -> None:
        self.site, self.program = site, LinearProgram()
        self.block: Block
        (self.block,) = load_blocks(self.program, site)
        (self.equipment,) = site.controllable_loads
        self.program.build()

    def solve(self, problem: DispatchProblem, price_per_kwh: Sequence[float] | Array) -> tuple[Array, float]:
        """Power in each step, and the cost of its energy and of what is missing."""
        self.program.cost[:] = 0.0
        self.block.write(problem, Prices(1000.0, 1.0, 0.0, TIE))
        ties = np.concatenate([term.columns for term in self.block.active])
        tie_cost = self.program.cost[ties].copy()
        for term in self.block.active:
            self.program.cost[term.columns] += np.array(price_per_kwh) * self.site.step_h * term.value
        solution = self.program.solve(time_limit_s=20.0)
        assert solution.optimal
        parts = Parts()
        self.block.read(solution.values, parts)
        self.temperature_degc = parts.temperature_degc.get(self.equipment.name)
        return parts.power_kw[self.equipment.name], solution.objective - float(tie_cost @ solution.values[ties])


def flexible(steps: int, *, step_s: int = 3600, **fields: Any) -> OneLoad:
    given = {"power_max_kw": 4.0, "energy_kwh": 6.0} | fields
    return OneLoad(make_site(steps, step_s=step_s, flexible_loads=(FlexibleLoad(name="washing", **given),)))


def on_off(steps: int, *, step_s: int = 3600, **fields: Any) -> OneLoad:
    given = {"power_kw": 3.0, "run_h": 2.0} | fields
    return OneLoad(make_site(steps, step_s=step_s, on_off_loads=(OnOffLoad(name="pump", **given),)))


def charger(steps: int, *, step_s: int = 3600, **fields: Any) -> OneLoad:
    given = {"power_max_kw": 10.0, "efficiency": 0.8} | fields
    return OneLoad(make_site(steps, step_s=step_s, charging_stations=(ChargingStation(name="charger", **given),)))


def room(steps: int, *, step_s: int = 3600, **fields: Any) -> OneLoad:
    given = {
        "power_max_kw": 5.0,
        "capacity_kwh_per_k": 2.0,
        "loss_kw_per_k": 0.1,
        "temperature_min_degc": 19.0,
        "temperature_max_degc": 22.0,
        "performance": 3.0,
    } | fields
    return OneLoad(make_site(steps, step_s=step_s, thermal_loads=(ThermalLoad(name="room", **given),)))


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


@pytest.mark.parametrize("kind", [flexible, on_off, charger, room])
def test_a_load_that_does_not_follow_stays_where_it_is(kind: Callable[..., OneLoad]) -> None:
    """Also at a power beyond its nameplate, and afterwards it is planned as before."""
    load = kind(24)
    name = load.equipment.name
    before, _ = load.solve(make_problem(load.site, MIDNIGHT_MS), np.full(24, 0.1))
    stuck, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, unresponsive_kw={name: 12.3}), np.full(24, 0.1))
    after, _ = load.solve(make_problem(load.site, MIDNIGHT_MS), np.full(24, 0.1))
    assert stuck == pytest.approx(np.full(24, 12.3))
    assert after == pytest.approx(before)


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


@pytest.mark.parametrize(
    ("kind", "hours", "power_kw"), [("on_off", 4.0, 3.0), ("on_off", 0.0, 0.75), ("flexible", 4.0, 3.0)]
)
def test_deferrable_loads_of_emhass_take_exactly_their_energy(kind: str, hours: float, power_kw: float) -> None:
    """Energy is power times hours, in any steps of a day that begins at midnight, also at negative prices."""
    if kind == "on_off":
        load = on_off(48, step_s=1800, power_kw=power_kw, run_h=hours, hours=ALWAYS)
    else:
        load = flexible(48, step_s=1800, power_max_kw=power_kw, energy_kwh=power_kw * hours, hours=ALWAYS)
    price = np.random.default_rng(3).uniform(-0.1, 0.3, 48)
    planned_kw, cost = load.solve(make_problem(load.site, MIDNIGHT_MS), price)
    steps = round(2 * hours)
    assert planned_kw.sum() / 2 == pytest.approx(power_kw * hours, abs=1e-9)
    assert cost == pytest.approx(np.sort(price)[:steps].sum() * power_kw / 2, abs=1e-6)
    if kind == "on_off":
        assert set(planned_kw) <= {0.0, power_kw}


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


def test_integers_only_where_something_is_discrete() -> None:
    """Starts of an on/off load and loads without a least power need none."""
    assert [load.program.integer_count for load in (flexible(24), charger(24), room(24))] == [0, 0, 0]
    assert [load.program.integer_count for load in (flexible(24, power_min_kw=1.0), charger(24, power_min_kw=1.0))] == [
        24,
        24,
    ]
    assert on_off(24, run_min_h=2.0, starts_max=2).program.integer_count == 24
