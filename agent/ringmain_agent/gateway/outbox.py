"""The outbox: messages for upstream stay in it until a receipt confirms their arrival in Kafka.

A PUBACK only confirms that a broker had the message in memory. A message leaves the outbox when a receipt covers it. It is
sent again after a reconnect, or when it stays a gap below a covered sequence for a grace period.

Two marks go into the state file with each commit: up to `handed_over` everything was handed to a broker at least once, and
beyond `cleared` nothing was. After a crash only messages between them are in doubt: no receipt deletes them before they are
sent again.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from ringmain_agent.config.outbox import OutboxLimits
from ringmain_agent.gateway.state_file import StateFile
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Receipt, encode

_GAP_LOOK: Final = 2000
_HANDED_OVER: Final = "handed_over"
_CLEARED: Final = "cleared"

RETAINED_WAIT_S: Final = 1.0
"""After a start, sending waits so long for the retained receipt: it shows whether the state file is older than upstream."""

AHEAD_MAX: Final = 2**32
"""No state file is older by more messages: a receipt further ahead is forged."""

Range = tuple[int, int]


class Outbox:
    """Selects the next messages to publish. Times are monotonic seconds from the caller.

    * Live messages go at once, a backlog at `backlog_per_s` after a random part of `backlog_delay_max_s`.
    * A message covered by a receipt is never sent again; a receipt cannot cover a message that was never handed to a broker,
      not even after a restart.
    * A receipt beyond everything that was handed over is refused. Where the stream is from before this start, the state file
      may be an old copy instead: once per start, all messages that are left go again under a new stream.
    """

    def __init__(self, state: StateFile, limits: OutboxLimits) -> None:
        """Restore the outbox of the state file; its messages are backlog."""
        self._state = state
        self._limits = limits
        self._online = False
        self._hold_until_s: float | None = None
        self._may_be_old = state.resumed
        cleared = state.number(_CLEARED)
        if cleared is None:  # of a version without marks: anything may have been handed over
            cleared = state.last_sequence
        self._take_up(handed_over=state.number(_HANDED_OVER) or 0, cleared=cleared)

    def _take_up(self, *, handed_over: int = 0, cleared: int = 0) -> None:
        """Begin with the stream of the state file."""
        self._stream = self._state.stream
        self._handed_over = self._handed_before = handed_over
        self._cleared = cleared
        self._kept_marks = (-1, -1)
        self._live_from = self._live = self._last_before = self._state.last_sequence
        self._backlog: Range | None = (0, self._live) if self._live else None  # sent up to, ends at
        self._backlog_at_s = float("inf")  # until the connection
        self._gap_since_s: dict[int, float] = {}
        self._join()

    @property
    def stream(self) -> str:
        """Identity of the outbox, within which sequences count."""
        return self._state.stream

    def add(self, kind: str, message: type[Struct], **fields: object) -> None:
        """Add a message to the next commit, with its final sequence."""
        sequence = self._state.next_sequence()
        self._state.put(sequence, kind, encode(message(stream=self._state.stream, sequence=sequence, **fields)))

    def commit(self) -> bool:
        """Commit the state file, with the marks of what has been and what may be handed over."""
        self._follow()
        if self._online:
            self._cleared = self._state.last_sequence
        marks = (self._handed_over, self._cleared)
        if marks != self._kept_marks:
            self._state.set_fact(_HANDED_OVER, self._handed_over)
            self._state.set_fact(_CLEARED, self._cleared)
        written = self._state.commit()
        if written:
            self._kept_marks = marks
        self._follow()
        return written

    def reconnected(self, *, now_s: float, jitter: float) -> None:
        """Send all messages again that no receipt covers; `jitter` is a random share from 0 to 1."""
        self._follow()
        self._backlog = (0, self._live)
        self._backlog_at_s = now_s + jitter * self._limits.backlog_delay_max_s
        self._gap_since_s.clear()
        if self._may_be_old and self._hold_until_s is None:
            self._hold_until_s = now_s + RETAINED_WAIT_S

    def due(self, *, now_s: float, room: int) -> list[tuple[int, str, bytes]]:
        """Up to `room` messages to publish now: live ones first, then gaps, then the backlog. They count as handed over."""
        self._follow()
        stream = self._stream
        self._online = room > 0
        if not self._online or (self._hold_until_s is not None and now_s < self._hold_until_s):
            return []
        rows = self._state.messages_after(self._live, room)
        if rows:
            self._live = rows[-1][0]
        overdue = [s for s, since_s in self._gap_since_s.items() if now_s - since_s >= self._limits.gap_grace_s]
        for sequence in overdue[: max(room - len(rows), 0)]:
            self._gap_since_s[sequence] = now_s
            row = self._state.message(sequence)
            if row is not None:
                rows.append(row)
        if self._backlog is not None and now_s >= self._backlog_at_s and len(rows) < room:
            rows += self._backlog_rows(now_s, room - len(rows))
        if any(sequence > self._cleared for sequence, _, _ in rows):
            self.commit()  # before the first byte leaves; in general the last commit has done it
        if self._state.stream != stream:  # the file was damaged, and its messages are gone
            return []
        self._join()
        return [(sequence, kind, self._in_stream(payload)) for sequence, kind, payload in rows]

    def not_handed_over(self, sequences: Sequence[int]) -> None:
        """The connection has refused these of the due messages: they stay due."""
        before = min(sequences) - 1
        self._online = False
        self._handed_over = min(self._handed_over, before)
        self._live_from = self._live
        self._backlog = (min(before, self._backlog[0]) if self._backlog else before, self._live)

    def receive(self, receipt: Receipt, *, now_s: float) -> None:
        """Delete covered messages, and look for gaps below them.

        Raises:
            MessageError: If the receipt covers messages that were never handed over.
        """
        self._follow()
        self._hold_until_s = now_s
        if receipt.stream != self._stream or not receipt.ranges:
            return
        top = max(last for _, last in receipt.ranges)
        if top > self._cleared:
            self._refuse(receipt, top)
            return
        ranges = [covered for covered in receipt.ranges for covered in self._handed(covered)]
        if not ranges:
            return
        self._state.delete_messages(ranges)
        left = self._state.sequences_below(max(last for _, last in ranges), _GAP_LOOK)
        if self._backlog is not None:
            sent, end = self._backlog
            left = [sequence for sequence in left if not sent < sequence <= end]  # the backlog sends those
        self._gap_since_s = {sequence: self._gap_since_s.get(sequence, now_s) for sequence in left}

    def _refuse(self, receipt: Receipt, top: int) -> None:
        """A receipt beyond everything that was handed over: forged, or the state file is an old copy."""
        beyond = f"receipt up to {top}, while messages up to {self._cleared} were handed over"
        if not self._may_be_old or not self._last_before < top <= self._cleared + AHEAD_MAX:
            raise MessageError("receipt_refused", f"{beyond}: forged, or of another agent with this stream")
        # Messages from before the copy was made are the same as those that have arrived; later ones only bear their numbers.
        self._state.delete_messages([(first, min(last, self._handed_before)) for first, last in receipt.ranges])
        self._state.begin_stream(f"{beyond}: the state file is an old copy; what is left goes again under a new stream")
        self._follow()

    def _follow(self) -> None:
        """Take up a stream that the state file has begun."""
        if self._state.stream != self._stream:
            self._take_up()
            self._may_be_old = False
            self._backlog_at_s = 0.0

    def _join(self) -> None:
        """Advance the mark up to which everything was handed over."""
        if self._backlog is not None:
            sent, end = self._backlog
            self._handed_over = max(self._handed_over, min(sent, end))
        if self._handed_over >= self._live_from:
            self._handed_over = self._live_from = self._live

    def _handed(self, covered: Range) -> Iterable[Range]:
        """The parts of a range that were handed over."""
        first, last = covered
        for begin, end in ((0, self._handed_over), (self._live_from + 1, self._live)):
            if max(first, begin) <= min(last, end):
                yield max(first, begin), min(last, end)

    def _in_stream(self, payload: bytes) -> bytes:
        """A message as of the present stream; it may have been written in an earlier one."""
        if f'"stream":"{self._stream}"'.encode() in payload:
            return payload
        fields = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        return msgspec.json.encode(fields | {"stream": self._stream})

    def _backlog_rows(self, now_s: float, room: int) -> list[tuple[int, str, bytes]]:
        if self._backlog is None:
            return []
        sent, end = self._backlog
        allowed = min(room, 1 + int((now_s - self._backlog_at_s) * self._limits.backlog_per_s))
        failures = self._state.failures
        rows = [row for row in self._state.messages_after(sent, allowed) if row[0] <= end]
        if self._state.failures != failures:
            return []
        if not rows:
            self._handed_over = max(self._handed_over, end)
            self._backlog = None
            return []
        self._backlog = (rows[-1][0], end)
        self._backlog_at_s = max(self._backlog_at_s, now_s - 1.0) + len(rows) / self._limits.backlog_per_s
        return rows
