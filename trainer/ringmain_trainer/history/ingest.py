"""Kafka to the history, exactly once: the shell that reads, commits, and starts again where the tables say.

No consumer group and no second store: each table holds the offsets of its topic. When a commit is refused because another
process was faster, everything in memory is thrown away, the tables are loaded again, and reading starts at their offsets.

One thread reads and decodes, another writes: while a load is committed, the next one grows. There are never more than two.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Final, NamedTuple, Self

import polars as pl
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage
from msgspec import Struct

from ringmain_program.backoff import BackOff
from ringmain_program.brokers import KafkaBroker
from ringmain_program.config import ConfigError
from ringmain_protocol import topics
from ringmain_trainer.config.trainer import IngestConfig, TrainerConfig
from ringmain_trainer.errors import HistoryError, IngestError
from ringmain_trainer.history.delta import append, offset_id, open_table, scan
from ringmain_trainer.history.landing import Landing
from ringmain_trainer.history.received import ReceivedChain, received_of
from ringmain_trainer.history.records import Batch, Names, ReceivedLog, Record
from ringmain_trainer.history.tables import INSTANT, LANDING, TABLES, bucket

log: Final = logging.getLogger("ringmain_trainer")

_KINDS: Final = {topic: kind for kind, topic in topics.KAFKA_TOPICS.items()}
_NEVER: Final = 2**63
_ANSWER_S: Final = 5.0
"""How long Kafka has for an answer."""

_BACKOFF_MAX_S: Final = 15.0
_RELOOK_S: Final = 30.0
"""How often new topics and partitions are looked for."""

_CONSUME: Final = 2_000
"""Records that are taken from the client at a time."""

_SETTLE_ROWS: Final = 2_000_000
_SETTLE_FILES: Final = 400
"""So much may wait in the landing of a table: a site's reader looks through it all."""

Place = tuple[str, int]
"""A Kafka topic and partition."""


class Summary(Struct):
    """What an ingest did.

    Attributes:
        messages: Records read and committed.
        rows: Rows written.
        duplicates: Records that were in the history already.
        commits: How often what was read was committed.
        rejected: Records that could not be used, by reason.
        seconds: From the first look at Kafka to the last commit.
        rows_s: Rows per second.
        behind: Records that are still in Kafka, by topic; only topics with some.
        missing: Topics that Kafka does not have.
    """

    messages: int = 0
    rows: int = 0
    duplicates: int = 0
    commits: int = 0
    rejected: dict[str, int] = {}
    seconds: float = 0.0
    rows_s: float = 0.0
    behind: dict[str, int] = {}
    missing: list[str] = []


class Load(NamedTuple):
    """What one commit takes: the batches, and the offset to read next from each place that was read."""

    batches: dict[str, Batch]
    offsets: dict[Place, int]
    messages: int


