"""The bridge as a process between a broker and a Kafka: real ones, and the embedded ones of the demo where they can."""

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from ringmain_protocol import messages, topics
from ringmain_protocol.messages import encode
from ringmain_simulation import embedded
from servers.base import wait_until
from servers.bridge import BridgeProcess
from servers.kafka import Kafka
from servers.mosquitto import Mosquitto

STREAM = "0123456789abcdef"


class Neighbors(NamedTuple):
    """Where broker and Kafka are."""

    mqtt_port: int
    bootstrap_servers: str
    real: bool


def started_bridge(folder: Path, mqtt_port: int, bootstrap_servers: str, limits: str = "") -> BridgeProcess:
    """A running bridge between these neighbors."""
    bridge = BridgeProcess(
        folder,
        f"[mqtt]\nport = {mqtt_port}\n[kafka]\nbootstrap_servers = {bootstrap_servers!r}\nretention_days = 40\n"
        f"[limits]\nreceipt_interval_s = 0.2\n{limits}\n",
    )
    bridge.start()
    return bridge


class Site:
    """What an agent sends, with its own connection."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.sequences = count(1)
        self.receipts: SimpleQueue[messages.Receipt] = SimpleQueue()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
        self.client.reconnect_delay_set(min_delay=1, max_delay=1)
        self.client.on_message = self._on_message
        self.client.on_connect = lambda client, *_: client.subscribe(topics.topic(name, topics.RECEIPT), 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _on_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        self.receipts.put(messages.decode(message.payload, messages.Receipt))

    def publish(self, kind: str, payload: bytes, *, name: str | None = None, retain: bool = False, qos: int = 1) -> None:
        """Publish, and wait for the broker."""
        self.client.publish(topics.topic(self.name, kind, name), payload, qos, retain).wait_for_publish(30)

    def send(self, number: int) -> list[int]:
        """Publish that many batches without waiting for each; returns their sequences."""
        sequences = [next(self.sequences) for _ in range(number)]
        last = [self.client.publish(topics.topic(self.name, topics.READINGS), readings(n), 1) for n in sequences][-1]
        last.wait_for_publish(60)
        return sequences

    def wait_for_receipt(self, covered: int) -> list[tuple[int, int]]:
        """The first receipt that covers a sequence."""
        while True:
            receipt = self.receipts.get(timeout=30)
            assert receipt.stream == STREAM
            if any(first <= covered <= last for first, last in receipt.ranges):
                return receipt.ranges

    def end(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


def readings(sequence: int, at_ms: int | None = None) -> bytes:
    now_ms = int(time.time() * 1000) if at_ms is None else at_ms
    return encode(
        messages.Readings(
            stream=STREAM, sequence=sequence, signals=["load_kw"], at_ms=[now_ms], values=[float(sequence)], quality=[0]
        )
    )


def in_kafka(bootstrap_servers: str, *names: str) -> list[Message]:
    """Every record of these topics, in order within each partition."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": "check", "enable.partition.eof": True, "log_level": 0}
    )
    there = consumer.list_topics(timeout=10).topics
    partitions = [TopicPartition(name, p, OFFSET_BEGINNING) for name in names for p in there[name].partitions]
    consumer.assign(partitions)
    records: list[Message] = []
    ended: set[tuple[str, int]] = set()
    end_s = time.monotonic() + 60
    while len(ended) < len(partitions) and time.monotonic() < end_s:
        for record in consumer.consume(1000, 0.2):
            error = record.error()
            if error is None:
                records.append(record)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                ended.add((str(record.topic()), int(record.partition() or 0)))
    consumer.close()
    assert len(ended) == len(partitions)
    return records


def sequences_of(records: list[Message], site: str) -> list[int]:
    payloads = [record.value() for record in records if record.key() == site.encode()]
    return [messages.decode(payload, messages.Readings).sequence for payload in payloads if isinstance(payload, bytes)]


def assert_complete_and_in_order(records: list[Message], site: Site, sent: list[int]) -> int:
    """Every sequence at least once, first occurrences in order; returns how many came twice."""
    found = sequences_of(records, site.name)
    assert list(dict.fromkeys(found)) == sent
    return len(found) - len(sent)


@pytest.fixture(params=["real", "embedded"])
def neighbors(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Neighbors]:
    if request.param == "real":
        broker: Mosquitto = request.getfixturevalue("mosquitto")
        kafka: Kafka = request.getfixturevalue("fresh_kafka")
        yield Neighbors(broker.port, kafka.bootstrap_servers, real=True)
        return
    embedded_broker = embedded.start_mqtt(log=tmp_path / "mqtt.log")
    embedded_kafka = embedded.start_kafka(log=tmp_path / "kafka.log")
    yield Neighbors(embedded_broker.port, embedded_kafka.address, real=False)
    embedded_broker.stop()
    embedded_kafka.stop()


