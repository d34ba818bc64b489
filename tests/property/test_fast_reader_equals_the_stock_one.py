"""The fast reader equals the stock one: the same bytes, cut anywhere, bring the same messages and the same answers.

Both clients sit at one end of a socket pair; the test writes to the other what a broker would.
"""

import select
import socket
import struct
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from ringmain_bridge.forwarding.forward import MqttMessage
from ringmain_bridge.mqtt import fast_reader
from ringmain_bridge.mqtt.fast_reader import INVALID_TOPIC, READ_BYTES, FastClient

VERSIONS = (MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5)
PINGRESP, PINGREQ = b"\xd0\x00", b"\xc0\x00"


class Seen(NamedTuple):
    """What one client made of the bytes."""

    messages: list[tuple[str, bytes, int, bool, bool, int]]
    answers: bytes
    alive: bool


def packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + bytes(VariableByteIntegers.encode(len(body))) + body  # type: ignore[no-untyped-call]


def publish(flags: int, topic: bytes, mid: int, rest: bytes) -> bytes:
    """A PUBLISH; `flags` are DUP, QoS and retain; `rest` is the payload, behind the properties in MQTT 5."""
    body = struct.pack("!H", len(topic)) + topic + (struct.pack("!H", mid) if flags & 6 else b"")
    return packet(0x30 | flags, body + rest)


@st.composite
def property_blocks(draw: st.DrawFn) -> bytes:
    """Blocks whose length takes one, two or three bytes."""
    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    for _ in range(draw(st.integers(0, 2))):
        properties.UserProperty = ("k", "v" * draw(st.sampled_from([0, 5, 90, 150, 9000, 20_000])))
    if draw(st.booleans()):
        properties.MessageExpiryInterval = draw(st.integers(0, 2**32 - 1))
    return bytes(properties.pack())


@st.composite
def packets(draw: st.DrawFn, version: int) -> bytes:
    """One whole packet of a broker."""
    other = draw(st.sampled_from([b"", b"", b"", b"", PINGRESP, PINGREQ]))
    if other:
        return other
    topic = draw(st.sampled_from([b"a", b"ringmain/1/00/site/readings", "µ".encode() * 200, b"bad \xff"]))
    sizes = st.sampled_from([0, 1, 90, 127, 128, 300, 16_400, READ_BYTES])
    flags = draw(st.sampled_from([0, 1, 2, 3, 10, 11, 4, 5, 12]))  # QoS 0, 1 and 2, retained, DUP
    mid = draw(st.integers(1, 65_535))
    properties = draw(property_blocks()) if version == MQTTProtocolVersion.MQTTv5 else b""
    sent = publish(flags, topic, mid, properties + b"x" * draw(sizes))
    if flags & 4 and draw(st.booleans()):
        sent += packet(0x62, struct.pack("!H", mid))  # PUBREL: only now the message is handed on
    return sent


@st.composite
def streams(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    """Packets of one connection, cut at random; with some luck the last one is broken."""
    version = draw(st.sampled_from(VERSIONS))
    data = b"".join(draw(st.lists(packets(version), min_size=1, max_size=12)))
    last_cut = len(data)
    if draw(st.booleans()):
        last_cut = draw(st.integers(0, len(data) - 1))  # behind it, a cut after a first byte of 0 would make paho skip it
        data = data[:last_cut] + bytes([draw(st.integers(0, 255))]) + data[last_cut + 1 :]
    cuts = sorted(draw(st.lists(st.integers(0, last_cut), max_size=8)))
    return version, [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]


def seen_by(client_type: type[Client], version: int, chunks: list[bytes]) -> Seen:
    ours, peer = socket.socketpair()
    for end in (ours, peer):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    client = client_type(CallbackAPIVersion.VERSION2, client_id="c", protocol=MQTTProtocolVersion(version), manual_ack=True)
    got: list[tuple[str, bytes, int, bool, bool, int]] = []

    def on_messages(messages: list[MqttMessage]) -> None:
        got.extend((m.topic, m.payload, m.qos, m.retain, m.dup, m.mid) for m in messages)

    def on_message(_client: Client, _userdata: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = INVALID_TOPIC
        got.append((topic, bytes(message.payload), message.qos, message.retain, message.dup, message.mid))

    client.on_message = on_message
    if isinstance(client, FastClient):
        client.on_messages = on_messages
    client._sock = ours  # noqa: SLF001
    answers = b""
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest and client._sock is not None:  # noqa: SLF001
            rest = rest[peer.send(rest) :]
            while client._sock is not None and select.select([ours], [], [], 0)[0]:  # noqa: SLF001
                client.loop_read()
            answers += received(peer)
    alive = client._sock is ours  # noqa: SLF001
    if alive:
        client.loop_write()
        answers += received(peer)
    ours.close()
    peer.close()
    return Seen(got, answers, alive)


def received(peer: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionResetError):  # closed with something unread
        while select.select([peer], [], [], 0)[0] and (more := peer.recv(1 << 20)):
            data += more
    return data


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_reader, "PAUSE_S", 0.0)


@given(streams())
def test_the_same_messages_and_answers_and_the_same_end(stream: tuple[int, list[bytes]]) -> None:
    version, chunks = stream
    stock = seen_by(Client, version, chunks)
    fast = seen_by(FastClient, version, chunks)
    assert fast == stock


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "broken",
    [
        b"\x30\x00",
        b"\x30\x01\x00",
        b"\x32\x01\x00",
        b"\x32\x04\x00\x09ab",  # a topic longer than the packet
        b"\x36\x06\x00\x01a\x00\x01x",  # QoS 3
        b"\x32\x03\x00\x01a",  # no packet id
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x00\x00",
        b"\xd0\x01\x00",
    ],
)
def test_a_malformed_stream_ends_both_after_what_came_before_it(version: int, broken: bytes) -> None:
    good = publish(2, b"a", 7, (b"\x00" if version == MQTTProtocolVersion.MQTTv5 else b"") + b"x")
    stock, fast = (seen_by(kind, version, [good + broken]) for kind in (Client, FastClient))
    assert fast == stock
    assert not fast.alive
    assert fast.messages == [("a", b"x", 1, False, False, 7)]


def test_a_topic_alias_which_nobody_has_allowed_ends_the_connection() -> None:
    """Here the two differ: stock paho would hand on a message without a topic."""
    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.TopicAlias = 1
    version = MQTTProtocolVersion.MQTTv5
    assert not seen_by(FastClient, version, [publish(2, b"", 7, bytes(properties.pack()) + b"x")]).alive
