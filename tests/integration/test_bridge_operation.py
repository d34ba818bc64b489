"""What operations do with the bridge: stop it, outlast an absent Kafka, replay dead letters, check."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from ringmain_bridge.config import Kafka as KafkaConfig
from ringmain_bridge.forwarding.forward import Record
from ringmain_bridge.forwarding.kafka_writer import KafkaWriter
from ringmain_protocol import messages, topics
from ringmain_protocol.messages import encode
from servers.base import free_port, wait_until
from servers.bridge import BridgeProcess
from servers.kafka import Kafka
from servers.mosquitto import Mosquitto
from servers.sites import sequences_in_kafka

STREAM = "0123456789abcdef"
NAMES = [f"uw-{i}" for i in range(10)]


def config(mosquitto: Mosquitto, kafka: Kafka, mqtt_keys: str = "", limits: str = "") -> str:
    return (
        f"[mqtt]\nport = {mosquitto.port}\n{mqtt_keys}\n[kafka]\nbootstrap_servers = {kafka.bootstrap_servers!r}\n"
        f"[limits]\nreceipt_interval_s = 0.2\n{limits}\n"
    )


def readings(sequence: int) -> bytes:
    return encode(
        messages.Readings(
            stream=STREAM, sequence=sequence, signals=["load_kw"], at_ms=[int(time.time() * 1000)], values=[1.0], quality=[0]
        )
    )


class Load:
    """Numbered readings of all names, each published once."""

    def __init__(self, port: int) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(0)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.last = 0

    def send(self, number: int, *, every_s: float = 0.0) -> None:
        """Publish so many of each name, and wait for the broker."""
        info = None
        for _ in range(number):
            self.last += 1
            for name in NAMES:
                info = self._client.publish(topics.topic(name, topics.READINGS), readings(self.last), 1)
            time.sleep(every_s)
        assert info is not None
        info.wait_for_publish(60)

    def end(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.mark.parametrize("reader", ["fast", "stock"])
def test_a_stop_under_load_leaves_no_duplicate_and_loses_nothing(
    mosquitto: Mosquitto, fresh_kafka: Kafka, tmp_path: Path, reader: str
) -> None:
    bridge = BridgeProcess(tmp_path, config(mosquitto, fresh_kafka, f"reader = {reader!r}"))
    load = Load(mosquitto.port)
    with ExitStack() as stack:
        stack.callback(bridge.end)
        stack.callback(load.end)
        bridge.start()
        bridge.wait_for("mqtt_connected")
        for _ in range(3):
            load.send(100)
            bridge.wait_for("delivered_total", 100)
            load.send(200)  # the broker has them, the bridge is in the middle of them
            assert bridge.end(signal.SIGTERM) == 0
            assert bridge.log.read_text().rstrip().endswith("stopped in_flight=0")
            load.send(100)
            bridge.start()
        load.send(10)
        expected = {name: list(range(1, load.last + 1)) for name in NAMES}
        wait_until(lambda: sequences_in_kafka(fresh_kafka.bootstrap_servers) == expected, what="everything exactly once")
        wait_until(lambda: bridge.samples()["in_flight"] == 0, what="drained")
    assert sequences_in_kafka(fresh_kafka.bootstrap_servers) == expected


def test_the_connection_outlives_a_kafka_that_is_down_for_longer_than_the_keep_alive(
    mosquitto: Mosquitto, own_kafka: Kafka, tmp_path: Path
) -> None:
    bridge = BridgeProcess(tmp_path, config(mosquitto, own_kafka, "keepalive_s = 5", "window = 500"))
    load = Load(mosquitto.port)
    with ExitStack() as stack:
        stack.callback(bridge.end)
        stack.callback(load.end)
        bridge.start()
        bridge.wait_for("mqtt_connected")
        load.send(10)
        bridge.wait_for("delivered_total", 10 * len(NAMES))
        own_kafka.kill()
        load.send(22 * 5, every_s=0.2)  # 22 s
        assert bridge.samples()["in_flight"] >= 500
        own_kafka.start()
        bridge.wait_for("delivered_total", load.last * len(NAMES))
        samples = bridge.samples()
        reasons = {name: number for name, number in samples.items() if name.startswith("reconnects_total{") and number}
        assert set(reasons) <= {"reconnects_total{window_full}"}
        assert samples["in_flight"] == 0
    found = sequences_in_kafka(own_kafka.bootstrap_servers)
    assert {name: list(dict.fromkeys(numbers)) for name, numbers in found.items()} == {
        name: list(range(1, load.last + 1)) for name in NAMES
    }


def test_what_kafka_reports_as_delivered_is_there_also_in_a_topic_made_just_before(own_kafka: Kafka) -> None:
    """With several requests in flight some of these were not: see the settings of the writer."""
    delivered: Counter[str] = Counter()
    for name in (f"fresh-{number}" for number in range(40)):
        writer = KafkaWriter(
            KafkaConfig(bootstrap_servers=own_kafka.bootstrap_servers, linger_ms=1), client_id="fresh", queue_bytes=1_000_000
        )
        assert writer.create_missing_topics([name]) is None
        records = [Record(name, f"{n}".encode(), b"x" * 50, [], 1_700_000_000_000) for n in range(240)]

        def on_report(error: KafkaError | None, _: Message | None, name: str = name) -> None:
            delivered[name] += error is None

        for first in range(0, 240, 12):
            writer.produce([(record, on_report) for record in records[first : first + 12]])
            writer.poll(0.002, now_s=0.0)
        while delivered[name] < 240:
            writer.poll(0.1, now_s=0.0)
    consumer = Consumer({"bootstrap.servers": own_kafka.bootstrap_servers, "group.id": "check"})
    ends = {
        name: sum(consumer.get_watermark_offsets(TopicPartition(name, partition))[1] for partition in range(12))
        for name in delivered
    }
    consumer.close()
    assert ends == delivered


# Replay


def letter(
    reason: str, payload: bytes, *, topic: str = topics.topic("uw-1", topics.READINGS), **more: bytes
) -> dict[str, Any]:
    """A dead letter as the bridge writes it."""
    headers = {"mqtt_topic": topic.encode(), "qos": b"1", "retain": b"0", "dup": b"0", "received_ms": b"1700000000000"}
    return {"value": payload, "key": b"uw-1", "headers": list({**headers, "reason": reason.encode(), **more}.items())}


def write_letters(kafka: Kafka, letters: list[dict[str, Any]]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for one in letters:
        producer.produce(topics.DEADLETTER, partition=0, **one)
    assert producer.flush(30) == 0


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ringmain_bridge", *arguments, "--config", str(folder / "bridge.toml")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def replay(folder: Path, *options: str) -> dict[str, Any]:
    done = command(folder, "replay", "--json", "-", *options)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def records(kafka: Kafka, topic: str) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "check"})
    there = consumer.list_topics(topic, timeout=10).topics[topic]
    partitions = [TopicPartition(topic, p, 0) for p in there.partitions]
    expected = sum(consumer.get_watermark_offsets(partition)[1] for partition in partitions)
    consumer.assign(partitions)
    found: list[Message] = []
    while len(found) < expected:
        found += [record for record in consumer.consume(1000, 1.0) if record.error() is None]
    consumer.close()
    return found


@pytest.fixture
def letters_kafka(mosquitto: Mosquitto, fresh_kafka: Kafka, tmp_path: Path) -> Kafka:
    (tmp_path / "bridge.toml").write_text(config(mosquitto, fresh_kafka))
    for name in (*topics.KAFKA_TOPICS.values(), topics.DEADLETTER):
        fresh_kafka.create_topic(name, 2)
    return fresh_kafka


def test_replay_puts_back_what_passes_now_and_leaves_the_rest(letters_kafka: Kafka, tmp_path: Path) -> None:
    good = readings(1)
    write_letters(
        letters_kafka,
        [
            letter("invalid", good),
            letter("undecodable", b"not JSON"),
            letter("invalid", readings(2), bridge=b"3"),
            letter("too_large", b"{" + 1000 * b" ", payload_bytes=b"2000000"),
            letter("unknown_topic", readings(3), topic="ringmain/1/zz/uw-1/readings"),
            letter("invalid", b'{"online":true,"since_ms":1}', topic=topics.topic("uw-1", topics.ONLINE)),
        ],
    )
    left = {"undecodable": 1, "truncated": 1, "unknown_topic": 1, "not_for_kafka": 1}
    dry = replay(tmp_path, "--dry-run")
    assert (dry["replayed"], dry["left"]) == ({"invalid": 2}, left)
    assert records(letters_kafka, "ringmain.readings") == []
    first = replay(tmp_path)
    assert (first["replayed"], first["left"], first["already_replayed"]) == ({"invalid": 2}, left, 0)
    found = records(letters_kafka, "ringmain.readings")
    assert [record.value() for record in found] == [good, found[1].value()]
    headers = dict(found[1].headers() or [])
    assert (headers["replayed"], headers["bridge"], headers["received_ms"]) == (b"1", b"3", b"1700000000000")
    assert "reason" not in headers
    assert found[0].key() == b"uw-1"
    assert found[0].timestamp()[1] > 1_700_000_000_000, "dated now, or retention would delete it"

    again = replay(tmp_path)
    assert (again["replayed"], again["left"]) == ({}, left)
    assert again["read"] - again["already_replayed"] == 4
    write_letters(letters_kafka, [letter("invalid", readings(4))])
    assert replay(tmp_path)["replayed"] == {"invalid": 1}
    assert len(records(letters_kafka, "ringmain.readings")) == 3


def test_replay_takes_only_what_is_chosen_and_the_rest_another_time(letters_kafka: Kafka, tmp_path: Path) -> None:
    write_letters(letters_kafka, [letter("invalid", readings(1)), letter("kafka_rejected", readings(2))])
    chosen = replay(tmp_path, "--reason", "kafka_rejected")
    assert (chosen["replayed"], chosen["not_chosen"]) == ({"kafka_rejected": 1}, 1)
    assert replay(tmp_path, "--site", "uw-2")["not_chosen"] == 1
    assert replay(tmp_path, "--since", "2100-01-01")["not_chosen"] == 1
    done = command(tmp_path, "replay", "--since", "2020-01-01T00:00Z")
    assert done.returncode == 0
    assert "invalid: 1" in done.stdout
    assert sequences_in_kafka(letters_kafka.bootstrap_servers) == {"uw-1": [2, 1]}


def test_replay_of_many_scattered_letters_takes_each_once(letters_kafka: Kafka, tmp_path: Path) -> None:
    write_letters(letters_kafka, [letter("invalid", readings(n) if n % 50 else b"not JSON") for n in range(1, 5001)])
    assert replay(tmp_path)["replayed"] == {"invalid": 4900}
    assert replay(tmp_path)["replayed"] == {}
    (numbers,) = sequences_in_kafka(letters_kafka.bootstrap_servers).values()
    assert Counter(numbers) == Counter(n for n in range(1, 5001) if n % 50)


def test_what_kafka_still_refuses_is_left(letters_kafka: Kafka, tmp_path: Path) -> None:
    admin = letters_kafka.admin()
    small = [ConfigEntry("max.message.bytes", "600", incremental_operation=AlterConfigOpType.SET)]
    resource = ConfigResource(ResourceType.TOPIC, "ringmain.readings", incremental_configs=small)
    admin.incremental_alter_configs([resource])[resource].result(timeout=30)
    write_letters(
        letters_kafka, [letter("kafka_rejected", readings(1)[:-1] + b',"more":"' + os.urandom(900).hex().encode() + b'"}')]
    )
    assert replay(tmp_path)["left"] == {"kafka: MSG_SIZE_TOO_LARGE": 1}


# Check


def checked(folder: Path) -> tuple[int, dict[str, list[str]], str]:
    """Exit status, statuses by subject, and all texts."""
    done = command(folder, "check", "--json")
    found: dict[str, list[str]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        found.setdefault(finding["subject"], []).append(finding["status"])
    return done.returncode, found, done.stdout


def test_check_names_what_is_wrong_with_each_neighbor(letters_kafka: Kafka, tmp_path: Path, mosquitto: Mosquitto) -> None:
    path = tmp_path / "bridge.toml"
    text = path.read_text() + f"[http]\nport = {free_port()}\n"
    path.write_text(text)
    status, found, output = checked(tmp_path)
    assert status == 0, output
    assert found["kafka replication"] == ["warning"]
    assert "messages/s" in output
    lines = command(tmp_path, "check").stdout.splitlines()
    assert lines[0].startswith("ok      configuration: replica 0 of 1")
    assert all(line.split()[0] in {"ok", "warning", "error"} for line in lines)

    path.write_text(text.replace(str(mosquitto.port), str(letters_kafka.port)))
    status, found, output = checked(tmp_path)
    assert (status, found["mqtt login"]) == (1, ["error"]), output
    path.write_text(text.replace(str(mosquitto.port), str(free_port())))
    assert checked(tmp_path)[1]["mqtt"] == ["error"]
    path.write_text(text.replace("[mqtt]", '[mqtt]\nhost = "no-such-host.invalid"'))
    assert "has no address" in checked(tmp_path)[2]

    admin = letters_kafka.admin()
    two = [ConfigEntry("min.insync.replicas", "2", incremental_operation=AlterConfigOpType.SET)]
    resource = ConfigResource(ResourceType.TOPIC, "ringmain.steps", incremental_configs=two)
    admin.incremental_alter_configs([resource])[resource].result(timeout=30)
    path.write_text(text)
    status, found, output = checked(tmp_path)
    assert (status, found["kafka replication"]) == (1, ["error"]), output

    letters_kafka.delete_topics()
    path.write_text(text.replace("[limits]", "replication_factor = 3\n[limits]"))
    status, found, output = checked(tmp_path)
    assert (status, found["kafka topics"]) == (1, ["error"]), output
    path.write_text(text.replace("[http]", "[nothing]"))
    assert command(tmp_path, "check").returncode == 78


def test_check_does_not_disturb_a_bridge_that_runs(mosquitto: Mosquitto, fresh_kafka: Kafka, tmp_path: Path) -> None:
    bridge, load = BridgeProcess(tmp_path, config(mosquitto, fresh_kafka)), Load(mosquitto.port)
    with ExitStack() as stack:
        stack.callback(bridge.end)
        stack.callback(load.end)
        bridge.start()
        bridge.wait_for("mqtt_connected")
        load.send(50)
        status, found, output = checked(tmp_path)
        assert (status, found["http"]) == (0, ["ok"]), output
        load.send(50)
        bridge.wait_for("delivered_total", 100 * len(NAMES))
        samples = bridge.samples()
        assert (samples["reconnects_total"], samples["messages_received_total"]) == (0, 100 * len(NAMES))
