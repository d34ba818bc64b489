"""`ringmain-bridge replay`: writes dead letters that pass the present rules to their proper topics.

At least once: a letter counts as replayed after Kafka has confirmed it; the history removes duplicates. Progress is kept in
Kafka, as the committed offsets of the group `ringmain-bridge-replay`: all letters below the offset are done, and the
offset's metadata lists the ranges done above it. The next replay tries the remaining letters again.
"""

import argparse
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from msgspec import Struct

from ringmain_bridge.commands.replayed_ranges import Ranges
from ringmain_bridge.config import BridgeConfig
from ringmain_bridge.forwarding.forward import Forwarder, Headers, MqttMessage, Record
from ringmain_bridge.forwarding.kafka_writer import MAX_RECORD_BYTES, settings
from ringmain_program.command import EXIT_FAILED, Clock, Outcome
from ringmain_protocol import topics

GROUP: Final = "ringmain-bridge-replay"
TRUNCATED: Final = "truncated"
NOT_FOR_KAFKA: Final = "not_for_kafka"
NO_HEADERS: Final = "no_headers"
CHUNK: Final = 1000
TIMEOUT_S: Final = 30.0
METADATA_BYTES: Final = 4000
"""Kafka's default bound of an offset's metadata is 4,096 bytes."""

LOG = logging.getLogger("ringmain_bridge")


def run(config: BridgeConfig, options: argparse.Namespace, _clock: Clock) -> Outcome:
    """Replay the dead letters that the options choose."""
    since_ms = None if options.since is None else int(options.since.timestamp() * 1000)
    choice = Choice(reason=options.reason, site=options.site, since_ms=since_ms)
    try:
        result = replay(config, choice, dry_run=options.dry_run)
    except ReplayError as error:
        LOG.error("replay ended early: %s", error)  # noqa: TRY400  the text is enough
        return Outcome(status=EXIT_FAILED)
    return Outcome(result, text=lambda counts: "\n".join(_lines(counts)))


def _lines(counts: dict[str, Any]) -> Iterator[str]:
    yield f"{'would be replayed' if counts['dry_run'] else 'replayed'}: {sum(counts['replayed'].values())}"
    yield from (f"  {reason}: {number}" for reason, number in counts["replayed"].items())
    yield f"left: {sum(counts['left'].values())}"
    for reason, number in counts["left"].items():
        yield f"  {reason}: {number}" + (" (cannot be replayed: the payload was cut)" if reason == TRUNCATED else "")
    yield f"not chosen: {counts['not_chosen']}, replayed before: {counts['already_replayed']}"


class Choice(Struct, frozen=True, kw_only=True):
    """Dead letters to replay; None means all."""

    reason: str | None = None
    site: str | None = None
    since_ms: int | None = None


