"""The outbox: messages for upstream stay in it until a receipt confirms their arrival in Kafka.

A PUBACK only confirms that a broker had the message in memory. A message leaves the outbox when a receipt covers it. It is
sent again after a reconnect, or when it stays a gap below a covered sequence for a grace period.
"""

from secrets import token_hex
from typing import Final

from msgspec import Struct

from ringmain_agent.config.outbox import OutboxLimits
from ringmain_agent.gateway.state_file import StateFile
from ringmain_protocol.messages import Receipt, encode

_STREAM: Final = "stream"
_GAP_LOOK: Final = 2000


class Outbox:
    """Selects the next messages to publish. Times are monotonic seconds from the caller.

    * Live messages go at once, a backlog at `backlog_per_s` after a random part of `backlog_delay_max_s`.
    * A message covered by a receipt is never sent again; a receipt cannot cover a message that was never sent.
    """

    def __init__(self, state: StateFile, limits: OutboxLimits) -> None:
        """Restore the outbox of the state file; its messages are backlog."""
        stream = state.fact(_STREAM)
        if stream is None:
            stream = token_hex(16)
            state.set_fact(_STREAM, stream)
            state.commit()
        self.stream: str = stream
        self._state = state
        self._limits = limits
        self._live = state.last_sequence
        self._backlog: tuple[int, int] | None = None  # sent up to, ends at
        self._backlog_at_s = 0.0
        self._gap_since_s: dict[int, float] = {}

    def add(self, kind: str, message: type[Struct], **fields: object) -> None:
        """Add a message to the next commit, with its final stream and sequence."""
        sequence = self._state.next_sequence()
        self._state.put(sequence, kind, encode(message(stream=self.stream, sequence=sequence, **fields)))

    def reconnected(self, *, now_s: float, jitter: float) -> None:
        """Send all messages again that no receipt covers; `jitter` is a random share from 0 to 1."""
        self._backlog = (0, self._live)
        self._backlog_at_s = now_s + jitter * self._limits.backlog_delay_max_s
        self._gap_since_s.clear()

    def due(self, *, now_s: float, room: int) -> list[tuple[int, str, bytes]]:
        """Up to `room` messages to publish now: live ones first, then gaps, then the backlog."""
        rows = self._state.messages_after(self._live, room) if room > 0 else []
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
        return rows

    def receive(self, receipt: Receipt, *, now_s: float) -> None:
        """Delete covered messages, and look for gaps below them."""
        if receipt.stream != self.stream or not receipt.ranges:
            return
        ranges = [(first, min(last, self._live)) for first, last in receipt.ranges if first <= min(last, self._live)]
        if not ranges:
            return
        self._state.delete_messages(ranges)
        left = self._state.sequences_below(max(last for _, last in ranges), _GAP_LOOK)
        if self._backlog is not None:
            sent, end = self._backlog
            left = [sequence for sequence in left if not sent < sequence <= end]  # the backlog sends those
        self._gap_since_s = {sequence: self._gap_since_s.get(sequence, now_s) for sequence in left}

    def _backlog_rows(self, now_s: float, room: int) -> list[tuple[int, str, bytes]]:
        if self._backlog is None:
            return []
        sent, end = self._backlog
        allowed = min(room, 1 + int((now_s - self._backlog_at_s) * self._limits.backlog_per_s))
        rows = [row for row in self._state.messages_after(sent, allowed) if row[0] <= end]
        if not rows:
            self._backlog = None
            return []
        self._backlog = (rows[-1][0], end)
        self._backlog_at_s = max(self._backlog_at_s, now_s - 1.0) + len(rows) / self._limits.backlog_per_s
        return rows
