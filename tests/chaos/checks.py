"""What must hold when everything has drained. Pure.

**Lost**: an accepted number (its commit was reported as done) that is not in Kafka, or not in the history.

**Late**: a number whose first occurrence in Kafka comes after the first occurrence of a higher number of its site.
A broker that is killed forgets messages that it has acknowledged, and the session that would have kept the next ones;
an agent that is killed forgets what it has sent. What they forgot is sent again beside live messages, so it must come
late. A late number counts as **resent late** only if all of this is on record for one such kill, else as **reordered**:

1. It was accepted before the outage was over: when the bridge had its subscriptions again, or when the agent was killed.
2. Kafka did not have it when the outage began.
3. The agent published it again after the outage had begun, and before Kafka had it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Outage(NamedTuple):
    """A kill after which sites send again what may have been forgotten."""

    sites: frozenset[str]
    began_s: float
    over_s: float


class Order(NamedTuple):
    """Late numbers of one site."""

    reordered: list[int]
    resent_late: list[int]


def late(order: Sequence[int]) -> list[int]:
    """Numbers that come after a higher one."""
    found, highest = [], 0
    for number in order:
        if number < highest:
            found.append(number)
        highest = max(highest, number)
    return found


def check_order(
    order: Sequence[int],
    *,
    accepted_s: Mapping[int, float],
    seen_s: Mapping[int, float],
    resent_s: Mapping[int, Sequence[float]],
    outages: Iterable[Outage],
) -> Order:
    """Divide the late numbers of one site; `outages` are those that concern it.

    A number without a time of acceptance was committed by a process that was killed before it could say so.
    """
    outages = list(outages)
    found = Order([], [])
    for number in late(order):
        accepted, seen = accepted_s.get(number, 0.0), seen_s[number]
        explained = any(
            accepted <= outage.over_s
            and seen > outage.began_s
            and any(outage.began_s < again <= seen for again in resent_s.get(number, ()))
            for outage in outages
        )
        (found.resent_late if explained else found.reordered).append(number)
    return found
