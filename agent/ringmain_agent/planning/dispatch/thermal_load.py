"""Block of a heat pump, boiler or chiller: its power changes a temperature, which should stay in its band."""

import numpy as np

from ringmain_agent.equipment import plausible_values as plausible
from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.planning.dispatch.unresponsive import unresponsive_load_kw
from ringmain_agent.site.nameplates import ThermalLoad
from ringmain_agent.site.site import Site


class ThermalLoadBlock:
    """The temperature at the END of each step follows from the power; each degree hour outside the band has a price.

    A temperature outside its band returns if that costs less than staying outside. A load of unknown temperature is idle.
    """

    def __init__(self, program: LinearProgram, load: ThermalLoad, site: Site) -> None:
        self._program, self._load, self._site = program, load, site
        count = site.horizon_steps
        self._decay = load.decay(site.step_h)
        self._power, self._below, self._above = (program.columns(count) for _ in range(3))
        self._temperature = program.columns(count, lower=-INF)
        self._change = program.rows(
            Term(self._temperature, 1.0),
            Term(self._power, -load.rise_k_per_kw(site.step_h)),
            before=[Term(self._temperature, -self._decay)],
        )
        self._band = program.rows(Term(self._temperature, 1.0), Term(self._below, 1.0), Term(self._above, -1.0))
        self.active = [Term(self._power, 1.0)]
        self.reactive: list[Term] = []
        self._known = False

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Ambient and measured temperature, and band; earlier rather than later at equal cost."""
        program, load, count = self._program, self._load, self._site.horizon_steps
        step_h, snapshot = self._site.step_h, problem.snapshot
        now_degc = plausible.temperature_degc(snapshot.temperature_degc.get(load.name))
        self._known = now_degc is not None
        unresponsive_kw = unresponsive_load_kw(snapshot, load.name)
        if unresponsive_kw is not None:
            program.lower[self._power] = program.upper[self._power] = unresponsive_kw
        else:
            program.lower[self._power] = 0.0
            program.upper[self._power] = load.power_max_kw if self._known else 0.0
        program.cost[self._power] = prices.tie_per_kwh * step_h * np.arange(count) / count
        program.cost[self._below] = program.cost[self._above] = load.discomfort_per_k_h * step_h
        if now_degc is None:
            program.lower[self._temperature] = program.upper[self._temperature] = 0.0
            for rows in (self._band, self._change):
                program.row_lower[rows], program.row_upper[rows] = -INF, INF
            return
        program.lower[self._temperature], program.upper[self._temperature] = -INF, INF
        program.row_lower[self._band], program.row_upper[self._band] = load.temperature_min_degc, load.temperature_max_degc
        constant_degc = (1 - self._decay) * problem.ambient_degc.get(load.name, np.full(count, load.ambient_degc))
        constant_degc[0] += self._decay * now_degc
        program.row_lower[self._change] = program.row_upper[self._change] = constant_degc

    def read(self, values: Array, parts: Parts) -> None:
        """Its power, and the temperature if known."""
        parts.power_kw[self._load.name] = np.maximum(values[self._power], 0.0)
        if self._known:
            parts.temperature_degc[self._load.name] = values[self._temperature]
