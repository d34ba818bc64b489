"""A limit of one source for some instants: of the connection, an envelope, a local limit. Pure data."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ringmain_agent.snapshot import Reason

Limits = Sequence[float | None]
"""One limit an instant; `None` where a source sets none."""


class LimitSource(NamedTuple):
    """Import and export limits of one source; `reason` says why it holds where this is not the normal course.

    `of_controllable`: they limit the controllable equipment together, not the power at the pcc.
    """

    name: str
    import_kw: Limits
    export_kw: Limits
    reason: Reason | None = None
    of_controllable: bool = False


def narrowest(limits: Iterable[float | None]) -> float | None:
    """The lowest of some limits, `None` without any."""
    return min((limit for limit in limits if limit is not None), default=None)


def narrowed(first: Limits, second: Limits) -> list[float | None]:
    """The narrower limit at each instant."""
    return [narrowest(pair) for pair in zip(first, second, strict=True)]
