"""Whatever is published, the bridge goes on: each message becomes a record or a dead letter with its reason, unchanged."""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from ringmain_bridge.bridge import Bridge
from ringmain_bridge.config import BridgeConfig, Kafka, Limits, Mqtt
from ringmain_bridge.config import Fleet as FleetConfig
from ringmain_bridge.fleet.state import Fleet
from ringmain_bridge.forwarding.forward import MAX_TOPIC_BYTES, REASONS, Forwarded, Forwarder, MqttMessage, Record
from ringmain_bridge.forwarding.kafka_writer import MAX_RECORD_BYTES
from ringmain_bridge.forwarding.receipts import Receipts
from ringmain_protocol import messages, topics
from ringmain_protocol.messages import MAX_MESSAGE_BYTES, Receipt, decode, encode
from support.hostile import FUZZ, KINDS, SAMPLES, hostile_payloads, hostile_topics, instants

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
ALLOWED = ("load_kw", "a")
INJECTED = "<script>x</script>"


@st.composite
def arrivals(draw: st.DrawFn) -> MqttMessage:
    """A PUBLISH: topic and payload may fit each other or not."""
    topic = draw(hostile_topics())
    level = topic.split("/")[4:5]
    fits = draw(st.integers(0, 4)) > 0
    kind = KINDS.get(level[0]) if level and fits else None
    payload = draw(hostile_payloads(kind))
    qos = draw(st.sampled_from([0, 1]))
    return MqttMessage(
        topic=topic,
        payload=payload,
        mid=draw(st.integers(1, 65_535)) if qos else 0,
        qos=qos,
        retain=draw(st.booleans()),
        dup=bool(qos) and draw(st.booleans()),
        received_ms=NOW_MS,
        received_s=NOW_MS / 1000,
    )


def readings_at(site: str, sequence: int, at_ms: int) -> MqttMessage:
    reading = messages.Readings(
        stream="0123456789abcdef",
        sequence=sequence,
        signals=["load_kw"],
        at_ms=[at_ms],
        values=[float(sequence)],
        quality=[0],
    )
    return MqttMessage(topics.topic(site, topics.READINGS), encode(reading), sequence, 1, False, False, NOW_MS, 0.0)


def assert_kept(message: MqttMessage, forwarded: Forwarded) -> None:
    """A record with the original bytes, in the right topic; or no record, for what only tells the state of a site."""
    record = forwarded.record
    if record is None:
        assert forwarded.reason is None
        assert forwarded.kind == topics.ONLINE or not message.payload
        return
    headers = dict(record.headers)
    if forwarded.reason is None:
        assert record.topic == topics.KAFKA_TOPICS[forwarded.kind or ""]
        assert isinstance(forwarded.message, KINDS[forwarded.kind or ""])
    else:
        assert forwarded.reason in REASONS
        assert (record.topic, headers["reason"]) == (topics.DEADLETTER, forwarded.reason.encode())
    assert record.value == message.payload[:MAX_MESSAGE_BYTES]
    assert ("payload_bytes" in headers) == (len(message.payload) > MAX_MESSAGE_BYTES)
    assert record.key == (None if forwarded.site is None else forwarded.site.encode())
    assert headers["mqtt_topic"] == message.topic.encode(errors="replace")[:MAX_TOPIC_BYTES]
    size = len(record.value) + len(record.key or b"") + sum(len(k) + len(v or b"") for k, v in record.headers)
    assert size < MAX_RECORD_BYTES - 1000
    assert record.timestamp_ms == message.received_ms


@FUZZ
@given(message=arrivals())
def test_every_message_becomes_a_record_or_a_dead_letter_with_its_reason(message: MqttMessage) -> None:
    assert_kept(message, Forwarder().forward(message))


@pytest.mark.parametrize("kind", KINDS)
@FUZZ
@given(data=st.data())
def test_what_is_damaged_of_a_genuine_message_stays_as_it_came(kind: str, data: st.DataObject) -> None:
    topic = topics.topic("uw-114", kind, "load_kw" if kind == topics.SERIES else None)
    message = MqttMessage(topic, data.draw(hostile_payloads(KINDS[kind])), 1, 1, False, False, NOW_MS, 0.0)
    assert_kept(message, Forwarder().forward(message))


