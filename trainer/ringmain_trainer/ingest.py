"""Kafka to the history, exactly once: the shell that reads, commits, and starts again where the tables say.

No consumer group and no second store: each table holds the offsets of its topic. When a commit is refused because another
process was faster, everything in memory is thrown away, the tables are loaded again, and reading starts at their offsets.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage
from msgspec import Struct

from ringmain_protocol import topics
from ringmain_trainer.config import IngestConfig, KafkaConfig, TrainerConfig
from ringmain_trainer.errors import HistoryError
from ringmain_trainer.history import append, offset_id, open_table
from ringmain_trainer.known import read_known
from ringmain_trainer.records import Batch, Record
from ringmain_trainer.tables import TABLES

log: Final = logging.getLogger("ringmain_trainer")

_KINDS: Final = {topic: kind for kind, topic in topics.KAFKA_TOPICS.items()}
_NEVER: Final = 2**63
_ANSWER_S: Final = 5.0
"""How long Kafka has for an answer."""

_RELOOK_S: Final = 30.0
"""How often new topics and partitions are looked for."""

Place = tuple[str, int]
"""A Kafka topic and partition."""


class Summary(Struct):
    """What an ingest did."""

    messages: int = 0
    rows: int = 0
    duplicates: int = 0
    commits: int = 0
    rejected: dict[str, int] = {}


class Intake:
    """What was read since the last commit, and what the history holds."""

    def __init__(self, location: str, cluster: str) -> None:
        self._cluster = cluster
        # the tables first: what is known may be newer than their offsets, never older
        self._tables = {kind: open_table(location, table) for kind, table in TABLES.items()}
        self._known = read_known(location)
        self._batches = {kind: Batch(kind) for kind in TABLES}
        self._next: dict[Place, int] = {}
        self.messages = 0

    def offset(self, place: Place) -> int | None:
        """Where the history says to read on."""
        offset: int | None = self._tables[_KINDS[place[0]]].transaction_version(offset_id(self._cluster, *place))
        return offset

    @property
    def rows(self) -> int:
        """Rows that wait for a commit."""
        return sum(batch.rows for batch in self._batches.values())

    def take(self, message: KafkaMessage) -> None:
        """One record of Kafka; what cannot be used is counted and said."""
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        kind, batch = _KINDS[topic], self._batches[_KINDS[topic]]
        self._next[topic, partition] = offset + 1
        self.messages += 1
        record = Record(kind, message.key(), message.value(), message.headers() or (), message.timestamp()[1])  # type: ignore[arg-type]
        error = batch.add(record, self._known)
        if error is not None and batch.rejected[error.reason] == 1:  # one line per reason and commit
            place = f"{topic}/{partition}@{offset}"
            log.warning("record skipped place=%s reason=%s error=%s", place, error.reason, str(error)[:300])

    def commit(self, total: Summary) -> bool:
        """Write everything that waits; whether it was possible. If not, this object is of no more use."""
        begin, rows = time.monotonic(), self.rows
        rejected: Counter[str] = Counter()
        for kind, batch in self._batches.items():
            places = {place: offset for place, offset in self._next.items() if _KINDS[place[0]] == kind}
            if not places:
                continue
            offsets = {offset_id(self._cluster, *place): offset for place, offset in places.items()}
            if not append(self._tables[kind], batch.frame(), offsets):
                log.warning("table=%s another ingest was faster: loading the tables again", batch.table.name)
                return False
            total.rows += batch.rows
            total.duplicates += batch.duplicates
            rejected += batch.rejected
            self._batches[kind] = Batch(kind)
            for place in places:
                del self._next[place]
        for reason, count in rejected.items():
            total.rejected[reason] = total.rejected.get(reason, 0) + count
        total.messages += self.messages
        total.commits += 1
        text = "commit messages=%d rows=%d rejected=%d commit_s=%.2f"
        log.info(text, self.messages, rows, rejected.total(), time.monotonic() - begin)
        self.messages = 0
        return True


def ingest(config: TrainerConfig, *, once: bool, stop: threading.Event) -> Summary:
    """Read from where the history ends; with `once` up to the offsets that are the newest now, else until `stop`.

    Waits for a Kafka that is not there.

    Raises:
        HistoryError: If Kafka holds less than the history has already read from it.
    """
    total = Summary()
    ends: dict[Place, int] | None = None
    with closing(_consumer(config.kafka)) as consumer:
        while not stop.is_set():
            found = _wait_for_places(consumer, stop)
            if found is None:
                break
            cluster, places = found
            intake = Intake(config.history, cluster)
            starts = {place: _start(place, intake.offset(place), marks) for place, marks in places.items()}
            if once and ends is None:
                ends = {place: high for place, (_, high) in places.items()}
            done = _follow(consumer, intake, starts=starts, ends=ends, config=config.ingest, stop=stop, total=total)
            if done and once:
                break
    return total


def _follow(  # noqa: PLR0913  the parts of one pass
    consumer: Consumer,
    intake: Intake,
    *,
    starts: Mapping[Place, int],
    ends: Mapping[Place, int] | None,
    config: IngestConfig,
    stop: threading.Event,
    total: Summary,
) -> bool:
    """One pass from an assignment to its end: all read, new partitions, a conflict. Whether everything is committed."""
    consumer.assign([TopicPartition(topic, partition, offset) for (topic, partition), offset in starts.items()])
    left = {place for place, end in (ends or {}).items() if starts.get(place, end) < end}
    log.info("reading partitions=%d behind=%s", len(starts), "unknown" if ends is None else len(left))
    committed = looked = time.monotonic()
    goes_on = True
    while goes_on and not stop.is_set() and (ends is None or left):
        goes_on = _read(consumer, intake, ends or {}, left)
        now = time.monotonic()
        if intake.messages and (intake.rows >= config.commit_rows or now - committed >= config.commit_s):
            if not intake.commit(total):
                return False
            committed = now
        if ends is None and now - looked >= _RELOOK_S:
            looked, goes_on = now, goes_on and not _has_new_partitions(consumer, starts)
    return (intake.commit(total) if intake.messages else True) and goes_on


def _read(consumer: Consumer, intake: Intake, ends: Mapping[Place, int], left: set[Place]) -> bool:
    """Take in what has come, and strike out of `left` what is read to its end; whether reading may go on."""
    goes_on = True
    for message in consumer.consume(10_000, 0.2):
        place = (message.topic() or "", message.partition() or 0)
        if message.error() is not None:
            goes_on = _tolerated(message, left) and goes_on
            continue
        intake.take(message)
        if (message.offset() or 0) + 1 >= ends.get(place, _NEVER):
            left.discard(place)
    return goes_on


def _tolerated(message: KafkaMessage, left: set[Place]) -> bool:
    """Whether reading may go on after this error; the end of a partition is none."""
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  the library's public name
        left.discard((message.topic() or "", message.partition() or 0))
        return True
    log.warning("kafka error=%s", error.str())
    lost = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError.UNKNOWN_TOPIC_OR_PART)  # noqa: SLF001
    return error.code() not in lost


def _start(place: Place, stored: int | None, marks: tuple[int, int]) -> int:
    """Offset to read first from a partition."""
    low, high = marks
    if stored is None:
        return low
    name = f"{place[0]}/{place[1]}"
    if stored > high:
        raise HistoryError(
            f"{name} ends at offset {high}, the history has read up to {stored}: the topic was deleted or made anew. "
            "Use a new history, or a new Kafka topic with the old records restored"
        )
    if stored < low:
        log.error("records lost place=%s count=%d: Kafka deleted them before they were read", name, low - stored)
    return max(stored, low)


def _wait_for_places(consumer: Consumer, stop: threading.Event) -> tuple[str, dict[Place, tuple[int, int]]] | None:
    """Cluster id and watermarks of every partition, as soon as Kafka answers; None when told to stop before."""
    for delay_s in _back_off():
        try:
            cluster, found = _partitions(consumer)
            marks = {place: consumer.get_watermark_offsets(TopicPartition(*place), _ANSWER_S) for place in sorted(found)}
            return cluster, marks
        except KafkaException as error:
            log.warning("kafka does not answer, next try in %.1f s: %s", delay_s, error.args[0])
        if stop.wait(delay_s):
            break
    return None


def _has_new_partitions(consumer: Consumer, known: Iterable[Place]) -> bool:
    try:
        return bool(_partitions(consumer)[1] - set(known))
    except KafkaException:
        return False  # it will be back


def _partitions(consumer: Consumer) -> tuple[str, set[Place]]:
    """Cluster id, and topics of ours that are there with their partitions."""
    metadata = consumer.list_topics(timeout=_ANSWER_S)
    found = {(t, partition) for t in _KINDS if t in metadata.topics for partition in metadata.topics[t].partitions}
    return str(metadata.cluster_id), found


def _back_off() -> Iterator[float]:
    """Growing waits, spread so that many programs do not come at once."""
    wait_s = 0.5
    while True:
        yield wait_s * random.uniform(0.5, 1.5)  # noqa: S311  no secret
        wait_s = min(2 * wait_s, 15.0)


def _consumer(config: KafkaConfig) -> Consumer:
    settings: dict[str, Any] = {
        "bootstrap.servers": config.bootstrap_servers,
        "security.protocol": config.security_protocol,
        "group.id": "ringmain-trainer",  # required, but nothing is ever committed to it
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "ssl.ca.location": config.ca_file,
        "ssl.certificate.location": config.certificate_file,
        "ssl.key.location": config.key_file,
        "sasl.mechanism": config.sasl_mechanism,
        "sasl.username": config.sasl_username,
        "log_level": 0,  # errors come through the calls; librdkafka would write one line per broken connection
    }
    if config.sasl_password_file is not None:
        settings["sasl.password"] = Path(config.sasl_password_file).read_text(encoding="utf-8").strip()
    return Consumer({name: value for name, value in settings.items() if value is not None})