class Store:
    """The tables as one ingest goes on with them. Only one thread at a time may use it."""

    def __init__(self, location: str, cluster: str) -> None:
        self._location, self._cluster = location, cluster
        # the tables first: what is known may be newer than their offsets, never older
        self._tables = {kind: open_table(location, table) for kind, table in TABLES.items()}
        self._chains = {kind: ReceivedChain(location, kind, handle) for kind, handle in self._tables.items()}
        self._landings = {kind: Landing(TABLES[kind], handle) for kind, handle in self._tables.items()}

    def known(self) -> ReceivedLog:
        """What the tables hold; to be asked once."""
        known = received_of(self._chains)
        for chain in self._chains.values():
            chain.received = chain.received.clear()
        return known

    def offset(self, place: Place) -> int | None:
        """Where the history says to read on."""
        offset: int | None = self._tables[_KINDS[place[0]]].transaction_version(offset_id(self._cluster, *place))
        return offset

    def commit(self, load: Load, total: Summary) -> bool:
        """Write a load, table by table; whether it was possible. If not, the tables have to be opened again."""
        begin, rows = time.monotonic(), 0
        rejected: Counter[str] = Counter()
        for kind, batch in load.batches.items():
            offsets = {
                offset_id(self._cluster, *place): offset
                for place, offset in load.offsets.items()
                if _KINDS[place[0]] == kind
            }
            if not offsets:
                continue
            frame = self._landings[kind].place(self._without_repeated(batch))
            transactions = self._chains[kind].note(batch.taken(), now_us=time.time_ns() // 1000)
            if not append(self._tables[kind], frame, offsets | transactions):
                log.warning("table=%s another ingest was faster: loading the tables again", batch.table.name)
                return False
            self._chains[kind].committed()
            self._landings[kind].settle(self._tables[kind].table_uri, rows_max=_SETTLE_ROWS, files_max=_SETTLE_FILES)
            rows += frame.height
            total.rows += frame.height
            total.duplicates += batch.duplicates
            rejected += batch.rejected
        for reason, count in rejected.items():
            total.rejected[reason] = total.rejected.get(reason, 0) + count
        total.messages += load.messages
        total.commits += 1
        text = "commit messages=%d rows=%d rejected=%d commit_s=%.2f"
        log.info(text, load.messages, rows, rejected.total(), time.monotonic() - begin)
        return True

    def _without_repeated(self, batch: Batch) -> pl.DataFrame:
        """The rows of a batch, but for series that are in the history and were too old to be remembered."""
        frame = batch.frame()
        if not batch.unsure:
            return frame
        by = ["site", "name", "issued_at"]
        asked = pl.DataFrame(list(batch.unsure), schema=["site", "name", "issued_ms"], orient="row")
        asked = asked.select("site", "name", (pl.col("issued_ms") * 1000).cast(INSTANT).alias("issued_at"))
        stored = scan(self._location, topics.SERIES).filter(
            pl.col("bucket").is_in([LANDING, *(bucket(site) for site in asked["site"].unique())])
            & pl.col("site").is_in(asked["site"].unique().to_list())
            & pl.col("issued_at").is_between(asked["issued_at"].min(), asked["issued_at"].max())
        )
        found = stored.select(by).unique().collect().join(asked, on=by, how="semi")
        batch.duplicates += found.height
        return frame.join(found, on=by, how="anti", maintain_order="left")


class Intake:
    """What was read since the last commit; one load is written by another thread while the next one is read."""

    def __init__(self, store: Store, config: IngestConfig, total: Summary) -> None:
        self._store, self._config, self._total = store, config, total
        self._known = store.known()
        self._names = Names()
        self._writer = ThreadPoolExecutor(1, "commit")
        self._writing: Future[bool] | None = None
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown()  # waits: nobody else may open the tables meanwhile

    def take(self, message: KafkaMessage, place: Place, offset: int) -> None:
        """One record of Kafka; what cannot be used is counted and said."""
        kind, value = _KINDS[place[0]], message.value()
        batch = self._batches[kind]
        self._next[place] = offset + 1
        self._messages += 1
        self._bytes += len(value or b"")
        record = Record(kind, message.key(), value, message.headers() or (), message.timestamp()[1])  # type: ignore[arg-type]
        error = batch.add(record, self._known)
        if error is not None and batch.rejected[error.reason] == 1:  # one line per reason and commit
            at = f"{place[0]}/{place[1]}@{offset}"
            log.warning("record skipped place=%s reason=%s error=%s", at, error.reason, str(error)[:300])

    @property
    def waits(self) -> int:
        """Messages that no commit holds yet."""
        return self._messages

    def is_full(self) -> bool:
        """Whether a commit is due because of what was read."""
        rows = sum(batch.rows for batch in self._batches.values())
        return rows >= self._config.commit_rows or self._bytes >= self._config.commit_mb * 1e6

    def commit(self) -> bool:
        """Hand over what was read, as soon as the load before is written; whether that one was written."""
        if not self.settle():
            return False
        load = Load(self._batches, self._next, self._messages)
        self._writing = self._writer.submit(self._store.commit, load, self._total)
        self._begin()
        return True

    def settle(self) -> bool:
        """Wait until nothing is being written; whether it could be."""
        writing, self._writing = self._writing, None
        return writing is None or writing.result()

    def has_failed(self) -> bool:
        """Whether the load that was handed over could not be written."""
        return self._writing is not None and self._writing.done() and not self._writing.result()

    def _begin(self) -> None:
        self._batches = {kind: Batch(kind, self._names) for kind in TABLES}
        self._next: dict[Place, int] = {}
        self._messages = self._bytes = 0


def ingest(config: TrainerConfig, *, once: bool, stop: threading.Event) -> Summary:
    """Read from where the history ends; with `once` up to the offsets that are the newest now, else until `stop`.

    Waits for a Kafka that is not there, and, without `once`, for topics that are not there.

    Raises:
        HistoryError: If Kafka holds less than the history has already read from it, or the history cannot be written.
        IngestError: If, with `once`, Kafka has none of the topics.
    """
    total = Summary()
    begin = time.monotonic()
    ends: dict[Place, int] | None = None
    with closing(_consumer(config.kafka, config.ingest)) as consumer:
        while not stop.is_set():
            found = _wait_for_places(consumer, stop)
            if found is None:
                break
            cluster, places = found
            _say_what_is_missing(config, places, total, once=once)
            store = Store(config.history, cluster)
            starts = {place: _start(place, store.offset(place), marks) for place, marks in places.items()}
            if once and ends is None:
                ends = {place: high for place, (_, high) in places.items()}
            with Intake(store, config.ingest, total) as intake:
                done = _follow(consumer, intake, starts=starts, ends=ends, config=config.ingest, stop=stop, total=total)
            if done and once:
                break
    total.seconds = round(time.monotonic() - begin, 3)
    total.rows_s = round(total.rows / total.seconds, 1) if total.seconds else 0.0
    return total


def _say_what_is_missing(config: TrainerConfig, places: Iterable[Place], total: Summary, *, once: bool) -> None:
    there = {topic for topic, _ in places}
    total.missing = sorted(set(_KINDS) - there)
    if once and not there:
        raise IngestError(
            f"Kafka at {config.kafka.bootstrap_servers} has none of the topics {', '.join(total.missing)}: "
            "start the bridge, which makes them, or mend kafka.bootstrap_servers; nothing was written"
        )
    if total.missing:
        log.warning("topics that Kafka does not have, left out: %s", ", ".join(total.missing))


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
    progress = Progress(consumer, starts, ends, total)
    committed = looked = shown = time.monotonic()
    goes_on = True
    while goes_on and not stop.is_set() and (ends is None or left):
        goes_on = _read(consumer, intake, ends or {}, left, progress.positions)
        now = time.monotonic()
        if intake.has_failed():
            return False
        if intake.waits and (intake.is_full() or now - committed >= config.commit_s):
            if not intake.commit():
                return False
            committed = now
        if now - shown >= config.progress_s:
            progress.show(now)
            shown = now
        if ends is None and now - looked >= _RELOOK_S:
            looked, goes_on = now, goes_on and not _has_new_partitions(consumer, starts)
    done = (not intake.waits or intake.commit()) and intake.settle()
    total.behind = progress.behind()
    return done and goes_on


class Progress:
    """How far one pass has come, for the log.

    Attributes:
        positions: Offset to read next by place.
    """

    def __init__(
        self, consumer: Consumer, starts: Mapping[Place, int], ends: Mapping[Place, int] | None, total: Summary
    ) -> None:
        self._consumer, self._ends, self._total = consumer, ends, total
        self.positions = dict(starts)
        self._before = (time.monotonic(), total.rows, sum(starts.values()))

    def behind(self) -> dict[str, int]:
        """Records that are in Kafka and not read yet, by topic, as far as Kafka has said."""
        found: Counter[str] = Counter()
        for place, position in self.positions.items():
            end = self._end(place) if self._ends is None else self._ends.get(place, position)
            found[place[0]] += max(end - position, 0)
        return {topic: count for topic, count in sorted(found.items()) if count}

    def show(self, now: float) -> None:
        """One line: speed since the last one, what is left, when the end is reached at this speed."""
        before, rows, read = self._before
        self._before = (now, self._total.rows, sum(self.positions.values()))
        records_s = (self._before[2] - read) / (now - before)
        behind = self.behind()
        left = sum(behind.values())
        log.info(
            "progress rows=%d rows_s=%.0f records_s=%.0f behind=%s end_s=%s",
            self._total.rows,
            (self._total.rows - rows) / (now - before),
            records_s,
            ",".join(f"{topic}:{count}" for topic, count in behind.items()) or 0,
            f"{left / records_s:.0f}" if records_s else "unknown" if left else 0,
        )

    def _end(self, place: Place) -> int:
        marks = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        return -1 if marks is None else int(marks[1])  # negative: nothing was fetched from there yet


def _read(
    consumer: Consumer, intake: Intake, ends: Mapping[Place, int], left: set[Place], positions: dict[Place, int]
) -> bool:
    """Take in what has come, and strike out of `left` what is read to its end; whether reading may go on."""
    goes_on = True
    for message in consumer.consume(_CONSUME, 0.2):
        if message.error() is not None:
            goes_on = _tolerated(message, left) and goes_on
            continue
        place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
        intake.take(message, place, offset)
        positions[place] = offset + 1
        if offset + 1 >= ends.get(place, _NEVER):
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
    backoff = BackOff(random.Random(), longest_s=_BACKOFF_MAX_S)  # noqa: S311  jitter
    while not stop.is_set():
        try:
            cluster, found = _partitions(consumer)
            marks = {place: consumer.get_watermark_offsets(TopicPartition(*place), _ANSWER_S) for place in sorted(found)}
            return cluster, marks
        except KafkaException as error:
            delay_s = backoff.next_s()
            log.warning("kafka does not answer, next try in %.1f s: %s", delay_s, error.args[0])
            stop.wait(delay_s)
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


def _consumer(config: KafkaBroker, limits: IngestConfig) -> Consumer:
    try:
        connection = config.connection_settings()
    except (OSError, ValueError) as error:
        raise ConfigError(f"kafka.sasl_password_file: {error}") from error
    return Consumer(
        connection
        | {
            "group.id": "ringmain-trainer",  # required, but nothing is ever committed to it
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": limits.queue_mb * 1000,
            "queued.min.messages": 1_000_000,  # the bytes above are the limit
            "log_level": 0,  # errors come through the calls; librdkafka would write one line per broken connection
        }
    )
