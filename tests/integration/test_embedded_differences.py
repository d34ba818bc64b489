"""The embedded broker and Kafka of the demo differ from the real ones as their list says, difference by difference.

Each test does the same with both. When one fails, either the embedded server has changed or the list is wrong: correct
`ringmain_simulation.embedded.KNOWN_DIFFERENCES`, and whoever relies on it.
"""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any, Final, NamedTuple

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ringmain_protocol import topics
from ringmain_simulation import embedded
from ringmain_simulation.embedded import KNOWN_DIFFERENCES, EmbeddedServer
from servers.kafka import Kafka
from servers.mosquitto import Mosquitto

NOT_ASSERTED: Final = {("mqtt", "no_order_between_topics"): "a race: most of the time the order is kept"}

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
READINGS: Final = topics.KAFKA_TOPICS[topics.READINGS]
_numbers = count()


class Delivered(NamedTuple):
    """A PUBLISH as it stood on the wire."""

    payload: bytes
    qos: int
    dup: bool
    mid: int


class RawClient:
    """Just enough MQTT to see each bit; acknowledges only what it is told to."""

    def __init__(self, port: int, client_id: str, *, clean: bool = True, keepalive_s: int = 60, level: int = 4) -> None:
        self._buffer = b""
        self._level = level
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5.0)
        properties = b"" if level == 4 else b"\x03\x21\x00\x0a"  # Receive Maximum 10
        variable = _text("MQTT") + bytes([level, 2 if clean else 0]) + struct.pack("!H", keepalive_s) + properties
        self._send(CONNECT << 4, variable + _text(client_id))
        answer = self.packet()
        self.accepted = answer is not None and answer[0] >> 4 == CONNACK and answer[1][1] == 0

    def subscribe(self, topic: str) -> None:
        """With QoS 1."""
        self._send(SUBSCRIBE << 4 | 2, b"\0\1" + (b"" if self._level == 4 else b"\0") + _text(topic) + b"\1")
        answer = self.packet()
        assert answer is not None
        assert answer[0] >> 4 == SUBACK

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """And wait for its PUBACK, with QoS 1."""
        mid = struct.pack("!H", next(_numbers) % 65_000 + 1) if qos else b""
        self._send(PUBLISH << 4 | qos << 1 | retain, _text(topic) + mid + payload)
        if qos:
            answer = self.packet()
            assert answer is not None
            assert answer[0] >> 4 == PUBACK

    def acknowledge(self, delivered: Delivered) -> None:
        """PUBACK."""
        self._send(PUBACK << 4, struct.pack("!H", delivered.mid))

    def delivered(self, *, silent_s: float = 1.0) -> list[Delivered]:
        """Every PUBLISH until nothing more comes."""
        found = []
        self._socket.settimeout(silent_s)
        while (packet := self.packet()) is not None:
            first, body = packet
            assert first >> 4 == PUBLISH
            qos = first >> 1 & 3
            at = 2 + struct.unpack_from("!H", body)[0]
            mid = struct.unpack_from("!H", body, at)[0] if qos else 0
            at += 2 if qos else 0
            at += 0 if self._level == 4 else 1 + body[at]
            found.append(Delivered(body[at:], qos, bool(first & 8), mid))
        return found

    def cut(self) -> None:
        """End without DISCONNECT."""
        self._socket.close()

    def packet(self) -> tuple[int, bytes] | None:
        """The next packet: first byte and body; None when nothing comes or the broker hangs up."""
        while True:
            length, at = 0, 1
            while at < len(self._buffer):
                length |= (self._buffer[at] & 127) << 7 * (at - 1)
                at += 1
                if not self._buffer[at - 1] & 128:
                    if len(self._buffer) < at + length:
                        break
                    packet = self._buffer[0], self._buffer[at : at + length]
                    self._buffer = self._buffer[at + length :]
                    return packet
            try:
                received = self._socket.recv(65_536)
            except (TimeoutError, ConnectionError):
                return None
            if not received:
                return None
            self._buffer += received

    def _send(self, first: int, body: bytes) -> None:
        assert len(body) < 16_384
        length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 127 | 128, len(body) >> 7])
        self._socket.sendall(bytes([first]) + length + body)


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text.encode())) + text.encode()


