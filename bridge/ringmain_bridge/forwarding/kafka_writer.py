"""Writes to Kafka: idempotent producer, creation of missing topics, later attempts. Never blocks, never drops.

Any thread may produce records; everything else, delivery reports included, happens in the thread that calls `poll`.
"""

import heapq
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ringmain_bridge.config import Kafka
from ringmain_bridge.forwarding.forward import Record

MAX_RECORD_BYTES: Final = 1_048_576
REQUEST_TIMEOUT_S: Final = 5.0
_ANY_PARTITION: Final = -1

OnReport = Callable[[KafkaError | None, Message | None], None]
LOG = logging.getLogger("ringmain_bridge.kafka")

PERMANENT: Final = frozenset((
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.INVALID_RECORD,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    KafkaError.POLICY_VIOLATION,
    KafkaError._BAD_MSG,  # noqa: SLF001  librdkafka's own codes are spelled so
    KafkaError._INVALID_ARG,  # noqa: SLF001
))  # fmt: skip
"""Faults of the record itself. Every other error (time-out, missing topic or permission, clock) can end."""

BATCH_ERRORS: Final = frozenset((KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD))
"""Errors that Kafka reports for every record of a batch, also for valid ones."""


class KafkaFatalError(Exception):
    """The producer has failed for good: end the process. The broker sends unacknowledged messages again."""


def settings(config: Kafka, *, client_id: str) -> dict[str, Any]:
    """Settings of librdkafka for the connection.

    Raises:
        OSError: If the password file cannot be read.
        ValueError: If the password file holds no password.
    """
    return config.connection_settings() | {
        "client.id": client_id,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 10_000,
        "log_level": 2,  # librdkafka logs every attempt; `_on_error` logs each error once
    }


class KafkaWriter:
    """An idempotent producer; any thread may hand records over."""

    def __init__(self, config: Kafka, *, client_id: str, queue_bytes: int) -> None:
        self._config = config
        self._connection = settings(config, client_id=client_id)
        self._producer = Producer(
            {
                **self._connection,
                "enable.idempotence": True,
                # The first batch of a partition may fail for a moment, as just after the creation of the topic. A broker
                # that does not know the producer yet accepts the second batch, and then takes the first for a duplicate.
                "max.in.flight.requests.per.connection": 1,
                "partitioner": "murmur2_random",
                "linger.ms": config.linger_ms,
                "compression.type": config.compression,
                "message.timeout.ms": config.message_timeout_s * 1000,
                "message.max.bytes": MAX_RECORD_BYTES,
                "queue.buffering.max.messages": 100_000,
                "queue.buffering.max.kbytes": max(queue_bytes // 1024, 4096),
                "error_cb": self._on_error,
            },
            logger=LOG,
        )
        self._admin: AdminClient | None = None
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Record, OnReport]] = deque()  # the queue of librdkafka was full
        self._refused: deque[tuple[KafkaError, OnReport]] = deque()  # librdkafka did not take them into its queue
        self._later: list[tuple[float, int, Record, OnReport]] = []
        self._numbers = itertools.count()
        self._fatal: KafkaError | None = None
        self._logged: set[int] = set()  # errors in the log since Kafka last came back

    def produce(self, records: Iterable[tuple[Record, OnReport]]) -> None:
        """Hand records over in order; `poll` calls `on_report` once Kafka has confirmed or refused the record."""
        with self._lock:
            for record, on_report in records:
                if self._waiting or not self._produced(record, on_report):
                    self._waiting.append((record, on_report))

    def produce_later(self, record: Record, on_report: OnReport, *, at_s: float) -> None:
        """Produce in the first `poll` after this time of the monotonic clock."""
        heapq.heappush(self._later, (at_s, next(self._numbers), record, on_report))

    def poll(self, timeout_s: float, *, now_s: float) -> None:
        """Serve delivery reports, and produce the records that had to wait.

        Raises:
            KafkaFatalError: If the producer has failed for good; end the process.
        """
        while self._later and self._later[0][0] <= now_s:
            _, _, record, on_report = heapq.heappop(self._later)
            self.produce([(record, on_report)])
        self._producer.poll(timeout_s)
        if self._fatal is not None:
            raise KafkaFatalError(self._fatal.str())
        while self._refused:
            error, on_report = self._refused.popleft()
            on_report(error, None)
        with self._lock:
            while self._waiting and self._produced(*self._waiting[0]):
                self._waiting.popleft()

    def create_missing_topics(self, names: Sequence[str]) -> str | None:
        """Create missing topics, with partitions and retention of the configuration.

        Blocks up to the request timeout. Returns None if all exist, else the problem.
        """
        try:
            there = self._producer.list_topics(timeout=REQUEST_TIMEOUT_S).topics
        except KafkaException as error:
            return str(error.args[0].str())
        missing = [name for name in names if name not in there or there[name].error is not None]
        if not missing:
            return None
        if self._admin is None:
            self._admin = AdminClient(self._connection, logger=LOG)
        options = {
            "retention.ms": str(self._config.retention_days * 86_400_000),
            # by Kafka's clock: with a wrong clock of ours, Kafka refuses records as too new, or deletes them at once
            "message.timestamp.type": "LogAppendTime",
        }
        new = [NewTopic(name, self._config.partitions, self._config.replication_factor, config=options) for name in missing]
        problems = []
        for name, created in self._admin.create_topics(new, request_timeout=REQUEST_TIMEOUT_S).items():
            try:
                created.result(timeout=2 * REQUEST_TIMEOUT_S)
                LOG.info("kafka topic created topic=%s partitions=%d", name, self._config.partitions)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another replica was faster
                    problems.append(f"{name}: {error.args[0].str()}")
            except TimeoutError:
                problems.append(f"{name}: no answer")
        return "; ".join(problems) or None

    def answered(self) -> None:
        """Kafka has confirmed records: log the end of an outage."""
        if KafkaError._ALL_BROKERS_DOWN in self._logged:  # noqa: SLF001
            self._logged.clear()
            LOG.info("kafka answers again")

    def _produced(self, record: Record, on_report: OnReport) -> bool:
        try:
            # topic, value, key, partition, callback, on_delivery, timestamp, headers; names would cost a tenth of the call
            self._producer.produce(
                record.topic, record.value, record.key, _ANY_PARTITION, on_report, on_report, record.timestamp_ms,
                record.headers,
            )  # fmt: skip
        except BufferError:
            return False
        except KafkaException as error:
            self._refused.append((error.args[0], on_report))
        return True

    def _on_error(self, error: KafkaError) -> None:
        code = error.code()
        if error.fatal() or code == KafkaError._FATAL:  # noqa: SLF001
            self._fatal = error
        elif code not in self._logged:
            self._logged.add(code)
            LOG.warning("kafka error bootstrap_servers=%s error=%r", self._config.bootstrap_servers, error.str())
