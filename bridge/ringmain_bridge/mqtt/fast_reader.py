"""A paho client that decodes whole reads: one `recv`, many PUBLISHes, handed on together.

Stock paho spends one select, three to four reads and one object with locks on every PUBLISH. This cost, not Kafka or the
broker, limits a bridge. The fast reader decodes PUBLISHes of QoS 0 and 1; paho does everything else, the connection
included. It uses private names of paho: `missing_names` lists absent ones, and with any absent the stock loop takes over.
"""

import logging
import struct
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from paho.mqtt import MQTTException
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import MalformedPacket, Properties  # type: ignore[attr-defined]

from ringmain_bridge.forwarding.forward import MqttMessage

READ_BYTES: Final = 65_536
"""A few hundred messages: few system calls, and frequent checks of the window."""

PAUSE_S: Final = 0.002
"""Shortest time between two reads, unless the first filled its buffer: a system call costs more than a message."""

HOLD_S: Final = 1.0
"""Longest time without a read while the window is full; one read then lets a PINGRESP through."""

LOG = logging.getLogger("ringmain_bridge.mqtt")

INVALID_TOPIC: Final = "\ufffd"
"""Replaces a topic that is not UTF-8. Some brokers accept such topics; the replacement matches no topic of ours."""

_CACHED_TOPIC_BYTES: Final = 256
_FLAGS: Final = [(head >> 1 & 3, bool(head & 1), bool(head & 8)) for head in range(256)]
"""QoS, retain and DUP of a first byte."""

_METHODS: Final = ("_sock_recv", "_packet_handle", "_packet_queue", "_loop_rc_handle")
_ATTRIBUTES: Final = ("_sock", "_in_packet", "_msgtime_mutex", "_last_bytes_received", "_protocol")
_IN_PACKET: Final = ("command", "remaining_length", "packet", "pos")


def choose(reader: str, stock: type[Client] = Client) -> type[Client]:
    """The client for a `reader` of the configuration; the stock one also if paho lacks a name that the fast one needs."""
    missing = missing_names(stock) if reader == "fast" else []
    if missing:
        LOG.warning(
            "mqtt paho-mqtt lacks names that the fast reader needs: using its own, slow loop; missing: %s",
            ", ".join(missing),
        )
    return stock if missing or reader == "stock" else FastClient


def missing_names(client_type: type[Client] = Client) -> list[str]:
    """Names that the fast reader needs and this version of paho lacks."""
    missing = [name for name in _METHODS if not callable(getattr(client_type, name, None))]
    client = client_type(CallbackAPIVersion.VERSION2)
    missing += [name for name in _ATTRIBUTES if not hasattr(client, name)]
    packet = getattr(client, "_in_packet", {})
    missing += [f"_in_packet[{key!r}]" for key in _IN_PACKET if key not in packet]
    loop = getattr(getattr(client_type, "_loop", None), "__code__", None)
    if "loop_read" not in getattr(loop, "co_names", ()):
        missing.append("_loop calling loop_read")
    return missing


