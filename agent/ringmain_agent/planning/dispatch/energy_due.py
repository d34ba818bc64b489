"""What is due by the end of some steps: energy within a load's hours, by a departure, hours of running, starts.

Hours move with the clock and the matrix does not: a running total has what is missing added at the end of each window, so
that there it must equal all that was due until then. Which steps those are is said by bounds alone.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term
from ringmain_agent.site.hours import LocalHours, windows
from ringmain_agent.site.site import DAY_S, Site
from ringmain_agent.snapshot import ChargingSession

Array = npt.NDArray[np.float64]

LONGEST_HOURS_S: Final = DAY_S + 7200
"""No hours are longer, also when the clock is set back."""


class Requirement(NamedTuple):
    """An amount that is due by the end of the last of these steps, and comes in them only; `surplus` more is allowed."""

    steps: Sequence[int]
    amount: float
    surplus: float = 0.0


class HoursSteps(NamedTuple):
    """Steps of the horizon that lie in the same hours, and how many of those hours come after the horizon."""

    steps: list[int]
    beyond: int

    @property
    def share(self) -> float:
        """What of the amount is due within the horizon: its share in the steps that are left."""
        return len(self.steps) / (len(self.steps) + self.beyond)


def steps_of_hours(hours: LocalHours, issued_at_ms: int, site: Site) -> list[HoursSteps]:
    """The hours within the horizon, in order; only the first can have begun before it."""
    count = site.horizon_steps
    days = _days(hours, issued_at_ms, site.step_s, count + LONGEST_HOURS_S // site.step_s + 1, site.time_zone)
    steps: dict[int, list[int]] = {}
    for index, day in enumerate(days[:count]):
        if day is not None:
            steps.setdefault(day, []).append(index)
    beyond = sum(1 for day in days[count:] if day is not None and day == days[count - 1])
    last = days[count - 1]
    return [HoursSteps(inside, beyond if day == last else 0) for day, inside in steps.items()]


@lru_cache(maxsize=64)
def _days(hours: LocalHours, issued_at_ms: int, step_s: int, count: int, time_zone: str) -> tuple[int | None, ...]:
    """Which of the hours each step lies in; loads often share them, and a problem is often solved twice."""
    return tuple(windows(hours, [issued_at_ms + 1000 * step_s * index for index in range(count)], time_zone))


def is_current(found: Sequence[HoursSteps]) -> bool:
    """Whether the first hours are those that run now."""
    return bool(found) and found[0].steps[0] == 0


def steps_of_visit(visit: ChargingSession, issued_at_ms: int, site: Site) -> HoursSteps:
    """Steps in which the vehicle is there from the first half on and to the end; of the first step any part will do."""
    step_ms, count = 1000 * site.step_s, site.horizon_steps
    arrives_ms, leaves_ms = visit.from_ms - issued_at_ms, visit.to_ms - issued_at_ms
    first = 0 if arrives_ms < step_ms else -((step_ms // 2 - arrives_ms) // step_ms)
    after = max(leaves_ms // step_ms, int(first == 0 and leaves_ms > 0))
    return HoursSteps(list(range(first, min(after, count))), max(after - max(count, first), 0))


class RunningTotal:
    """The running total of what some columns bring against what is due; what is missing is priced.

    In step t: total = total before + `gain` * column + missing - surplus.
    """

    def __init__(self, program: LinearProgram, term: Term, *, surplus: bool = False) -> None:
        self._program, self._count = program, len(term.columns)
        self.total, self.missing = program.columns(self._count), program.columns(self._count)
        self._surplus = program.columns(self._count if surplus else 0)
        terms = [Term(self.total, 1.0), Term(term.columns, -term.value), Term(self.missing, -1.0)]
        if surplus:
            terms.append(Term(self._surplus, 1.0))
        program.rows(*terms, before=[Term(self.total, -1.0)], lower=0.0, upper=0.0)

    def write(self, dues: Sequence[Requirement], *, missing_cost: float, forced: Sequence[int] = ()) -> None:
        """What is due; in the `forced` steps outside every window one more is brought and counts for nothing."""
        program, count = self._program, self._count
        lower, upper, missing, surplus = (np.zeros(count) for _ in range(4))
        base, next_step = 0.0, 0
        for due in dues:
            first, last = due.steps[0], due.steps[-1]
            lower[next_step:first] = upper[next_step:first] = base
            lower[first:last], upper[first:last] = base, base + due.amount + due.surplus
            base += due.amount
            lower[last] = upper[last] = base
            missing[last], surplus[last] = INF, due.surplus
            next_step = last + 1
        lower[next_step:] = upper[next_step:] = base
        surplus[list(forced)] = 1.0
        program.lower[self.total], program.upper[self.total] = lower, upper
        program.upper[self.missing], program.cost[self.missing] = missing, missing_cost
        if len(self._surplus):
            program.upper[self._surplus] = surplus

    def release(self) -> None:
        """Nothing is due, and anything may come."""
        program = self._program
        program.lower[self.total], program.upper[self.total] = 0.0, INF
        program.upper[self.missing] = program.cost[self.missing] = 0.0
