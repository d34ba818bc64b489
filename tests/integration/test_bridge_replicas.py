"""Replicas divide the fleet by shard; their number changes under load, and two with one client id are told apart."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from ringmain_protocol import topics
from servers.base import wait_until
from servers.bridge import BridgeProcess
from servers.kafka import Kafka
from servers.mosquitto import Mosquitto
from servers.sites import Sites, sequences_in_kafka

NAMES = [f"uw-{i}" for i in range(24)]


class Fleet:
    """Replicas of the bridge."""

    def __init__(self, folder: Path, mosquitto: Mosquitto, kafka: Kafka) -> None:
        self._folder, self._mosquitto, self._kafka = folder, mosquitto, kafka
        self.bridges: dict[int, BridgeProcess] = {}

    def config(self, replica: int, replicas: int) -> str:
        """One replica's configuration."""
        return (
            f"replica = {replica}\nreplicas = {replicas}\n[mqtt]\nport = {self._mosquitto.port}\n"
            f"[kafka]\nbootstrap_servers = {self._kafka.bootstrap_servers!r}\n[limits]\nreceipt_interval_s = 0.5\n"
        )

    def start(self, replica: int, replicas: int) -> BridgeProcess:
        """Start a replica, or start it again as one of another number."""
        config = self.config(replica, replicas)
        bridge = self.bridges.get(replica)
        if bridge is None:
            bridge = self.bridges[replica] = BridgeProcess(self._folder / f"bridge-{replica}", config)
        bridge.end()
        bridge.write(config)
        bridge.start()
        bridge.wait_for("mqtt_connected")
        return bridge

    def end(self, replica: int) -> None:
        """Stop it for good."""
        self.bridges.pop(replica).end()

    def close(self) -> None:
        """Stop all."""
        for bridge in self.bridges.values():
            bridge.end()


@pytest.fixture
def fleet(tmp_path: Path, mosquitto: Mosquitto, fresh_kafka: Kafka) -> Iterator[Fleet]:
    with ExitStack() as stack:
        replicas = Fleet(tmp_path, mosquitto, fresh_kafka)
        stack.callback(replicas.close)
        yield replicas


def has_session(port: int, client_id: str) -> bool:
    """Whether the broker holds a session; if there was none, none is left."""
    present: list[bool] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, manual_ack=True)
    client.on_connect = lambda _client, _data, flags, *_: present.append(flags.session_present)
    client.connect("127.0.0.1", port)
    client.loop_start()
    wait_until(lambda: bool(present), what="the broker answers")
    client.disconnect()
    client.loop_stop()
    if not present[0]:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
        client.connect("127.0.0.1", port)
        client.loop_start()
        wait_until(client.is_connected, what="the broker answers")
        client.disconnect()
        client.loop_stop()
    return present[0]


def publish(port: int, names: list[str], payload: bytes) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    infos = [client.publish(topics.topic(name, topics.READINGS), payload, 1) for name in names]
    for info in infos:
        info.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def test_from_1_to_3_to_2_replicas_under_load_nothing_is_lost_and_no_session_is_left(
    fleet: Fleet, mosquitto: Mosquitto, fresh_kafka: Kafka, tmp_path: Path
) -> None:
    fleet.start(0, 1)
    with Sites(tmp_path, mosquitto.port, NAMES) as sites:
        fleet.bridges[0].wait_for("delivered_total", 500)
        for replica in (1, 2, 0):  # upwards: the new ones first
            fleet.start(replica, 3)
        for bridge in fleet.bridges.values():
            bridge.wait_for("delivered_total", 500)
        for replica in (0, 1):  # downwards: those that stay first
            fleet.start(replica, 2)
        fleet.end(2)
        wait_until(
            lambda: "client_id=ringmain-bridge-2" in fleet.bridges[0].log.read_text(),
            timeout_s=150,
            what="session taken over",
        )
        sites.finish()
    found = sequences_in_kafka(fresh_kafka.bootstrap_servers)
    lost = {name: set(range(1, last + 1)) - set(found[name]) for name, last in sites.sent.items()}
    assert {name: missing for name, missing in lost.items() if missing} == {}
    duplicates = sum(len(numbers) - len(set(numbers)) for numbers in found.values())
    firsts = [list(dict.fromkeys(numbers)) for numbers in found.values()]
    reordered = sum(b < a for numbers in firsts for a, b in pairwise(numbers))
    print(f"sent={sum(sites.sent.values())} duplicates={duplicates} out_of_order_over_two_replicas={reordered}")
    wait_until(lambda: not has_session(mosquitto.port, "ringmain-bridge-2"), what="no session is left")
    for replica, bridge in fleet.bridges.items():
        shards = {int(topics.shard(name), 16) for name in NAMES if f'site="{name}"' in (bridge.get("/metrics") or "")}
        assert {shard % 2 for shard in shards} == {replica}, "each shows its own sites only"


