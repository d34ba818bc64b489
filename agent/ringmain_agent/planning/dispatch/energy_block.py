"""Common block of loads that take energy at any power: power between bounds, and energy due at the end of some steps.

Missing energy has a price. Only a load with a minimum power has integers.
"""

import math
from abc import ABC, abstractmethod
from typing import Final

import numpy as np

from ringmain_agent.equipment.horizon_hours import HoursSteps
from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.energy_due import Requirement, RunningTotal
from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.planning.dispatch.unresponsive import unresponsive_load_kw
from ringmain_agent.site.nameplates import ChargingStation, FlexibleLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot

DUE_MIN_KWH: Final = 1e-3
"""Smaller amounts are not due: branch and bound treats amounts near its tolerance as infeasible (HiGHS 1.16)."""


class EnergyBlock(ABC):
    """Power between 0 (or `power_min_kw`, or off) and `power_max_kw`, with energy due at the end of some steps."""

    def __init__(
        self, program: LinearProgram, load: FlexibleLoad | ChargingStation, site: Site, *, efficiency: float
    ) -> None:
        self._program, self._load, self._site = program, load, site
        count = site.horizon_steps
        self._power = program.columns(count)
        self._step_gain_h = efficiency * site.step_h
        self._total = RunningTotal(program, Term(self._power, self._step_gain_h), surplus=load.power_min_kw > 0)
        self._on = program.columns(count if load.power_min_kw > 0 else 0, upper=1.0, integer=True)
        if load.power_min_kw > 0:
            on = [Term(self._power, 1.0)]
            self._least = program.rows(*on, Term(self._on, -load.power_min_kw), lower=0.0)
            self._most = program.rows(*on, Term(self._on, -load.power_max_kw), upper=0.0)
        self.active = [Term(self._power, 1.0)]
        self.reactive: list[Term] = []

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Energy due, and steps in which power may be drawn; earlier rather than later at equal cost."""
        program, load, count, step_h = self._program, self._load, self._site.horizon_steps, self._site.step_h
        unresponsive_kw = unresponsive_load_kw(problem.snapshot, load.name)
        if len(self._on):
            program.upper[self._on] = 1.0 if unresponsive_kw is None else 0.0
            program.row_lower[self._least] = 0.0 if unresponsive_kw is None else -INF
            program.row_upper[self._most] = 0.0 if unresponsive_kw is None else INF
        program.cost[self._power] = prices.tie_per_kwh * step_h * np.arange(count) / count
        if unresponsive_kw is not None:
            program.lower[self._power] = program.upper[self._power] = unresponsive_kw
            self._total.release()
            return
        requirements = self._requirements(problem.snapshot)
        allowed_kw = np.zeros(count)
        for requirement in requirements:
            allowed_kw[requirement.steps] = load.power_max_kw
        program.lower[self._power], program.upper[self._power] = 0.0, allowed_kw
        self._total.write(requirements, missing_cost=load.missing_per_kwh)

    def read(self, values: Array, parts: Parts) -> None:
        """Its power."""
        parts.power_kw[self._load.name] = np.maximum(values[self._power], 0.0)

    def _due(self, steps: HoursSteps, energy_kwh: float) -> Requirement:
        """Energy due in some steps; the surplus lets the fewest possible steps all have the minimum power."""
        due_kwh, load = energy_kwh * steps.share, self._load
        fewest = math.ceil(due_kwh / (load.power_max_kw * self._step_gain_h) - 1e-6)
        return Requirement(steps.steps, due_kwh, max(fewest * load.power_min_kw * self._step_gain_h - due_kwh, 0.0))

    @abstractmethod
    def _requirements(self, snapshot: Snapshot) -> list[Requirement]:
        """Energy that is due, in order."""