@pytest.fixture
def bridge(neighbors: Neighbors, tmp_path: Path) -> Iterator[BridgeProcess]:
    process = started_bridge(tmp_path, neighbors.mqtt_port, neighbors.bootstrap_servers)
    yield process
    process.end(signal.SIGKILL)


@pytest.fixture
def site(neighbors: Neighbors) -> Iterator[Site]:
    agent = Site(neighbors.mqtt_port, "uw-114")
    yield agent
    agent.end()


def test_every_kind_reaches_its_topic_unchanged_and_gets_its_receipt(
    neighbors: Neighbors, bridge: BridgeProcess, site: Site
) -> None:
    bridge.wait_for("mqtt_connected", 1)
    now_ms = int(time.time() * 1000)
    status = messages.Status(
        at_ms=now_ms, time_zone="Europe/Amsterdam", agent_version="0.1.0", config_sha256="ab", stream=STREAM,
        mode=messages.Mode.OBSERVE, mode_source="config", fallback=messages.Fallback.RELEASE, releases={"load_kw": 3},
    )  # fmt: skip
    series = messages.Series(issued_at_ms=now_ms, start_ms=now_ms, step_s=3600, unit="degC", values=[12.5])
    site.publish(topics.ONLINE, encode(messages.Online(online=True, since_ms=now_ms)), retain=True)
    site.publish(topics.STATUS, encode(status), retain=True)
    site.publish(topics.SERIES, encode(series), name="temperature_degc", retain=True)
    site.publish(topics.READINGS, readings(1))
    site.publish(topics.READINGS, readings(2, at_ms=86_400_000))  # a gateway that booted in 1970
    site.publish(topics.READINGS, readings(3).replace(b'"quality":[0]', b'"quality":[9]'))  # refused, but its number is read
    site.publish(topics.READINGS, b"not JSON")
    site.publish(topics.READINGS, readings(4), qos=0)
    ranges = site.wait_for_receipt(4)
    assert ranges == [(1, 4)]
    bridge.wait_for("dead_lettered_total", 2)
    bridge.wait_for("delivered_total", 5)  # other partitions than that of the readings
    totals = bridge.samples()
    assert (totals["delivered_total"], totals["dead_lettered_total"], totals["dropped_total"]) == (5, 2, 0)
    assert (totals["ringmain_site_online"], totals["ringmain_site_model_release"]) == (1, 3)
    assert site.name in (bridge.get("/") or "")
    assert abs(totals["ringmain_site_last_seen_timestamp_seconds"] - now_ms / 1000) < 600

    records = in_kafka(neighbors.bootstrap_servers, *topics.KAFKA_TOPICS.values(), topics.DEADLETTER)
    values = {(str(record.topic()), record.value()) for record in records}
    assert {
        ("ringmain.status", encode(status)),
        ("ringmain.series", encode(series)),
        ("ringmain.deadletter", b"not JSON"),
    } < values
    assert {record.key() for record in records} == {b"uw-114"}
    good = [record for record in records if record.topic() == "ringmain.readings"]
    assert sorted(sequences_of(good, site.name)) == [1, 2, 4]
    marked = [record for record in good if "implausible_time" in dict(record.headers() or [])]
    assert sequences_of(marked, site.name) == [2]
    headers = dict(good[0].headers() or [])
    assert headers["mqtt_topic"] == topics.topic(site.name, topics.READINGS).encode()
    assert headers["bridge"] == b"0"
    received_ms = headers["received_ms"]
    assert isinstance(received_ms, bytes)
    by_bridge, by_kafka = int(received_ms), good[0].timestamp()[1]
    assert abs(by_bridge - by_kafka) < 60_000
    reasons = [dict(record.headers() or [])["reason"] for record in records if record.topic() == topics.DEADLETTER]
    assert sorted(str(reason) for reason in reasons) == ["b'invalid'", "b'undecodable'"]

    site.publish(topics.ONLINE, b"", retain=True)  # deleted
    site.publish(topics.STATUS, b"", retain=True)
    wait_until(lambda: "ringmain_site_model_release" not in bridge.samples(), what="status is gone")
    assert bridge.samples()["process_resident_memory_bytes"] > 0
    assert bridge.get("/other") is None
    assert bridge.end(signal.SIGTERM) == 0
    assert "stopped in_flight=0" in bridge.log.read_text()


