"""A linear or mixed-integer program with a fixed matrix and moving costs and bounds, solved by HiGHS. Planner process only.

Without integer columns each solve continues from the last basis; with them branch and bound starts afresh, and what it has
found at the time limit is used.

HiGHS hangs on a NaN cost and keeps old bounds on a NaN bound while it reports success (1.16): so every number is checked
before it is handed over and every status after. What still hangs is killed with the planner process.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import highspy
import numpy as np
import numpy.typing as npt

from ringmain_agent.errors import DispatchError

INF: Final = float(highspy.kHighsInf)
FEASIBLE: Final = 2
"""`primal_solution_status` of HiGHS for a feasible point."""
OPTIONS: Final = {
    "output_flag": False,
    "threads": 1,
    "presolve": "off",
    "dual_feasibility_tolerance": 1e-9,  # the prices that break ties are small
}
INTEGER_OPTIONS: Final = {"presolve": "choose", "mip_rel_gap": 2e-5, "mip_abs_gap": 1e-7}

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]


class Term(NamedTuple):
    """A coefficient for some columns, one row each."""

    columns: Indices
    value: float


class Solution(NamedTuple):
    """Values of all columns; not `optimal` at the time limit, then feasible and at most by `gap` dearer than the best."""

    values: Array
    optimal: bool
    objective: float
    gap: float
    solve_s: float

    @property
    def bound(self) -> float:
        """What no solution costs less than, as far as it is known."""
        return self.objective - self.gap * abs(self.objective) if math.isfinite(self.gap) else -math.inf

    def above(self, bound: float) -> "Solution":
        """The same, not proved: no solution costs less than the bound."""
        gap = max(self.objective - bound, 0.0) / max(abs(self.objective), 1e-9)
        return self._replace(optimal=False, gap=gap)


class LinearProgram:
    """Minimizes `cost @ x` within column and row bounds.

    First columns and rows are declared, then `build` fixes the matrix; after that only `cost`, `lower`, `upper`,
    `row_lower` and `row_upper` are written, and `solve` continues from the last basis.
    """

    def __init__(self) -> None:
        self._column_count = 0
        self._row_count = 0
        self._integers: list[Indices] = []
        self._bounds: list[tuple[Array, Array]] = []
        self._row_bounds: list[tuple[Array, Array]] = []
        self._terms: list[tuple[Indices, Indices, Array]] = []
        self._solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]  # its stubs lack half of what it has
        self.cost = self.lower = self.upper = self.row_lower = self.row_upper = np.zeros(0)
        self._all_columns = self._all_rows = np.zeros(0, np.int32)

    def columns(self, count: int, *, lower: float = 0.0, upper: float = INF, integer: bool = False) -> Indices:
        """Declare columns; returns their indices."""
        indices = np.arange(self._column_count, self._column_count + count, dtype=np.int32)
        self._column_count += count
        if integer:
            self._integers.append(indices)
        self._bounds.append((np.full(count, lower), np.full(count, upper)))
        return indices

    def rows(
        self, *terms: Term, before: Sequence[Term] = (), lower: float | Array = -INF, upper: float | Array = INF
    ) -> Indices:
        """Declare one row for each entry of the first term's columns; returns their indices.

        Args:
            terms: What is summed in each row.
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
        """Fix the matrix and hand it to the solver."""
        self.lower, self.upper = (np.concatenate(side) for side in zip(*self._bounds, strict=True))
        self.row_lower, self.row_upper = (np.concatenate(side) for side in zip(*self._row_bounds, strict=True))
        self.cost = np.zeros(self._column_count)
        rows, columns, values = (np.concatenate(part) for part in zip(*self._terms, strict=True))
        order = np.lexsort((rows, columns))
        start = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=self._column_count))])
        if not np.isfinite(values).all():
            raise DispatchError("input", "a coefficient of the matrix is not finite")
        integrality = np.zeros(self._column_count, np.int32)
        for integers in self._integers:
            integrality[integers] = int(highspy.HighsVarType.kInteger)
        for name, value in (OPTIONS | INTEGER_OPTIONS if self._integers else OPTIONS).items():
            self._require(self._solver.setOptionValue(name, value), name)
        status = self._solver.passModel(
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
            start.astype(np.int32),
            rows[order].astype(np.int32),
            values[order],
            integrality,
        )
        self._require(status, "passModel")
        self._all_columns = np.arange(self._column_count, dtype=np.int32)
        self._all_rows = np.arange(self._row_count, dtype=np.int32)

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
        solver, columns, rows = self._solver, self._column_count, self._row_count
        self._require(solver.changeColsCost(columns, self._all_columns, self.cost), "costs")
        status = solver.changeColsBounds(columns, self._all_columns, self.lower, self.upper)
        self._require(status, "column bounds")
        status = solver.changeRowsBounds(rows, self._all_rows, self.row_lower, self.row_upper)
        self._require(status, "row bounds")
        before_s = solver.getRunTime()
        # The simplex compares the limit with the run time of all solves, branch and bound with that of this one (1.16).
        limit_s = time_limit_s if self._integers else before_s + time_limit_s
        self._require(solver.setOptionValue("time_limit", limit_s), "time_limit")
        status = solver.run()
        condition, info = solver.getModelStatus(), solver.getInfo()
        optimal = condition == highspy.HighsModelStatus.kOptimal
        stopped = condition == highspy.HighsModelStatus.kTimeLimit and info.primal_solution_status == FEASIBLE
        name = solver.modelStatusToString(condition)
        if status == highspy.HighsStatus.kError or not (optimal or stopped):
            self._require(solver.clearSolver(), "clearSolver")  # the next step starts from a clean basis
            raise DispatchError(name, "the linear program has no usable solution")
        values = np.array(solver.getSolution().col_value, np.float64)
        if len(values) != columns or not np.isfinite(values).all() or not np.isfinite(info.objective_function_value):
            raise DispatchError(name, "the solution is not finite")
        for integers in self._integers:
            values[integers] = np.rint(values[integers])
        gap = float(info.mip_gap) if self._integers else 0.0
        solve_s = solver.getRunTime() - before_s
        return Solution(values, optimal, float(info.objective_function_value), gap if gap >= 0 else math.inf, solve_s)

    def _require(self, status: object, what: str) -> None:
        if status != highspy.HighsStatus.kOk:
            raise DispatchError(str(status), f"the solver refused {what}")
