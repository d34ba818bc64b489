"""The servers that other tests rely on really serve."""

import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from confluent_kafka import Consumer, Producer
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from servers.base import wait_until
from servers.kafka import Kafka
from servers.mosquitto import Mosquitto
from servers.prometheus import Prometheus


def test_mosquitto_passes_messages_on_also_after_it_was_killed(mosquitto: Mosquitto) -> None:
    received: SimpleQueue[bytes] = SimpleQueue()
    subscribed: SimpleQueue[int] = SimpleQueue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="test")
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    client.on_connect = lambda c, *_: c.subscribe("a/b", qos=1)
    client.on_subscribe = lambda _c, _u, mid, *_: subscribed.put(mid)
    client.on_message = lambda _c, _u, message: received.put(bytes(message.payload))
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    try:
        subscribed.get(timeout=20)
        client.publish("a/b", b"before", qos=1)
        assert received.get(timeout=20) == b"before"
        first_pid, port = mosquitto.pid, mosquitto.port
        mosquitto.kill()
        assert not mosquitto.running
        mosquitto.start()
        assert mosquitto.pid != first_pid
        assert mosquitto.port == port
        subscribed.get(timeout=20)
        client.publish("a/b", b"after", qos=1)
        assert received.get(timeout=20) == b"after"
    finally:
        client.disconnect()
        client.loop_stop()


def test_kafka_gives_back_what_was_produced(fresh_kafka: Kafka) -> None:
    fresh_kafka.create_topic("ringmain.readings")
    assert fresh_kafka.topics() == ["ringmain.readings"]
    _produce(fresh_kafka, "ringmain.readings", b"one", b"two")
    assert _consume(fresh_kafka, "ringmain.readings", 2) == [b"one", b"two"]


def test_fresh_kafka_has_forgotten_the_topics_and_messages_of_earlier_tests(kafka: Kafka) -> None:
    kafka.delete_topics()
    kafka.create_topic("ringmain.readings")
    _produce(kafka, "ringmain.readings", b"old")
    kafka.delete_topics()
    assert kafka.topics() == []
    kafka.create_topic("ringmain.readings")
    _produce(kafka, "ringmain.readings", b"new")
    assert _consume(kafka, "ringmain.readings", 1) == [b"new"]


def test_kafka_keeps_what_it_confirmed_when_it_is_killed(own_kafka: Kafka) -> None:
    own_kafka.create_topic("ringmain.readings")
    _produce(own_kafka, "ringmain.readings", b"confirmed")
    own_kafka.kill()
    own_kafka.start()
    assert _consume(own_kafka, "ringmain.readings", 1) == [b"confirmed"]


def test_prometheus_scrapes_its_targets_and_answers_queries(new_prometheus: Callable[..., Prometheus]) -> None:
    prometheus = new_prometheus()
    wait_until(lambda: prometheus.values("up", "job") == {"ringmain-bridge": 1.0}, what="first scrape")
    assert prometheus.query("no_such_metric") == []


def _produce(kafka: Kafka, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})
    errors: list[Any] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _message: errors.append(error))
    assert producer.flush(30) == 0
    assert errors == [None] * len(values)


def _consume(kafka: Kafka, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": f"test-{time.time_ns()}", "auto.offset.reset": "earliest"}
    )
    try:
        consumer.subscribe([topic])
        values: list[bytes | None] = []
        end = time.monotonic() + 30
        while len(values) < count and time.monotonic() < end:
            values += [
                message.value() for message in consumer.consume(count - len(values), timeout=1) if not message.error()
            ]
        return values
    finally:
        consumer.close()