class Letter(NamedTuple):
    """One dead letter, as Kafka holds it."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]

    @property
    def reason(self) -> str:
        """Reason for which the bridge refused the message."""
        return self.headers.get("reason", b"").decode(errors="replace")


class ReplayError(Exception):
    """Kafka does not answer, or takes no record; the progress so far is kept."""


def is_chosen(letter: Letter, choice: Choice) -> bool:
    """Whether the choice includes this letter. Pure."""
    return (
        (choice.reason is None or letter.reason == choice.reason)
        and (choice.site is None or letter.key == choice.site.encode())
        and (choice.since_ms is None or letter.timestamp_ms >= choice.since_ms)
    )


def revive(letter: Letter, forwarder: Forwarder, now_ms: int) -> Record | str:
    """The record of a letter by the present rules, or the reason for which it stays a dead letter. Pure.

    The record keeps the headers: the history reads the time of receipt from them. It is dated now, because Kafka's
    retention would delete an old record at once.
    """
    headers = letter.headers
    if "payload_bytes" in headers:
        return TRUNCATED
    if "mqtt_topic" not in headers:
        return NO_HEADERS
    received = headers.get("received_ms", b"")
    received_ms = int(received) if received.isdigit() and len(received) < 16 else letter.timestamp_ms
    message = MqttMessage(
        topic=headers["mqtt_topic"].decode(errors="replace"),
        payload=letter.value,
        mid=0,
        qos=1,
        retain=headers.get("retain") == b"1",
        dup=False,
        received_ms=received_ms,
        received_s=0.0,
    )
    forwarded = forwarder.forward(message)
    if forwarded.reason is not None:
        return forwarded.reason
    if forwarded.record is None:
        return NOT_FOR_KAFKA
    kept: Headers = [(name, value) for name, value in headers.items() if name != "reason"]
    kept += [(name, value) for name, value in forwarded.record.headers if name not in headers]
    record = forwarded.record
    return Record(record.topic, record.key, record.value, [*kept, ("replayed", b"1")], now_ms)


def replay(config: BridgeConfig, choice: Choice, *, dry_run: bool) -> dict[str, Any]:
    """Replay once, up to the present end of the dead letters; returns counts.

    Raises:
        ReplayError: If Kafka does not answer or takes no record; run it again later.
    """
    connection = settings(config.kafka, client_id=GROUP)
    forwarder = Forwarder(
        replica=config.replica,
        time_ahead_max_ms=int(config.limits.time_ahead_max_s * 1000),
        time_behind_max_ms=int(config.limits.time_behind_max_s * 1000),
    )
    consumer = Consumer({**connection, "group.id": GROUP, "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    try:
        return _Run(consumer, None if dry_run else _producer(connection), forwarder, choice).run()
    except KafkaException as error:
        raise ReplayError(error.args[0].str()) from error
    finally:
        consumer.close()


def _producer(connection: dict[str, Any]) -> Producer:
    return Producer({
        **connection,
        "enable.idempotence": True,
        "max.in.flight.requests.per.connection": 1,  # as the bridge, for the same reason
        "partitioner": "murmur2_random",
        "message.timeout.ms": int(TIMEOUT_S * 1000),
        "message.max.bytes": MAX_RECORD_BYTES,
    })  # fmt: skip


class _Run:
    """One replay."""

    def __init__(self, consumer: Consumer, producer: Producer | None, forwarder: Forwarder, choice: Choice) -> None:
        self._consumer = consumer
        self._producer = producer
        self._forwarder = forwarder
        self._choice = choice
        self._done: dict[int, Ranges] = {}
        self._read = self._skipped = self._already = 0
        self._replayed: Counter[str] = Counter()
        self._left: Counter[str] = Counter()

    def run(self) -> dict[str, Any]:
        for partition, begin, end in self._partitions():
            self._one_partition(partition, begin, end)
        return {
            "dry_run": self._producer is None,
            "read": self._read,
            "already_replayed": self._already,
            "not_chosen": self._skipped,
            "replayed": dict(sorted(self._replayed.items())),
            "left": dict(sorted(self._left.items())),
        }

    def _partitions(self) -> list[tuple[int, int, int]]:
        there = self._consumer.list_topics(topics.DEADLETTER, timeout=TIMEOUT_S).topics[topics.DEADLETTER]
        if there.error is not None:
            return []  # no message was refused yet
        all_partitions = [TopicPartition(topics.DEADLETTER, p) for p in sorted(there.partitions)]
        ranges = []
        for committed in self._consumer.committed(all_partitions, timeout=TIMEOUT_S):
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(topics.DEADLETTER, committed.partition), timeout=TIMEOUT_S
            )
            begin = max(low, committed.offset)
            done = Ranges.parse(committed.metadata or "")
            if begin > 0:
                done.add(0, begin - 1)
            self._done[committed.partition] = done
            ranges.append((committed.partition, begin, high))
        return ranges

    def _one_partition(self, partition: int, begin: int, end: int) -> None:
        if begin >= end:
            return
        self._consumer.assign([TopicPartition(topics.DEADLETTER, partition, begin)])
        position, quiet_until_s = begin, time.monotonic() + TIMEOUT_S
        while position < end:
            messages = self._consumer.consume(CHUNK, 0.2)
            letters = [_letter(message) for message in messages if _is_good(message)]
            if letters:
                quiet_until_s = time.monotonic() + TIMEOUT_S
                self._chunk([letter for letter in letters if letter.offset < end])
                position = letters[-1].offset + 1
            elif messages or time.monotonic() > quiet_until_s:
                at = self._consumer.position([TopicPartition(topics.DEADLETTER, partition)])[0].offset
                if time.monotonic() > quiet_until_s and at < end:
                    raise ReplayError(
                        f"no answer from partition {partition} of {topics.DEADLETTER} within {TIMEOUT_S:g} s; run it again"
                    )
                position = max(position, at)
        self._consumer.unassign()

    def _chunk(self, letters: Sequence[Letter]) -> None:
        now_ms = time.time_ns() // 1_000_000
        for letter in letters:
            self._read += 1
            if letter.offset in self._done[letter.partition]:
                self._already += 1
            elif not is_chosen(letter, self._choice):
                self._skipped += 1
            else:
                self._one(letter, now_ms)
        if self._producer is None or not letters:
            return
        if self._producer.flush(TIMEOUT_S):
            raise ReplayError(f"Kafka did not confirm the replayed records within {TIMEOUT_S:g} s; run it again")
        self._commit(letters[0].partition)

    def _one(self, letter: Letter, now_ms: int) -> None:
        record = revive(letter, self._forwarder, now_ms)
        if isinstance(record, str):
            self._left[record] += 1
        elif self._producer is None:
            self._replayed[letter.reason] += 1
        else:

            def reported(error: KafkaError | None, _message: Message) -> None:
                if error is None:
                    self._replayed[letter.reason] += 1
                    self._done[letter.partition].add(letter.offset, letter.offset)
                else:
                    self._left[f"kafka: {error.name()}"] += 1

            self._producer.produce(
                record.topic, record.value, record.key, timestamp=record.timestamp_ms, headers=record.headers,
                on_delivery=reported,
            )  # fmt: skip
            self._producer.poll(0)

    def _commit(self, partition: int) -> None:
        offset, above = self._done[partition].first_gap(METADATA_BYTES)
        self._consumer.commit(
            offsets=[TopicPartition(topics.DEADLETTER, partition, offset, metadata=above)], asynchronous=False
        )


def _is_good(message: Message) -> bool:
    error = message.error()
    if error is None:
        return True
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
        return False
    raise KafkaException(error)


def _letter(message: Message) -> Letter:
    headers = dict(message.headers() or ())
    return Letter(
        partition=int(message.partition() or 0),
        offset=int(message.offset() or 0),
        timestamp_ms=message.timestamp()[1],
        key=_bytes(message.key()),
        value=_bytes(message.value()) or b"",
        headers={name: value for name, value in headers.items() if isinstance(value, bytes)},
    )


def _bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
