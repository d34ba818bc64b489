"""Rolling-horizon dispatch of everything at a site: puts the blocks together, writes each problem into them, solves, reads.

Physics and nameplate are hard, every wish is a priced slack: no measured state and no forecast makes it infeasible. Not
here: forecasts, and the re-simulation with the exact equations.

A problem that needs less gets a smaller program: the reserve only where the upper quantile could exceed a limit, the
transformers and switching only where a limit of theirs is near, the price of the highest excess only where there is one,
integers for directions only where selling pays more than buying costs, those for the batteries only where one would charge
and discharge in the same step. Each of them is built when it is first needed and
then kept, so that the usual one is small and warm.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.dispatch import demand_charges as demand
from ringmain_agent.planning.dispatch import reserve
from ringmain_agent.planning.dispatch.battery import BatteryBlock, is_outside
from ringmain_agent.planning.dispatch.block import Block, Formulation, Parts, Prices
from ringmain_agent.planning.dispatch.blocks import load_blocks
from ringmain_agent.planning.dispatch.demand_charges import DemandChargeBlock
from ringmain_agent.planning.dispatch.generator import GeneratorBlock
from ringmain_agent.planning.dispatch.grid import GridBlock
from ringmain_agent.planning.dispatch.linear_program import LinearProgram, Solution, Term
from ringmain_agent.planning.dispatch.problem import LARGEST, Dispatch, DispatchProblem
from ringmain_agent.planning.dispatch.reserve import ReserveBlock
from ringmain_agent.planning.dispatch.switched import VoltageBlock, held_positions, voltage_matters
from ringmain_agent.planning.dispatch.transformer import FirmCapacity, TransformerBlock
from ringmain_agent.planning.dispatch.transformer_temperatures import ageing_matters, limits_matter
from ringmain_agent.site.site import Site

# Prices of wishes: an excess dominates every price of energy, and every other wish.
EXCESS_PER_PRICE: Final = 200.0
EXCESS_PER_WISH: Final = 3.0
EXCESS_MIN_PER_KWH: Final = 10.0
EXCESS_MAX_PER_KWH: Final = 1e5
TIE_PER_PRICE: Final = 1e-5
"""Small enough to cost nothing, large enough for the solver to see."""
OVERLAP_KW: Final = 1e-3
EXCESS_KW: Final = 1e-5
SPARE: Final = 0.03
"""Transformers whose limits are further away than this are left out of the next program,"""
SPARE_PU: Final = 0.003
"""and so is switching where the voltage is further inside its band."""
TIME_LIMIT_S: Final = 3.0
TIME_MIN_S: Final = 0.2
"""What a second solve has when the first has taken the time."""
ONE_WAY_S: Final = 1.0
"""The part of it for branch and bound over charging or discharging."""

Array = npt.NDArray[np.float64]
Steps = npt.NDArray[np.bool_]


class Program:
    """The program of one site with some features, built once."""

    def __init__(self, site: Site, features: Formulation) -> None:
        self._program = program = LinearProgram()
        self.features, self._count = features, site.horizon_steps
        self.batteries = [
            BatteryBlock(program, battery, site, outside=features.outside, one_way=features.one_way)
            for battery in site.batteries
        ]
        generators: list[Block] = [GeneratorBlock(program, generator, site) for generator in site.generators]
        controlled: list[Block] = [*self.batteries, *load_blocks(program, site)]
        self.grid = GridBlock(program, site, self.batteries, features)
        drawn = [term for block in (*controlled, *generators) for term in block.active]
        self._balance = program.rows(*self.grid.active, *(Term(term.columns, -term.value) for term in drawn))
        self.blocks: list[Block] = [*controlled, *generators, self.grid]
        self.voltage = VoltageBlock(program, site, self.grid.active) if features.voltage else None
        if self.voltage is not None:
            self.blocks.append(self.voltage)
        self.transformers: list[TransformerBlock] = []
        if features.transformers:
            switched = [] if self.voltage is None else self.voltage.reactive
            self._add_transformers(site, switched if features.reactive else None)
        for charge in site.tariff.demand_charges:
            block = DemandChargeBlock(program, charge, site, imported=self.grid.imported, phase=features.phase)
            self.blocks.append(block)
        if features.reserve:
            active = [term for block in controlled for term in block.active]
            self.blocks.append(ReserveBlock(program, self.batteries, site, active=active))
        program.build()

    def _add_transformers(self, site: Site, reactive: list[Term] | None) -> None:
        program, pcc = self._program, self.grid.active
        self.transformers = [
            TransformerBlock(program, transformer, site, pcc, reactive) for transformer in site.transformers
        ]
        self.blocks += self.transformers
        if site.grid_connection.firm_loading_max_pu is not None:
            self.blocks.append(FirmCapacity(program, site, pcc, reactive))

    def solve(self, problem: DispatchProblem, prices: Prices, time_limit_s: float, one_way: Steps | None = None) -> Solution:
        """Write the problem and solve it; with binaries for the batteries in the steps of `one_way`.

        Raises:
            DispatchError: With the termination condition.
        """
        net_kw = problem.load_kw + sum(problem.available_kw.values(), np.zeros(self._count))
        self._program.row_lower[self._balance] = self._program.row_upper[self._balance] = net_kw
        for battery in self.batteries:
            battery.one_way_steps = np.zeros(self._count, np.bool_) if one_way is None else one_way
        for block in self.blocks:
            block.write(problem, prices)
        return self._program.solve(time_limit_s=time_limit_s)

    def cost_of(self, solution: Solution, problem: DispatchProblem, prices: Prices) -> float:
        """What a solution of this program costs at other prices."""
        for block in self.blocks:
            block.write(problem, prices)
        return float(self._program.cost @ solution.values)

    def overlapping(self, solution: Solution) -> Steps:
        """Steps in which a battery would charge and discharge."""
        overlap_kw = [battery.overlap_kw(solution.values) for battery in self.batteries]
        return np.max(overlap_kw, axis=0) > OVERLAP_KW if overlap_kw else np.zeros(self._count, np.bool_)

    def at_pcc(self, solution: Solution, problem: DispatchProblem, site: Site) -> tuple[Array, Array]:
        """Active and reactive power at the pcc."""
        kvar = problem.load_kvar.copy()
        if self.voltage is None:
            kvar -= sum(bank.step_kvar * (problem.snapshot.positions.get(bank.name) or 0) for bank in site.capacitor_banks)
        else:
            kvar += sum(term.value * solution.values[term.columns] for term in self.voltage.reactive)
        return self.grid.pcc_kw(solution.values), kvar

    def read(self, solution: Solution, held: dict[str, Array], note: str) -> Dispatch:
        """The schedule that the solution is; what is not switched is `held`."""
        parts = Parts(positions=held)
        for block in self.blocks:
            block.read(solution.values, parts)
        import_excess_kw, export_excess_kw = self.grid.excess_kw(solution.values)
        return Dispatch(
            optimal=solution.optimal,
            objective=solution.objective,
            gap=solution.gap,
            solve_ms=1000 * solution.solve_s,
            pcc_kw=self.grid.pcc_kw(solution.values),
            import_excess_kw=import_excess_kw,
            export_excess_kw=export_excess_kw,
            note=note,
            **vars(parts),
        )


class _Clock:
    """The time that the solves of one dispatch have left, and those over charging or discharging."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s, self.spent_s, self._integers_s = limit_s, 0.0, 0.0

    def limit_s(self, *, integers: bool) -> float:
        left_s = self._limit_s - self.spent_s
        if integers:
            left_s = min(left_s, ONE_WAY_S - self._integers_s)
        return max(left_s, min(self._limit_s, TIME_MIN_S))

    def spend(self, spent_s: float, *, integers: bool) -> None:
        self.spent_s += spent_s
        self._integers_s += spent_s if integers else 0.0


