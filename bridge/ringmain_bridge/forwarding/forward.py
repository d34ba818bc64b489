"""From an MQTT message to a Kafka record, or to a dead letter with its reason. Pure.

The payload goes into Kafka unchanged. It is decoded as a check only: every forwarded kind against its Struct, tolerantly,
so that a message of a newer agent passes.
"""

from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from ringmain_bridge.forwarding.batch_decoder import decode
from ringmain_protocol import messages, topics
from ringmain_protocol.errors import MessageError

UNKNOWN_TOPIC: Final = "unknown_topic"
KAFKA_REJECTED: Final = "kafka_rejected"
REASONS: Final = (UNKNOWN_TOPIC, "too_large", "undecodable", "invalid", KAFKA_REJECTED)
"""Reasons of dead letters."""

MAX_TOPIC_BYTES: Final = 4096
"""Longest MQTT topic in a header; with the largest payload the record stays below Kafka's 1 MiB."""

_KINDS: Final[dict[str, type[Struct]]] = {
    topics.READINGS: messages.Readings,
    topics.STEPS: messages.Steps,
    topics.FORECAST: messages.Forecast,
    topics.SCHEDULE: messages.Schedule,
    topics.SETPOINT: messages.Setpoint,
    topics.STATUS: messages.Status,
    topics.SERIES: messages.Series,
    topics.ONLINE: messages.Online,
}
_BATCHES: Final = frozenset((topics.READINGS, topics.STEPS))
_RETAINED: Final = frozenset((topics.STATUS, topics.SERIES, topics.ONLINE))
Header = tuple[str, str | bytes | None]
Headers = list[Header]

_ROUTES_MAX: Final = 32_768


class MqttMessage(Struct, frozen=True, gc=False):
    """One PUBLISH of the broker; `mid` is 0 for QoS 0, `received_s` is on the monotonic clock."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    retain: bool
    dup: bool
    received_ms: int
    received_s: float


class Identity(Struct, frozen=True, kw_only=True, gc=False):
    """Identity of an outbox message within its site, read even from an invalid message."""

    stream: messages.StreamId
    sequence: messages.Count


class Record(Struct, frozen=True, gc=False):
    """A record for Kafka."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp_ms: int


class Forwarded(Struct, frozen=True, gc=False):
    """The result of one message.

    Attributes:
        record: None for a message about the state of a site only.
        reason: Reason of a dead letter; None for a valid message.
        site: The sender, if the topic names one.
        kind: The topic's kind, if the topic is one of the protocol.
        message: The decoded message; None for dead letters and for a deleted retained message (an empty payload).
        identity: Stream and sequence for the receipt, if they could be read.
    """

    record: Record | None
    reason: str | None
    site: str | None
    kind: str | None
    message: Struct | None
    identity: Identity | None


class _Route(Struct, frozen=True, gc=False):
    """Decisions by the topic alone; remembered, because a site repeats its topics."""

    site: str
    kind: str
    struct: type[Struct] | None
    kafka_topic: str
    key: bytes
    header: Header


class Forwarder(Struct, frozen=True, kw_only=True):
    """Forwards for one replica.

    A record with a time further ahead or behind than these is marked, not refused: a gateway with a wrong clock still sends
    right measurements.
    """

    replica: int = 0
    time_ahead_max_ms: int = 86_400_000
    time_behind_max_ms: int = 315_576_000_000

    def forward(self, message: MqttMessage) -> Forwarded:
        """The record of one message, or its dead letter."""
        site = kind = None
        try:
            route = _route(message.topic)
            site, kind = route.site, route.kind
            if not message.payload and kind in _RETAINED:
                return Forwarded(None, None, site, kind, None, None)
            decoded = decode(message.payload, _struct(route))
        except MessageError as error:
            letter = self.dead_letter(message, site, error.reason)
            return Forwarded(letter, error.reason, site, kind, None, _identity(message.payload))
        if kind == topics.ONLINE:
            return Forwarded(None, None, site, kind, decoded, None)
        headers = self._headers(message, route.header)
        if not self._plausible(kind, decoded, message.received_ms):
            headers.append(("implausible_time", b"1"))
        record = Record(route.kafka_topic, route.key, message.payload, headers, message.received_ms)
        sequence = getattr(decoded, "sequence", None)
        identity = None if sequence is None else Identity(stream=decoded.stream, sequence=sequence)  # type: ignore[attr-defined]
        return Forwarded(record, None, site, kind, decoded, identity)

    def dead_letter(self, message: MqttMessage, site: str | None, reason: str) -> Record:
        """The original bytes with the reason. A payload too large for Kafka is cut; a header then gives its true length."""
        headers = [*self._headers(message, _topic_header(message.topic)), ("reason", reason.encode())]
        if len(message.payload) > messages.MAX_MESSAGE_BYTES:
            headers.append(("payload_bytes", b"%d" % len(message.payload)))
        key = None if site is None else site.encode()
        value = message.payload[: messages.MAX_MESSAGE_BYTES]
        return Record(topics.DEADLETTER, key, value, headers, message.received_ms)

    def _headers(self, message: MqttMessage, topic: Header) -> Headers:
        return [topic, *_facts(message.qos, message.retain, message.dup, message.received_ms, self.replica)]

    def _plausible(self, kind: str, message: Struct, received_ms: int) -> bool:
        first, last = received_ms - self.time_behind_max_ms, received_ms + self.time_ahead_max_ms
        if kind in _BATCHES:
            times_ms: list[int] = message.at_ms  # type: ignore[attr-defined]  # the kind fixes the Struct
            return not times_ms or (first <= min(times_ms) and max(times_ms) <= last)
        at_ms = _at_ms(message)
        return at_ms is None or first <= at_ms <= last


@lru_cache(64)
def _facts(qos: int, retain: bool, dup: bool, received_ms: int, replica: int) -> tuple[Header, ...]:  # noqa: FBT001
    """Headers other than the topic's; remembered, because the messages of one read share them."""
    return (
        ("qos", b"%d" % qos),
        ("retain", b"%d" % retain),
        ("dup", b"%d" % dup),
        ("received_ms", b"%d" % received_ms),
        ("bridge", b"%d" % replica),
    )


@lru_cache(_ROUTES_MAX)
def _route(topic: str) -> _Route:
    _, site, kind, _ = topics.parse(topic)
    kafka_topic = topics.KAFKA_TOPICS.get(kind, topics.DEADLETTER)
    return _Route(site, kind, _KINDS.get(kind), kafka_topic, site.encode(), _topic_header(topic))


def _struct(route: _Route) -> type[Struct]:
    if route.struct is None:
        raise MessageError(UNKNOWN_TOPIC, f"{route.kind} is not for the bridge")
    return route.struct


def _topic_header(topic: str) -> Header:
    return "mqtt_topic", topic.encode(errors="replace")[:MAX_TOPIC_BYTES]


def _at_ms(message: Struct) -> int | None:
    """Time of a message by the sender's clock."""
    match message:
        case messages.Status():
            return message.at_ms
        case messages.Forecast() | messages.Schedule() | messages.Setpoint() | messages.Series():
            return message.issued_at_ms
        case _:
            return None


def _identity(payload: bytes) -> Identity | None:
    try:
        return msgspec.json.decode(payload, type=Identity)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