def test_nothing_is_lost_or_reordered_when_the_bridge_is_killed_and_what_comes_meanwhile_waits(
    neighbors: Neighbors, bridge: BridgeProcess, site: Site
) -> None:
    bridge.wait_for("mqtt_connected", 1)
    sent = site.send(500)
    for _ in range(2):
        bridge.wait_for("messages_received_total", 100)
        sent += [next(site.sequences) for _ in range(1000)]
        infos = [site.client.publish(topics.topic(site.name, topics.READINGS), readings(n), 1) for n in sent[-1000:]]
        bridge.wait_for("messages_received_total", 600)
        bridge.end(signal.SIGKILL)
        infos[-1].wait_for_publish(30)
        sent += site.send(500)
        bridge.start()
    sent += site.send(100)
    site.wait_for_receipt(sent[-1])
    wait_until(lambda: bridge.samples()["in_flight"] == 0, what="drained")
    assert_complete_and_in_order(in_kafka(neighbors.bootstrap_servers, "ringmain.readings"), site, sent)


def test_topics_are_created_with_their_partitions_retention_and_clock(
    mosquitto: Mosquitto, fresh_kafka: Kafka, tmp_path: Path
) -> None:
    fresh_kafka.create_topic("ringmain.readings", 3)
    bridge = started_bridge(tmp_path, mosquitto.port, fresh_kafka.bootstrap_servers)
    try:
        bridge.wait_for("kafka_ready", 1)
    finally:
        bridge.end(signal.SIGKILL)
    assert fresh_kafka.topics() == sorted([*topics.KAFKA_TOPICS.values(), topics.DEADLETTER])
    admin: AdminClient = fresh_kafka.admin()
    partitions = {name: len(t.partitions) for name, t in admin.list_topics(timeout=10).topics.items() if name[:2] != "__"}
    assert partitions == {name: 3 if name == "ringmain.readings" else 12 for name in partitions}
    resource = ConfigResource(ResourceType.TOPIC, "ringmain.steps")
    settings = admin.describe_configs([resource])[resource].result(timeout=30)
    assert settings["retention.ms"].value == str(40 * 86_400_000)
    assert settings["message.timestamp.type"].value == "LogAppendTime"


def test_what_kafka_refuses_goes_to_the_dead_letters_and_waits_unacknowledged_until_they_take_it(
    mosquitto: Mosquitto, fresh_kafka: Kafka, tmp_path: Path
) -> None:
    admin: AdminClient = fresh_kafka.admin()
    small = {"max.message.bytes": "1000"}
    names = ["ringmain.readings", topics.DEADLETTER]
    for created in admin.create_topics([NewTopic(name, 12, 1, config=small) for name in names]).values():
        created.result(timeout=30)
    bridge = started_bridge(tmp_path, mosquitto.port, fresh_kafka.bootstrap_servers)
    site = Site(mosquitto.port, "uw-114")
    try:
        bridge.wait_for("mqtt_connected", 1)
        refused = readings(1)[:-1] + b',"more":"' + random.Random(1).randbytes(3000).hex().encode() + b'"}'
        site.publish(topics.READINGS, refused)
        bridge.wait_for("kafka_delivery_errors_total", 2)
        site.publish(topics.READINGS, readings(2))
        bridge.wait_for("delivered_total", 1)
        totals = bridge.samples()
        assert (totals["in_flight"], totals["unacknowledged"], totals["dead_lettered_total"]) == (1, 2, 0)
        assert totals["oldest_unacknowledged_timestamp_seconds"] > 0
        assert site.wait_for_receipt(2) == [(2, 2)]

        mended = [ConfigEntry("max.message.bytes", "1048588", incremental_operation=AlterConfigOpType.SET)]
        resource = ConfigResource(ResourceType.TOPIC, topics.DEADLETTER, incremental_configs=mended)
        admin.incremental_alter_configs([resource])[resource].result(timeout=30)
        assert site.wait_for_receipt(1) == [(1, 2)]
        assert bridge.samples()["unacknowledged"] == 0
        (letter,) = in_kafka(fresh_kafka.bootstrap_servers, topics.DEADLETTER)
        assert letter.value() == refused
        assert dict(letter.headers() or [])["reason"] == b"kafka_rejected"
    finally:
        site.end()
        bridge.end(signal.SIGKILL)


