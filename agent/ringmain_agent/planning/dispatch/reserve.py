"""Reserve energy against a wrong forecast, instead of a lower limit all day.

The schedule is optimal for the median. A second course of the batteries covers a load at its upper quantile: they discharge
the excess over the limit (`need`), recharge below it (`recover`), and must not run empty (`missing` is a priced shortage).
The export limit needs no reserve, as generation can be curtailed.
"""

from typing import Final, NamedTuple

import numpy as np

from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.planning.arrays import Array, Indices
from ringmain_agent.planning.dispatch.battery import BatteryBlock
from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.site.site import Site

RESERVE_SHARE: Final = 0.1
"""Price of missing reserve, as a share of the price of an excess: one day in ten has such a load."""


class _ReserveColumns(NamedTuple):
    """Columns and rows of one battery."""

    block: BatteryBlock
    need: Indices
    recover: Indices
    reserve: Indices
    missing: Indices
    weak: Indices
    missing_rows: Indices


class ReserveBlock:
    """Energy in the batteries for a load at its upper quantile. `active` are all controllable powers without generators."""

    def __init__(self, program: LinearProgram, batteries: list[BatteryBlock], site: Site, *, active: list[Term]) -> None:
        self._program, self._step_h = program, site.step_h
        self.active: list[Term] = []
        self.reactive: list[Term] = []
        self._columns = [self._declare(block, site) for block in batteries]
        flows = [Term(c.need, 1.0) for c in self._columns] + [Term(c.recover, -1.0) for c in self._columns]
        self._rows = program.rows(*flows, *(Term(term.columns, -term.value) for term in active))

    def _declare(self, block: BatteryBlock, site: Site) -> _ReserveColumns:
        program, battery = self._program, block.battery
        need, recover, reserve, missing, weak = (program.columns(site.horizon_steps) for _ in range(5))
        into, out_of = battery.charge_efficiency * site.step_h, site.step_h / battery.discharge_efficiency
        flows = [Term(need, -out_of), Term(recover, into)]
        kept = battery.kept_pu(site.step_h)
        program.rows(Term(reserve, 1.0), *flows, before=[Term(reserve, -kept)], lower=0.0, upper=0.0)
        missing_rows = program.rows(Term(block.energy, 1.0), Term(reserve, -1.0), Term(missing, 1.0))
        charge, discharge = Term(block.charge, 1.0), Term(block.discharge, 1.0)
        less_discharge, less_charge = Term(block.discharge, -1.0), Term(block.charge, -1.0)
        program.rows(discharge, less_charge, Term(need, 1.0), Term(weak, -1.0), upper=battery.discharge_max_kw)
        program.rows(charge, less_discharge, Term(recover, 1.0), upper=battery.charge_max_kw)
        return _ReserveColumns(block, need, recover, reserve, missing, weak, missing_rows)

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Energy for the upper quantile in the available batteries. Call it after the batteries are written."""
        program = self._program
        price = RESERVE_SHARE * prices.excess_per_kwh * self._step_h
        ready = False
        for c in self._columns:
            follows = c.block.known and problem.snapshot.unresponsive_kw.get(c.block.battery.name) is None
            ready = ready or follows
            program.upper[c.need] = INF if follows else 0.0
            program.upper[c.recover] = c.block.battery.charge_max_kw if follows else 0.0
            program.row_lower[c.missing_rows] = c.block.battery.soc_min_kwh if follows else -INF
            program.cost[c.missing] = program.cost[c.weak] = price
            program.cost[c.reserve] = prices.tie_per_kwh * self._step_h
        program.row_lower[self._rows] = problem.net_high_kw - problem.import_ceiling_kw if ready else -INF

    def read(self, values: Array, parts: Parts) -> None:
        """The reserve at the END of each step."""
        for c in self._columns:
            if c.block.known:
                parts.reserve_kwh[c.block.battery.name] = values[c.reserve]


def is_needed(problem: DispatchProblem, site: Site) -> bool:
    """True if a load at its upper quantile could exceed the limit with some schedule for the median."""
    net_kw = problem.load_kw + sum(problem.available_kw.values(), np.zeros(site.horizon_steps))
    spread = bool((problem.net_high_kw - net_kw > 1e-6).any())
    most_kw = sum(kind_of(e).powers_kw(e).most for e in site.powered)
    return bool(site.batteries) and spread and bool((problem.net_high_kw + most_kw > problem.import_ceiling_kw).any())
