"""A linear or mixed-integer program, solved by HiGHS. Planner process only.

Each solve uses a new solver, because the clock of a solver never restarts: its time limit would count the time of earlier
solves. At the time limit the best solution of branch and bound is used.

HiGHS hangs on a NaN cost, and keeps old bounds on a NaN bound while it reports success (1.16). Every number is therefore
checked before the call, and every status after it. A solver that still hangs is killed with the planner process.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import highspy
import numpy as np

from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.arrays import Array, Indices

INF: Final = float(highspy.kHighsInf)
FEASIBLE: Final = 2
"""`primal_solution_status` of HiGHS for a feasible point."""
OPTIONS: Final = {
    "output_flag": False,
    "threads": 1,
    "presolve": "off",
    "dual_feasibility_tolerance": 1e-9,  # tie-breaking prices are small
    "simplex_dual_edge_weight_strategy": 1,  # Devex: a fifth faster than steepest edge, but less stable
}
STEEPEST_EDGE: Final = 2
LOST: Final = (highspy.HighsModelStatus.kNotset, highspy.HighsModelStatus.kUnknown, highspy.HighsModelStatus.kSolveError)
"""Statuses of Devex after rounding errors, seen with transformers at 250 degC only."""
INTEGER_OPTIONS: Final = {
    "presolve": "choose",
    "mip_rel_gap": 2e-5,
    "mip_abs_gap": 1e-7,
    "mip_heuristic_run_feasibility_jump": False,  # it takes half of the time, and feasible schedules are easy to find
}


class Term(NamedTuple):
    """One coefficient for several columns, with one row each."""

    columns: Indices
    value: float


class Solution(NamedTuple):
    """Values of all columns; at the time limit feasible but not `optimal`, and at most `gap` more expensive."""

    values: Array
    optimal: bool
    objective: float
    gap: float
    solve_s: float

    @property
    def bound(self) -> float:
        """Proven lower bound of the cost of any solution."""
        return self.objective - self.gap * abs(self.objective) if math.isfinite(self.gap) else -math.inf

    def above(self, bound: float) -> "Solution":
        """The solution with its gap to a lower bound of the cost; it does not count as optimal."""
        gap = max(self.objective - bound, 0.0) / max(abs(self.objective), 1e-9)
        return self._replace(optimal=False, gap=gap)


class LinearProgram:
    """Minimizes `cost @ x` within column and row bounds.

    Columns and rows are declared first, and `build` fixes the matrix. Afterwards only `cost`, `lower`, `upper`,
    `row_lower` and `row_upper` change.
    """

    def __init__(self) -> None:
        self._column_count = 0
        self._row_count = 0
        self._integers = np.zeros(0, np.int32)
        self._bounds: list[tuple[Array, Array]] = []
        self._row_bounds: list[tuple[Array, Array]] = []
        self._terms: list[tuple[Indices, Indices, Array]] = []
        self._matrix: tuple[Indices, Indices, Array] = np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0)
        self._integrality = np.zeros(0, np.int32)
        self.cost = self.lower = self.upper = self.row_lower = self.row_upper = np.zeros(0)

    @property
    def integer_count(self) -> int:
        """Number of integer columns; above 0 for a mixed-integer program."""
        return len(self._integers)

    def columns(self, count: int, *, lower: float = 0.0, upper: float = INF, integer: bool = False) -> Indices:
        """Declare columns; returns their indices."""
        indices = np.arange(self._column_count, self._column_count + count, dtype=np.int32)
        self._column_count += count
        if integer:
            self._integers = np.concatenate([self._integers, indices])
        self._bounds.append((np.full(count, lower), np.full(count, upper)))
        return indices

    def rows(
        self, *terms: Term, before: Sequence[Term] = (), lower: float | Array = -INF, upper: float | Array = INF
    ) -> Indices:
        """Declare one row for each entry of the first term's columns; returns their indices.

        Args:
            terms: Terms of the sum in each row.
            before: Terms of the step before: row i takes entry i - 1, the first row none.
            lower: Lower bound of the rows.
            upper: Upper bound of the rows.
        """
        count = len(terms[0].columns)
        indices = np.arange(self._row_count, self._row_count + count, dtype=np.int32)
        self._row_count += count
        self._row_bounds.append((np.full(count, lower), np.full(count, upper)))
        self._terms += [(indices, term.columns, np.full(count, term.value)) for term in terms]
        self._terms += [(indices[1:], term.columns[:-1], np.full(count - 1, term.value)) for term in before]
        return indices

    def add(self, rows: Indices, columns: Indices, values: Array) -> None:
        """Add one coefficient for each entry to rows declared before."""
        self._terms.append((rows, columns, values))

    def build(self) -> None:
        """Fix the matrix."""
        self.lower, self.upper = (np.concatenate(side) for side in zip(*self._bounds, strict=True))
        self.row_lower, self.row_upper = (np.concatenate(side) for side in zip(*self._row_bounds, strict=True))
        self.cost = np.zeros(self._column_count)
        rows, columns, values = (np.concatenate(part) for part in zip(*self._terms, strict=True))
        order = np.argsort(columns, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=self._column_count))])
        if not np.isfinite(values).all():
            raise DispatchError("input", "a coefficient of the matrix is not finite")
        self._matrix = start.astype(np.int32), rows[order].astype(np.int32), values[order]
        self._integrality = np.zeros(self._column_count, np.int32)
        self._integrality[self._integers] = int(highspy.HighsVarType.kInteger)

    def solve(self, *, time_limit_s: float) -> Solution:
        """The optimum, or a feasible point at the time limit.

        Raises:
            DispatchError: With the termination condition, if there is neither.
        """
        if not np.isfinite(self.cost).all():
            raise DispatchError("input", "a cost is not finite")
        for lower, upper in ((self.lower, self.upper), (self.row_lower, self.row_upper)):
            if np.isnan(lower).any() or np.isnan(upper).any() or (lower > upper).any():
                raise DispatchError("input", "a bound is not a number, or a lower bound is above its upper bound")
        solver: Any = self._new_solver(time_limit_s)
        status = solver.run()
        if solver.getModelStatus() in LOST:
            _require(solver.setOptionValue("simplex_dual_edge_weight_strategy", STEEPEST_EDGE), "steepest edge")
            status = solver.run()  # its clock continues from the first run
        condition, info = solver.getModelStatus(), solver.getInfo()
        optimal = condition == highspy.HighsModelStatus.kOptimal
        stopped = condition == highspy.HighsModelStatus.kTimeLimit and info.primal_solution_status == FEASIBLE
        name = solver.modelStatusToString(condition)
        if status == highspy.HighsStatus.kError or not (optimal or stopped):
            raise DispatchError(name, "the linear program has no usable solution")
        values = np.array(solver.getSolution().col_value, np.float64)
        if (
            len(values) != self._column_count
            or not np.isfinite(values).all()
            or not np.isfinite(info.objective_function_value)
        ):
            raise DispatchError(name, "the solution is not finite")
        values[self._integers] = np.rint(values[self._integers])
        gap = 0.0
        if self.integer_count:
            gap = float(info.mip_gap) if info.mip_gap >= 0 else math.inf
        return Solution(values, optimal, float(info.objective_function_value), gap, solver.getRunTime())

    def _new_solver(self, time_limit_s: float) -> object:
        solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]  # incomplete stubs
        options = OPTIONS | (INTEGER_OPTIONS if self.integer_count else {}) | {"time_limit": time_limit_s}
        for name, value in options.items():
            _require(solver.setOptionValue(name, value), name)
        start, rows, values = self._matrix
        status = solver.passModel(
            self._column_count,
            self._row_count,
            len(values),
            int(highspy.MatrixFormat.kColwise),
            int(highspy.ObjSense.kMinimize),
            0.0,
            self.cost,
            self.lower,
            self.upper,
            self.row_lower,
            self.row_upper,
            start,
            rows,
            values,
            self._integrality,
        )
        _require(status, "the program")
        return solver


def _require(status: object, subject: str) -> None:
    if status != highspy.HighsStatus.kOk:
        raise DispatchError(str(status), f"the solver refused {subject}")
