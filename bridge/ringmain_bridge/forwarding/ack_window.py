"""Ordered acknowledgment window: releases the acknowledgments to the MQTT broker in order of arrival.

It stands between the network thread (`arrived`) and the poll thread (`confirm`), and knows no MQTT, no Kafka and no clock.
Its callers report arrivals and confirmations; it hands packet ids to `acknowledge`. One lock serves all connections: with
a lock for each, a report that races with a redelivery could leave a finished entry at the head without end.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

from msgspec import Struct

OVERFLOW: Final = "overflow"
"""Reason of a dropped QoS 0 message: Kafka is behind, and the broker does not send the message again."""


class Entry(Struct, eq=False, gc=False):
    """One received message on its way to Kafka. Only the window changes it.

    Attributes:
        mid: Packet id; 0 for QoS 0.
        dup: Whether the broker marks it as sent before.
        content: Equal if two messages are the same; None for one that Kafka does not get.
        size_bytes: Memory that its content takes.
        received_s: Time of receipt, in seconds since 1970.
        done: Whether it may be acknowledged.
    """

    mid: int
    dup: bool
    content: object | None
    size_bytes: int
    received_s: float
    done: bool


AnyEntry = TypeVar("AnyEntry", bound=Entry)


class Counts(NamedTuple):
    """Totals since the start and messages under way, all of one instant."""

    received: int
    delivered: int
    dead_lettered: dict[str, int]
    dropped: dict[str, int]
    in_flight: int
    consumed: int
    reattached: int
    unacknowledged: int
    oldest_unacknowledged_s: float | None
    sessions_lost: int


def total(counts: Sequence[Counts]) -> Counts:
    """The sum of the counts of several windows."""
    return Counts(
        received=sum(c.received for c in counts),
        delivered=sum(c.delivered for c in counts),
        dead_lettered=dict(sum((Counter(c.dead_lettered) for c in counts), Counter())),
        dropped=dict(sum((Counter(c.dropped) for c in counts), Counter())),
        in_flight=sum(c.in_flight for c in counts),
        consumed=sum(c.consumed for c in counts),
        reattached=sum(c.reattached for c in counts),
        unacknowledged=sum(c.unacknowledged for c in counts),
        oldest_unacknowledged_s=min(
            (c.oldest_unacknowledged_s for c in counts if c.oldest_unacknowledged_s is not None), default=None
        ),
        sessions_lost=sum(c.sessions_lost for c in counts),
    )


class AckWindow:
    """Messages in order of arrival, until Kafka has each and all before it.

    Invariants:
        - Acknowledgments follow arrival order, on the connection on which the message came.
        - Nothing is acknowledged before it is confirmed.
        - received == delivered + dead_lettered + dropped + in_flight, in every `counts`.

    A message that comes again while its record is still under way joins that record and is not counted again.
    """

    def __init__(self, acknowledge: Callable[[list[int]], None], *, limit: int, limit_bytes: int) -> None:
        self._acknowledge = acknowledge
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._queue: deque[Entry] = deque()
        self._orphans: dict[int, Entry] = {}  # unacknowledged entries of all dead connections, by packet id
        self._had_session = False
        self._received = self._delivered = self._consumed = self._reattached = self._sessions_lost = 0
        self._in_flight = self._in_flight_bytes = 0
        self._dead_lettered: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    def opened(self, *, session_present: bool) -> None:
        """The broker has accepted a connection."""
        with self._lock:
            if not session_present:
                self._sessions_lost += self._had_session
                self._orphans.clear()  # the same packet ids now mean other messages
            self._had_session = True

    def closed(self) -> None:
        """The connection is dead: its messages may not be acknowledged any more."""
        with self._lock:
            # Merged, not replaced: a record may outlive several connections.
            self._orphans.update((entry.mid, entry) for entry in self._queue if entry.content is not None)
            self._queue.clear()

    def arrived(self, entries: Sequence[AnyEntry]) -> list[AnyEntry]:
        """Note messages in the order of their arrival, before their records are produced.

        Returns:
            The entries to produce, and to confirm later. Left out are entries with a record under way already, entries of
            QoS 0 dropped because the window is full, and entries not for Kafka. These are acknowledged in their turn
            and counted apart.
        """
        fresh: list[AnyEntry] = []
        with self._lock:
            append, produce, orphans = self._queue.append, fresh.append, self._orphans
            for entry in entries:
                mid = entry.mid
                if orphans and mid:
                    old = orphans.pop(mid, None)  # without DUP the id belongs to a new message
                    if old is not None and entry.dup and old.content == entry.content:
                        self._reattached += 1
                        append(old)
                        continue
                if entry.content is None:
                    self._consumed += 1
                    if mid:
                        entry.done = True
                        append(entry)
                    continue
                self._received += 1
                if mid:
                    append(entry)
                elif self._in_flight >= self._limit or self._in_flight_bytes >= self._limit_bytes:
                    self._dropped[OVERFLOW] += 1
                    continue
                self._in_flight += 1
                self._in_flight_bytes += entry.size_bytes
                produce(entry)
        return fresh

    def dropped(self, reason: str) -> None:
        """Count a received message that is not forwarded."""
        with self._lock:
            self._received += 1
            self._dropped[reason] += 1

    def confirm(self, confirmed: Iterable[tuple[Entry, str | None]]) -> None:
        """Kafka has confirmed these entries: in its topic (None), or in the dead letters with a reason.

        Called once a poll round, also without entries: all acknowledgments now due leave as one list. They leave inside
        the lock, because only the lock keeps their order.
        """
        with self._lock:
            for entry, reason in confirmed:
                entry.done = True
                self._in_flight -= 1
                self._in_flight_bytes -= entry.size_bytes
                if reason is None:
                    self._delivered += 1
                else:
                    self._dead_lettered[reason] += 1
            queue, mids = self._queue, []
            while queue and queue[0].done:
                mids.append(queue.popleft().mid)
            if mids:
                self._acknowledge(mids)

    def exceeded(self) -> bool:
        """Whether more than the limit is under way: stop reading for the moment."""
        with self._lock:
            count = max(self._in_flight, len(self._queue))
            return count > self._limit or self._in_flight_bytes > self._limit_bytes

    def overfull(self) -> bool:
        """Whether twice the limit is under way, because the broker ignores its own window: disconnect and drain."""
        with self._lock:
            count = max(self._in_flight, len(self._queue))
            return count >= 2 * self._limit or self._in_flight_bytes >= 2 * self._limit_bytes

    def drained(self) -> bool:
        """Whether at most half the limit is under way: time to connect again."""
        with self._lock:
            return 2 * self._in_flight <= self._limit and 2 * self._in_flight_bytes <= self._limit_bytes

    def counts(self) -> Counts:
        """Totals and messages under way, as of this instant."""
        with self._lock:
            waiting = self._queue or [entry for entry in self._orphans.values() if not entry.done]
            return Counts(
                received=self._received,
                delivered=self._delivered,
                dead_lettered=dict(self._dead_lettered),
                dropped=dict(self._dropped),
                in_flight=self._in_flight,
                consumed=self._consumed,
                reattached=self._reattached,
                unacknowledged=len(self._queue),
                oldest_unacknowledged_s=min((entry.received_s for entry in waiting), default=None),
                sessions_lost=self._sessions_lost,
            )
