"""A limit and when it binds in a plan: where more would be worth something, or where nothing more is allowed. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from ringmain_agent.snapshot import Plan

NEAR_SHARE: Final = 1e-4
"""So near to a limit, as a share of it, counts as on it."""


class Span(Struct, frozen=True):
    """Steps in a row: from the start of the first up to the end of the last."""

    from_ms: int
    to_ms: int


class Binding(Struct, frozen=True, kw_only=True):
    """A limit and when it binds; `value` is the limit itself, the lowest where it changes."""

    limit: str
    value: float
    unit: str
    when: list[Span]


def highest(  # noqa: PLR0913  a limit as a row of a table
    limit: str, unit: str, values: Sequence[float], most: Sequence[float], plan: Plan, *, near: float | None = None
) -> Binding:
    """Where values are not below a limit by more than `near`."""
    reached = [
        value >= bound - (max(NEAR_SHARE * bound, NEAR_SHARE) if near is None else near) and math.isfinite(bound)
        for value, bound in zip(values, most, strict=False)
    ]
    bounds = [bound for bound, binds in zip(most, reached, strict=False) if binds]
    return Binding(limit=limit, value=min(bounds, default=0.0), unit=unit, when=spans(reached, plan))


def lowest(  # noqa: PLR0913  a limit as a row of a table
    limit: str, unit: str, values: Sequence[float], least: float, plan: Plan, *, near: float
) -> Binding:
    """Where values are not above a limit by more than `near`."""
    return Binding(limit=limit, value=least, unit=unit, when=spans([value <= least + near for value in values], plan))


def spans(reached: Iterable[bool], plan: Plan) -> list[Span]:
    """The steps in which a limit binds."""
    rows: list[Span] = []
    step_ms = 1000 * plan.step_s
    for step, binds in enumerate(reached):
        from_ms = plan.issued_at_ms + step * step_ms
        if binds and rows and rows[-1].to_ms == from_ms:
            rows[-1] = Span(rows[-1].from_ms, from_ms + step_ms)
        elif binds:
            rows.append(Span(from_ms, from_ms + step_ms))
    return rows
