"""A load that is on or off: an integer each step, run hours and starts due within its hours, and a least time on."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ringmain_agent.equipment.horizon_hours import HoursSteps, is_current, steps_of_hours
from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.energy_due import Requirement, RunningTotal
from ringmain_agent.planning.dispatch.linear_program import LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.planning.dispatch.unresponsive import unresponsive_load_kw
from ringmain_agent.site.hours import holds
from ringmain_agent.site.nameplates import OnOffLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Snapshot

Array = npt.NDArray[np.float64]

STEP_SHARE: Final = 1e-3
"""A remainder of a step below this share counts as done."""
ROUNDED: Final = 1e-5
"""Distance from an integer that the solver may leave."""


class OnOffLoadBlock:
    """One on/off load. Run hours are counted in whole steps; a run that has begun is finished, also outside its hours.

    Starts need no integers: nothing but the change from off to on holds them up. A power at which the load stays although
    it should not has a column of its own.
    """

    def __init__(self, program: LinearProgram, load: OnOffLoad, site: Site) -> None:
        self._program, self._load, self._site = program, load, site
        count = site.horizon_steps
        self._run_steps = _whole_steps(load.run_min_h, site.step_h)
        self._on = program.columns(count, upper=1.0, integer=True)
        self._unresponsive = program.columns(count, upper=0.0)
        self._total = RunningTotal(program, Term(self._on, 1.0), surplus=True)
        self._counts_starts = self._run_steps > 1 or load.starts_max is not None
        if self._counts_starts:
            self._start = program.columns(count, upper=1.0)
            on = Term(self._on, 1.0)
            self._switch = program.rows(on, Term(self._start, -1.0), before=[Term(self._on, -1.0)], upper=0.0)
            # On while any start of the last `run_steps` steps lasts.
            lasts = program.rows(on, Term(self._start, -1.0), lower=0.0)
            for back in range(1, min(self._run_steps, count)):
                program.add(lasts[back:], self._start[:-back], np.full(count - back, -1.0))
        self._starts = RunningTotal(program, Term(self._start, 1.0)) if load.starts_max is not None else None
        self.active = [Term(self._on, load.power_kw), Term(self._unresponsive, 1.0)]
        self.reactive: list[Term] = []

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Steps of running that are due, and steps in which it may be on; earlier rather than later at equal cost."""
        program, load, snapshot = self._program, self._load, problem.snapshot
        count, energy_kwh = self._site.horizon_steps, load.power_kw * self._site.step_h
        program.cost[self._on] = prices.tie_per_kwh * energy_kwh * np.arange(count) / count
        run = snapshot.runs.get(load.name, LoadUsage())
        if self._counts_starts:
            program.row_upper[self._switch[0]] = 1.0 if run.on else 0.0
        unresponsive_kw = unresponsive_load_kw(snapshot, load.name)
        program.lower[self._unresponsive] = program.upper[self._unresponsive] = unresponsive_kw or 0.0
        program.lower[self._on] = 0.0
        if unresponsive_kw is not None:
            program.upper[self._on] = 0.0
            self._total.release()
            if self._starts is not None:
                self._starts.release()
            return
        windows = steps_of_hours(load.hours, snapshot.issued_at_ms, self._site)
        allowed = np.zeros(count)
        for hours in windows:
            allowed[hours.steps] = 1.0
        forced = self._forced(run, snapshot)
        outside = [step for step in range(forced) if not allowed[step]]
        allowed[:forced] = program.lower[self._on[:forced]] = 1.0
        program.upper[self._on] = allowed
        requirements = self._run_requirements(windows, run, forced)
        self._total.write(requirements, missing_cost=load.missing_per_kwh * energy_kwh, forced=outside)
        if self._starts is not None:
            self._starts.write(self._start_requirements(windows, run), missing_cost=0.0)
        if self._run_steps > 1:
            program.upper[self._start] = self._may_start(snapshot)

    def read(self, values: Array, parts: Parts) -> None:
        """Its power; exactly on or off where the solver has decided so."""
        on = values[self._on]
        on = np.where(np.abs(on - np.rint(on)) <= ROUNDED, np.rint(on), on)
        parts.power_kw[self._load.name] = np.maximum(on * self._load.power_kw + values[self._unresponsive], 0.0)

    def _forced(self, run: LoadUsage, snapshot: Snapshot) -> int:
        """Steps that the current run still lasts at least."""
        if not run.on:
            return 0
        been_h = max(snapshot.issued_at_ms - run.since_ms, 0) / 3_600_000
        return min(_whole_steps(self._load.run_min_h - been_h, self._site.step_h), self._site.horizon_steps)

    def _may_start(self, snapshot: Snapshot) -> Array:
        """For each step, 1 where a run that begins in it and ends after the horizon still ends within its hours."""
        site, may = self._site, np.ones(self._site.horizon_steps)
        last = np.arange(site.horizon_steps) + self._run_steps - 1
        late = np.flatnonzero(last >= site.horizon_steps)
        starts_ms = [snapshot.issued_at_ms + 1000 * site.step_s * int(step) for step in last[late]]
        may[late] = holds(self._load.hours, starts_ms, site.time_zone)
        return may

    def _run_requirements(self, windows: Sequence[HoursSteps], run: LoadUsage, forced: int) -> list[Requirement]:
        """Steps of running that are due. A run is never shorter than its least: for that, more may come than is due."""
        requirements = []
        for index, hours in enumerate(windows):
            had_h = max(run.run_h, 0.0) if index == 0 and is_current(windows) and math.isfinite(run.run_h) else 0.0
            left = _whole_steps(self._load.run_h - had_h, self._site.step_h)
            due = math.floor(left * hours.share + STEP_SHARE)
            unavoidable = sum(1 for step in hours.steps if step < forced)
            most = max(due, unavoidable, self._run_steps if due > 0 else 0)
            requirements.append(Requirement(hours.steps, due, most - due))
        return requirements

    def _start_requirements(self, windows: Sequence[HoursSteps], run: LoadUsage) -> list[Requirement]:
        """Starts that are left in each of the hours; those that are not made cost nothing."""
        requirements = []
        for index, hours in enumerate(windows):
            had = max(run.starts, 0) if index == 0 and is_current(windows) else 0
            requirements.append(Requirement(hours.steps, max((self._load.starts_max or 0) - had, 0)))
        return requirements


def _whole_steps(duration_h: float, step_h: float) -> int:
    """Steps that a duration takes."""
    return max(math.ceil(duration_h / step_h - STEP_SHARE), 0) if duration_h > 0 else 0