Connect = Callable[..., RawClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects clients, and closes them at the end."""
    with ExitStack() as stack:

        def new(port: int, client_id: str, **options: Any) -> RawClient:
            client = RawClient(port, client_id, **options)
            stack.callback(client.cut)
            return client

        yield new


@pytest.fixture
def broker() -> Iterator[EmbeddedServer]:
    server = embedded.start_mqtt()
    yield server
    server.stop()


@pytest.fixture
def cluster() -> Iterator[EmbeddedServer]:
    server = embedded.start_kafka()
    yield server
    server.stop()


def test_every_difference_is_asserted_or_said_why_not() -> None:
    names = {(server, name) for server, differences in KNOWN_DIFFERENCES.items() for name in differences}
    assert {pair for pair in names if f"test_{pair[0]}_{pair[1]}" not in globals()} == NOT_ASSERTED.keys()


def test_mqtt_no_mqtt_5(mosquitto: Mosquitto, broker: EmbeddedServer, connect: Connect) -> None:
    assert [connect(port, "five", level=5).accepted for port in (mosquitto.port, broker.port)] == [True, False]


def test_mqtt_no_dup(mosquitto: Mosquitto, broker: EmbeddedServer, connect: Connect) -> None:
    def redelivered(port: int) -> tuple[list[Delivered], list[Delivered]]:
        reader = connect(port, "reader", clean=False)
        reader.subscribe("a")
        writer = connect(port, "writer")
        for payload in (b"1", b"2", b"3"):
            writer.publish("a", payload)
        before = reader.delivered()
        reader.acknowledge(before[0])
        assert reader.delivered() == []  # the broker has had the time to read it
        reader.cut()
        return before[1:], connect(port, "reader", clean=False).delivered()

    before, again = redelivered(mosquitto.port)
    assert again == [message._replace(dup=True) for message in before]
    before, again = redelivered(broker.port)
    assert [(message.payload, message.dup) for message in again] == [(b"2", False), (b"3", False)]
    assert [message.mid for message in again] != [message.mid for message in before]


def test_mqtt_no_receive_maximum(mosquitto: Mosquitto, broker: EmbeddedServer, connect: Connect) -> None:
    def unacknowledged(port: int, level: int) -> int:
        reader = connect(port, "reader", level=level)
        reader.subscribe("a")
        writer = connect(port, "writer")
        for number in range(150):
            writer.publish("a", b"%d" % number)
        return len(reader.delivered())

    assert unacknowledged(mosquitto.port, 5) == 10
    assert unacknowledged(mosquitto.port, 4) == 150  # its own setting is 2000
    assert unacknowledged(broker.port, 4) == 100


def test_mqtt_subscription_qos(mosquitto: Mosquitto, broker: EmbeddedServer, connect: Connect) -> None:
    def qos(port: int) -> list[int]:
        reader = connect(port, "reader")
        reader.subscribe("a")
        connect(port, "writer").publish("a", b"x", qos=0)
        return [message.qos for message in reader.delivered()]

    assert (qos(mosquitto.port), qos(broker.port)) == ([0], [1])


def test_mqtt_no_disk(mosquitto: Mosquitto, broker: EmbeddedServer, connect: Connect) -> None:
    def retained(port: int) -> list[bytes]:
        reader = connect(port, "reader")
        reader.subscribe("a")
        return [message.payload for message in reader.delivered()]

    for port in (mosquitto.port, broker.port):
        connect(port, "writer").publish("a", b"x", retain=True)
        assert retained(port) == [b"x"]
    mosquitto.stop()
    mosquitto.start()
    broker.stop()
    again = embedded.start_mqtt(port=broker.port)
    try:
        assert (retained(mosquitto.port), retained(again.port)) == ([b"x"], [])
    finally:
        again.stop()


def test_mqtt_no_keepalive_0(mosquitto: Mosquitto, broker: EmbeddedServer, connect: Connect) -> None:
    accepted = [connect(port, "never", keepalive_s=0).accepted for port in (mosquitto.port, broker.port)]
    assert accepted == [True, False]


def test_kafka_no_create_topics(fresh_kafka: Kafka, cluster: EmbeddedServer) -> None:
    def create(address: str) -> bool:
        admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        future = admin.create_topics([NewTopic("new", 1, 1)], request_timeout=3.0)["new"]
        try:
            future.result(timeout=20)
        except KafkaException:
            return False
        return True

    assert (create(fresh_kafka.bootstrap_servers), create(cluster.address)) == (True, False)
    there = AdminClient({"bootstrap.servers": cluster.address, "log_level": 0}).list_topics(timeout=10).topics
    names = (*topics.KAFKA_TOPICS.values(), topics.DEADLETTER)
    assert [len(there[name].partitions) for name in names] == [embedded.PARTITIONS] * len(names)


def test_kafka_no_offsets_for_times(fresh_kafka: Kafka, cluster: EmbeddedServer) -> None:
    def offset(address: str) -> int:
        produce(address, [b"x"])
        with_consumer = consumer(address)
        (found,) = with_consumer.offsets_for_times([TopicPartition(READINGS, 0, 1)], timeout=10)
        with_consumer.close()
        return int(found.offset)

    fresh_kafka.create_topic(READINGS)
    assert (offset(fresh_kafka.bootstrap_servers), offset(cluster.address)) == (0, -1)


def test_kafka_no_transactions(fresh_kafka: Kafka, cluster: EmbeddedServer) -> None:
    def aborted_that_are_read(address: str) -> list[bytes]:
        producer = Producer({"bootstrap.servers": address, "transactional.id": "t", "log_level": 0})
        producer.init_transactions(30)
        for payload, end in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
            producer.begin_transaction()
            producer.produce(READINGS, payload, partition=0)
            producer.flush(30)
            end(30)
        return values(address)

    fresh_kafka.create_topic(READINGS)
    assert aborted_that_are_read(fresh_kafka.bootstrap_servers) == [b"committed"]
    assert aborted_that_are_read(cluster.address) == [b"aborted", b"committed"]


def test_kafka_no_retention_settings(fresh_kafka: Kafka, cluster: EmbeddedServer) -> None:
    def kept(address: str) -> int:
        produce(address, [b"%04d" % n + bytes(100_000) for n in range(120)])
        reader = consumer(address)
        low, high = reader.get_watermark_offsets(TopicPartition(READINGS, 0), timeout=10)
        reader.close()
        assert high == 120
        return high - low

    fresh_kafka.create_topic(READINGS)
    assert kept(fresh_kafka.bootstrap_servers) == 120
    assert 5 * 1024 * 1024 // 100_000 - 2 <= kept(cluster.address) <= 5 * 1024 * 1024 // 100_000 + 2


def test_kafka_no_disk(fresh_kafka: Kafka, cluster: EmbeddedServer) -> None:
    fresh_kafka.create_topic(READINGS)
    for address in (fresh_kafka.bootstrap_servers, cluster.address):
        produce(address, [b"x"])
        assert values(address) == [b"x"]
    fresh_kafka.stop()
    fresh_kafka.start()
    cluster.stop()
    again = embedded.start_kafka()
    try:
        assert (values(fresh_kafka.bootstrap_servers), values(again.address)) == ([b"x"], [])
    finally:
        again.stop()


def produce(address: str, payloads: list[bytes]) -> None:
    """Into partition 0 of the readings, a request each."""
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 0, "log_level": 0})
    for payload in payloads:
        producer.produce(READINGS, payload, partition=0)
        assert producer.flush(30) == 0


def consumer(address: str) -> Consumer:
    settings = {"bootstrap.servers": address, "group.id": "g", "isolation.level": "read_committed", "log_level": 0}
    return Consumer({**settings, "enable.partition.eof": True})


def values(address: str) -> list[bytes]:
    """What a careful consumer reads from partition 0 of the readings."""
    reader = consumer(address)
    reader.assign([TopicPartition(READINGS, 0, OFFSET_BEGINNING)])
    found = []
    while True:
        message = reader.poll(30.0)
        assert message is not None, "neither a record nor the end of the partition"
        if message.error() is not None:
            break
        value = message.value()
        assert isinstance(value, bytes)
        found.append(value)
    reader.close()
    return found
