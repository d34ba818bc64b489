"""The queue between a network thread and the thread of the cycle, bounded in messages and in bytes."""

import threading
from collections import deque
from typing import Final, NamedTuple

MESSAGES_MAX: Final = 100_000
BYTES_MAX: Final = 33_554_432
OVERHEAD_BYTES: Final = 200
"""Memory of a message besides its payload."""


class Arrived(NamedTuple):
    """A message from a broker; `received_s` is monotonic.

    `refused_bytes` is the length of a message that was too long to be held; its payload is then empty.
    """

    topic: str
    payload: bytes
    retained: bool
    received_s: float
    refused_bytes: int = 0


class Inbox:
    """Messages in the order of arrival; `put` refuses those beyond its bounds."""

    def __init__(self, *, messages_max: int = MESSAGES_MAX, bytes_max: int = BYTES_MAX) -> None:
        """Empty."""
        self._messages_max, self._bytes_max = messages_max, bytes_max
        self._messages: deque[Arrived] = deque()
        self._bytes = 0
        self._changed = threading.Condition()

    def put(self, message: Arrived) -> bool:
        """Add a message; False if it is full."""
        size = len(message.payload) + OVERHEAD_BYTES
        with self._changed:
            if len(self._messages) >= self._messages_max or self._bytes + size > self._bytes_max:
                return False
            self._messages.append(message)
            self._bytes += size
            self._changed.notify()
            return True

    def take(self, timeout_s: float = 0.0) -> list[Arrived]:
        """All messages; waits up to `timeout_s` for the first one."""
        with self._changed:
            if not self._messages and timeout_s > 0:
                self._changed.wait(timeout_s)
            messages = list(self._messages)
            self._messages.clear()
            self._bytes = 0
            return messages
