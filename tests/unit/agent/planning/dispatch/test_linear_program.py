"""The solver behind its seam: repeated solves, integers, the time limit, and numbers that it must never see."""

import numpy as np
import pytest

from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.dispatch.linear_program import LinearProgram, Term


def knapsack(weights: list[float], values: list[float], *, integer: bool) -> LinearProgram:
    """What is most worth of what can be carried."""
    program = LinearProgram()
    taken = program.columns(len(weights), upper=1.0, integer=integer)
    row = program.rows(Term(taken[:1], weights[0]), upper=10.0)
    for index, weight in enumerate(weights[1:], start=1):
        program.add(row, taken[index : index + 1], np.array([weight]))
    program.build()
    program.cost[taken] = -np.array(values)
    return program


def test_integers_are_whole_and_the_gap_is_closed() -> None:
    """Of 6, 5 and 5 kg with values 7, 5 and 5 the two smaller ones fill the 10 kg; divisible, 6 kg and 4 of 5 kg do."""
    whole = knapsack([6, 5, 5], [7, 5, 5], integer=True).solve(time_limit_s=5.0)
    assert whole.values.tolist() == [0.0, 1.0, 1.0]
    assert (whole.optimal, whole.objective, whole.gap) == (True, -10.0, 0.0)
    divisible = knapsack([6, 5, 5], [7, 5, 5], integer=False).solve(time_limit_s=5.0)
    assert divisible.objective == pytest.approx(-11.0)


@pytest.mark.parametrize("integer", [False, True])
def test_time_of_earlier_solves_is_not_held_against_a_later_one(*, integer: bool) -> None:
    """The planner solves the same program for months: a limit is one of each solve, with integers and without."""
    rng = np.random.default_rng(2)
    program = knapsack(rng.uniform(1, 6, 400).tolist(), [1.0] * 400, integer=integer)
    spent_s, limit_s = 0.0, 0.3
    while spent_s < 2 * limit_s:
        program.cost[:] = -rng.uniform(1, 9, 400)
        solution = program.solve(time_limit_s=limit_s)
        assert solution.optimal, f"after {spent_s} s"
        spent_s += solution.solve_s


def test_no_columns_declared_as_integers_leave_a_linear_program() -> None:
    """Blocks declare them with a count that may be 0; a linear program has no gap."""
    program = LinearProgram()
    x = program.columns(1, upper=1.0)
    program.columns(0, upper=1.0, integer=True)
    program.rows(Term(x, 2.0), upper=1.0)
    program.build()
    program.cost[x] = -1.0
    solution = program.solve(time_limit_s=1.0)
    assert (solution.values.tolist(), solution.optimal, solution.gap) == ([0.5], True, 0.0)
    assert program.integer_count == 0


def test_cost_and_bounds_move_between_solves() -> None:
    program = LinearProgram()
    x = program.columns(2, upper=5.0)
    rows = program.rows(Term(x, 1.0), before=[Term(x, -1.0)], lower=1.0)
    program.build()
    program.cost[x] = 1.0
    assert program.solve(time_limit_s=1.0).values.tolist() == [1.0, 2.0]
    program.row_lower[rows] = 2.0
    assert program.solve(time_limit_s=1.0).values.tolist() == [2.0, 4.0]
    program.cost[x] = -1.0
    assert program.solve(time_limit_s=1.0).values.tolist() == [3.0, 5.0]


def test_incumbent_at_the_time_limit_is_feasible_and_says_its_gap() -> None:
    """A problem too hard to finish in a tenth of a second: a market split with a priced miss."""
    rng = np.random.default_rng(1)
    program = LinearProgram()
    count = 60
    taken = program.columns(count, upper=1.0, integer=True)
    missed = program.columns(16)
    for pair in missed.reshape(8, 2):
        weights = rng.integers(1, 100, count).astype(np.float64)
        row = program.rows(Term(pair[:1], 1.0), Term(pair[1:], -1.0), lower=weights.sum() // 2, upper=weights.sum() // 2)
        program.add(np.repeat(row, count), taken, weights)
    program.build()
    program.cost[missed] = 1.0
    program.solve(time_limit_s=0.3)
    solution = program.solve(time_limit_s=0.2)  # the time of the first solve is not held against the second
    assert not solution.optimal
    assert solution.gap > 0
    assert set(np.unique(solution.values[taken])) <= {0.0, 1.0}
    assert solution.objective == pytest.approx(solution.values[missed].sum())


@pytest.mark.parametrize("where", ["cost", "lower", "upper", "row_lower", "row_upper"])
def test_what_is_no_number_never_reaches_the_solver(where: str) -> None:
    program = knapsack([6, 5, 5], [7, 5, 5], integer=False)
    getattr(program, where)[0] = np.nan
    with pytest.raises(DispatchError) as caught:
        program.solve(time_limit_s=1.0)
    assert caught.value.condition == "input"
    getattr(program, where)[0] = 0.0
    assert program.solve(time_limit_s=1.0).optimal


def test_infeasible_is_an_error_with_its_condition_and_the_next_solve_works() -> None:
    program = knapsack([6, 5, 5], [7, 5, 5], integer=False)
    program.row_lower[0] = 17.0
    program.row_upper[0] = 18.0
    with pytest.raises(DispatchError) as caught:
        program.solve(time_limit_s=1.0)
    assert caught.value.condition == "Infeasible"
    program.row_lower[0], program.row_upper[0] = -np.inf, 10.0
    assert program.solve(time_limit_s=1.0).objective == pytest.approx(-11.0)
