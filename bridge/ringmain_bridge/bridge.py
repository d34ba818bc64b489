"""The bridge itself: the network thread takes a message in, the poll thread serves each round."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from confluent_kafka import KafkaError, Message
from msgspec import structs
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from ringmain_bridge.config import BridgeConfig
from ringmain_bridge.fleet.bridge_metrics import STOPPING, BridgeState, render
from ringmain_bridge.fleet.page import fleet_page
from ringmain_bridge.fleet.site_metrics import SiteMetrics
from ringmain_bridge.fleet.state import Fleet
from ringmain_bridge.forwarding.ack_window import AckWindow, Counts, Entry, total
from ringmain_bridge.forwarding.forward import KAFKA_REJECTED, Forwarder, Identity, MqttMessage, Record
from ringmain_bridge.forwarding.kafka_writer import BATCH_ERRORS, PERMANENT, KafkaWriter
from ringmain_bridge.forwarding.receipts import Receipts
from ringmain_bridge.mqtt.reader import MqttReader
from ringmain_protocol import topics
from ringmain_protocol.messages import encode

_SHARD: Final = slice(len(topics.PREFIX) + 1, len(topics.PREFIX) + 3)
POLL_S: Final = 0.05
RECEIPTS_EVERY_S: Final = 0.1
EXPIRY_EVERY_S: Final = 5.0
LATER_MAX_S: Final = 30.0
IN_BATCH_ATTEMPTS: Final = 3

_PLAIN: Final = frozenset((topics.READINGS, topics.STEPS, topics.FORECAST, topics.SCHEDULE, topics.SETPOINT))
"""Kinds that only show that their site is alive."""

LOG = logging.getLogger("ringmain_bridge")


class _Sending(Entry, eq=False, gc=False):
    """A record on its way to Kafka. It holds the payload, but not the decoded message."""

    message: MqttMessage
    site: str | None
    identity: Identity | None
    reason: str | None
    record: Record
    confirmed: Callable[["_Sending"], None]
    failed: Callable[["_Sending", KafkaError], None]
    attempt: int = 1

    def reported(self, error: KafkaError | None, _message: Message | None) -> None:
        """Delivery report, in the poll thread."""
        if error is None:
            self.confirmed(self)
        else:
            self.failed(self, error)


class Bridge:
    """Forwards the messages of a reader, and acknowledges each after Kafka has confirmed it.

    `connected`, `disconnected` and `received` run in the reader's network thread, `round` in the poll thread,
    `metrics` in any. The window, the fleet and the writer have their own locks; all other state is the poll thread's.
    """

    def __init__(  # noqa: PLR0913  its neighbors
        self,
        config: BridgeConfig,
        reader: MqttReader,
        writer: KafkaWriter,
        random: Random,
        version: str,
        *,
        receipts: Receipts,
        sources: Sequence[Callable[[], Sequence[Counts]]] = (),
    ) -> None:
        """`sources` give the counts of other connections, to be added to our own.

        Bridges may share `receipts`: one of them publishes, the others call `confirm` instead of `round`.
        """
        limits = config.limits
        self._reader = reader
        self._writer = writer
        self._random = random
        self._version = version
        self._window = AckWindow(reader.acknowledge, limit=limits.window, limit_bytes=limits.window_bytes)
        self._fleet = Fleet(expiry_s=limits.site_expiry_s, sites_max=limits.sites_max, signals=config.fleet.signals)
        self._site_metrics = SiteMetrics(series_max=limits.series_max, signals=config.fleet.signals)
        self._replica = config.replica, config.replicas
        self._receipts = receipts
        self._sources = sources
        self._forwarder = Forwarder(
            replica=config.replica,
            time_ahead_max_ms=int(limits.time_ahead_max_s * 1000),
            time_behind_max_ms=int(limits.time_behind_max_s * 1000),
        )
        self._plain = _PLAIN - ({topics.READINGS} if config.fleet.signals else set())
        self._confirmed: list[_Sending] = []
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._delivery_errors: Counter[str] = Counter()
        self._receipts_published = self._series_dropped = 0
        self._connections = self._connections_published = 0
        self._next_receipts_s = self._next_expiry_s = float("-inf")
        self._now_s = 0.0
        self._failing = ""
        self._stopping = False
        self._own_shards = frozenset(name.split("/")[2] for name in topics.bridge_filters(*self._replica))
        self.kafka_ready = False

    def connected(self, *, session_present: bool) -> None:
        """The reader is connected."""
        self._window.opened(session_present=session_present)
        self._connections += 1

    def disconnected(self) -> None:
        """The reader's connection is dead."""
        self._window.closed()

    def may_read(self) -> bool:
        """Whether the messages under way are within the limits; a broker that keeps its own window never exceeds them."""
        return not self._window.exceeded()

    def may_connect(self) -> bool:
        """Whether there is room for the messages of a new connection."""
        return self._window.drained()

    def received(self, messages: Sequence[MqttMessage]) -> None:
        """Note the messages of one read, then hand their records to the writer."""
        if self._stopping:  # with QoS 1 the broker keeps it for the next start
            for _ in [message for message in messages if not message.mid]:
                self._window.dropped(STOPPING)
            return
        forward, confirmed, failed = self._forwarder.forward, self._confirmed.append, self._failed
        own = None if self._replica[1] == 1 else self._own_shards
        alive: set[str] = set()
        entries: list[Entry] = []
        for message in messages:
            forwarded = forward(message)
            if own is not None and message.topic[_SHARD] not in own:
                pass  # an older session: another replica shows the state of this site
            elif forwarded.kind in self._plain and forwarded.reason is None and not message.retain:
                alive.add(forwarded.site)  # type: ignore[arg-type]  # a kind comes with its site
            else:
                self._fleet.heard(message, forwarded)
            topic, payload, record = message.topic, message.payload, forwarded.record
            now_s = message.received_ms / 1000
            if record is None:
                entries.append(Entry(message.mid, message.dup, None, 0, now_s, False))
                continue
            entries.append(_Sending(
                message.mid, message.dup, (topic, payload), len(topic) + len(payload), now_s, False,
                message, forwarded.site, forwarded.identity, forwarded.reason, record, confirmed, failed,
            ))  # fmt: skip
        if alive:
            self._fleet.alive(alive, received_ms=messages[-1].received_ms, received_s=messages[-1].received_s)
        fresh = self._window.arrived(entries)
        self._writer.produce([(sending.record, sending.reported) for sending in fresh if isinstance(sending, _Sending)])

    def round(self, *, now_s: float) -> None:
        """One round of the poll thread: serve reports, acknowledge once, publish receipts.

        Raises:
            KafkaFatalError: If the producer has failed for good; end the process.
        """
        self._writer.poll(POLL_S, now_s=now_s)
        self.confirm(now_s=now_s)
        if now_s >= self._next_receipts_s or self._stopping:
            self._next_receipts_s = now_s + RECEIPTS_EVERY_S
            self._publish_receipts(now_s)
        if now_s >= self._next_expiry_s:
            self._next_expiry_s = now_s + EXPIRY_EVERY_S
            self._fleet.expire(now_s=now_s)
            self._receipts.expire(now_s=now_s)

    def confirm(self, *, now_s: float) -> None:
        """Acknowledge all records confirmed since the last call, and note them for the receipts."""
        self._now_s = now_s
        confirmed = self._confirmed.copy()
        self._confirmed.clear()
        self._window.confirm([(sending, sending.reason) for sending in confirmed])
        if confirmed:
            self._failing = ""
            self._writer.answered()
        for sending in confirmed:
            site, identity = sending.site, sending.identity
            if site is not None and identity is not None:
                self._receipts.arrived(site, identity.stream, identity.sequence, now_s=now_s)
        if self._window.overfull() and self._reader.is_connected:
            LOG.warning("more than twice the window (`limits`) is under way: disconnecting until Kafka has caught up")
            self._reader.pause()

    def begin_stop(self) -> None:
        """Refuse new messages; messages under way are completed."""
        self._stopping = True

    @property
    def is_stopping(self) -> bool:
        """Whether new messages are refused."""
        return self._stopping

    def is_drained(self) -> bool:
        """Whether Kafka has every record, and the broker every receipt."""
        receipts_published = self._receipts.unpublished == 0 and self._reader.unconfirmed == 0
        return (receipts_published or not self._reader.is_connected) and self.counts().in_flight == 0

    def counts(self) -> Counts:
        """Counts so far, of this and the other connections."""
        return total([self._window.counts(), *(counts for source in self._sources for counts in source())])

    def metrics(self) -> bytes:
        """The page for Prometheus."""
        sites = self._site_metrics.render(self._fleet.states())
        self._series_dropped = sum(sites.dropped.values())
        return render(sites, self._state()) + generate_latest(self._process)

    def fleet_page(self, now_s: float) -> bytes:
        """The page for people; `now_s` is in seconds since 1970, not on the monotonic clock."""
        return fleet_page(
            self._fleet.states(), self._state(), replica=self._replica, series_dropped=self._series_dropped, now_s=now_s
        )

    def _state(self) -> BridgeState:
        return BridgeState(
            counts=self.counts(),
            reconnects=self._reader.reconnects,
            client_id_contested=self._reader.is_contested,
            mqtt_connected=self._reader.is_connected,
            kafka_ready=self.kafka_ready,
            delivery_errors=dict(self._delivery_errors),
            receipts_published=self._receipts_published,
            sites_expired=self._fleet.expired,
            fleet_refused=self._fleet.refused,
            version=self._version,
            reader=self._reader.kind,
        )

    def _failed(self, sending: _Sending, error: KafkaError) -> None:
        """Send a refused record again later, or as a dead letter if Kafka will never take it."""
        self._delivery_errors[error.name()] += 1
        if self._failing != error.name():
            self._failing = error.name()
            LOG.error(
                "kafka does not take a record topic=%s site=%s error=%r", sending.record.topic, sending.site, error.str()
            )
        # A batch fails as a whole, with its good records. Sent again apart, the good ones pass.
        in_batch = error.code() in BATCH_ERRORS and sending.attempt < IN_BATCH_ATTEMPTS
        if sending.reason is None and error.code() in PERMANENT and not in_batch:
            sending.reason = KAFKA_REJECTED
            sending.record = self._forwarder.dead_letter(sending.message, sending.site, KAFKA_REJECTED)
            sending.attempt = 1
            self._writer.produce([(sending.record, sending.reported)])
            return
        if error.code() == KafkaError.INVALID_TIMESTAMP:  # a clock is wrong: take the time of the next attempt
            sending.record = structs.replace(sending.record, timestamp_ms=0)
        # No attempt is the last: the record stays unacknowledged, holds all later ones, and its age shows in the metrics.
        delay_s = min(2.0 ** (sending.attempt - 1), LATER_MAX_S) * self._random.uniform(0.5, 1.0)
        sending.attempt = min(sending.attempt + 1, 10)
        self._writer.produce_later(sending.record, sending.reported, at_s=self._now_s + delay_s)

    def _publish_receipts(self, now_s: float) -> None:
        if not self._reader.is_connected:
            return
        if self._connections_published != self._connections:
            self._connections_published = self._connections
            self._receipts.republish_all()
        if self._stopping:
            self._receipts.flush()
        for site, receipt in self._receipts.due(now_s=now_s):
            if self._reader.publish(topics.topic(site, topics.RECEIPT), encode(receipt)):
                self._receipts_published += 1
            else:
                self._receipts.not_published(site, receipt.stream)
