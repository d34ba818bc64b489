"""The bridge itself: what the network thread does with a message, and what the poll thread does in each round."""

import logging
from collections import Counter
from functools import partial
from random import Random
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, Message
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from ringmain_bridge.config import BridgeConfig
from ringmain_bridge.fleet import Fleet
from ringmain_bridge.forward import KAFKA_REJECTED, Forwarded, Forwarder, MqttMessage, Record
from ringmain_bridge.kafka import PERMANENT, KafkaWriter
from ringmain_bridge.metrics import STOPPING, BridgeState, render
from ringmain_bridge.mqtt import MqttReader
from ringmain_bridge.receipts import Receipts
from ringmain_bridge.window import AckWindow, Counts, Entry
from ringmain_protocol import topics
from ringmain_protocol.messages import encode

POLL_S: Final = 0.05
RECEIPTS_EVERY_S: Final = 0.1
EXPIRY_EVERY_S: Final = 5.0
LATER_MAX_S: Final = 30.0
TOO_LARGE_ATTEMPTS: Final = 3

LOG = logging.getLogger("ringmain_bridge")


class _Sending(NamedTuple):
    """A record on its way to Kafka."""

    entry: Entry
    message: MqttMessage
    forwarded: Forwarded
    record: Record
    attempt: int = 1


