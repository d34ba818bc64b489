"""What becomes of each MQTT message: a record, a dead letter, or fleet state only."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_bridge.forwarding.forward import REASONS, Forwarder, Identity, MqttMessage
from ringmain_protocol import messages, topics
from ringmain_protocol.messages import encode
from support.strategies import structs

SITE = "uw-114"
STREAM = "0123456789abcdef"
RECEIVED_MS = 1_700_000_000_000
DAY_MS = 86_400_000

SAMPLES: dict[str, msgspec.Struct] = {
    topics.READINGS: messages.Readings(
        stream=STREAM, sequence=7, signals=["load_kw"], at_ms=[RECEIVED_MS], values=[1.5], quality=[0]
    ),
    topics.STEPS: messages.Steps(
        stream=STREAM, sequence=7, step_s=900, signals=["load_kw"], at_ms=[RECEIVED_MS], values=[None], quality=[2]
    ),
    topics.FORECAST: messages.Forecast(
        stream=STREAM, sequence=7, signal="load_kw", issued_at_ms=RECEIVED_MS, step_s=900, quantiles=[0.5], values=[[1]],
        release=0,
    ),
    topics.SCHEDULE: messages.Schedule(
        stream=STREAM, sequence=7, issued_at_ms=RECEIVED_MS, step_s=900, fallback=messages.Fallback.RULE,
        pcc_kw=[1], power_kw={"battery": [0]}, soc_kwh={"battery": [5]},
    ),
    topics.SETPOINT: messages.Setpoint(
        stream=STREAM, sequence=7, issued_at_ms=RECEIVED_MS, valid_for_s=60, mode=messages.Mode.CONTROL,
        fallback=messages.Fallback.OPTIMAL, power_kw={"battery": 3.5},
    ),
    topics.STATUS: messages.Status(
        at_ms=RECEIVED_MS, time_zone="Europe/Amsterdam", agent_version="0.1.0", config_sha256="ab", stream=STREAM,
        mode=messages.Mode.OBSERVE, mode_source="config", fallback=messages.Fallback.RELEASE, releases={"load_kw": 3},
    ),
    topics.SERIES: messages.Series(
        issued_at_ms=RECEIVED_MS, start_ms=RECEIVED_MS + 2 * DAY_MS, step_s=3600, unit="degC", values=[12.5]
    ),
}  # fmt: skip
HAS_SEQUENCE = {topics.READINGS, topics.STEPS, topics.FORECAST, topics.SCHEDULE, topics.SETPOINT}


def mqtt_message(topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, dup: bool = False) -> MqttMessage:
    return MqttMessage(topic, payload, 1 if qos else 0, qos, retain, dup, RECEIVED_MS, 100.0)


def topic_of(kind: str) -> str:
    return topics.topic(SITE, kind, "temperature_degc" if kind == topics.SERIES else None)


@pytest.mark.parametrize("kind", topics.FORWARDED)
def test_every_forwarded_kind_becomes_a_record_with_its_payload_unchanged(kind: str) -> None:
    payload = encode(SAMPLES[kind])
    forwarded = Forwarder(replica=3).forward(mqtt_message(topic_of(kind), payload, retain=True, dup=True))
    record = forwarded.record
    assert record is not None
    assert forwarded.reason is None
    assert record.topic == topics.KAFKA_TOPICS[kind]
    assert record.value == payload
    assert record.key == SITE.encode()
    assert record.timestamp_ms == RECEIVED_MS
    assert dict(record.headers) == {
        "mqtt_topic": topic_of(kind).encode(),
        "qos": b"1",
        "retain": b"1",
        "dup": b"1",
        "received_ms": str(RECEIVED_MS).encode(),
        "bridge": b"3",
    }
    expected = Identity(stream=STREAM, sequence=7) if kind in HAS_SEQUENCE else None
    assert forwarded.identity == expected


@pytest.mark.parametrize("kind", topics.FORWARDED)
def test_fields_of_a_newer_agent_pass(kind: str) -> None:
    payload = encode(SAMPLES[kind])[:-1] + b',"brand_new":1}'
    forwarded = Forwarder().forward(mqtt_message(topic_of(kind), payload))
    assert forwarded.reason is None
    assert forwarded.record is not None
    assert forwarded.record.value == payload


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        (topic_of(topics.READINGS), b"", "undecodable"),
        (topic_of(topics.READINGS), b"\xff\xfe", "undecodable"),
        (topic_of(topics.READINGS), b'{"stream":', "undecodable"),
        (topic_of(topics.READINGS), b'{"x":' + b"[" * 100_000, "undecodable"),
        (topic_of(topics.READINGS), b"NaN", "undecodable"),
        (topic_of(topics.READINGS), b"[]", "invalid"),
        (topic_of(topics.STEPS), encode(SAMPLES[topics.READINGS]), "invalid"),
        (topic_of(topics.ONLINE), b"{}", "invalid"),
        (topic_of(topics.READINGS), b" " * 1_000_001, "too_large"),
        (topic_of(topics.RECEIPT), b"{}", "unknown_topic"),
        ("ringmain/1/00/Not A Site/readings", b"{}", "unknown_topic"),
        ("other/" + "x" * 60_000, b"{}", "unknown_topic"),
    ],
)
def test_poison_goes_to_the_dead_letters_with_its_reason_and_bytes(topic: str, payload: bytes, reason: str) -> None:
    forwarded = Forwarder().forward(mqtt_message(topic, payload))
    record = forwarded.record
    assert record is not None
    assert forwarded.reason == reason
    assert reason in REASONS
    assert record.topic == topics.DEADLETTER
    assert record.value == payload[:1_000_000]
    headers = dict(record.headers)
    assert headers["reason"] == reason.encode()
    assert headers.get("payload_bytes") == (b"1000001" if len(payload) > 1_000_000 else None)
    assert record.key == (SITE.encode() if f"/{SITE}/" in topic else None)
    size = len(record.value) + sum(len(key) + len(value or b"") for key, value in record.headers)
    assert size < 1_040_000


def test_a_dead_letter_whose_sequence_can_be_read_has_an_identity() -> None:
    payload = encode(SAMPLES[topics.READINGS]).replace(b'"quality":[0]', b'"quality":[9]')
    forwarded = Forwarder().forward(mqtt_message(topic_of(topics.READINGS), payload))
    assert forwarded.reason == "invalid"
    assert forwarded.identity == Identity(stream=STREAM, sequence=7)


def test_a_dead_letter_without_a_readable_sequence_has_no_identity() -> None:
    assert Forwarder().forward(mqtt_message(topic_of(topics.READINGS), b'{"sequence":3}')).identity is None


@pytest.mark.parametrize(
    ("offset_ms", "marked"),
    [
        (0, False),
        (DAY_MS, False),
        (DAY_MS + 1, True),
        (-6 * 365 * DAY_MS, False),  # simulated time of some years ago
        (-315_576_000_000 - 1, True),
    ],
)
def test_an_implausible_time_is_kept_and_marked(offset_ms: int, *, marked: bool) -> None:
    sample = msgspec.structs.replace(SAMPLES[topics.READINGS], at_ms=[RECEIVED_MS + offset_ms])
    forwarded = Forwarder().forward(mqtt_message(topic_of(topics.READINGS), encode(sample)))
    assert forwarded.reason is None
    assert forwarded.record is not None
    assert dict(forwarded.record.headers).get("implausible_time") == (b"1" if marked else None)


@pytest.mark.parametrize("kind", [topics.ONLINE, topics.STATUS, topics.SERIES])
def test_a_deleted_retained_message_is_no_poison(kind: str) -> None:
    forwarded = Forwarder().forward(mqtt_message(topic_of(kind), b""))
    assert (forwarded.record, forwarded.reason, forwarded.site, forwarded.kind) == (None, None, SITE, kind)


def test_online_is_fleet_state_and_not_forwarded() -> None:
    online = messages.Online(online=True, since_ms=RECEIVED_MS)
    forwarded = Forwarder().forward(mqtt_message(topic_of(topics.ONLINE), encode(online)))
    assert forwarded.record is None
    assert forwarded.message == online


def test_a_batch_without_values_is_forwarded() -> None:
    empty = messages.Readings(stream=STREAM, sequence=1, signals=[], at_ms=[], values=[], quality=[])
    assert Forwarder().forward(mqtt_message(topic_of(topics.READINGS), encode(empty))).reason is None


@given(structs(messages.Readings))
def test_any_valid_batch_is_forwarded_with_its_identity(readings: messages.Readings) -> None:
    forwarded = Forwarder().forward(mqtt_message(topic_of(topics.READINGS), encode(readings)))
    assert forwarded.reason is None
    assert forwarded.identity == Identity(stream=readings.stream, sequence=readings.sequence)


@given(st.text(max_size=40), st.binary(max_size=80))
def test_no_topic_or_payload_raises(topic: str, payload: bytes) -> None:
    for name in (topic, topic_of(topics.READINGS), topic_of(topics.STATUS), topic_of(topics.ONLINE)):
        forwarded = Forwarder().forward(mqtt_message(name, payload))
        assert forwarded.record is not None or forwarded.kind in (topics.ONLINE, topics.STATUS)
