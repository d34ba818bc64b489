"""Blocks of demand charges: each prices the increase of the highest quarter-hour mean import within its hours.

Steps shorter than a quarter hour are averaged over their quarter by the clock, together with the energy that has already
flowed in it; longer steps count as they are.
"""

import math

import numpy as np

from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.site.hours import ALWAYS, holds
from ringmain_agent.site.site import PCC, SETTLEMENT_PERIOD_S, Site
from ringmain_agent.site.tariff import DemandCharge
from ringmain_agent.snapshot import Snapshot


class DemandChargeBlock:
    """One demand charge; the first planned step lies `quarter_phase` steps within its quarter hour."""

    def __init__(
        self, program: LinearProgram, charge: DemandCharge, site: Site, *, imported: list[Term], quarter_phase: int
    ) -> None:
        self._program, self._charge, self._site, self._quarter_phase = program, charge, site, quarter_phase
        self.active: list[Term] = []
        self.reactive: list[Term] = []
        per = steps_per_quarter(site)
        quarter = (np.arange(site.horizon_steps) + quarter_phase) // per
        self._count = int(quarter[-1]) + 1
        self._peak = program.columns(1)
        self._rows = program.rows(Term(np.repeat(self._peak, self._count), 1.0))
        # The part of the last quarter after the horizon is assumed equal to the part within it.
        members = np.full(self._count, per, np.float64)
        if self._count > 1 or quarter_phase == 0:
            members[-1] = np.count_nonzero(quarter == quarter[-1])
        for term in imported:
            program.add(self._rows[quarter], term.columns, -term.value / members[quarter])

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Quarters that count, the energy that has already flowed in the first one, and the peak so far."""
        del prices
        program, snapshot = self._program, problem.snapshot
        peak_kw = snapshot.billing_peak_kw.get(self._charge.name, 0.0)
        program.lower[self._peak] = min(max(peak_kw, 0.0), 1e9) if math.isfinite(peak_kw) else 0.0
        program.cost[self._peak] = self._charge.per_kw
        floor = np.zeros(self._count)
        floor[0] = flowed_kw(snapshot, self._quarter_phase) / steps_per_quarter(self._site)
        if self._charge.hours != ALWAYS:
            quarter_ms = 1000 * self._site.step_s * steps_per_quarter(self._site)
            begin_ms = snapshot.issued_at_ms - 1000 * self._site.step_s * self._quarter_phase
            starts_ms = range(begin_ms, begin_ms + self._count * quarter_ms, quarter_ms)
            floor[~np.array(holds(self._charge.hours, starts_ms, self._site.time_zone))] = -INF
        program.row_lower[self._rows] = floor

    def read(self, values: Array, parts: Parts) -> None:
        """Nothing: it has no values in a schedule."""


def steps_per_quarter(site: Site) -> int:
    """Steps in a quarter hour; 1 for longer steps, or steps that do not divide it."""
    return SETTLEMENT_PERIOD_S // site.step_s if SETTLEMENT_PERIOD_S % site.step_s == 0 else 1


def quarter_phase(snapshot: Snapshot, site: Site) -> int:
    """Steps of the present quarter hour before the first planned step."""
    return snapshot.issued_at_ms // (1000 * site.step_s) % steps_per_quarter(site)


def flowed_kw(snapshot: Snapshot, steps: int) -> float:
    """Sum of the mean imports in the last steps; the present power replaces missing steps, and export counts as 0."""
    past = np.frombuffer(snapshot.history.get(PCC, b""), "<f4")[-steps:] if steps else np.zeros(0)
    now_kw = snapshot.pcc_kw if snapshot.pcc_kw is not None and math.isfinite(snapshot.pcc_kw) else 0.0
    known = [float(value) if math.isfinite(value) else now_kw for value in past.tolist()]
    flows = [now_kw] * (steps - len(known)) + known
    return min(sum(max(flow, 0.0) for flow in flows), 1e9)
