"""Block of a transformer: limits of loading, top oil and hot spot, and aging, as linear rows with a known error.

Loading, top oil and hot spot have columns `within` their limit and `over` it, the latter at a price. The curves of the
thermal model are convex in the loading, which is cut into segments. The chords lie above the curves, by at most `errors`:
the real temperatures never exceed the predicted ones, and a limit kept here is kept in reality. The largest excess has a
price of its own, or all excess would fall into one step.

Top oil, winding and oil lag are rows over the same segments of the loading. A larger oil lag, which cools the hot spot,
never pays: it would heat the oil by more.

Source: IEC 60076-7:2018, difference equations; `equipment/transformer_thermal.py` has them exactly.
"""

import math
from itertools import pairwise
from typing import Final

import numpy as np

from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.transformer import firm_capacity_kva, loading_most_pu
from ringmain_agent.equipment.transformer_chords import chord_errors, segments
from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch.apparent_power import ApparentPower
from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.planning.dispatch.transformer_temperatures import ambients_degc, state_at_start
from ringmain_agent.site.hours import step_starts_ms
from ringmain_agent.site.nameplates import Transformer
from ringmain_agent.site.site import Site

TIE: Final = 1e-5
"""Price of a kelvin in a step: without it temperatures float above their curves where no limit binds."""
KELVIN_PU: Final = 0.01
"""A kelvin over its limit has the price of this loading over its limit."""
AGING_PU: Final = 0.1
"""An hour of life over its limit has the price of this loading over its limit."""
AGING_DEGC: Final = (*range(68, 141, 6), 170)
"""Ends of the chords of the aging rate, which are above it by at most 6.2 %; below the first end it is constant."""
SPARE_K: Final = 500.0
"""Distance of the lower bounds of temperatures below the lowest possible ones."""
FORGOTTEN_K: Final = 0.01
"""Largest error of the winding by steps left out of its weighted sum."""


def _weights(kept: float, rise_k: float, count: int) -> list[float]:
    """Weights of the present and earlier steps in the winding's rise; the last one takes the remainder."""
    needed = math.ceil(math.log(FORGOTTEN_K / max(rise_k, 1.0)) / math.log(kept))
    steps = min(max(needed, 1), count)
    return [(1 - kept) * kept**back for back in range(steps - 1)] + [kept ** (steps - 1)]


