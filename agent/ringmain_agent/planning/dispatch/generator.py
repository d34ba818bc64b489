"""Block of a PV or wind plant: its available power and, if it takes setpoints, its curtailment."""

import numpy as np

from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.linear_program import LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.site.nameplates import Generator
from ringmain_agent.site.site import Site


class GeneratorBlock:
    """One plant: its available power is part of the net load; its curtailment is a column."""

    def __init__(self, program: LinearProgram, generator: Generator, site: Site) -> None:
        self._program, self._generator, self._step_h = program, generator, site.step_h
        self._count = site.horizon_steps
        self._curtailed = program.columns(self._count if generator.curtailable else 0)
        self.active = [Term(self._curtailed, 1.0)] if generator.curtailable else []
        self.reactive: list[Term] = []

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Curtailment at a small price, up to the available power; an unresponsive plant keeps its curtailment."""
        if not self._generator.curtailable:
            return
        available_kw = np.maximum(-problem.available_kw[self._generator.name], 0.0)
        unresponsive_kw = problem.snapshot.unresponsive_kw.get(self._generator.name)
        lower, upper = np.zeros(self._count), available_kw
        if unresponsive_kw is not None and np.isfinite(unresponsive_kw):
            lower = upper = np.maximum(available_kw - max(-unresponsive_kw, 0.0), 0.0)
        self._program.lower[self._curtailed], self._program.upper[self._curtailed] = lower, upper
        self._program.cost[self._curtailed] = prices.tie_per_kwh * self._step_h

    def read(self, values: Array, parts: Parts) -> None:
        """Its curtailed power."""
        curtailed_kw = np.maximum(values[self._curtailed], 0.0) if self.active else np.zeros(self._count)
        parts.curtailed_kw[self._generator.name] = curtailed_kw
