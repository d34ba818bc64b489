"""From an MQTT message to a Kafka record, or to a dead letter with its reason. Pure.

The payload goes into Kafka unchanged. It is decoded only to know that it can be: every forwarded kind against its
Struct, tolerantly, so that a message of a newer agent passes.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from ringmain_protocol import messages, topics
from ringmain_protocol.errors import MessageError

UNKNOWN_TOPIC: Final = "unknown_topic"
KAFKA_REJECTED: Final = "kafka_rejected"
REASONS: Final = (UNKNOWN_TOPIC, "too_large", "undecodable", "invalid", KAFKA_REJECTED)
"""Why a message is in the dead letters."""

MAX_TOPIC_BYTES: Final = 4096
"""Longest MQTT topic that a header holds; with the largest payload the record stays below Kafka's 1 MiB."""

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
_RETAINED: Final = frozenset((topics.STATUS, topics.SERIES, topics.ONLINE))
Headers = list[tuple[str, str | bytes | None]]


class MqttMessage(NamedTuple):
    """One PUBLISH as it came; `mid` is 0 for QoS 0, `received_s` is on the monotonic clock."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    retain: bool
    dup: bool
    received_ms: int
    received_s: float


class Identity(Struct, frozen=True, kw_only=True):
    """What identifies a message of an outbox within its site, read even from a message that is refused otherwise."""

    stream: messages.StreamId
    sequence: messages.Count


class Record(NamedTuple):
    """What Kafka gets."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp_ms: int


class Forwarded(NamedTuple):
    """What becomes of one message.

    Attributes:
        record: None for a message that only tells the state of the fleet.
        reason: Why the record is a dead letter; None for a good one.
        site: The sender, if the topic tells.
        kind: The topic's kind, if it is one that is forwarded.
        message: The decoded message; None for dead letters and for a deleted retained message (an empty payload).
        identity: What the receipt will name, if it could be read.
    """

    record: Record | None
    reason: str | None
    site: str | None
    kind: str | None
    message: Struct | None
    identity: Identity | None


class Forwarder(Struct, frozen=True, kw_only=True):
    """Forwards for one replica.

    A record whose payload tells a time further ahead or behind than these is kept and marked, not refused: the clock
    of a gateway may be wrong, its measurements are not.
    """

    replica: int = 0
    time_ahead_max_ms: int = 86_400_000
    time_behind_max_ms: int = 315_576_000_000

    def forward(self, message: MqttMessage) -> Forwarded:
        """The record of one message, or its dead letter."""
        site = kind = None
        try:
            _, site, kind, _ = topics.parse(message.topic)
            if not message.payload and kind in _RETAINED:
                return Forwarded(None, None, site, kind, None, None)
            decoded = messages.decode(message.payload, _struct(kind))
        except MessageError as error:
            letter = self.dead_letter(message, site, error.reason)
            return Forwarded(letter, error.reason, site, kind, None, _identity(message.payload))
        if kind == topics.ONLINE:
            return Forwarded(None, None, site, kind, decoded, None)
        headers = self._headers(message)
        if not self._plausible(_times_ms(decoded), message.received_ms):
            headers.append(("implausible_time", b"1"))
        record = Record(topics.KAFKA_TOPICS[kind], site.encode(), message.payload, headers, message.received_ms)
        sequence = getattr(decoded, "sequence", None)
        identity = None if sequence is None else Identity(stream=decoded.stream, sequence=sequence)  # type: ignore[attr-defined]
        return Forwarded(record, None, site, kind, decoded, identity)

    def dead_letter(self, message: MqttMessage, site: str | None, reason: str) -> Record:
        """The original bytes with the reason; what Kafka would not take is cut, and the header tells the true length."""
        headers = [*self._headers(message), ("reason", reason.encode())]
        if len(message.payload) > messages.MAX_MESSAGE_BYTES:
            headers.append(("payload_bytes", b"%d" % len(message.payload)))
        key = None if site is None else site.encode()
        value = message.payload[: messages.MAX_MESSAGE_BYTES]
        return Record(topics.DEADLETTER, key, value, headers, message.received_ms)

    def _headers(self, message: MqttMessage) -> Headers:
        return [
            ("mqtt_topic", message.topic.encode(errors="replace")[:MAX_TOPIC_BYTES]),
            ("qos", b"%d" % message.qos),
            ("retain", b"1" if message.retain else b"0"),
            ("dup", b"1" if message.dup else b"0"),
            ("received_ms", b"%d" % message.received_ms),
            ("bridge", b"%d" % self.replica),
        ]

    def _plausible(self, times_ms: Iterable[int], received_ms: int) -> bool:
        first, last = received_ms - self.time_behind_max_ms, received_ms + self.time_ahead_max_ms
        return all(first <= at_ms <= last for at_ms in times_ms)


def _struct(kind: str) -> type[Struct]:
    struct = _KINDS.get(kind)
    if struct is None:
        raise MessageError(UNKNOWN_TOPIC, f"{kind} is not for the bridge")
    return struct


def _times_ms(message: Struct) -> Iterable[int]:
    """The instants that the sender's clock gave: the outermost ones of a batch, else when the message was issued."""
    match message:
        case messages.Readings() | messages.Steps():
            return (min(message.at_ms), max(message.at_ms)) if message.at_ms else ()
        case messages.Status():
            return (message.at_ms,)
        case messages.Forecast() | messages.Schedule() | messages.Setpoint() | messages.Series():
            return (message.issued_at_ms,)
        case _:
            return ()


def _identity(payload: bytes) -> Identity | None:
    try:
        return msgspec.json.decode(payload, type=Identity)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
