"""Abandoned sessions: subscriptions and sessions that a change of the number of replicas leaves behind.

A session keeps its subscriptions, and the broker queues messages for it, until a client ends it. Each replica therefore
ends the subscriptions that an older number of replicas left in its own session, and the sessions of replicas that no
longer exist. It connects with their client id, ends the subscriptions, forwards the queued messages, and ends the session.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import Final

from ringmain_bridge.bridge import Bridge
from ringmain_bridge.config import Mqtt
from ringmain_bridge.forwarding.ack_window import Counts, total
from ringmain_bridge.mqtt.client import end_session
from ringmain_bridge.mqtt.reader import WINDOW_FULL
from ringmain_bridge.mqtt.session import PahoReader
from ringmain_protocol import topics

BEGIN_S: Final = 5.0
"""Delay after the start; by then the other replicas have subscribed as well."""

AGAIN_S: Final = 90.0
"""Interval at which to check whether a replica with a session in use has stopped."""

QUIET_S: Final = 3.0
"""A session is drained after this time without a message and with none under way. It is longer than the first back-off of
a replica: a running replica has taken its session back by then."""

ABSENT: Final = 3
"""Client ids in a row without a session after which the search ends."""

STOP_S: Final = 2.0
TICK_S: Final = 0.05

LOG = logging.getLogger("ringmain_bridge.replicas")


def foreign_filters(replica: int, replicas: int) -> list[str]:
    """Filters of every possible replica, without the filters of this one."""
    return _every_filter(without=frozenset(topics.bridge_filters(replica, replicas)))


def _every_filter(*, without: frozenset[str] = frozenset()) -> list[str]:
    shards = [name for k in range(topics.SHARDS) for name in topics.bridge_filters(k, topics.SHARDS)]
    return [name for name in (*topics.bridge_filters(), *shards) if name not in without]


class _Outcome(Enum):
    """Outcome of a visit to a session."""

    ABSENT = "absent"
    DRAINED = "drained"
    IN_USE = "in use"  # a running replica took it back
    UNREACHABLE = "unreachable"


class AbandonedSessions:
    """Ends the sessions of replicas that no longer exist, one after the other, in its own thread.

    `confirm` runs in the poll thread, `counts` in any.
    """

    def __init__(
        self, config: Mqtt, client_ids: Sequence[str], new_bridge: Callable[[PahoReader], Bridge], random: Random
    ) -> None:
        self._config = config
        self._client_ids = client_ids
        self._new_bridge = new_bridge
        self._random = random
        self._lock = threading.Lock()
        self._open: list[Bridge] = []  # one a session, with its own connection and window; Kafka and receipts are shared
        self._past = total([])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="abandoned-sessions", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        if self._client_ids:
            self._thread.start()

    def confirm(self, *, now_s: float) -> None:
        """Acknowledge the records that Kafka has confirmed."""
        for bridge in self._of_now():
            bridge.confirm(now_s=now_s)
            if bridge.is_stopping and bridge.counts().in_flight == 0:
                with self._lock:
                    self._open.remove(bridge)
                    self._past = total([self._past, bridge.counts()])

    def counts(self) -> list[Counts]:
        """Counts of the messages of these sessions, for the totals of the bridge."""
        with self._lock:
            return [self._past, *(bridge.counts() for bridge in self._open)]

    def stop(self) -> None:
        """Refuse new messages; returns at once. Messages not forwarded yet stay with the broker."""
        self._stopping.set()
        for bridge in self._of_now():
            bridge.begin_stop()

    def join(self) -> None:
        """Wait until every connection has ended."""
        if self._thread.is_alive():
            self._thread.join(2 * STOP_S)

    def _of_now(self) -> list[Bridge]:
        with self._lock:
            return list(self._open)

    def _run(self) -> None:
        self._stopping.wait(BEGIN_S)
        waiting, explored = list(self._client_ids), False
        while waiting and not self._stopping.is_set():
            waiting, reached = self._visit(waiting, absent_max=len(self._client_ids) if explored else ABSENT)
            explored = explored or reached
            if waiting:
                LOG.warning(
                    "sessions of other replicas are in use or unreachable, next attempt in about %.0f s: %s",
                    AGAIN_S,
                    ", ".join(waiting),
                )
                self._stopping.wait(AGAIN_S * self._random.uniform(0.9, 1.1))

    def _visit(self, client_ids: Sequence[str], *, absent_max: int) -> tuple[list[str], bool]:
        """Drain these sessions; returns the sessions to visit again, and whether the broker was reachable.

        They are ended only after all have been drained, the highest first: the search finds the rest after an interruption.
        """
        again: list[str] = []
        drained: list[str] = []
        absent = 0
        for i, client_id in enumerate(client_ids):
            if self._stopping.is_set() or absent == absent_max:
                break
            outcome = self._drain(client_id)
            absent = absent + 1 if outcome is _Outcome.ABSENT else 0
            if outcome is _Outcome.UNREACHABLE:
                return [*again, *drained, *client_ids[i:]], False
            (again if outcome is _Outcome.IN_USE else drained).append(client_id)
        for client_id in reversed(drained):
            if self._stopping.is_set() or not end_session(self._config, client_id):
                again.append(client_id)  # noqa: PERF401  it acts
        return again, True

    def _drain(self, client_id: str) -> _Outcome:
        """Forward the messages that the broker holds for a session."""
        random = Random(self._random.random())  # noqa: S311  jitter
        reader = PahoReader(
            self._config, client_id=client_id, filters=(), foreign=_every_filter(), random=random, quiet=True
        )
        bridge = self._new_bridge(reader)
        with self._lock:
            self._open.append(bridge)
        reader.start(bridge)
        try:
            outcome = self._watch(reader, bridge)
        finally:
            reader.stop(STOP_S)
            bridge.begin_stop()
        if outcome is _Outcome.DRAINED:
            LOG.info("drained the session of a replica client_id=%s messages=%d", client_id, bridge.counts().received)
        return outcome

    def _watch(self, reader: PahoReader, bridge: Bridge) -> _Outcome:
        quiet_since_s, before = time.monotonic(), None
        while not self._stopping.wait(TICK_S):
            if sum(number for reason, number in reader.reconnects.items() if reason != WINDOW_FULL):
                return _Outcome.UNREACHABLE if reader.session_present is None else _Outcome.IN_USE
            if reader.is_connected and not reader.session_present:
                return _Outcome.ABSENT
            counts = bridge.counts()
            now = (counts.received, counts.consumed, counts.reattached, counts.unacknowledged, reader.is_connected)
            if now != before or counts.unacknowledged or counts.in_flight or not reader.is_connected:
                quiet_since_s, before = time.monotonic(), now
            elif time.monotonic() - quiet_since_s >= QUIET_S:
                return _Outcome.DRAINED
        return _Outcome.UNREACHABLE
