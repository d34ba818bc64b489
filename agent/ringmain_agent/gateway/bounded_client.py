"""A paho client that holds no payload above a limit: it reads the rest of such a message and drops it.

MQTT 3.1.1 has no maximum packet size, and paho holds a whole message before it hands it on. Here the announced length
decides while the message is still in the socket. The message is acknowledged as usual: a broker that keeps it for this
client, or retains it, does not send it for ever. The client replaces two private methods of paho; should a version of paho
lack them, the length is still checked before a message is queued.
"""

from typing import Final, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

PACKET_MAX_BYTES: Final = 1_048_576
"""Longest message that is held, with its topic."""
READ_BYTES: Final = 65_536
_HEAD_BYTES: Final = 65_539
"""Enough for the longest topic and the message id."""


class _Head(bytearray):
    """The beginning of a packet; it drops the bytes beyond."""

    def __iadd__(self, data: bytes) -> Self:  # type: ignore[override,misc]
        self.extend(data[: _HEAD_BYTES - len(self)])
        return self


class BoundedClient(paho.Client):
    """Within `on_message`, `refused_bytes` is the length of a message that was too long to be held; 0 for others."""

    refused_bytes = 0

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._is_too_long() and not isinstance(self._in_packet["packet"], _Head):
            self._in_packet["packet"] = _Head()
        return super()._sock_recv(min(bufsize, READ_BYTES))

    def _is_too_long(self) -> bool:
        packet = self._in_packet
        return bool(packet["have_remaining"]) and packet["remaining_length"] > PACKET_MAX_BYTES

    def _handle_publish(self) -> MQTTErrorCode:
        self.refused_bytes = self._in_packet["remaining_length"] if self._is_too_long() else 0
        return super()._handle_publish()
