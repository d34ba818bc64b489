"""Requirements due at the end of some steps: energy within a load's hours or by a departure, run hours, starts.

A running total receives the missing amount at the end of each window, and there must equal the sum of all amounts due so
far. Bounds alone define the windows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term


class Requirement(NamedTuple):
    """An amount due at the end of the last step, delivered in these steps only; `surplus` more is allowed."""

    steps: Sequence[int]
    amount: float
    surplus: float = 0.0


class RunningTotal:
    """Running total of the amounts in some columns against the amounts due; a missing amount has a price.

    In step t: total = total before + value * column + missing - surplus.
    """

    def __init__(self, program: LinearProgram, term: Term, *, surplus: bool = False) -> None:
        self._program, self._count = program, len(term.columns)
        self.total, self.missing = program.columns(self._count), program.columns(self._count)
        self._surplus = program.columns(self._count if surplus else 0)
        terms = [Term(self.total, 1.0), Term(term.columns, -term.value), Term(self.missing, -1.0)]
        if surplus:
            terms.append(Term(self._surplus, 1.0))
        program.rows(*terms, before=[Term(self.total, -1.0)], lower=0.0, upper=0.0)

    def write(self, requirements: Sequence[Requirement], *, missing_cost: float, forced: Sequence[int] = ()) -> None:
        """Write the requirements; amounts in the `forced` steps outside every window do not count."""
        program, count = self._program, self._count
        lower, upper, missing, surplus = (np.zeros(count) for _ in range(4))
        base, next_step = 0.0, 0
        for requirement in requirements:
            first, last = requirement.steps[0], requirement.steps[-1]
            lower[next_step:first] = upper[next_step:first] = base
            lower[first:last], upper[first:last] = base, base + requirement.amount + requirement.surplus
            base += requirement.amount
            lower[last] = upper[last] = base
            missing[last], surplus[last] = INF, requirement.surplus
            next_step = last + 1
        lower[next_step:] = upper[next_step:] = base
        surplus[list(forced)] = 1.0
        program.lower[self.total], program.upper[self.total] = lower, upper
        program.upper[self.missing], program.cost[self.missing] = missing, missing_cost
        if len(self._surplus):
            program.upper[self._surplus] = surplus

    def release(self) -> None:
        """Remove all requirements."""
        program = self._program
        program.lower[self.total], program.upper[self.total] = 0.0, INF
        program.upper[self.missing] = program.cost[self.missing] = 0.0
