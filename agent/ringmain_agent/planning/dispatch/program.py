"""The linear program of one plan: it connects the blocks of a site, and reads the schedule from its solution.

Each program serves one problem. It contains only the needed parts: the reserve if the upper quantile could exceed a limit,
columns for requested limits if there are any, columns for a battery outside its band if one is. `Formulation` selects the
other parts.
"""

from typing import Final, NamedTuple

import numpy as np

from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch import demand_charges as demand
from ringmain_agent.planning.dispatch import reserve
from ringmain_agent.planning.dispatch.battery import BatteryBlock, is_outside
from ringmain_agent.planning.dispatch.block import Block, Parts, Prices
from ringmain_agent.planning.dispatch.blocks import load_blocks
from ringmain_agent.planning.dispatch.demand_charges import DemandChargeBlock
from ringmain_agent.planning.dispatch.generator import GeneratorBlock
from ringmain_agent.planning.dispatch.grid import GridBlock, has_requests
from ringmain_agent.planning.dispatch.linear_program import LinearProgram, Solution, Term
from ringmain_agent.planning.dispatch.problem import Dispatch, DispatchProblem
from ringmain_agent.planning.dispatch.reserve import ReserveBlock
from ringmain_agent.planning.dispatch.switched import VoltageBlock, unchanged_positions
from ringmain_agent.planning.dispatch.transformer import FirmCapacity, TransformerBlock
from ringmain_agent.site.site import Site

OVERLAP_KW: Final = 1e-3


class Formulation(NamedTuple):
    """Optional parts of a program.

    `transformers` and `voltage` are the limits of that name, with switching. `exclusive_import` has the integers that forbid
    import and export in one step, where export earns more than import costs. `exclusive_charging` has the integers that
    forbid a battery to charge and discharge in one step.
    """

    transformers: bool
    voltage: bool
    exclusive_import: bool
    exclusive_charging: bool = False


class DispatchProgram:
    """The program of one problem of a site."""

    def __init__(self, site: Site, problem: DispatchProblem, prices: Prices, formulation: Formulation) -> None:
        self._site, self._problem, self.formulation = site, problem, formulation
        self._program = program = LinearProgram()
        self._batteries = [
            BatteryBlock(
                program,
                battery,
                site,
                soc_outside_band=is_outside(problem, battery, site.step_h),
                exclusive_charging=formulation.exclusive_charging,
            )
            for battery in site.batteries
        ]
        generators: list[Block] = [GeneratorBlock(program, generator, site) for generator in site.generators]
        controlled: list[Block] = [*self._batteries, *load_blocks(program, site)]
        export_pays = problem.export_price_per_kwh > problem.import_price_per_kwh
        self._grid = GridBlock(
            program,
            site,
            self._batteries,
            with_requests=has_requests(problem.snapshot),
            exclusive_import=export_pays if formulation.exclusive_import else np.zeros_like(export_pays),
        )
        drawn = [term for block in (*controlled, *generators) for term in block.active]
        net_kw = problem.load_kw + sum(problem.available_kw.values(), np.zeros(site.horizon_steps))
        balanced = [*self._grid.active, *(Term(term.columns, -term.value) for term in drawn)]
        program.rows(*balanced, lower=net_kw, upper=net_kw)
        self._blocks: list[Block] = [*controlled, *generators, self._grid]
        self._voltage = VoltageBlock(program, site, self._grid.active) if formulation.voltage else None
        if self._voltage is not None:
            self._blocks.append(self._voltage)
        if formulation.transformers:
            self._add_transformers()
        for charge in site.tariff.demand_charges:
            quarter_phase = demand.quarter_phase(problem.snapshot, site)
            self._blocks.append(
                DemandChargeBlock(program, charge, site, imported=self._grid.imported, quarter_phase=quarter_phase)
            )
        if reserve.is_needed(problem, site):
            active = [term for block in controlled for term in block.active]
            self._blocks.append(ReserveBlock(program, self._batteries, site, active=active))
        program.build()
        self._write(prices)

    def _add_transformers(self) -> None:
        program, site, pcc = self._program, self._site, self._grid.active
        reactive: list[Term] | None = None
        if self._problem.load_kvar.any() or site.capacitor_banks:
            reactive = [] if self._voltage is None else self._voltage.reactive
        self._blocks += [TransformerBlock(program, transformer, site, pcc, reactive) for transformer in site.transformers]
        if site.grid_connection.firm_loading_max_pu is not None:
            self._blocks.append(FirmCapacity(program, site, pcc, reactive))

    def _write(self, prices: Prices) -> None:
        for block in self._blocks:
            block.write(self._problem, prices)

    def solve(self, time_limit_s: float) -> Solution:
        """The optimum, or a feasible schedule at the time limit.

        Raises:
            DispatchError: With the termination condition.
        """
        return self._program.solve(time_limit_s=time_limit_s)

    def cost_of(self, solution: Solution, prices: Prices) -> float:
        """Cost of a solution of this program at other prices."""
        self._write(prices)
        return float(self._program.cost @ solution.values)

    def overlaps(self, solution: Solution) -> bool:
        """True if a battery charges and discharges in one step."""
        return any(float(battery.overlap_kw(solution.values).max()) > OVERLAP_KW for battery in self._batteries)

    def at_pcc(self, solution: Solution) -> tuple[Array, Array]:
        """Active and reactive power at the pcc."""
        problem = self._problem
        kvar = problem.load_kvar.copy()
        if self._voltage is None:
            positions = problem.snapshot.positions
            kvar -= sum(bank.step_kvar * (positions.get(bank.name) or 0) for bank in self._site.capacitor_banks)
        else:
            kvar += sum(term.value * solution.values[term.columns] for term in self._voltage.reactive)
        return self._grid.pcc_kw(solution.values), kvar

    def read(self, solution: Solution, *, solve_s: float, note: str) -> Dispatch:
        """The schedule of a solution; equipment without switching keeps its position."""
        parts = Parts(positions=unchanged_positions(self._problem, self._site))
        for block in self._blocks:
            block.read(solution.values, parts)
        import_excess_kw, export_excess_kw = self._grid.excess_kw(solution.values)
        return Dispatch(
            optimal=solution.optimal,
            objective=solution.objective,
            gap=solution.gap,
            solve_ms=1000 * solve_s,
            pcc_kw=self._grid.pcc_kw(solution.values),
            import_excess_kw=import_excess_kw,
            export_excess_kw=export_excess_kw,
            note=note,
            **vars(parts),
        )