class Neighbors:
    """A broker and a Kafka that only take note; Kafka has what was produced when it is asked for its reports."""

    is_connected = True
    is_contested = False
    kind = "fast"
    unconfirmed = 0

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.receipts: list[tuple[str, Receipt]] = []
        self.records: list[Record] = []
        self.waiting: list[Callable[..., None]] = []
        self.reconnects = {"connection_lost": 0}
        self.acknowledge = self.acknowledged.extend

    def publish(self, topic: str, payload: bytes) -> bool:
        """A receipt."""
        self.receipts.append((topic, decode(payload, Receipt)))
        return True

    def produce(self, records: Iterable[tuple[Record, Callable[..., None]]]) -> None:
        """Records on their way."""
        for record, on_report in records:
            self.records.append(record)
            self.waiting.append(on_report)

    def poll(self, _timeout_s: float, *, now_s: float) -> None:
        """Reports of what is under way, as many as the time says."""
        ready, self.waiting = self.waiting[: int(now_s)], self.waiting[int(now_s) :]
        for on_report in ready:
            on_report(None, None)

    def answered(self) -> None:
        """Kafka answers."""


def bridge_between(neighbors: Any) -> Bridge:
    config = BridgeConfig(
        mqtt=Mqtt(),
        kafka=Kafka(),
        fleet=FleetConfig(signals=list(ALLOWED)),
        limits=Limits(receipt_interval_s=1.0, sites_max=4),
    )
    receipts = Receipts(interval_s=1.0, expiry_s=config.limits.site_expiry_s, sites_max=4)
    bridge = Bridge(config, neighbors, neighbors, Random(1), "0.1.0", receipts=receipts)
    bridge.connected(session_present=False)
    return bridge


@FUZZ
@given(arrived=st.lists(st.lists(arrivals(), max_size=4), max_size=4), reported=st.integers(0, 16))
def test_books_balance_and_all_pages_can_be_read_after_any_messages(arrived: list[list[MqttMessage]], reported: int) -> None:
    neighbors = Neighbors()
    bridge = bridge_between(neighbors)
    numbered, mids = [], 0
    for together in arrived:
        batch = []
        for message in together:
            mids += bool(message.qos)
            batch.append(replace(message, mid=mids if message.qos else 0))
        bridge.received(batch)
        numbered += batch
    bridge.round(now_s=reported)
    assert_balanced(bridge, neighbors, numbered)
    bridge.round(now_s=reported + 1000)
    assert_balanced(bridge, neighbors, numbered)
    assert neighbors.acknowledged == [message.mid for message in numbered if message.mid]
    assert bridge.counts().in_flight == 0
    for topic, receipt in neighbors.receipts:
        parsed = topics.parse(topic)
        assert parsed.kind == topics.RECEIPT
        keys = [record.key for record in neighbors.records]
        assert parsed.site.encode() in keys
        assert receipt.ranges


def assert_balanced(bridge: Bridge, neighbors: Neighbors, arrived: list[MqttMessage]) -> None:
    """Nothing is lost from view, and whoever looks can read what the bridge shows."""
    counts = bridge.counts()
    confirmed = counts.delivered + sum(counts.dead_lettered.values()) + sum(counts.dropped.values())
    assert counts.received == confirmed + counts.in_flight == len(neighbors.records)
    assert counts.received + counts.consumed == len(arrived)
    assert counts.dead_lettered.keys() <= set(REASONS)
    assert neighbors.acknowledged == [message.mid for message in arrived if message.mid][: len(neighbors.acknowledged)]
    assert_readable(bridge.metrics().decode())
    page = bridge.fleet_page(NOW_MS / 1000).decode()
    assert "<script" not in page
    assert INJECTED not in page