class Dispatcher:
    """The programs of one site; each `dispatch` writes costs and bounds and solves warm."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._programs: dict[Formulation, Program] = {}
        self._transformers_matter, self._voltage_matters = ageing_matters(site), False
        self._program(Formulation())

    def dispatch(self, problem: DispatchProblem, *, time_limit_s: float = TIME_LIMIT_S) -> Dispatch:
        """The cheapest schedule for the median forecast that keeps the reserve.

        Raises:
            DispatchError: With the termination condition; the fallback rule decides.
        """
        _require_usable(problem, self._site)
        features = self._features(problem)
        try:
            return self._dispatch(problem, features, "", time_limit_s)
        except DispatchError as error:
            if not features.directions:
                raise
            note = f"export is valued at most at the import price: {error}"
            return self._dispatch(problem, features._replace(directions=False), note, time_limit_s)

    def _dispatch(self, problem: DispatchProblem, features: Formulation, note: str, limit_s: float) -> Dispatch:
        prices, clock = prices_of(problem, self._site), _Clock(limit_s)
        program, solution = self._settled(problem, features, prices, clock)
        if program.overlapping(solution).any():
            program, solution = self._one_way(problem, program, solution, prices, clock)
        held = held_positions(problem, self._site)
        return replace(program.read(solution, held, note), solve_ms=1000 * clock.spent_s)

    def _settled(
        self, problem: DispatchProblem, features: Formulation, prices: Prices, clock: _Clock, one_way: Steps | None = None
    ) -> tuple[Program, Solution]:
        """The solution with everything that it turns out to need."""
        while True:
            program = self._program(features)
            limit_s = clock.limit_s(integers=features.one_way)
            try:
                solution = program.solve(problem, prices, limit_s, one_way)
            except DispatchError:
                clock.spend(limit_s, integers=features.one_way)
                raise
            clock.spend(solution.solve_s, integers=features.one_way)
            more = self._with_what_matters(features, *program.at_pcc(solution, problem, self._site), problem)
            if max(float(excess_kw.max()) for excess_kw in program.grid.excess_kw(solution.values)) > EXCESS_KW:
                more = more._replace(worst=True)
            if more == features:
                return program, solution
            features = more

    def _one_way(
        self, problem: DispatchProblem, program: Program, relaxed: Solution, prices: Prices, clock: _Clock
    ) -> tuple[Program, Solution]:
        """The same without charging and discharging in one step, where that would pay.

        Binaries are in force where a price is negative or it was seen to pay, and everywhere if it then moves elsewhere.

        Raises:
            DispatchError: With the termination condition.
        """
        negative = np.minimum(problem.import_price_per_kwh, problem.export_price_per_kwh) < 0
        steps, features = program.overlapping(relaxed) | negative, program.features._replace(one_way=True)
        found: list[tuple[Program, Solution]] = []
        bound = relaxed.bound
        with suppress(DispatchError):
            program, solution = self._settled(problem, features, prices, clock, steps)
            if (program.overlapping(solution) & ~steps).any():
                program, solution = self._settled(problem, program.features, prices, clock, np.ones_like(steps))
            if solution.optimal:
                return program, solution
            found, bound = [(program, solution)], max(bound, solution.bound)
        try:
            other, dearer = self._surcharged(problem, program.features._replace(one_way=False), prices, clock)
        except DispatchError:
            if not found:
                raise
        else:
            if not found or not other.overlapping(dearer).any():
                found.append((other, dearer))
        program, solution = min(found, key=lambda one: one[1].objective)
        return program, solution.above(bound)

    def _surcharged(
        self, problem: DispatchProblem, features: Formulation, prices: Prices, clock: _Clock
    ) -> tuple[Program, Solution]:
        """A schedule made with throughput too dear for destroying energy, at its cost without that."""
        destroyed = max(0.0, -float(problem.import_price_per_kwh.min()), -float(problem.export_price_per_kwh.min()))
        step_h, excess = self._site.step_h, prices.excess_per_kwh
        program, solution = self._settled(problem, features, prices._replace(destroyed_per_kwh=destroyed), clock)
        if program.overlapping(solution).any():
            # Something outside its limits that nothing can avoid: then even burning energy would pay.
            destroyed += excess * (1 + 1 / step_h) + excess * step_h * self._site.horizon_steps
            dear = prices._replace(destroyed_per_kwh=destroyed)
            program, solution = self._settled(problem, program.features, dear, clock)
        return program, solution._replace(objective=program.cost_of(solution, problem, prices))

    def _with_what_matters(self, features: Formulation, kw: Array, kvar: Array, problem: DispatchProblem) -> Formulation:
        """The features, and those that this schedule made without them needs; the next problem begins with them."""
        site = self._site
        spare, spare_pu = SPARE if features.transformers else 0.0, SPARE_PU if features.voltage else 0.0
        if site.transformers and not ageing_matters(site):
            self._transformers_matter = limits_matter(np.hypot(kw, kvar), problem, site, spare=spare)
        self._voltage_matters = voltage_matters(kw, problem, site, spare_pu=spare_pu)
        transformers = features.transformers or self._transformers_matter
        voltage = self._voltage_matters or (transformers and bool(site.capacitor_banks))
        return features._replace(transformers=transformers, voltage=features.voltage or voltage)

    def _program(self, features: Formulation) -> Program:
        if features not in self._programs:
            self._programs[features] = Program(self._site, features)
        return self._programs[features]

    def _features(self, problem: DispatchProblem) -> Formulation:
        site, snapshot = self._site, problem.snapshot
        wished = (*snapshot.wished_import_kw, *snapshot.wished_export_kw)
        return Formulation(
            reserve=reserve.is_needed(problem, site),
            outside=any(is_outside(problem, battery, site.step_h) for battery in site.batteries),
            wishes=snapshot.breach_per_kwh > 0 and any(value is not None for value in wished),
            directions=bool((problem.export_price_per_kwh > problem.import_price_per_kwh).any()),
            voltage=self._voltage_matters or (self._transformers_matter and bool(site.capacitor_banks)),
            transformers=self._transformers_matter,
            reactive=bool(site.transformers) and bool(problem.load_kvar.any() or site.capacitor_banks),
            phase=demand.phase(snapshot, site) if site.tariff.demand_charges else 0,
        )


def prices_of(problem: DispatchProblem, site: Site) -> Prices:
    """Prices of the wishes in this problem."""
    price_in, price_out = problem.import_price_per_kwh, problem.export_price_per_kwh
    largest = float(max(np.abs(price_in).max(), np.abs(price_out).max()))
    wishes = [kind_of(equipment).worth_per_kwh(equipment) for equipment in site.powered]
    wishes += [charge.per_kw / site.step_h for charge in site.tariff.demand_charges]
    wish = max(problem.snapshot.breach_per_kwh, *wishes, 0.0) if wishes else problem.snapshot.breach_per_kwh
    excess = max(EXCESS_MIN_PER_KWH, EXCESS_PER_PRICE * largest, EXCESS_PER_WISH * wish)
    tie = TIE_PER_PRICE * max(largest, 0.01)
    return Prices(
        excess_per_kwh=min(excess, EXCESS_MAX_PER_KWH),
        largest_per_kwh=largest,
        destroyed_per_kwh=0.0,
        tie_per_kwh=tie,
    )


def _require_usable(problem: DispatchProblem, site: Site) -> None:
    count = site.horizon_steps
    arrays = {
        "load_kw": problem.load_kw,
        "load_kvar": problem.load_kvar,
        "net_high_kw": problem.net_high_kw,
        "import_ceiling_kw": problem.import_ceiling_kw,
        "export_ceiling_kw": problem.export_ceiling_kw,
        "import_price_per_kwh": problem.import_price_per_kwh,
        "export_price_per_kwh": problem.export_price_per_kwh,
        "breach_per_kwh": np.full(count, problem.snapshot.breach_per_kwh),
    }
    arrays |= problem.available_kw
    arrays |= {f"ambient_degc of {name}": values for name, values in problem.ambient_degc.items()}
    for name, values in arrays.items():
        if values.shape != (count,) or not (np.abs(values) < LARGEST).all():
            raise DispatchError("input", f"{name} is not {count} finite numbers below {LARGEST:.0e}")
