"""The outbox loses nothing that no receipt has covered, and never sends again what a receipt has.

A model of the way beside the real SQLite file: what was committed, what was sent, what has arrived in Kafka, and what the
bridge has said of it. Receipts come late, twice, out of order, of other streams, or claim what was never sent, also right
after a crash: then what was sent since the last commit is in doubt, and may be sent again before a receipt deletes it.
"""

import contextlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ringmain_agent.config.outbox import OutboxLimits
from ringmain_agent.gateway.outbox import Outbox
from ringmain_agent.gateway.state_file import StateFile
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Readings, Receipt, decode

LIMITS = OutboxLimits(messages_max=100_000, backlog_per_s=5.0, backlog_delay_max_s=4.0, gap_grace_s=10.0)
FOREIGN = "f" * 32


class OutboxMachine(RuleBasedStateMachine):
    """An agent's outbox, a broker that forgets, and a bridge."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.now_s = 0.0
        self.number = 0
        self.collected: dict[int, int] = {}  # sequence -> what it says, not committed yet
        self.committed: dict[int, int] = {}
        self.sent: set[int] = set()  # ever
        self.sent_now: set[int] = set()  # since the start, under the present stream
        self.arrived: dict[tuple[str, int], int] = {}  # stream, sequence -> what it says
        self.ever_said: set[int] = set()  # by receipts that the agent has processed
        self.covered: set[int] = set()  # by those after it was sent
        self.receipts: list[Receipt] = []

    @initialize()
    def start(self) -> None:
        """The first start, or the one after a crash."""
        self.state = StateFile(self.folder / "agent.sqlite3", outbox_messages_max=LIMITS.messages_max)
        self.outbox = Outbox(self.state, LIMITS)
        self.sent_now = set()

    @rule(count=st.integers(1, 30))
    def add(self, count: int) -> None:
        """Messages for the next commit, each under a sequence that no committed one has."""
        for _ in range(count):
            self.number += 1
            self.outbox.add("readings", Readings, signals=["load_kw"], at_ms=[self.number], values=[1.0], quality=[0])
            sequence = self.state.last_sequence
            assert sequence not in self.committed
            assert sequence > max(self.committed, default=0)
            self.collected[sequence] = self.number

    @rule()
    def commit(self) -> None:
        """From here on they may not be lost."""
        assert self.outbox.commit()
        self._note_commit()
        assert not self.collected

    def _note_commit(self) -> None:
        """A commit also precedes a new stream, and the first message after a connection."""
        if not self.state._messages:  # noqa: SLF001  nothing waits for a commit any more
            self.committed |= self.collected
            self.collected.clear()

    @rule()
    def crash(self) -> None:
        """`kill -9`: what was not committed is gone, and only that."""
        self.state.close()
        self.collected.clear()
        self.start()

    @rule(jitter=st.floats(0, 1))
    def reconnect(self, jitter: float) -> None:
        """The upstream broker was away."""
        self.outbox.reconnected(now_s=self.now_s, jitter=jitter)

    @rule(room=st.integers(0, 40), passed_s=st.floats(0, 20), lost=st.sets(st.integers(0, 39)))
    def send(self, room: int, passed_s: float, lost: set[int]) -> None:
        """What is due leaves; the broker forgets some of it."""
        self.now_s += passed_s
        rows = self.outbox.due(now_s=self.now_s, room=room)
        self._note_commit()
        assert len(rows) <= room
        assert len({sequence for sequence, _, _ in rows}) == len(rows), "twice at once"
        for index, (sequence, kind, payload) in enumerate(rows):
            assert sequence not in self.covered, "sent again although a receipt had covered it"
            message = decode(payload, Readings)
            assert (kind, message.stream, message.sequence) == ("readings", self.outbox.stream, sequence)
            assert message.at_ms == [self.committed[sequence]], "a sequence was used twice, or sent before its commit"
            known = self.arrived.get((message.stream, sequence), self.committed[sequence])
            assert known == self.committed[sequence], "Kafka would take it for a repeat"
            self.sent.add(sequence)
            self.sent_now.add(sequence)
            if index not in lost:
                self.arrived[message.stream, sequence] = self.committed[sequence]

    @precondition(lambda self: any(stream == self.outbox.stream for stream, _ in self.arrived))
    @rule(data=st.data())
    def bridge_writes_a_receipt(self, data: st.DataObject) -> None:
        """Ranges of what has arrived, as far back as the bridge remembers."""
        numbers = sorted(sequence for stream, sequence in self.arrived if stream == self.outbox.stream)
        numbers = numbers[data.draw(st.integers(0, len(numbers) - 1)) :]
        ranges: list[tuple[int, int]] = []
        for number in numbers:
            if ranges and ranges[-1][1] + 1 == number:
                ranges[-1] = (ranges[-1][0], number)
            else:
                ranges.append((number, number))
        self.receipts.append(Receipt(stream=self.outbox.stream, ranges=ranges))

    @precondition(lambda self: self.receipts)
    @rule(data=st.data(), passed_s=st.floats(0, 5))
    def receive(self, data: st.DataObject, passed_s: float) -> None:
        """Any receipt that was ever written: the newest is retained, an old one may be late."""
        self.now_s += passed_s
        receipt = data.draw(st.sampled_from(self.receipts))
        self.outbox.receive(receipt, now_s=self.now_s)
        if receipt.stream == self.outbox.stream:
            said = {number for first, last in receipt.ranges for number in range(first, last + 1)}
            self.ever_said |= said
            self.covered |= said & self.sent_now

    @rule(ranges=st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)), max_size=5))
    def receive_of_another_stream(self, ranges: list[tuple[int, int]]) -> None:
        """An exchanged gateway's, still retained."""
        self.outbox.receive(Receipt(stream=FOREIGN, ranges=ranges), now_s=self.now_s)

    @rule(reach=st.integers(1, 2**62), turned=st.booleans())
    def receive_for_what_was_never_sent(self, reach: int, *, turned: bool) -> None:
        """Nobody can have confirmed it. Once a start it may be the truth about another file: then under a new stream."""
        first = max(self.sent, default=0) + 1
        last = min(first + reach, 2**62)
        ranges = [(last, first), (5, 4)] if turned else [(first, last)]
        stream = self.outbox.stream
        with contextlib.suppress(MessageError):
            self.outbox.receive(Receipt(stream=stream, ranges=ranges), now_s=self.now_s)
        self._note_commit()
        if self.outbox.stream != stream:
            self.covered, self.sent_now = set(), set()

    @precondition(lambda self: self.committed.keys() - self.sent)
    @rule()
    def receive_for_all_that_waits(self) -> None:
        """It covers what is committed and was never handed to a broker."""
        for sequence in sorted(self.committed.keys() - self.sent):
            stream = self.outbox.stream
            with contextlib.suppress(MessageError):
                self.outbox.receive(Receipt(stream=stream, ranges=[(sequence, sequence)]), now_s=self.now_s)
            self._note_commit()
            if self.outbox.stream != stream:
                self.covered, self.sent_now = set(), set()

    @invariant()
    def nothing_uncovered_is_lost(self) -> None:
        """What is committed and not covered is in the file; what is covered and was sent since the start is not."""
        if hasattr(self, "state"):
            there = {sequence for sequence, _, _ in self.state.messages_after(0, 10**6)}
            assert self.committed.keys() - there <= self.ever_said
            assert not there & self.covered
            assert self.state.outbox_messages == len(there)

    def teardown(self) -> None:
        """With a broker that forgets nothing, everything arrives after the next connection."""
        if hasattr(self, "state"):
            self.commit()
            self.outbox.reconnected(now_s=self.now_s, jitter=1.0)
            self.sent_now = set()
            for _ in range(2000):
                left = {sequence for sequence, _, _ in self.state.messages_after(0, 10**6)}
                if left <= self.sent_now:
                    break
                self.send(40, 5.0, set())
            assert left <= self.sent_now
            assert self.committed.keys() <= {sequence for _, sequence in self.arrived}
            if left:
                self.outbox.receive(Receipt(stream=self.outbox.stream, ranges=[(1, max(left))]), now_s=self.now_s)
            assert self.state.outbox_messages == 0
            self.state.close()
        shutil.rmtree(self.folder)


TestOutbox = OutboxMachine.TestCase
