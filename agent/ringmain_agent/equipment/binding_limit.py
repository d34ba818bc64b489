"""Limits of a plan and the steps in which they bind: the plan reaches them and cannot exceed them. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from ringmain_agent.snapshot import Plan

NEAR_SHARE: Final = 1e-4
"""A value this near to its limit, as a share of the limit, counts as at the limit."""
NEAR_PU: Final = 1e-4
"""The same for values per unit."""


class Span(Struct, frozen=True):
    """Consecutive steps, from the START of the first to the END of the last."""

    from_ms: int
    to_ms: int


class Binding(Struct, frozen=True, kw_only=True):
    """A limit and the spans in which it binds; `value` is the limit itself, the lowest one if it changes."""

    limit: str
    value: float
    unit: str
    when: list[Span]


def highest(  # noqa: PLR0913  a limit as a row of a table
    limit: str, unit: str, values: Sequence[float], most: Sequence[float], plan: Plan, *, near: float | None = None
) -> Binding:
    """An upper limit; it binds where values are at most `near` below it."""
    reached = [
        value >= bound - (max(NEAR_SHARE * bound, NEAR_SHARE) if near is None else near) and math.isfinite(bound)
        for value, bound in zip(values, most, strict=False)
    ]
    bounds = [bound for bound, binds in zip(most, reached, strict=False) if binds]
    return Binding(limit=limit, value=min(bounds, default=0.0), unit=unit, when=spans(reached, plan))


def lowest(  # noqa: PLR0913  a limit as a row of a table
    limit: str, unit: str, values: Sequence[float], least: float, plan: Plan, *, near: float
) -> Binding:
    """A lower limit; it binds where values are at most `near` above it."""
    return Binding(limit=limit, value=least, unit=unit, when=spans([value <= least + near for value in values], plan))


def spans(reached: Iterable[bool], plan: Plan) -> list[Span]:
    """Consecutive steps in which a limit binds, as spans."""
    joined: list[Span] = []
    step_ms = 1000 * plan.step_s
    for step, binds in enumerate(reached):
        from_ms = plan.issued_at_ms + step * step_ms
        if binds and joined and joined[-1].to_ms == from_ms:
            joined[-1] = Span(joined[-1].from_ms, from_ms + step_ms)
        elif binds:
            joined.append(Span(from_ms, from_ms + step_ms))
    return joined
