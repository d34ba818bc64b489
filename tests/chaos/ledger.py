"""What is in Kafka, read while it comes: each number of each site, how often, in which order, and since when."""

import time
from collections import Counter
from threading import Event, Thread

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from ringmain_protocol import topics
from ringmain_protocol.messages import Readings, decode
from servers.kafka import Kafka


class Ledger:
    """Reads readings and dead letters to the end, over and over, whatever happens to Kafka.

    Attributes:
        order: Numbers in the order of their first occurrence, by site.
        seen_s: When each number was first seen, by site.
        count: How often each number occurs, by site.
        dead_letters: Reasons of the dead letters.
        clock_off_s: Furthest that a time of receipt, by the bridge's clock, was from ours when the record came.
    """

    def __init__(self, kafka: Kafka, sites: list[str]) -> None:
        self.order: dict[str, list[int]] = {site: [] for site in sites}
        self.seen_s: dict[str, dict[int, float]] = {site: {} for site in sites}
        self.count: dict[str, Counter[int]] = {site: Counter() for site in sites}
        self.dead_letters: Counter[str] = Counter()
        self.clock_off_s = 0.0
        self._next: dict[tuple[str, int], int] = {}
        self._stopping = Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka.bootstrap_servers,
                "group.id": "chaos",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "log_level": 0,
            }
        )
        found = kafka.admin().list_topics(timeout=10).topics
        names = (topics.KAFKA_TOPICS[topics.READINGS], topics.DEADLETTER)
        self._consumer.assign(
            [TopicPartition(name, partition, OFFSET_BEGINNING) for name in names for partition in found[name].partitions]
        )
        self._thread = Thread(target=self._read, name="ledger", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End reading."""
        self._stopping.set()
        self._thread.join(10)
        self._consumer.close()

    def has(self, site: str, number: int) -> bool:
        """Whether Kafka has the number."""
        return number in self.seen_s[site]

    def _read(self) -> None:
        while not self._stopping.is_set():
            for message in self._consumer.consume(2000, 0.1):
                if message.error() is None:
                    self._take(message, time.monotonic())

    def _take(self, message: Message, now_s: float) -> None:
        topic, offset = message.topic() or "", message.offset() or 0
        place = (topic, message.partition() or 0)
        if offset < self._next.get(place, 0):
            return
        self._next[place] = offset + 1
        headers = {name: str(value, "ascii") for name, value in message.headers() or ()}  # type: ignore[arg-type, str-unpack]
        self.clock_off_s = max(self.clock_off_s, abs(int(headers["received_ms"]) / 1000 - time.time()))
        if topic == topics.DEADLETTER:
            self.dead_letters[headers["reason"]] += 1
            return
        site = (message.key() or b"").decode()
        number = int(decode(message.value() or b"", Readings).values[0] or 0)
        self.count[site][number] += 1
        if number not in self.seen_s[site]:
            self.seen_s[site][number] = now_s
            self.order[site].append(number)
