"""Rolling-horizon dispatch of a site: build the program of each problem, solve it, read the schedule.

Physics and nameplates are hard constraints; every other limit has a priced slack. No measured state and no forecast makes
the program infeasible. Forecasts and the re-simulation with the exact equations are elsewhere.

Every plan builds new programs. The first program omits the limits of transformers and voltage, and the integers that forbid
a battery to charge while it discharges. Most schedules satisfy these anyway, as the exact equations show. For a schedule
that does not, the next program includes the violated ones.
"""

from contextlib import suppress
from typing import Final

import numpy as np

from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.dispatch.block import Prices
from ringmain_agent.planning.dispatch.linear_program import Solution
from ringmain_agent.planning.dispatch.problem import LARGEST, Dispatch, DispatchProblem
from ringmain_agent.planning.dispatch.program import DispatchProgram, Formulation
from ringmain_agent.planning.dispatch.switched import voltage_matters
from ringmain_agent.planning.dispatch.transformer_temperatures import aging_matters, limits_matter
from ringmain_agent.site.site import Site

# Prices of soft limits: an excess over a limit dominates every price of energy and every other soft limit.
EXCESS_PER_PRICE: Final = 200.0
EXCESS_PER_SOFT_LIMIT: Final = 3.0
EXCESS_MIN_PER_KWH: Final = 10.0
EXCESS_MAX_PER_KWH: Final = 1e5
TIE_PER_PRICE: Final = 1e-5
"""Negligible cost, but above the tolerance of the solver."""
TIME_LIMIT_S: Final = 3.0
SOLVE_SHARE: Final = 0.8
"""Share of the remaining time for one solve, so that time is left for another."""