def test_a_message_whose_time_of_receipt_kafka_refuses_waits_and_is_no_dead_letter(
    mosquitto: Mosquitto, fresh_kafka: Kafka, tmp_path: Path
) -> None:
    admin: AdminClient = fresh_kafka.admin()
    strict = {"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "0"}  # as if a clock were wrong
    admin.create_topics([NewTopic("ringmain.readings", 12, 1, config=strict)])["ringmain.readings"].result(timeout=30)
    bridge = started_bridge(tmp_path, mosquitto.port, fresh_kafka.bootstrap_servers)
    site = Site(mosquitto.port, "uw-115")
    try:
        bridge.wait_for("mqtt_connected", 1)
        site.publish(topics.READINGS, readings(1))
        bridge.wait_for("kafka_delivery_errors_total", 2)
        totals = bridge.samples()
        assert (totals["in_flight"], totals["unacknowledged"], totals["dead_lettered_total"]) == (1, 1, 0)
        mended = [ConfigEntry("message.timestamp.before.max.ms", str(2**62), incremental_operation=AlterConfigOpType.SET)]
        resource = ConfigResource(ResourceType.TOPIC, "ringmain.readings", incremental_configs=mended)
        admin.incremental_alter_configs([resource])[resource].result(timeout=30)
        assert site.wait_for_receipt(1) == [(1, 1)]
        assert bridge.samples()["dead_lettered_total"] == 0
    finally:
        site.end()
        bridge.end(signal.SIGKILL)


def test_a_kafka_that_dies_stops_acknowledgments_and_loses_nothing(
    mosquitto: Mosquitto, own_kafka: Kafka, tmp_path: Path
) -> None:
    bridge = started_bridge(tmp_path, mosquitto.port, own_kafka.bootstrap_servers, "window = 200")
    site = Site(mosquitto.port, "uw-114")
    try:
        bridge.wait_for("mqtt_connected", 1)
        sent = site.send(300)
        bridge.wait_for("delivered_total", 300)
        own_kafka.kill()
        sent += site.send(2000)
        bridge.wait_for("in_flight", 200)
        assert bridge.samples()["oldest_unacknowledged_timestamp_seconds"] > 0
        assert bridge.get("/healthz") is not None
        own_kafka.start()
        site.wait_for_receipt(sent[-1])
        wait_until(lambda: bridge.samples()["in_flight"] == 0, what="drained")
        assert "oldest_unacknowledged_timestamp_seconds" not in bridge.samples()
        assert_complete_and_in_order(in_kafka(own_kafka.bootstrap_servers, "ringmain.readings"), site, sent)
    finally:
        site.end()
        bridge.end(signal.SIGKILL)


def test_a_broker_that_is_killed_costs_the_session_and_is_found_again(
    mosquitto: Mosquitto, fresh_kafka: Kafka, tmp_path: Path
) -> None:
    bridge = started_bridge(tmp_path, mosquitto.port, fresh_kafka.bootstrap_servers)
    site = Site(mosquitto.port, "uw-114")
    try:
        bridge.wait_for("mqtt_connected", 1)
        first = site.send(100)
        site.wait_for_receipt(first[-1])
        mosquitto.kill()
        wait_until(lambda: bridge.samples()["mqtt_connected"] == 0, what="connection is lost")
        mosquitto.start()
        bridge.wait_for("session_lost_total", 1)
        bridge.wait_for("mqtt_connected", 1)
        wait_until(site.client.is_connected, what="site is back")
        second = site.send(100)
        assert site.wait_for_receipt(second[-1]) == [(1, 200)]
        assert bridge.samples()["reconnects_total"] >= 1
        assert_complete_and_in_order(in_kafka(fresh_kafka.bootstrap_servers, "ringmain.readings"), site, first + second)
    finally:
        site.end()
        bridge.end(signal.SIGKILL)


def test_a_bridge_without_neighbors_waits_for_them(new_mosquitto: object, own_kafka: Kafka, tmp_path: Path) -> None:
    assert callable(new_mosquitto)
    mosquitto: Mosquitto = new_mosquitto()
    mosquitto.stop()
    own_kafka.stop()
    bridge = started_bridge(tmp_path, mosquitto.port, own_kafka.bootstrap_servers)
    try:
        assert bridge.samples()["kafka_ready"] == 0
        wait_until(lambda: "kafka not ready, waiting" in bridge.log.read_text(), what="says so")
        own_kafka.start()
        bridge.wait_for("kafka_ready", 1)
        bridge.wait_for("reconnects_total", 1)
        mosquitto.start()
        bridge.wait_for("mqtt_connected", 1)
        assert re.search(r"reason='unreachable: .*refused", bridge.log.read_text())
        assert bridge.end(signal.SIGINT) == 0
    finally:
        bridge.end(signal.SIGKILL)


def test_an_unusable_certificate_is_a_matter_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    config = tmp_path / "bridge.toml"
    config.write_text('[kafka]\nsecurity_protocol = "ssl"\nca_file = "ca.pem"\n')
    command = [sys.executable, "-m", "ringmain_bridge", "run", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert "configuration: kafka: " in done.stderr
