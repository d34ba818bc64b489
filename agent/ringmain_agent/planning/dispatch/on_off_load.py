"""Block of an on/off load: a binary in each step, run hours, starts, and a minimum run time."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from ringmain_agent.equipment.horizon_hours import HoursSteps, is_current, steps_of_hours
from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.energy_due import Requirement, RunningTotal
from ringmain_agent.planning.dispatch.linear_program import LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.planning.dispatch.unresponsive import unresponsive_load_kw
from ringmain_agent.site.hours import MS_PER_H, holds
from ringmain_agent.site.nameplates import OnOffLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Snapshot

STEP_SHARE: Final = 1e-3
"""A smaller remainder of a step counts as complete."""
INTEGER_TOLERANCE: Final = 1e-5
"""Tolerance of the solver for integers."""


class OnOffLoadBlock:
    """One on/off load. Run hours count in whole steps; a started run is finished, even outside its hours.

    Starts need no integers, as each is bounded by the change from off to on. The power of an unresponsive load has a column
    of its own.
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
            # On if it was started within the last `run_steps` steps.
            lasts = program.rows(on, Term(self._start, -1.0), lower=0.0)
            for back in range(1, min(self._run_steps, count)):
                program.add(lasts[back:], self._start[:-back], np.full(count - back, -1.0))
        self._starts = RunningTotal(program, Term(self._start, 1.0)) if load.starts_max is not None else None
        self.active = [Term(self._on, load.power_kw), Term(self._unresponsive, 1.0)]
        self.reactive: list[Term] = []

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Run steps that are due, and steps in which it may be on; earlier rather than later at equal cost."""
        program, load, snapshot = self._program, self._load, problem.snapshot
        count, energy_kwh = self._site.horizon_steps, load.power_kw * self._site.step_h
        program.cost[self._on] = prices.tie_per_kwh * energy_kwh * np.arange(count) / count
        usage = snapshot.runs.get(load.name, LoadUsage())
        if self._counts_starts:
            program.row_upper[self._switch[0]] = 1.0 if usage.on else 0.0
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
        forced = self._forced(usage, snapshot)
        outside = [step for step in range(forced) if not allowed[step]]
        allowed[:forced] = program.lower[self._on[:forced]] = 1.0
        program.upper[self._on] = allowed
        requirements = self._run_requirements(windows, usage, forced)
        self._total.write(requirements, missing_cost=load.missing_per_kwh * energy_kwh, forced=outside)
        if self._starts is not None:
            self._starts.write(self._start_requirements(windows, usage), missing_cost=0.0)
        if self._run_steps > 1:
            program.upper[self._start] = self._may_start(snapshot)

    def read(self, values: Array, parts: Parts) -> None:
        """Its power; on or off exactly, within the tolerance of the solver."""
        on = values[self._on]
        on = np.where(np.abs(on - np.rint(on)) <= INTEGER_TOLERANCE, np.rint(on), on)
        parts.power_kw[self._load.name] = np.maximum(on * self._load.power_kw + values[self._unresponsive], 0.0)

    def _forced(self, usage: LoadUsage, snapshot: Snapshot) -> int:
        """Steps until the minimum run time of the current run is over."""
        if not usage.on:
            return 0
        on_h = max(snapshot.issued_at_ms - usage.since_ms, 0) / MS_PER_H
        return min(_whole_steps(self._load.run_min_h - on_h, self._site.step_h), self._site.horizon_steps)

    def _may_start(self, snapshot: Snapshot) -> Array:
        """For each step, 1 if a minimum run that starts in it ends within its hours, also after the horizon."""
        site, may_start = self._site, np.ones(self._site.horizon_steps)
        last = np.arange(site.horizon_steps) + self._run_steps - 1
        late = np.flatnonzero(last >= site.horizon_steps)
        starts_ms = [snapshot.issued_at_ms + 1000 * site.step_s * int(step) for step in last[late]]
        may_start[late] = holds(self._load.hours, starts_ms, site.time_zone)
        return may_start

    def _run_requirements(self, windows: Sequence[HoursSteps], usage: LoadUsage, forced: int) -> list[Requirement]:
        """Run steps that are due. The surplus allows for the minimum run time."""
        requirements = []
        for index, hours in enumerate(windows):
            done_h = max(usage.run_h, 0.0) if index == 0 and is_current(windows) and math.isfinite(usage.run_h) else 0.0
            left = _whole_steps(self._load.run_h - done_h, self._site.step_h)
            due = math.floor(left * hours.share + STEP_SHARE)
            unavoidable = sum(1 for step in hours.steps if step < forced)
            most = max(due, unavoidable, self._run_steps if due > 0 else 0)
            requirements.append(Requirement(hours.steps, due, most - due))
        return requirements

    def _start_requirements(self, windows: Sequence[HoursSteps], usage: LoadUsage) -> list[Requirement]:
        """Remaining starts in each of its hours; unused ones cost nothing."""
        requirements = []
        for index, hours in enumerate(windows):
            started = max(usage.starts, 0) if index == 0 and is_current(windows) else 0
            requirements.append(Requirement(hours.steps, max((self._load.starts_max or 0) - started, 0)))
        return requirements


def _whole_steps(duration_h: float, step_h: float) -> int:
    """Whole steps of a duration, rounded up."""
    return max(math.ceil(duration_h / step_h - STEP_SHARE), 0) if duration_h > 0 else 0