class FastClient(Client):
    """Hands the messages of one read to `on_messages`, in order, and acknowledges nothing by itself.

    While `may_read` is false, data stay in the socket, and TCP slows the broker down.

    `on_message` gets messages of QoS 2 only, after their PUBREL, as with the stock client and `manual_ack`.
    """

    on_messages: Callable[[list[MqttMessage]], None] = staticmethod(lambda _messages: None)
    may_read: Callable[[], bool] = staticmethod(lambda: True)
    _parts: tuple[bytes, ...] = ()
    _have = _need = 0
    _read_s = 0.0

    def reconnect(self) -> MQTTErrorCode:
        """Connect, and forget the partial packet of the last connection."""
        self._parts, self._have, self._need = (), 0, 0
        return super().reconnect()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:  # noqa: ARG002  paho ignores it too
        """Read once, and handle every complete packet."""
        if self._sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        since_s = time.monotonic() - self._read_s
        if since_s < PAUSE_S:
            time.sleep(PAUSE_S - since_s)
        elif since_s < HOLD_S and not self.may_read():
            time.sleep(PAUSE_S)
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        try:
            data = self._receive()
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            data = b""
        if not data:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        now_s = time.monotonic()
        self._read_s = now_s if len(data) < READ_BYTES else now_s - PAUSE_S
        with self._msgtime_mutex:
            self._last_bytes_received = now_s
        self._parts += (data,)
        self._have += len(data)
        if self._have >= self._need:  # else part of a large packet; joining at every read would cost too much
            return self._handle(b"".join(self._parts), now_s)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _receive(self) -> bytes:
        """Bytes received; empty at the end of the connection."""
        data = self._sock_recv(READ_BYTES)
        if not data or not hasattr(self._sock, "pending"):
            return data
        parts, size = [data], len(data)  # TLS returns one record at a time, and brokers send each packet in its own
        while size < READ_BYTES:
            try:
                data = self._sock_recv(READ_BYTES)
            except OSError:  # no more data; the next read finds a closed connection
                break
            if not data:
                break
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    def _handle(self, buffer: bytes, now_s: float) -> MQTTErrorCode:
        sock = self._sock
        messages: list[MqttMessage] = []
        try:
            used, self._need = self._decode(buffer, now_s, messages)
        except MalformedPacket:
            self._hand_on(messages)
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)
        self._hand_on(messages)
        if self._sock is sock:  # else it was closed meanwhile
            self._have = len(buffer) - used
            self._parts = (buffer[used:],) if self._have else ()
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _decode(self, buffer: bytes, now_s: float, messages: list[MqttMessage]) -> tuple[int, int]:  # noqa: C901, PLR0912  one loop
        """Append the messages of complete packets; returns their bytes, and the least bytes of the next packet.

        Raises:
            MalformedPacket: The connection must end; messages before that packet are in the list.
        """
        is_v5 = self._protocol == MQTTProtocolVersion.MQTTv5
        now_ms = time.time_ns() // 1_000_000
        append = messages.append
        at, end = 0, len(buffer)
        while end - at >= 2:
            head, size, body = buffer[at], buffer[at + 1], at + 2
            if size & 0x80:
                if body < end and buffer[body] < 0x80:  # two bytes: nearly all lengths
                    size, body = size & 0x7F | buffer[body] << 7, body + 1
                else:
                    size, body = _length(buffer, at + 1, end)
                    if not body:
                        return at, end - at + 1
            stop = body + size
            if stop > end:
                return at, stop - at
            if head & 0xF4 == 0x30:  # not QoS 2, nor the illegal 3: they have the bit 0x04
                begin = body + 2
                body = begin + (buffer[body] << 8 | buffer[body + 1]) if size > 1 else end + 1
                topic, mid = buffer[begin:body], 0
                if head & 2:
                    body += 2
                    mid = buffer[body - 2] << 8 | buffer[body - 1] if body <= stop else 0
                if is_v5:
                    body = _after_properties(buffer, body, stop)
                elif not topic:
                    raise MalformedPacket("an empty topic in MQTT 3.1.1")
                if body > stop:
                    raise MalformedPacket("PUBLISH is too short")
                qos, retain, dup = _FLAGS[head]
                text = _topic(topic) if len(topic) <= _CACHED_TOPIC_BYTES else _decoded(topic)
                append(MqttMessage(text, buffer[body:stop], mid, qos, retain, dup, now_ms, now_s))
            else:
                self._hand_on(messages)
                if not self._other(head, buffer[body:stop]):
                    return stop, 2
            at = stop
        return at, 2

    def _hand_on(self, messages: list[MqttMessage]) -> None:
        if messages:
            batch = messages.copy()
            messages.clear()
            self.on_messages(batch)

    def _other(self, head: int, body: bytes) -> bool:
        """Give one packet to paho; False if paho has ended the connection."""
        sock = self._sock
        packet = self._in_packet
        packet["command"], packet["remaining_length"], packet["packet"], packet["pos"] = head, len(body), bytearray(body), 0
        self._loop_rc_handle(self._packet_handle())  # does nothing on success
        return sock is not None and self._sock is sock


def _length(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    """A variable byte integer and the position after it; the position is 0 while bytes are missing.

    Raises:
        MalformedPacket: If it has more than four bytes.
    """
    value = 0
    for i in range(at, min(at + 4, end)):
        value |= (buffer[i] & 0x7F) << 7 * (i - at)
        if buffer[i] < 0x80:
            return value, i + 1
    if end - at > 4:
        raise MalformedPacket("remaining length has more than four bytes")
    return 0, 0


def _after_properties(buffer: bytes, at: int, stop: int) -> int:
    """The position after the properties of a PUBLISH; paho checks all blocks but an empty one.

    Raises:
        MalformedPacket: If paho refuses them, or if there is a topic alias, which the bridge does not allow.
    """
    if at < stop and not buffer[at]:
        return at + 1
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    length: int
    try:
        _, length = properties.unpack(buffer[at:stop])  # type: ignore[no-untyped-call]
    except MalformedPacket:
        raise
    except (struct.error, LookupError, ValueError, MQTTException) as error:
        raise MalformedPacket(str(error)) from error
    if hasattr(properties, "TopicAlias"):
        raise MalformedPacket("PUBLISH with a topic alias; the bridge allows none")
    return min(at + length, stop)  # paho accepts properties that end too early


def _decoded(topic: bytes) -> str:
    try:
        return topic.decode()
    except UnicodeDecodeError:
        return INVALID_TOPIC


_topic = lru_cache(32_768)(_decoded)