class Dispatcher:
    """Optimizer of one site; it keeps no state between plans."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def dispatch(self, problem: DispatchProblem, *, time_limit_s: float = TIME_LIMIT_S) -> Dispatch:
        """The cheapest schedule for the median forecast that keeps the reserve.

        Raises:
            DispatchError: With the termination condition; the rule takes over.
        """
        _require_usable(problem, self._site)
        solves = _Solves(problem, self._site, time_limit_s)
        export_pays = bool((problem.export_price_per_kwh > problem.import_price_per_kwh).any())
        try:
            return solves.schedule(exclusive_import=export_pays)
        except DispatchError as error:
            if not export_pays:
                raise
            note = f"export is valued at most at the import price: {error}"
            return solves.schedule(exclusive_import=False, note=note)


class _Solves:
    """The solves of one plan; they share its time limit."""

    def __init__(self, problem: DispatchProblem, site: Site, time_limit_s: float) -> None:
        self._problem, self._site, self._prices = problem, site, prices_of(problem, site)
        self._remaining_s, self._solve_s = time_limit_s, 0.0

    def schedule(self, *, exclusive_import: bool, note: str = "") -> Dispatch:
        """The cheapest schedule, in which no battery charges while it discharges.

        Raises:
            DispatchError: With the termination condition.
        """
        limits = aging_matters(self._site)
        voltage = limits and bool(self._site.capacitor_banks)
        formulation = Formulation(transformers=limits, voltage=voltage, exclusive_import=exclusive_import)
        program, solution = self._within_limits(formulation, self._prices)
        if program.overlaps(solution):
            program, solution = self._with_exclusive_charging(program, solution)
        return program.read(solution, solve_s=self._solve_s, note=note)

    def _within_limits(self, formulation: Formulation, prices: Prices) -> tuple[DispatchProgram, Solution]:
        """The solution within the limits of transformers and voltage; its program includes them only if needed."""
        while True:
            program, solution = self._solve(formulation, prices)
            kw, kvar = program.at_pcc(solution)
            transformers = formulation.transformers or limits_matter(np.hypot(kw, kvar), self._problem, self._site)
            switching_helps = transformers and bool(self._site.capacitor_banks)
            voltage = formulation.voltage or switching_helps or voltage_matters(kw, self._problem, self._site)
            if (transformers, voltage) == (formulation.transformers, formulation.voltage):
                return program, solution
            formulation = formulation._replace(transformers=transformers, voltage=voltage)

    def _solve(self, formulation: Formulation, prices: Prices) -> tuple[DispatchProgram, Solution]:
        program = DispatchProgram(self._site, self._problem, prices, formulation)
        limit_s = SOLVE_SHARE * self._remaining_s
        spent_s = limit_s
        try:
            solution = program.solve(limit_s)
            spent_s = solution.solve_s
        finally:
            self._remaining_s -= min(spent_s, self._remaining_s)
            self._solve_s += spent_s
        return program, solution

    def _with_exclusive_charging(self, program: DispatchProgram, relaxed: Solution) -> tuple[DispatchProgram, Solution]:
        """A solution in which no battery charges and discharges in one step.

        Raises:
            DispatchError: With the termination condition.
        """
        formulation = program.formulation
        candidates: list[tuple[DispatchProgram, Solution]] = []
        bound = relaxed.bound
        with suppress(DispatchError):
            program, solution = self._within_limits(formulation._replace(exclusive_charging=True), self._prices)
            if solution.optimal:
                return program, solution
            candidates, bound = [(program, solution)], max(bound, solution.bound)
        try:
            other, surcharged = self._with_surcharge(program.formulation._replace(exclusive_charging=False))
        except DispatchError:
            if not candidates:
                raise
        else:
            if not candidates or not other.overlaps(surcharged):
                candidates.append((other, surcharged))
        program, solution = min(candidates, key=lambda candidate: candidate[1].objective)
        return program, solution.above(bound)

    def _with_surcharge(self, formulation: Formulation) -> tuple[DispatchProgram, Solution]:
        """A schedule with a surcharge on throughput that makes destroying energy unprofitable; its cost excludes it."""
        problem, step_h, excess = self._problem, self._site.step_h, self._prices.excess_per_kwh
        destroyed = max(0.0, -float(problem.import_price_per_kwh.min()), -float(problem.export_price_per_kwh.min()))
        program, solution = self._within_limits(formulation, self._prices._replace(destroyed_per_kwh=destroyed))
        if program.overlaps(solution):
            # An excess over a limit is unavoidable, so that even destroying energy pays.
            destroyed += excess * (1 + 1 / step_h) + excess * step_h * self._site.horizon_steps
            surcharged = self._prices._replace(destroyed_per_kwh=destroyed)
            program, solution = self._within_limits(program.formulation, surcharged)
        return program, solution._replace(objective=program.cost_of(solution, self._prices))


def prices_of(problem: DispatchProblem, site: Site) -> Prices:
    """Prices of the soft limits in this problem."""
    price_in, price_out = problem.import_price_per_kwh, problem.export_price_per_kwh
    largest = float(max(np.abs(price_in).max(), np.abs(price_out).max()))
    soft = [kind_of(equipment).worth_per_kwh(equipment) for equipment in site.powered]
    soft += [charge.per_kw / site.step_h for charge in site.tariff.demand_charges]
    highest_soft = max(
        [problem.snapshot.breach_price_per_kwh, *soft, 0.0] if soft else [problem.snapshot.breach_price_per_kwh]
    )
    excess = max(EXCESS_MIN_PER_KWH, EXCESS_PER_PRICE * largest, EXCESS_PER_SOFT_LIMIT * highest_soft)
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
        "breach_price_per_kwh": np.full(count, problem.snapshot.breach_price_per_kwh),
    }
    arrays |= problem.available_kw
    arrays |= {f"ambient_degc of {name}": values for name, values in problem.ambient_degc.items()}
    for name, values in arrays.items():
        if values.shape != (count,) or not (np.abs(values) < LARGEST).all():
            raise DispatchError("input", f"{name} is not {count} finite numbers below {LARGEST:.0e}")
