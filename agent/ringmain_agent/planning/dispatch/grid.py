"""The grid connection: what is bought and sold, and the limits and wishes that it brings."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ringmain_agent.equipment import plausible
from ringmain_agent.planning.dispatch.battery import BatteryBlock
from ringmain_agent.planning.dispatch.block import Formulation, Parts, Prices
from ringmain_agent.planning.dispatch.linear_program import INF, Indices, LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.site.site import GridConnection, Site

Array = npt.NDArray[np.float64]


class _Side(NamedTuple):
    """Columns of one direction."""

    within: Indices
    breach: Indices
    excess: Indices


class GridBlock:
    """Import and export in layers that cost more and more: within limits and wishes, breaching a wish, above the limit.

    `worst` prices the highest excess besides its sum, which alone would stack all of it up in one step. `directions`
    forbids import and export in the same step with a binary each: only needed where selling pays more than buying costs.
    `active` is what the connection draws from the network, `imported` the part that demand charges count.
    """

    def __init__(self, program: LinearProgram, site: Site, batteries: list[BatteryBlock], features: Formulation) -> None:
        count = site.horizon_steps
        self._program, self._site, self._batteries, self._count = program, site, batteries, count
        self._in, self._out = (
            _Side(program.columns(count), program.columns(count if features.wishes else 0), program.columns(count))
            for _ in range(2)
        )
        self.imported = [Term(columns, 1.0) for columns in self._in if len(columns)]
        self.active = [*self.imported, *(Term(columns, -1.0) for columns in self._out if len(columns))]
        self.reactive: list[Term] = []
        self._worst = program.columns(2 if features.worst else 0)
        for column, side in zip(self._worst, (self._in, self._out), strict=False):
            program.rows(Term(np.repeat(column, count), 1.0), Term(side.excess, -1.0), lower=0.0)
        self._charged = np.zeros(0, np.int32)
        if batteries and not site.grid_connection.battery_grid_charge:
            self._charged = program.rows(*(Term(b.charge, 1.0) for b in batteries))
        self._most_kw = _most_kw(site.grid_connection)
        self._importing = program.columns(count if features.directions else 0, upper=1.0, integer=features.directions)
        if features.directions:
            self._in_rows, self._out_rows = (
                program.rows(*(Term(c, 1.0) for c in (side.within, side.breach) if len(c)), Term(self._importing, value))
                for side, value in ((self._in, -self._most_kw[0]), (self._out, self._most_kw[1]))
            )

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Limits, wishes and prices. After the batteries are written."""
        program, step_h, snapshot = self._program, self._site.step_h, problem.snapshot
        price_in, price_out = problem.import_price_per_kwh, problem.export_price_per_kwh
        directed = len(self._importing) > 0
        if directed:
            self._write_directions(price_out > price_in)
        else:
            price_out = np.minimum(price_out, price_in)  # changes nothing where no directions are needed
        for side, price, ceiling_kw, wished_kw in (
            (self._in, price_in, problem.import_ceiling_kw, snapshot.wished_import_kw),
            (self._out, -price_out, self._export_ceiling_kw(problem), snapshot.wished_export_kw),
        ):
            within_kw = ceiling_kw
            if len(side.breach):
                within_kw = np.minimum(self._wished(wished_kw), ceiling_kw)
                program.upper[side.breach] = ceiling_kw - within_kw
                program.cost[side.breach] = (price + snapshot.breach_per_kwh) * step_h
            program.upper[side.within] = within_kw
            program.cost[side.within] = price * step_h
            program.cost[side.excess] = (price + prices.excess_per_kwh) * step_h
        program.cost[self._worst] = prices.excess_per_kwh
        if len(self._charged):
            fixed_kw = sum((program.lower[b.charge] for b in self._batteries), np.zeros(self._count))
            program.row_upper[self._charged] = np.maximum(_generated_kw(problem, self._count), fixed_kw)

    def _write_directions(self, selling_pays: npt.NDArray[np.bool_]) -> None:
        program, most_out_kw = self._program, self._most_kw[1]
        program.row_upper[self._in_rows] = np.where(selling_pays, 0.0, INF)
        program.row_upper[self._out_rows] = np.where(selling_pays, most_out_kw, INF)
        program.upper[self._importing] = np.where(selling_pays, 1.0, 0.0)

    def _wished(self, given_kw: list[float | None]) -> Array:
        wished = np.full(self._count, INF)
        for step, value in enumerate(given_kw[: self._count]):
            if (wished_kw := plausible.wished_kw(value)) is not None:
                wished[step] = self._site.grid_connection.less_margin_kw(wished_kw)
        return wished

    def _export_ceiling_kw(self, problem: DispatchProblem) -> Array:
        if self._site.grid_connection.battery_export:
            return problem.export_ceiling_kw
        surplus_kw = np.maximum(_generated_kw(problem, self._count) - problem.load_kw, 0.0)
        return np.minimum(problem.export_ceiling_kw, surplus_kw)

    def read(self, values: Array, parts: Parts) -> None:
        """Nothing: the dispatcher asks for the power at the pcc."""

    def pcc_kw(self, values: Array) -> Array:
        """Power at the pcc."""
        return sum((term.value * values[term.columns] for term in self.active), np.zeros(self._count))

    def excess_kw(self, values: Array) -> tuple[Array, Array]:
        """What import and export exceed their limits by."""
        return np.maximum(values[self._in.excess], 0.0), np.maximum(values[self._out.excess], 0.0)


def _most_kw(connection: GridConnection) -> tuple[float, float]:
    """The highest import and export limit that the site ever has, with something to spare."""
    imports = [connection.import_limit_kw, *(limit.import_limit_kw or 0.0 for limit in connection.limit)]
    exports = [connection.export_limit_kw, *(limit.export_limit_kw or 0.0 for limit in connection.limit)]
    return max(imports) + 1.0, max(exports) + 1.0


def _generated_kw(problem: DispatchProblem, count: int) -> Array:
    return sum((-available_kw for available_kw in problem.available_kw.values()), np.zeros(count))