def test_what_waits_in_the_session_of_a_replica_that_is_gone_reaches_kafka(
    fleet: Fleet, mosquitto: Mosquitto, fresh_kafka: Kafka
) -> None:
    """Also from senders that would not send it again."""
    fleet.start(0, 2)
    fleet.start(1, 2)
    fleet.end(1)
    fleet.end(0)
    payload = b'{"stream":"0123456789abcdef","sequence":1,"signals":[],"at_ms":[],"values":[],"quality":[]}'
    publish(mosquitto.port, NAMES, payload)
    bridge = fleet.start(0, 1)
    bridge.wait_for("delivered_total", len(NAMES))
    assert sequences_in_kafka(fresh_kafka.bootstrap_servers) == {name: [1] for name in NAMES}
    wait_until(lambda: "drained the session" in bridge.log.read_text(), what="the session is drained")
    wait_until(lambda: not has_session(mosquitto.port, "ringmain-bridge-1"), what="no session is left")
    publish(mosquitto.port, NAMES, payload.replace(b'"sequence":1', b'"sequence":2'))
    bridge.wait_for("delivered_total", 2 * len(NAMES))
    assert sequences_in_kafka(fresh_kafka.bootstrap_servers) == {name: [1, 2] for name in NAMES}
    assert bridge.samples()["reconnects_total"] == 0


def test_a_replica_subscribes_to_its_own_shards_only_whatever_its_session_held(
    fleet: Fleet, mosquitto: Mosquitto, fresh_kafka: Kafka
) -> None:
    bridge = fleet.start(0, 1)
    bridge = fleet.start(0, 2)
    payload = b'{"stream":"0123456789abcdef","sequence":1,"signals":[],"at_ms":[],"values":[],"quality":[]}'
    own = [name for name in NAMES if int(topics.shard(name), 16) % 2 == 0]
    publish(mosquitto.port, sorted(set(NAMES) - set(own)) + own, payload)
    bridge.wait_for("delivered_total", len(own))
    bridge = fleet.start(0, 1)
    publish(mosquitto.port, NAMES, payload.replace(b'"sequence":1', b'"sequence":2'))
    bridge.wait_for("delivered_total", len(NAMES))
    expected = {name: [1, 2] if name in own else [2] for name in NAMES}
    assert sequences_in_kafka(fresh_kafka.bootstrap_servers) == expected


def test_a_replica_that_still_runs_keeps_its_session(fleet: Fleet, fresh_kafka: Kafka, mosquitto: Mosquitto) -> None:
    running = fleet.start(1, 2)
    survivor = fleet.start(0, 1)
    wait_until(lambda: "in use or unreachable" in survivor.log.read_text(), what="left for later")
    running.wait_for("mqtt_connected")
    assert running.samples()["session_lost_total"] == 0
    payload = b'{"stream":"0123456789abcdef","sequence":1,"signals":[],"at_ms":[],"values":[],"quality":[]}'
    publish(mosquitto.port, NAMES, payload)
    survivor.wait_for("delivered_total", len(NAMES))
    found = sequences_in_kafka(fresh_kafka.bootstrap_servers)
    assert {name: set(numbers) for name, numbers in found.items()} == {name: {1} for name in NAMES}


def test_two_bridges_with_one_client_id_are_reported_and_do_not_fight(
    mosquitto: Mosquitto, fresh_kafka: Kafka, tmp_path: Path
) -> None:
    config = (
        f"[mqtt]\nport = {mosquitto.port}\n[kafka]\nbootstrap_servers = {fresh_kafka.bootstrap_servers!r}\n"
        "[limits]\nreceipt_interval_s = 0.5\n"
    )
    with ExitStack() as stack:
        bridges = [BridgeProcess(tmp_path / name, config) for name in ("one", "two")]
        for bridge in bridges:
            stack.callback(bridge.end)
            bridge.start()

        def total(name: str) -> float:
            return sum(bridge.samples().get(name, 0) for bridge in bridges)

        wait_until(lambda: total("client_id_contested") >= 1, timeout_s=60, what="noticed")
        assert total("reconnects_total{taken_over}") >= 1
        assert any("another process uses client_id=ringmain-bridge-0" in bridge.log.read_text() for bridge in bridges)
        wait_until(lambda: total("mqtt_connected") == 1, what="one is left alone")
        before = total("reconnects_total")
        stop_s = time.monotonic() + 5
        payload = b'{"stream":"0123456789abcdef","sequence":1,"signals":[],"at_ms":[],"values":[],"quality":[]}'
        publish(mosquitto.port, NAMES, payload)
        wait_until(lambda: total("delivered_total") >= len(NAMES), what="the other one forwards")
        wait_until(lambda: time.monotonic() > stop_s, what="a while")
        assert total("reconnects_total") - before <= 1, "no fight"