@FUZZ
@given(statuses=st.lists(hostile_payloads(messages.Status), min_size=1, max_size=4))
def test_no_status_makes_a_page_unreadable(statuses: list[bytes]) -> None:
    neighbors = Neighbors()
    bridge = bridge_between(neighbors)
    arrived = [
        MqttMessage(topics.topic(f"uw-{number}", topics.STATUS), payload, 0, 0, False, False, NOW_MS, 0.0)
        for number, payload in enumerate(statuses)
    ]
    bridge.received(arrived)
    assert_balanced(bridge, neighbors, arrived)


def test_what_a_status_says_is_text_on_the_pages_and_no_markup() -> None:
    neighbors = Neighbors()
    bridge = bridge_between(neighbors)
    text = INJECTED + '\n\0\r"} 1\nringmain_site_online{site="x"} 0\n'
    status = messages.Status(
        at_ms=NOW_MS, time_zone=text, agent_version=text[:32], config_sha256=text, stream="01234567",
        mode=messages.Mode.CONTROL,
        mode_source=INJECTED, fallback=messages.Fallback.RULE, releases={}, connections={"local": text}, reason=text,
    )  # fmt: skip
    message = MqttMessage(topics.topic("uw", topics.STATUS), encode(status), 0, 0, False, False, NOW_MS, 0.0)
    bridge.received([message])
    assert_balanced(bridge, neighbors, [message])


@FUZZ
@given(at_ms=instants(NOW_MS), others=st.lists(st.integers(NOW_MS - DAY_MS, NOW_MS), min_size=1, max_size=4))
def test_a_reading_of_any_time_is_kept_and_marked_and_disturbs_no_other(at_ms: int, others: list[int]) -> None:
    forwarder = Forwarder(time_ahead_max_ms=DAY_MS, time_behind_max_ms=3650 * DAY_MS)
    strange = readings_at("uw-114", 1, at_ms)
    good = [readings_at(site, n, at) for n, at in enumerate(others, start=2) for site in ("uw-114", "uw-115")]
    alone, together = Fleet(expiry_s=60, sites_max=5, signals=ALLOWED), Fleet(expiry_s=60, sites_max=5, signals=ALLOWED)
    forwarded = forwarder.forward(strange)
    together.heard(strange, forwarded)
    for message in good:
        alone.heard(message, forwarder.forward(message))
        together.heard(message, forwarder.forward(message))
    assert forwarded.record is not None
    assert forwarded.reason is None
    assert forwarded.record.value == strange.payload
    assert forwarded.record.timestamp_ms == NOW_MS
    marked = ("implausible_time", b"1") in forwarded.record.headers
    assert marked == (not NOW_MS - 3650 * DAY_MS <= at_ms <= NOW_MS + DAY_MS)
    assert alone.states() == together.states()


@FUZZ
@given(data=st.data(), kind=st.sampled_from([topics.READINGS, topics.STEPS, topics.STATUS, topics.SERIES]))
def test_only_a_time_that_cannot_be_true_is_marked(data: st.DataObject, kind: str) -> None:
    message: Struct = SAMPLES[KINDS[kind]]
    at_ms = data.draw(st.integers(NOW_MS - DAY_MS, NOW_MS + DAY_MS))
    changes: dict[str, Any] = {"at_ms": at_ms} if kind == topics.STATUS else {"issued_at_ms": at_ms}
    if kind in (topics.READINGS, topics.STEPS):
        changes = {"at_ms": [at_ms] * len(message.signals)}  # type: ignore[attr-defined]
    topic = topics.topic("uw-114", kind, "load_kw" if kind == topics.SERIES else None)
    arrived = MqttMessage(topic, encode(replace(message, **changes)), 1, 1, False, False, NOW_MS, 0.0)
    record = Forwarder().forward(arrived).record
    assert record is not None
    assert "implausible_time" not in dict(record.headers)


def assert_readable(text: str) -> None:
    """Prometheus can read it, and no series comes twice."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    names = [(sample.name, *sorted(sample.labels.items())) for sample in samples]
    assert len(names) == len(set(names))
    assert "ringmain_bridge_messages_received_total" in {sample.name for sample in samples}
