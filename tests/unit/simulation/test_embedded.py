"""Embedded servers: they serve other processes, on loopback, and end with the one that started them."""

import os
import signal
import subprocess
import sys
import time

import paho.mqtt.client as paho
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from paho.mqtt.enums import CallbackAPIVersion

from ringmain_protocol import topics
from ringmain_simulation.embedded import KNOWN_DIFFERENCES, start_kafka, start_mqtt
from ringmain_simulation.mqtt import Connection, require_loopback


def test_broker_carries_a_megabyte_from_one_process_to_another() -> None:
    server = start_mqtt()
    payload = b"x" * 1_000_000
    where = f"hostname={server.host!r}, port={server.port}"
    send = f"import paho.mqtt.publish as p; p.single('big', b'x' * 1_000_000, qos=1, {where})"
    reader = Connection(server.host, server.port, client_id="reader", topics=["big"])
    try:
        reader.connect(10.0)
        subprocess.run([sys.executable, "-c", send], check=True, timeout=30)
        until = time.monotonic() + 10
        while not reader.received and time.monotonic() < until:
            assert reader.pump(1.0)
        assert [("big", payload)] == list(reader.received)
        reader.close()
    finally:
        server.stop()
    assert server.process.poll() is not None


def test_kafka_has_every_topic_with_twelve_partitions_and_keeps_what_is_sent() -> None:
    server = start_kafka()
    try:
        producer = Producer({"bootstrap.servers": server.address, "enable.idempotence": True, "log_level": 0})
        names = [*topics.KAFKA_TOPICS.values(), topics.DEADLETTER]
        partitions = AdminClient({"bootstrap.servers": server.address, "log_level": 0}).list_topics(timeout=10).topics
        assert dict.fromkeys(names, 12) == {name: len(partitions[name].partitions) for name in names}
        producer.produce(names[0], b"value", b"key", headers={"qos": b"1"})
        assert producer.flush(10) == 0
        consumer = Consumer(
            {"bootstrap.servers": server.address, "group.id": "test", "auto.offset.reset": "earliest", "log_level": 0}
        )
        consumer.subscribe([names[0]])
        message = consumer.poll(15.0)
        assert message is not None
        assert (message.value(), message.key(), message.headers()) == (b"value", b"key", [("qos", b"1")])
        consumer.close()
    finally:
        server.stop()


@pytest.mark.parametrize("server", ["mqtt", "kafka"])
def test_server_ends_with_the_process_that_started_it(server: str) -> None:
    start = (
        f"import time; from ringmain_simulation.embedded import start_{server}; "
        f"s = start_{server}(); print(s.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    until = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(pid)


def test_server_in_the_background_serves_until_sigterm_and_says_so() -> None:
    """A shell gives `... kafka &` no pipe but /dev/null, at the end of which the server once ended before it had served."""
    command = [sys.executable, "-m", "ringmain_simulation.embedded", "kafka"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        address = server.stdout.readline().strip()
        assert server.stderr.readline() == f"serves at {address} until Ctrl-C or SIGTERM\n"
        topics_there = AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=10).topics
        assert topics.DEADLETTER in topics_there
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0


def test_simulated_time_is_refused_on_a_broker_that_is_not_on_loopback() -> None:
    require_loopback("127.0.0.1")
    require_loopback("localhost")
    with pytest.raises(ValueError, match="is not on loopback"):
        require_loopback("192.0.2.1")


def test_connection_comes_back_when_the_broker_does_and_subscribes_again() -> None:
    first = start_mqtt()
    connection = Connection(first.host, first.port, client_id="test", topics=["a"])
    connection.connect(10.0)
    first.stop()
    until = time.monotonic() + 10
    while connection.pump(0.1) and time.monotonic() < until:
        pass
    connection.publish("a", b"kept")
    second = start_mqtt(port=first.port)
    try:
        connection.connect(10.0)
        assert connection.epoch == 2
        while not connection.received and time.monotonic() < until:
            connection.pump(0.1)
        assert ("a", b"kept") in connection.received
        connection.close()
    finally:
        second.stop()


def test_every_known_difference_is_named_and_said() -> None:
    assert {"mqtt", "kafka"} == set(KNOWN_DIFFERENCES)
    assert all(text for differences in KNOWN_DIFFERENCES.values() for text in differences.values())


def test_embedded_broker_is_one_of_mqtt_3_1_1_only() -> None:
    server = start_mqtt()
    try:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="five", protocol=paho.MQTTv5)
        client.connect(server.host, server.port)
        until = time.monotonic() + 2
        while not client.is_connected() and time.monotonic() < until and client.loop(0.1) == paho.MQTT_ERR_SUCCESS:
            pass
        assert not client.is_connected()
    finally:
        server.stop()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123  one short read
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
