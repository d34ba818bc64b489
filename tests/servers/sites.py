"""Sites under load: every one sends numbered readings through the agent's own outbox, as an agent does."""

import random
import threading
import time
from pathlib import Path
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from ringmain_agent.config.outbox import OutboxLimits
from ringmain_agent.gateway.outbox import Outbox
from ringmain_agent.gateway.state_file import StateFile
from ringmain_protocol import messages, topics

COMMIT_S = 0.2
TICK_S = 0.05
"""A tick of every site; at each it adds `per_tick` messages."""


class _Site:
    """One agent's upstream side."""

    def __init__(self, folder: Path, name: str, port: int) -> None:
        self.name = name
        self.state = StateFile(folder / f"{name}.sqlite", outbox_messages_max=1_000_000)
        limits = OutboxLimits(backlog_per_s=2000.0, backlog_delay_max_s=0.5, gap_grace_s=1.0)
        self.outbox = Outbox(self.state, limits)
        self.last = 0
        self._receipts: list[messages.Receipt] = []
        self._reconnected = False
        self._published = self._acknowledged = 0
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
        self.client.reconnect_delay_set(min_delay=1, max_delay=1)
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_publish = self._on_publish
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()

    def tick(self, now_s: float, add: int) -> None:
        """Take receipts, add messages, commit, send what is due."""
        if self._reconnected:
            self._reconnected = False
            self.outbox.reconnected(now_s=now_s, jitter=random.random())
        receipts, self._receipts = self._receipts, []
        for receipt in receipts:
            self.outbox.receive(receipt, now_s=now_s)
        for _ in range(add):
            self.last += 1
            at_ms = int(time.time() * 1000)
            self.outbox.add(
                topics.READINGS, messages.Readings,
                signals=["load_kw"], at_ms=[at_ms], values=[float(self.last)], quality=[0],
            )  # fmt: skip
        self.state.commit()
        if self.client.is_connected():
            for _, kind, payload in self.outbox.due(now_s=now_s, room=200):
                self.client.publish(topics.topic(self.name, kind), payload, qos=1)

    def _on_connect(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe(topics.topic(self.name, topics.RECEIPT), 1)
        self._reconnected = True

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self._receipts.append(messages.decode(message.payload, messages.Receipt))

    def _on_publish(self, *_: object) -> None:
        self._acknowledged += 1


class Sites:
    """Many sites in one thread; a context manager that loads from entry to `finish`."""

    def __init__(self, folder: Path, port: int, names: list[str], *, per_tick: int = 1) -> None:
        self._folder, self._port, self._names, self._per_tick = folder, port, names, per_tick
        self._finishing = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sites")
        self.sent: dict[str, int] = {}
        """After `finish`: the last sequence of each site; they count from 1."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finishing.set()
        self._ended.set()
        self._thread.join()

    def finish(self, timeout_s: float = 60.0) -> None:
        """Send nothing new, and wait until receipts have covered everything."""
        self._finishing.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError("receipts do not cover everything")

    def _run(self) -> None:
        sites = [_Site(self._folder, name, self._port) for name in self._names]
        while not self._ended.is_set():
            finishing = self._finishing.is_set()
            for site in sites:
                site.tick(time.monotonic(), 0 if finishing else self._per_tick)
            if finishing and all(site.state.outbox_messages == 0 for site in sites):
                break
            time.sleep(TICK_S)
        self.sent = {site.name: site.last for site in sites}
        for site in sites:
            site.client.disconnect()
            site.client.loop_stop()
            site.state.close()


def sequences_in_kafka(bootstrap_servers: str, client: dict[str, str] | None = None) -> dict[str, list[int]]:
    """Sequences of every site's readings in the order in which Kafka has them."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": "check", "enable.partition.eof": True, "log_level": 0}
        | (client or {})
    )
    name = topics.KAFKA_TOPICS[topics.READINGS]
    partitions = [
        TopicPartition(name, p, OFFSET_BEGINNING) for p in consumer.list_topics(timeout=10).topics[name].partitions
    ]
    consumer.assign(partitions)
    found: dict[str, list[int]] = {}
    ended: set[int] = set()
    end_s = time.monotonic() + 60
    while len(ended) < len(partitions) and time.monotonic() < end_s:
        for record in consumer.consume(5000, 0.2):
            error, key, value = record.error(), record.key(), record.value()
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001
                ended.add(int(record.partition() or 0))
            elif isinstance(key, bytes) and isinstance(value, bytes):
                found.setdefault(key.decode(), []).append(messages.decode(value, messages.Readings).sequence)
    consumer.close()
    assert len(ended) == len(partitions)
    return found
