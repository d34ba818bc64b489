"""Block of the grid connection: import, export, their limits and requested limits."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ringmain_agent.equipment import plausible_values as plausible
from ringmain_agent.planning.arrays import Array, Flags, Indices
from ringmain_agent.planning.dispatch.battery import BatteryBlock
from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot


class _Side(NamedTuple):
    """Columns of one direction."""

    within: Indices
    breach: Indices
    excess: Indices


class GridBlock:
    """Import and export in layers of rising cost: within all limits, above a requested limit, above the limit.

    The highest excess has a price of its own, or all excess would fall into one step. In the steps of `exclusive_import` a
    binary forbids simultaneous import and export; it is needed only where export earns more than import costs.
    `active` is the power drawn from the network, `imported` the part that demand charges count.
    """

    def __init__(
        self,
        program: LinearProgram,
        site: Site,
        batteries: list[BatteryBlock],
        *,
        with_requests: bool,
        exclusive_import: Flags,
    ) -> None:
        count = site.horizon_steps
        self._program, self._site, self._batteries, self._count = program, site, batteries, count
        self._in, self._out = (
            _Side(program.columns(count), program.columns(count if with_requests else 0), program.columns(count))
            for _ in range(2)
        )
        self.imported = [Term(columns, 1.0) for columns in self._in if len(columns)]
        self.active = [*self.imported, *(Term(columns, -1.0) for columns in self._out if len(columns))]
        self.reactive: list[Term] = []
        self._worst = program.columns(2)
        for column, side in zip(self._worst, (self._in, self._out), strict=True):
            program.rows(Term(np.repeat(column, count), 1.0), Term(side.excess, -1.0), lower=0.0)
        self._charged = np.zeros(0, np.int32)
        if batteries and not site.grid_connection.battery_grid_charge:
            self._charged = program.rows(*(Term(b.charge, 1.0) for b in batteries))
        self._directed = bool(exclusive_import.any())
        if self._directed:
            self._add_exclusive_import(np.flatnonzero(exclusive_import))

    def _add_exclusive_import(self, steps: npt.NDArray[np.intp]) -> None:
        program, (most_in_kw, most_out_kw) = self._program, _most_kw(self._site.grid_connection)
        importing = program.columns(len(steps), upper=1.0, integer=True)
        for side, value, upper in ((self._in, -most_in_kw, 0.0), (self._out, most_out_kw, most_out_kw)):
            layers = [Term(columns[steps], 1.0) for columns in (side.within, side.breach) if len(columns)]
            program.rows(*layers, Term(importing, value), upper=upper)

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Limits, requested limits and prices. Call it after the batteries are written."""
        program, step_h, snapshot = self._program, self._site.step_h, problem.snapshot
        price_in, price_out = problem.import_price_per_kwh, problem.export_price_per_kwh
        if not self._directed:
            price_out = np.minimum(price_out, price_in)  # changes nothing where export never earns more than import costs
        for side, price, ceiling_kw, requested_kw in (
            (self._in, price_in, problem.import_ceiling_kw, snapshot.requested_import_kw),
            (self._out, -price_out, self._export_ceiling_kw(problem), snapshot.requested_export_kw),
        ):
            within_kw = ceiling_kw
            if len(side.breach):
                within_kw = np.minimum(self._requested_kw(requested_kw), ceiling_kw)
                program.upper[side.breach] = ceiling_kw - within_kw
                program.cost[side.breach] = (price + snapshot.breach_price_per_kwh) * step_h
            program.upper[side.within] = within_kw
            program.cost[side.within] = price * step_h
            program.cost[side.excess] = (price + prices.excess_per_kwh) * step_h
        program.cost[self._worst] = prices.excess_per_kwh
        if len(self._charged):
            fixed_kw = sum((program.lower[b.charge] for b in self._batteries), np.zeros(self._count))
            program.row_upper[self._charged] = np.maximum(_generated_kw(problem, self._count), fixed_kw)

    def _requested_kw(self, requested_kw: list[float | None]) -> Array:
        most_kw = np.full(self._count, INF)
        for step, value in enumerate(requested_kw[: self._count]):
            if (limit_kw := plausible.requested_limit_kw(value)) is not None:
                most_kw[step] = self._site.grid_connection.less_margin_kw(limit_kw)
        return most_kw

    def _export_ceiling_kw(self, problem: DispatchProblem) -> Array:
        if self._site.grid_connection.battery_export:
            return problem.export_ceiling_kw
        surplus_kw = np.maximum(_generated_kw(problem, self._count) - problem.load_kw, 0.0)
        return np.minimum(problem.export_ceiling_kw, surplus_kw)

    def read(self, values: Array, parts: Parts) -> None:
        """Nothing: `pcc_kw` and `excess_kw` read its values."""

    def pcc_kw(self, values: Array) -> Array:
        """Power at the pcc."""
        return sum((term.value * values[term.columns] for term in self.active), np.zeros(self._count))

    def excess_kw(self, values: Array) -> tuple[Array, Array]:
        """Excess of import and export over their limits."""
        return np.maximum(values[self._in.excess], 0.0), np.maximum(values[self._out.excess], 0.0)


def has_requests(snapshot: Snapshot) -> bool:
    """True if some limit may be breached at a price."""
    requested_kw = (*snapshot.requested_import_kw, *snapshot.requested_export_kw)
    return snapshot.breach_price_per_kwh > 0 and any(value is not None for value in requested_kw)


def _most_kw(connection: GridConnection) -> tuple[float, float]:
    """The highest import and export limit of the site at any time, plus 1 kW."""
    imports = [connection.import_limit_kw, *(limit.import_limit_kw or 0.0 for limit in connection.limit)]
    exports = [connection.export_limit_kw, *(limit.export_limit_kw or 0.0 for limit in connection.limit)]
    return max(imports) + 1.0, max(exports) + 1.0


def _generated_kw(problem: DispatchProblem, count: int) -> Array:
    return sum((-available_kw for available_kw in problem.available_kw.values()), np.zeros(count))
