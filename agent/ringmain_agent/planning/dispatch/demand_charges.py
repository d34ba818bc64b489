"""Demand charges: each has the highest quarter-hour mean import within its hours, and at least the billing period's so far.

Steps shorter than a quarter hour are averaged over the quarter by the clock that they fall into, together with what has
already flowed in it; longer ones count as they are.
"""

import math

import numpy as np
import numpy.typing as npt

from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.site.hours import ALWAYS, holds
from ringmain_agent.site.site import BILLING_PERIOD_S, PCC, Site
from ringmain_agent.site.tariff import DemandCharge
from ringmain_agent.snapshot import Snapshot

Array = npt.NDArray[np.float64]


class DemandChargeBlock:
    """One demand charge; the first planned step lies `phase` steps within its quarter hour."""

    def __init__(
        self, program: LinearProgram, charge: DemandCharge, site: Site, *, imported: list[Term], phase: int
    ) -> None:
        self._program, self._charge, self._site, self._phase = program, charge, site, phase
        self.active: list[Term] = []
        self.reactive: list[Term] = []
        per = steps_per_quarter(site)
        quarter = (np.arange(site.horizon_steps) + phase) // per
        self._count = int(quarter[-1]) + 1
        self._peak = program.columns(1)
        self._rows = program.rows(Term(np.repeat(self._peak, self._count), 1.0))
        # What the last quarter has beyond the horizon is taken to be like what it has within it.
        members = np.full(self._count, per, np.float64)
        if self._count > 1 or phase == 0:
            members[-1] = np.count_nonzero(quarter == quarter[-1])
        for term in imported:
            program.add(self._rows[quarter], term.columns, -term.value / members[quarter])

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Quarters that count, energy that has flowed in the first of them, and the peak that is paid for already."""
        del prices
        program, snapshot = self._program, problem.snapshot
        peak_kw = snapshot.billing_peak_kw.get(self._charge.name, 0.0)
        program.lower[self._peak] = min(max(peak_kw, 0.0), 1e9) if math.isfinite(peak_kw) else 0.0
        program.cost[self._peak] = self._charge.per_kw
        floor = np.zeros(self._count)
        floor[0] = flowed_kw(snapshot, self._phase) / steps_per_quarter(self._site)
        if self._charge.hours != ALWAYS:
            quarter_ms = 1000 * self._site.step_s * steps_per_quarter(self._site)
            begin_ms = snapshot.issued_at_ms - 1000 * self._site.step_s * self._phase
            starts_ms = [begin_ms + index * quarter_ms for index in range(self._count)]
            floor[~np.array(holds(self._charge.hours, starts_ms, self._site.time_zone))] = -INF
        program.row_lower[self._rows] = floor

    def read(self, values: Array, parts: Parts) -> None:
        """Nothing: the schedule is in the powers."""


def steps_per_quarter(site: Site) -> int:
    """Steps in a quarter hour; 1 where steps are not shorter or do not fit."""
    return BILLING_PERIOD_S // site.step_s if BILLING_PERIOD_S % site.step_s == 0 else 1


def phase(snapshot: Snapshot, site: Site) -> int:
    """Steps of its quarter hour that lie before the first planned step."""
    return snapshot.issued_at_ms // (1000 * site.step_s) % steps_per_quarter(site)


def flowed_kw(snapshot: Snapshot, steps: int) -> float:
    """Sum of the mean imports in the last steps; the power now stands in for what is missing, export counts as nothing."""
    past = np.frombuffer(snapshot.history.get(PCC, b""), "<f4")[-steps:] if steps else np.zeros(0)
    now_kw = snapshot.pcc_kw if snapshot.pcc_kw is not None and math.isfinite(snapshot.pcc_kw) else 0.0
    known = [float(value) if math.isfinite(value) else now_kw for value in past.tolist()]
    flows = [now_kw] * (steps - len(known)) + known
    return min(sum(max(flow, 0.0) for flow in flows), 1e9)
