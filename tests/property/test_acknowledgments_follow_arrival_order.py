"""Acknowledgments follow arrival order, after delivery, on the connection on which the message came.

A model broker sends messages and redelivers after a cut what was not acknowledged; a model Kafka delivers in any order,
refuses for good (dead letter) or fails for a time. Whatever happens, the window must do right by both.
"""

from collections import deque
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ringmain_bridge.forwarding.ack_window import OVERFLOW, AckWindow, Entry

LIMIT = 6


class WindowMachine(RuleBasedStateMachine):
    """The broker's and Kafka's view of one window."""

    def __init__(self) -> None:
        super().__init__()
        self.acknowledged: list[int] = []  # on the wire, not yet taken by the broker
        self.window = AckWindow(self.acknowledged.extend, limit=LIMIT, limit_bytes=10**9)
        self.connected = False
        self.present = False
        self.number = 0
        self.inflight: dict[int, int] = {}  # packet id -> message, as the broker knows it
        self.order: deque[int] = deque()  # packet ids sent on this connection, unacknowledged
        self.not_published: deque[int] = deque()  # packet ids that the broker has yet to send again
        self.orphans: dict[int, int] = {}  # packet id -> message, as the window should know those of dead connections
        self.producing: list[tuple[Entry, int]] = []
        self.in_kafka: set[int] = set()
        self.fleet_only: set[int] = set()
        self.received = self.lost_sessions = self.dropped = 0

    def send(self, mids: Sequence[int], *, dup: bool) -> None:
        """The broker sends messages, and one read brings them all."""
        entries, joined = [], []
        for mid in mids:
            message = self.inflight[mid]
            self.order.append(mid)
            joins = self.orphans.pop(mid, None) == message and dup
            fleet_only = message in self.fleet_only
            entries.append(Entry(mid, dup, None if fleet_only else message, 1, self.number, False))
            if joins:
                joined.append(message)
        fresh = self.window.arrived(entries)
        expected = [entry for entry in entries if entry.content is not None and entry.content not in joined]
        assert fresh == expected, "a record under way is joined, and no other"
        assert all(message in self.in_kafka or any(m == message for _, m in self.producing) for message in joined)
        self.received += len(fresh)
        self.producing += [(entry, self.inflight[entry.mid]) for entry in fresh]

    @initialize()
    def start(self) -> None:
        """The first connection."""
        self.connect()

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        """The broker will send again what is unacknowledged, with DUP and the old ids."""
        self.connected = True
        self.window.opened(session_present=self.present)
        self.present = True
        self.not_published.extend(self.inflight)

    @precondition(lambda self: self.connected and self.not_published)
    @rule(number=st.integers(1, 10))
    def redeliver(self, number: int) -> None:
        """As many as come before the next cut."""
        self.send([self.not_published.popleft() for _ in range(min(number, len(self.not_published)))], dup=True)

    @precondition(lambda self: not self.connected)
    @rule()
    def redeliver_as_new(self) -> None:
        """A broker without DUP: the same messages under new packet ids."""
        self.connected = True
        self.window.opened(session_present=self.present)
        self.present = True
        messages = list(self.inflight.values())
        self.inflight = dict(enumerate(messages, start=1))
        self.send(list(self.inflight), dup=False)

    @precondition(lambda self: self.connected and not self.not_published and len(self.inflight) < 10)
    @rule(fleet_only=st.lists(st.booleans(), min_size=1, max_size=4))
    def publish(self, *, fleet_only: list[bool]) -> None:
        """New messages with QoS 1."""
        mids = []
        for only in fleet_only:
            self.number += 1
            mids.append(next(m for m in range(1, 99) if m not in self.inflight))  # freed ids are used again at once
            self.inflight[mids[-1]] = self.number
            if only:
                self.fleet_only.add(self.number)
        self.send(mids, dup=False)

    @precondition(lambda self: self.connected)
    @rule()
    def publish_without_qos(self) -> None:
        """A new message with QoS 0: dropped and counted when the window is full."""
        self.number += 1
        under_way = len(self.producing)
        entry = Entry(0, False, self.number, 1, 0, False)
        fresh = self.window.arrived([entry])
        self.received += 1
        assert fresh == ([] if under_way >= LIMIT else [entry])
        if fresh:
            self.producing.append((entry, self.number))
        else:
            self.dropped += 1

    @precondition(lambda self: self.producing)
    @rule(data=st.data(), reason=st.sampled_from([None, None, "kafka_rejected"]))
    def deliver(self, data: st.DataObject, reason: str | None) -> None:
        """One or more reports of a poll round, in any order: partitions are independent."""
        count = data.draw(st.integers(1, len(self.producing)))
        chosen = [self.producing.pop(data.draw(st.integers(0, len(self.producing) - 1))) for _ in range(count)]
        self.in_kafka.update(message for _, message in chosen)
        self.window.confirm([(entry, reason) for entry, _ in chosen])

    @precondition(lambda self: self.producing)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """Not delivered now: it is produced again, behind what came meanwhile."""
        self.producing.append(self.producing.pop(data.draw(st.integers(0, len(self.producing) - 1))))
        self.window.confirm([])

    @rule()
    def idle_round(self) -> None:
        """A poll round without a report."""
        self.window.confirm([])

    @precondition(lambda self: self.connected)
    @rule()
    def broker_takes_acknowledgments(self) -> None:
        """Exactly in the order in which it sent, and only what Kafka has."""
        while self.acknowledged:
            mid = self.acknowledged.pop(0)
            assert mid == self.order.popleft(), "out of arrival order"
            message = self.inflight.pop(mid)
            assert message in self.in_kafka or message in self.fleet_only, "before delivery"

    @precondition(lambda self: self.connected)
    @rule()
    def cut(self) -> None:
        """The connection is lost, with the acknowledgments in transit."""
        self.window.closed()
        self.connected = False
        waiting = {mid: self.inflight[mid] for mid in self.order if mid not in self.acknowledged}
        self.orphans |= {mid: message for mid, message in waiting.items() if message not in self.fleet_only}
        self.not_published.clear()
        self.acknowledged.clear()  # lost in transit
        self.order.clear()

    @precondition(lambda self: not self.connected and self.present)
    @rule()
    def lose_session(self) -> None:
        """The broker forgets; packet ids start anew."""
        self.present = False
        self.lost_sessions += 1
        self.inflight.clear()
        self.orphans.clear()

    @precondition(lambda self: not self.connected and self.present)
    @rule()
    def restore_session(self) -> None:
        """The broker comes back with what it had saved on disk: another message under an old id."""
        self.number += 1
        self.inflight = {1: self.number}

    @invariant()
    def nothing_is_acknowledged_on_a_dead_connection(self) -> None:
        """Between a cut and the next connection the wire stays empty."""
        assert self.connected or not self.acknowledged

    @invariant()
    def every_message_is_accounted_for(self) -> None:
        """The books balance: received == delivered + dead_lettered + dropped + in_flight."""
        counts = self.window.counts()
        confirmed = counts.delivered + sum(counts.dead_lettered.values()) + sum(counts.dropped.values())
        assert counts.received == confirmed + counts.in_flight == self.received
        assert counts.in_flight == len(self.producing)
        assert counts.dropped == ({OVERFLOW: self.dropped} if self.dropped else {})
        assert counts.unacknowledged == len(self.order) - len(self.acknowledged)
        assert counts.sessions_lost == self.lost_sessions - (not self.connected and not self.present)
        most = max(len(self.producing), counts.unacknowledged)
        assert self.window.exceeded() == (most > LIMIT)
        assert self.window.overfull() == (most >= 2 * LIMIT)
        if counts.unacknowledged:
            assert counts.oldest_unacknowledged_s is not None

    def teardown(self) -> None:
        """Once Kafka has everything, nothing is left: no finished entry stays at the head."""
        if not self.connected:
            self.connect()
        self.redeliver(99)
        self.in_kafka.update(message for _, message in self.producing)
        self.window.confirm([(entry, None) for entry, _ in self.producing])
        self.producing.clear()
        self.broker_takes_acknowledgments()
        assert not self.inflight
        assert self.window.counts().unacknowledged == 0
        assert self.window.counts().oldest_unacknowledged_s is None
        assert self.window.drained()


TestWindow = WindowMachine.TestCase
