"""Rolling-horizon dispatch of everything at a site: builds the program of each problem, solves it, reads the schedule.

Physics and nameplate are hard, every wish is a priced slack: no measured state and no forecast makes it infeasible. Not
here: forecasts, and the re-simulation with the exact equations.

Every plan starts from nothing. Its first program leaves out the limits of transformers and voltage and the integers that
keep a battery from charging while it discharges; most schedules keep all of that anyway, as the exact equations say. A
schedule that does not is made again with what it lacks.
"""

from contextlib import suppress
from typing import Final

import numpy as np

from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.dispatch.block import Prices
from ringmain_agent.planning.dispatch.linear_program import Solution
from ringmain_agent.planning.dispatch.problem import LARGEST, Dispatch, DispatchProblem
from ringmain_agent.planning.dispatch.program import Formulation, Program
from ringmain_agent.planning.dispatch.switched import voltage_matters
from ringmain_agent.planning.dispatch.transformer_temperatures import ageing_matters, limits_matter
from ringmain_agent.site.site import Site

# Prices of wishes: an excess dominates every price of energy, and every other wish.
EXCESS_PER_PRICE: Final = 200.0
EXCESS_PER_WISH: Final = 3.0
EXCESS_MIN_PER_KWH: Final = 10.0
EXCESS_MAX_PER_KWH: Final = 1e5
TIE_PER_PRICE: Final = 1e-5
"""Small enough to cost nothing, large enough for the solver to see."""
TIME_LIMIT_S: Final = 3.0
SOLVE_SHARE: Final = 0.8
"""Of the time that is left, so that there is some for another solve."""


class Dispatcher:
    """Makes the schedules of one site; keeps nothing from one to the next."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def dispatch(self, problem: DispatchProblem, *, time_limit_s: float = TIME_LIMIT_S) -> Dispatch:
        """The cheapest schedule for the median forecast that keeps the reserve.

        Raises:
            DispatchError: With the termination condition; the fallback rule decides.
        """
        _require_usable(problem, self._site)
        solves = _Solves(problem, self._site, time_limit_s)
        selling_pays = bool((problem.export_price_per_kwh > problem.import_price_per_kwh).any())
        try:
            return solves.schedule(directions=selling_pays)
        except DispatchError as error:
            if not selling_pays:
                raise
            note = f"export is valued at most at the import price: {error}"
            return solves.schedule(directions=False, note=note)


class _Solves:
    """The solves of one plan, which share its time."""

    def __init__(self, problem: DispatchProblem, site: Site, time_limit_s: float) -> None:
        self._problem, self._site, self._prices = problem, site, prices_of(problem, site)
        self._left_s, self._solve_s = time_limit_s, 0.0

    def schedule(self, *, directions: bool, note: str = "") -> Dispatch:
        """The cheapest schedule, in which no battery charges while it discharges.

        Raises:
            DispatchError: With the termination condition.
        """
        limits = ageing_matters(self._site)
        voltage = limits and bool(self._site.capacitor_banks)
        formulation = Formulation(transformers=limits, voltage=voltage, directions=directions)
        program, solution = self._within_limits(formulation, self._prices)
        if program.overlaps(solution):
            program, solution = self._one_way(program, solution)
        return program.read(solution, solve_s=self._solve_s, note=note)

    def _within_limits(self, formulation: Formulation, prices: Prices) -> tuple[Program, Solution]:
        """The solution with the limits of transformers and voltage, if it exceeds them without."""
        while True:
            program, solution = self._solved(formulation, prices)
            kw, kvar = program.at_pcc(solution)
            transformers = formulation.transformers or limits_matter(np.hypot(kw, kvar), self._problem, self._site)
            switching_helps = transformers and bool(self._site.capacitor_banks)
            voltage = formulation.voltage or switching_helps or voltage_matters(kw, self._problem, self._site)
            if (transformers, voltage) == (formulation.transformers, formulation.voltage):
                return program, solution
            formulation = formulation._replace(transformers=transformers, voltage=voltage)

    def _solved(self, formulation: Formulation, prices: Prices) -> tuple[Program, Solution]:
        program = Program(self._site, self._problem, prices, formulation)
        limit_s = SOLVE_SHARE * self._left_s
        spent_s = limit_s
        try:
            solution = program.solve(limit_s)
            spent_s = solution.solve_s
        finally:
            self._left_s -= min(spent_s, self._left_s)
            self._solve_s += spent_s
        return program, solution

    def _one_way(self, program: Program, relaxed: Solution) -> tuple[Program, Solution]:
        """The same without charging and discharging in one step, where that would pay.

        Raises:
            DispatchError: With the termination condition.
        """
        formulation = program.formulation
        found: list[tuple[Program, Solution]] = []
        bound = relaxed.bound
        with suppress(DispatchError):
            program, solution = self._within_limits(formulation._replace(one_way=True), self._prices)
            if solution.optimal:
                return program, solution
            found, bound = [(program, solution)], max(bound, solution.bound)
        try:
            other, dearer = self._surcharged(program.formulation._replace(one_way=False))
        except DispatchError:
            if not found:
                raise
        else:
            if not found or not other.overlaps(dearer):
                found.append((other, dearer))
        program, solution = min(found, key=lambda one: one[1].objective)
        return program, solution.above(bound)

    def _surcharged(self, formulation: Formulation) -> tuple[Program, Solution]:
        """A schedule made with throughput too dear for destroying energy, at its cost without that."""
        problem, step_h, excess = self._problem, self._site.step_h, self._prices.excess_per_kwh
        destroyed = max(0.0, -float(problem.import_price_per_kwh.min()), -float(problem.export_price_per_kwh.min()))
        program, solution = self._within_limits(formulation, self._prices._replace(destroyed_per_kwh=destroyed))
        if program.overlaps(solution):
            # Something outside its limits that nothing can avoid: then even burning energy would pay.
            destroyed += excess * (1 + 1 / step_h) + excess * step_h * self._site.horizon_steps
            dear = self._prices._replace(destroyed_per_kwh=destroyed)
            program, solution = self._within_limits(program.formulation, dear)
        return program, solution._replace(objective=program.cost_of(solution, self._prices))


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