class TransformerBlock:
    """One transformer with its share of the power at the pcc.

    `pcc` are the connection's columns in kW, `reactive` those of capacitor banks in kvar; `None` means that the
    load has no reactive power either; one row per step is then enough for the loading.
    """

    def __init__(
        self,
        program: LinearProgram,
        transformer: Transformer,
        site: Site,
        pcc: list[Term],
        reactive: list[Term] | None,
    ) -> None:
        self.active: list[Term] = []
        self.reactive: list[Term] = []
        self.transformer, self._site, self._program, self._count = transformer, site, program, site.horizon_steps
        self._factor = site.transformer_shares()[transformer.name] / transformer.rated_power_kva
        self._constants = thermal.constants(transformer)
        self._kept = self._constants.kept(60 * site.step_h)
        self._loading_max_pu = loading_most_pu(transformer)
        self.errors = chord_errors(self._constants, self._loading_max_pu)
        count = self._count
        self._within, self._over = program.columns(count), program.columns(count)
        self._chords = segments(self._constants, self._loading_max_pu)
        self._parts = [program.columns(count, upper=chord.width_pu) for chord in self._chords]
        self._winding, self._lag = program.columns(count), program.columns(count)
        self._oil, self._hot = program.columns(count), program.columns(count)
        self._oil_over, self._hot_over = program.columns(count), program.columns(count)
        self._worst_pu, self._worst_k = program.columns(1), program.columns(1)
        self._apparent = ApparentPower(
            program,
            self._within,
            self._over,
            pcc=pcc,
            reactive=reactive,
            factor=self._factor,
        )
        whole = [Term(self._within, -1.0), Term(self._over, -1.0)]
        program.rows(*(Term(columns, 1.0) for columns in self._parts), *whole, lower=0.0, upper=0.0)
        self._add_temperatures()
        self._ages = transformer.ageing_cost_per_h > 0 or transformer.ageing_max_h_per_day is not None
        if self._ages:
            self._add_aging()

    def _add_temperatures(self) -> None:
        """Rows of top oil, oil lag and the winding's steady state over the segments, and of the hot spot from these.

        The winding's rise decays almost fully within a step. A recursion as for the oil would be unstable backwards in time,
        a direction that the simplex method takes. Its rise is therefore a weighted sum of the steady states of this step and
        earlier ones.
        """
        program, c, (oil, winding, lag) = self._program, self._constants, self._kept
        pairs = list(zip(self._parts, self._chords, strict=True))
        top_oil = [Term(self._oil, 1.0), Term(self._oil_over, 1.0)]
        rise_k = (1 - oil) * c.top_oil_rise_k
        self._oil_rows = program.rows(
            *top_oil,
            *(Term(columns, -rise_k * chord.oil_per_pu) for columns, chord in pairs),
            before=[Term(term.columns, -oil) for term in top_oil],
        )
        lag_k = (c.k21 - 1) * c.hot_spot_rise_k
        self._lag_rows = program.rows(
            Term(self._lag, 1.0),
            *(Term(columns, -(1 - lag) * lag_k * chord.winding_per_pu) for columns, chord in pairs if lag_k),
            before=[Term(self._lag, -lag)],
        )
        winding_k = c.k21 * c.hot_spot_rise_k
        ends = [Term(columns, -winding_k * chord.winding_per_pu) for columns, chord in pairs]
        program.rows(Term(self._winding, 1.0), *ends, lower=0.0, upper=0.0)
        above = [Term(columns, -1.0) for columns in (self._oil, self._oil_over)]
        self._hot_rows = program.rows(Term(self._hot, 1.0), Term(self._hot_over, 1.0), *above, Term(self._lag, 1.0))
        for back, weight in enumerate(_weights(winding, winding_k, self._count)):
            columns = self._winding[: self._count - back]
            program.add(self._hot_rows[back:], columns, np.full(len(columns), -weight))
        for worst, over in (
            (self._worst_pu, self._over),
            (self._worst_k, self._oil_over),
            (self._worst_k, self._hot_over),
        ):
            program.rows(Term(np.repeat(worst, self._count), 1.0), Term(over, -1.0), lower=0.0)

    def _add_aging(self) -> None:
        """The hot spot above the first end, cut into segments, and the aging over the horizon."""
        program, paper = self._program, self.transformer.paper
        widths = [*(end - begin for begin, end in pairwise(AGING_DEGC[:-1])), INF]
        self._heats = [program.columns(self._count, upper=width) for width in widths]
        self._aging_per_k = [
            (thermal.aging_rate(end, paper) - thermal.aging_rate(begin, paper)) / (end - begin)
            for begin, end in pairwise(AGING_DEGC)
        ]
        heats = [Term(columns, -1.0) for columns in self._heats]
        self._aging_over = program.columns(1)
        hot = [Term(self._hot, 1.0), Term(self._hot_over, 1.0)]
        program.rows(*hot, *heats, upper=float(AGING_DEGC[0]))
        self._aging_row = program.rows(Term(self._aging_over, -1.0))
        rows = np.repeat(self._aging_row, self._count)
        for columns, per_k in zip(self._heats, self._aging_per_k, strict=True):
            program.add(rows, columns, np.full(self._count, per_k * self._site.step_h))

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Limits in force in each step, the initial state, and the ambient temperature."""
        program, c, (oil, winding, lag) = self._program, self._constants, self._kept
        state = state_at_start(self.transformer, problem, self._site)
        ambient_degc = ambients_degc(self.transformer, problem) + c.indoor_rise_k
        self._apparent.write(problem.load_kvar)
        self._write_limits(problem)
        oil_degc = (1 - oil) * (ambient_degc + c.top_oil_rise_k * c.oil(0.0))
        for rows, left, start in (
            (self._oil_rows, oil * state.top_oil_degc, oil_degc),
            (self._lag_rows, lag * state.oil_lag_k, np.zeros(self._count)),
            (self._hot_rows, 0.0, state.winding_k * winding ** np.arange(1.0, self._count + 1)),
        ):
            start[0] += left
            program.row_lower[rows] = program.row_upper[rows] = start
        # Finite bounds below all possible temperatures: with free columns the simplex method would need far more iterations.
        program.lower[self._oil] = lowest_degc = min(state.top_oil_degc, float(ambient_degc.min()), 0.0) - SPARE_K
        program.lower[self._lag] = min(state.oil_lag_k, 0.0)
        program.lower[self._hot] = lowest_degc - max(state.oil_lag_k, 0.0) + min(state.winding_k, 0.0) - SPARE_K
        self._write_costs(prices)

    def _write_limits(self, problem: DispatchProblem) -> None:
        program, site = self._program, self._site
        starts_ms = step_starts_ms(problem.snapshot.issued_at_ms, site.step_s, site.horizon_steps)
        limits = np.array(thermal.limits_at(self.transformer, starts_ms, site.time_zone))
        loading_pu, hot_spot_degc, top_oil_degc = limits.T
        program.upper[self._within] = loading_pu
        program.upper[self._oil] = top_oil_degc
        program.upper[self._hot] = hot_spot_degc

    def _write_costs(self, prices: Prices) -> None:
        cost, transformer, step_h = self._program.cost, self.transformer, self._site.step_h
        per_pu = prices.excess_per_kwh * transformer.rated_power_kva
        cost[self._over], cost[self._worst_pu] = per_pu * step_h, per_pu
        cost[self._oil_over] = cost[self._hot_over] = KELVIN_PU * per_pu * step_h
        cost[self._worst_k] = KELVIN_PU * per_pu
        cost[self._oil] = cost[self._winding] = TIE
        if self._ages:
            self._write_aging(per_pu)

    def _write_aging(self, per_pu: float) -> None:
        program, transformer, step_h = self._program, self.transformer, self._site.step_h
        per_h = transformer.ageing_cost_per_h * step_h
        for columns, per_k in zip(self._heats, self._aging_per_k, strict=True):
            program.cost[columns] = per_h * per_k
        program.cost[self._aging_over] = AGING_PU * per_pu
        if transformer.ageing_max_h_per_day is not None:
            horizon_h = self._count * step_h
            unavoidable_h = thermal.aging_rate(AGING_DEGC[0], transformer.paper) * horizon_h
            allowed_h = transformer.ageing_max_h_per_day * horizon_h / 24
            program.row_upper[self._aging_row] = allowed_h - unavoidable_h

    def read(self, values: Array, parts: Parts) -> None:
        """The predicted hot spot at the END of each step."""
        parts.hot_spot_degc[self.transformer.name] = values[self._hot] + values[self._hot_over]


class FirmCapacity:
    """Block of the firm capacity: with the largest transformer out, the others carry the power at the pcc."""

    def __init__(
        self,
        program: LinearProgram,
        site: Site,
        pcc: list[Term],
        reactive: list[Term] | None,
    ) -> None:
        self.active: list[Term] = []
        self.reactive: list[Term] = []
        self._program, self._site = program, site
        self.firm_kva = firm_capacity_kva(site)
        count = site.horizon_steps
        self._within, self._over, self._worst = program.columns(count), program.columns(count), program.columns(1)
        self._apparent = ApparentPower(
            program,
            self._within,
            self._over,
            pcc=pcc,
            reactive=reactive,
            factor=1.0,
        )
        program.rows(Term(np.repeat(self._worst, count), 1.0), Term(self._over, -1.0), lower=0.0)

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """The limit, and the price of exceeding it."""
        program = self._program
        self._apparent.write(problem.load_kvar)
        program.upper[self._within] = self.firm_kva
        program.cost[self._over] = prices.excess_per_kwh * self._site.step_h
        program.cost[self._worst] = prices.excess_per_kwh

    def read(self, values: Array, parts: Parts) -> None:
        """Nothing: it has no values in a schedule."""