class Bridge:
    """Forwards what a reader receives, and acknowledges it after Kafka has confirmed.

    `connected`, `disconnected` and `received` run in the reader's network thread, `round` in the poll thread,
    `metrics` in any. The window, the fleet and the writer have their own locks; all other state is the poll thread's.
    """

    def __init__(self, config: BridgeConfig, reader: MqttReader, writer: KafkaWriter, random: Random, version: str) -> None:
        limits = config.limits
        self._reader = reader
        self._writer = writer
        self._random = random
        self._version = version
        self._window = AckWindow(reader.acknowledge, limit=limits.window, limit_bytes=limits.window_bytes)
        self._fleet = Fleet(expiry_s=limits.site_expiry_s, sites_max=limits.sites_max, signals=config.fleet.signals)
        self._receipts = Receipts(
            interval_s=limits.receipt_interval_s, expiry_s=limits.site_expiry_s, sites_max=limits.sites_max
        )
        self._forwarder = Forwarder(
            replica=config.replica,
            time_ahead_max_ms=int(limits.time_ahead_max_s * 1000),
            time_behind_max_ms=int(limits.time_behind_max_s * 1000),
        )
        self._settled: list[tuple[Entry, Forwarded]] = []
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._delivery_errors: Counter[str] = Counter()
        self._receipts_published = 0
        self._connections = self._connections_said = 0
        self._next_receipts_s = self._next_expiry_s = float("-inf")
        self._now_s = 0.0
        self._failing = ""
        self._stopping = False
        self.kafka_ready = False

    def connected(self, *, session_present: bool) -> None:
        """The reader is connected."""
        self._window.opened(session_present=session_present)
        self._connections += 1

    def disconnected(self) -> None:
        """The reader's connection is dead."""
        self._window.closed()

    def may_connect(self) -> bool:
        """Whether there is room for what a new connection would bring."""
        return self._window.drained()

    def received(self, message: MqttMessage) -> None:
        """Take in one message: note it, then hand its record over."""
        now_s = message.received_ms / 1000
        if self._stopping:  # with QoS 1 the broker keeps it for the next start
            if not message.mid:
                self._window.dropped(STOPPING)
            return
        forwarded = self._forwarder.forward(message)
        self._fleet.heard(message, forwarded)
        if forwarded.record is None:
            self._window.consumed(message.mid, now_s=now_s)
            return
        digest = hash((message.topic, message.payload))
        size_bytes = len(message.payload) + len(message.topic)
        entry = self._window.arrived(message.mid, dup=message.dup, digest=digest, size_bytes=size_bytes, now_s=now_s)
        if entry is not None:
            # Without the decoded message: what waits for Kafka shall not cost more than its payload.
            self._produce(_Sending(entry, message, forwarded._replace(message=None), forwarded.record))

    def round(self, *, now_s: float) -> None:
        """One round of the poll thread: serve reports, acknowledge once, say what has arrived.

        Raises:
            KafkaFatalError: If the producer is of no use any more; end the process.
        """
        self._now_s = now_s
        self._writer.poll(POLL_S, now_s=now_s)
        settled, self._settled = self._settled, []
        self._window.settle((entry, forwarded.reason) for entry, forwarded in settled)
        for _, forwarded in settled:
            if forwarded.site is not None and forwarded.identity is not None:
                identity = forwarded.identity
                self._receipts.arrived(forwarded.site, identity.stream, identity.sequence, now_s=now_s)
        if self._window.overfull() and self._reader.is_connected:
            LOG.warning("more than twice the window is under way: disconnecting until Kafka has caught up")
            self._reader.pause()
        if now_s >= self._next_receipts_s or self._stopping:
            self._next_receipts_s = now_s + RECEIPTS_EVERY_S
            self._publish_receipts(now_s)
        if now_s >= self._next_expiry_s:
            self._next_expiry_s = now_s + EXPIRY_EVERY_S
            self._fleet.expire(now_s=now_s)
            self._receipts.expire(now_s=now_s)

    def begin_stop(self) -> None:
        """Take in nothing more; what is under way goes on."""
        self._stopping = True

    def is_drained(self) -> bool:
        """Whether Kafka has everything, and the broker every receipt."""
        said = not self._reader.is_connected or (self._receipts.unsaid == 0 and self._reader.unconfirmed == 0)
        return said and self.counts().in_flight == 0

    def counts(self) -> Counts:
        """What was counted so far."""
        return self._window.counts()

    def metrics(self) -> bytes:
        """The page for Prometheus."""
        state = BridgeState(
            counts=self._window.counts(),
            reconnects=self._reader.reconnects,
            mqtt_connected=self._reader.is_connected,
            kafka_ready=self.kafka_ready,
            delivery_errors=dict(self._delivery_errors),
            receipts_published=self._receipts_published,
            sites_expired=self._fleet.expired,
            fleet_refused=self._fleet.refused,
            version=self._version,
        )
        return render(self._fleet.states(), state) + generate_latest(self._process)

    def _produce(self, sending: _Sending) -> None:
        self._writer.produce(sending.record, partial(self._reported, sending))

    def _reported(self, sending: _Sending, error: KafkaError | None, _kafka_message: Message | None) -> None:
        """Delivery report of one record, in the poll thread: mark it settled, or try otherwise."""
        entry, message, forwarded, record, attempt = sending
        if error is None:
            self._failing = ""
            self._writer.answered()
            self._settled.append((entry, forwarded))
            return
        self._delivery_errors[error.name()] += 1
        if self._failing != error.name():
            self._failing = error.name()
            LOG.error("kafka does not take a record topic=%s site=%s error=%r", record.topic, forwarded.site, error.str())
        # A batch that is too large fails as a whole, with records in it that are not: those go through on their own.
        in_batch = error.code() == KafkaError.MSG_SIZE_TOO_LARGE and attempt < TOO_LARGE_ATTEMPTS
        if forwarded.reason is None and error.code() in PERMANENT and not in_batch:
            letter = self._forwarder.dead_letter(message, forwarded.site, KAFKA_REJECTED)
            self._produce(_Sending(entry, message, forwarded._replace(reason=KAFKA_REJECTED), letter))
            return
        # Never given up: it stays unacknowledged, holds what came after it, and its age shows in the metrics.
        delay_s = min(2.0 ** (attempt - 1), LATER_MAX_S) * self._random.uniform(0.5, 1.0)
        again = partial(self._reported, sending._replace(attempt=min(attempt + 1, 10)))
        self._writer.produce_later(record, again, at_s=self._now_s + delay_s)

    def _publish_receipts(self, now_s: float) -> None:
        if not self._reader.is_connected:
            return
        if self._connections_said != self._connections:
            self._connections_said = self._connections
            self._receipts.say_all_again()
        if self._stopping:
            self._receipts.say_all_now()
        for site, receipt in self._receipts.due(now_s=now_s):
            if self._reader.publish(topics.topic(site, topics.RECEIPT), encode(receipt)):
                self._receipts_published += 1
            else:
                self._receipts.unsent(site, receipt.stream)
