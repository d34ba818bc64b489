"""Kafka to Delta on a real Kafka: exactly once, whatever is killed, sent twice or sent wrong."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import polars as pl
import pytest
from benchmarks.ingest import measure
from confluent_kafka import Producer
from deltalake import DeltaTable

from ringmain_program.brokers import KafkaBroker
from ringmain_protocol import topics
from ringmain_protocol.messages import Readings, Series, Steps, encode
from ringmain_trainer.config.trainer import IngestConfig, TrainerConfig
from ringmain_trainer.errors import HistoryError, IngestError
from ringmain_trainer.history.delta import scan
from ringmain_trainer.history.ingest import Summary, ingest
from ringmain_trainer.history.migrations import VERSION_PROPERTY
from ringmain_trainer.history.received import known_sequences
from ringmain_trainer.history.sequence_ranges import NEWEST
from servers.base import wait_until
from servers.kafka import Kafka

STREAM = "0123456789abcdef"
SITES = [f"liander-{number}" for number in (287, 307, 435, 438)]
AT_MS = 1_603_000_000_000


class Sender:
    """Stands for the bridge: puts messages into Kafka as it does."""

    def __init__(self, kafka: Kafka, *, partitions: int = 3, only: Sequence[str] = tuple(topics.KAFKA_TOPICS)) -> None:
        for topic in (topics.KAFKA_TOPICS[kind] for kind in only):
            if topic not in kafka.topics():
                kafka.create_topic(topic, partitions)
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})

    def put(self, kind: str, site: str, payload: bytes | None, *, name: str | None = None, **headers: bytes) -> None:
        """One record."""
        all_headers: Any = [("mqtt_topic", topics.topic(site, kind, name).encode()), *headers.items()]
        self._producer.produce(topics.KAFKA_TOPICS[kind], payload, site, headers=all_headers)
        self._producer.poll(0)

    def readings(self, site: str, *sequences: int, rows: int = 3) -> None:
        """Batches of readings with these sequences."""
        for sequence in sequences:
            columns: dict[str, Any] = {
                "signals": ["load_kw"] * rows,
                "at_ms": [AT_MS + 1000 * (rows * sequence + i) for i in range(rows)],
                "values": [float(sequence)] * rows,
                "quality": [0] * rows,
            }
            self.put(topics.READINGS, site, encode(Readings(stream=STREAM, sequence=sequence, **columns)))

    def steps(self, site: str, *sequences: int) -> None:
        """Step values with these sequences."""
        for sequence in sequences:
            at_ms = AT_MS - AT_MS % 900_000 + 900_000 * sequence
            columns: dict[str, Any] = {"signals": ["load_kw"], "at_ms": [at_ms], "values": [1.0], "quality": [0]}
            self.put(topics.STEPS, site, encode(Steps(stream=STREAM, sequence=sequence, step_s=900, **columns)))

    def series(self, site: str, *issued_at_ms: int) -> None:
        """Issues of a series of two values."""
        for at_ms in issued_at_ms:
            message = Series(issued_at_ms=at_ms, start_ms=at_ms, step_s=900, unit="degC", values=[1.0, None])
            self.put(topics.SERIES, site, encode(message), name="temperature_degc")

    def flush(self) -> None:
        """Wait until Kafka has them."""
        assert self._producer.flush(60) == 0


def config_for(kafka: Kafka, history: Path, **changes: Any) -> TrainerConfig:
    kafka_config = KafkaBroker(bootstrap_servers=kafka.bootstrap_servers)
    return TrainerConfig(history=str(history), kafka=kafka_config, ingest=IngestConfig(**changes))


def once(kafka: Kafka, history: Path, **changes: Any) -> Summary:
    return ingest(config_for(kafka, history, **changes), once=True, stop=threading.Event())


def has_nothing_to_do(kafka: Kafka, history: Path) -> bool:
    done = once(kafka, history)
    return (done.messages, done.rows, done.commits, done.behind) == (0, 0, 0, {})


def counts(history: Path, kind: str = topics.READINGS) -> Counter[tuple[str, int]]:
    """Rows of each message in the history."""
    frame = scan(str(history), kind).group_by("site", "sequence").agg(pl.len().alias("rows")).collect()
    return Counter({(site, sequence): rows for site, sequence, rows in frame.iter_rows()})


def log_length(history: Path, table: str) -> int:
    """Commits of one table so far."""
    log = history / table / "_delta_log"
    return sum(1 for path in log.glob("*.json") if path.stem.isdigit()) if log.is_dir() else 0


def commits(history: Path) -> int:
    """Commits of all tables with rows so far."""
    return log_length(history, "readings") + log_length(history, "steps")


def has_messages(history: Path, count: int) -> bool:
    return len(counts(history)) >= count


@contextmanager
def running(  # what of the configuration matters here
    kafka: Kafka, history: Path, log: Path, *, commit_s: float = 0.2, commit_rows: int = 1_000_000, file_bytes_max: int = -1
) -> Iterator[subprocess.Popen[bytes]]:
    """The real program, continuously; killed at the end, if it has not ended before."""
    config = log.with_suffix(".toml")
    config.write_text(
        f'history = "{history}"\n[kafka]\nbootstrap_servers = "{kafka.bootstrap_servers}"\n[ingest]\n'
        f"commit_s = {commit_s}\ncommit_rows = {commit_rows}\nprogress_s = 0.2\n"
    )
    output: IO[bytes]
    with log.open("ab") as output:
        command = [sys.executable, "-m", "ringmain_trainer", "ingest", "--config", str(config)]
        limit = ["prlimit", f"--fsize={file_bytes_max}"] if file_bytes_max > 0 else []
        process = subprocess.Popen([*limit, *command], stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def test_every_kind_arrives_in_its_table_and_a_second_run_has_nothing_to_do(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history = Sender(fresh_kafka), tmp_path / "history"
    sender.readings("liander-287", 1, 2)
    steps = Steps(
        stream=STREAM,
        sequence=3,
        step_s=900,
        signals=["load_kw"],
        at_ms=[AT_MS - AT_MS % 900_000],
        values=[1.0],
        quality=[0],
    )
    sender.put(topics.STEPS, "liander-287", encode(steps))
    series = Series(issued_at_ms=AT_MS, start_ms=AT_MS, step_s=900, unit="degC", values=[1.0, None])
    sender.put(topics.SERIES, "liander-287", encode(series), name="temperature_degc", received_ms=b"1700000000000")
    sender.flush()
    done = once(fresh_kafka, history)
    assert (done.messages, done.rows, done.duplicates, done.commits, done.rejected) == (4, 9, 0, 1, {})
    assert done.rows_s > 0
    assert has_nothing_to_do(fresh_kafka, history)
    assert scan(str(history), topics.READINGS).collect().height == 6
    assert scan(str(history), topics.SERIES).collect()["received_at"].dt.epoch("ms").to_list() == [1_700_000_000_000] * 2
    assert known_sequences(str(history)) == {("liander-287", STREAM): [(1, 3)]}


def test_what_was_sent_twice_is_in_the_history_once_also_over_restarts(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history = Sender(fresh_kafka), tmp_path / "history"
    sender.readings("liander-287", 1, 2, 2, 1, 4)
    sender.flush()
    assert once(fresh_kafka, history).duplicates == 2
    sender.readings("liander-287", 1, 2, 3, 4, 4)
    sender.readings("liander-307", 1)
    sender.flush()
    assert once(fresh_kafka, history).duplicates == 4
    assert counts(history) == {**dict.fromkeys([("liander-287", n) for n in (1, 2, 3, 4)], 3), ("liander-307", 1): 3}


def test_poison_is_counted_and_skipped_and_nothing_else_is_lost(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history = Sender(fresh_kafka), tmp_path / "history"
    sender.readings("liander-287", 1)
    poison = (b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"stream": 1}', b"0", None)
    for payload in poison:
        sender.put(topics.READINGS, "liander-287", payload)
    sender.readings("liander-287", 2)
    sender.flush()
    done = once(fresh_kafka, history)
    assert sum(done.rejected.values()) == len(poison)
    assert done.rejected["no_value"] == 1
    assert counts(history) == {("liander-287", 1): 3, ("liander-287", 2): 3}
    assert has_nothing_to_do(fresh_kafka, history)


def test_implausible_times_are_marked(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history = Sender(fresh_kafka), tmp_path / "history"
    message = Readings(stream=STREAM, sequence=1, signals=["load_kw"], at_ms=[0], values=[1.0], quality=[0])
    sender.put(topics.READINGS, "liander-287", encode(message), implausible_time=b"1")
    sender.readings("liander-287", 2, rows=1)
    sender.flush()
    once(fresh_kafka, history)
    rows = scan(str(history), topics.READINGS).sort("sequence").collect()
    assert rows["time_plausible"].to_list() == [False, True]


def test_small_commits_give_the_same_history_as_large_ones(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender = Sender(fresh_kafka)
    for site in SITES:
        sender.readings(site, *range(1, 200))
    sender.flush()
    large, small = once(fresh_kafka, tmp_path / "large"), once(fresh_kafka, tmp_path / "small", commit_rows=1)
    assert large.rows == small.rows == 4 * 199 * 3
    assert counts(tmp_path / "large") == counts(tmp_path / "small")


def expected_rows(sent: int) -> dict[str, dict[tuple[str, int], int]]:
    """Rows of each message when sequences up to `sent` were sent: every third one steps, the others readings."""
    sequences = [(site, n) for site in SITES for n in range(1, sent + 1)]
    return {
        topics.READINGS: {(site, n): 3 for site, n in sequences if n % 3},
        topics.STEPS: {(site, n): 1 for site, n in sequences if n % 3 == 0},
    }


def send_some(sender: Sender, first: int, count: int, rng: random.Random) -> None:
    """Readings and steps of all sites, late ones, and some twice."""
    for sequence in rng.sample(range(first, first + count), count):
        for site in SITES:
            put = sender.readings if sequence % 3 else sender.steps
            put(site, sequence)
            if rng.random() < 0.1:
                put(site, rng.randint(1, sequence) // 3 * 3 + sequence % 3 or sequence)
    sender.flush()


def test_an_ingest_killed_at_any_moment_leaves_every_message_exactly_once(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history, rng = Sender(fresh_kafka), tmp_path / "history", random.Random(7)
    killed, sent, begin = 0, 0, time.monotonic()
    while killed < 4 or (killed < 12 and time.monotonic() - begin < 20):
        send_some(sender, sent + 1, 30, rng)
        sent += 30
        log = tmp_path / f"ingest-{killed}.log"
        with running(fresh_kafka, history, log, commit_s=0.02) as process:
            wait_until(lambda log=log: b"reading partitions" in log.read_bytes(), what="it reads")  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
            killed += 1
    assert commits(history) > 0
    once(fresh_kafka, history)
    expected = expected_rows(sent)
    assert {kind: counts(history, kind) for kind in expected} == expected
    assert known_sequences(str(history)) == {(site, STREAM): [(1, sent)] for site in SITES}


def test_an_ingest_killed_between_the_commits_of_two_tables_goes_on_in_both(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history, rng = Sender(fresh_kafka), tmp_path / "history", random.Random(8)
    once(fresh_kafka, history)  # makes the tables
    between, sent = 0, 0
    for _ in range(8):
        send_some(sender, sent + 1, 30, rng)
        sent += 30
        readings, steps = log_length(history, "readings"), log_length(history, "steps")
        with running(fresh_kafka, history, tmp_path / "ingest.log", commit_s=30, commit_rows=1) as process:
            while log_length(history, "readings") == readings and process.poll() is None:
                pass
            process.send_signal(signal.SIGSTOP)
            between += log_length(history, "steps") == steps
            process.send_signal(signal.SIGKILL)
        if between:
            break
    assert between, "it was never caught between the two tables"
    once(fresh_kafka, history)
    expected = expected_rows(sent)
    assert {kind: counts(history, kind) for kind in expected} == expected


def test_two_that_ingest_at_once_do_not_double_anything(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history, logs = Sender(fresh_kafka), tmp_path / "history", [tmp_path / "a.log", tmp_path / "b.log"]
    rng = random.Random(9)
    with (
        running(fresh_kafka, history, logs[0], commit_s=0.05),
        running(fresh_kafka, history, logs[1], commit_s=0.05),
    ):
        for log in logs:
            wait_until(lambda log=log: b"reading partitions" in log.read_bytes(), what="both read")  # type: ignore[misc]
        for first in range(1, 61, 3):
            send_some(sender, first, 3, rng)
        expected = expected_rows(60)
        total = sum(len(rows) for rows in expected.values())
        wait_until(
            lambda: sum(len(counts(history, kind)) for kind in expected) == total,
            timeout_s=60,
            what="all are in the history",
        )
        wait_until(lambda: any(b"another ingest was faster" in log.read_bytes() for log in logs), what="one was refused")
    once(fresh_kafka, history)
    assert {kind: counts(history, kind) for kind in expected} == expected
    assert not any(b"Traceback" in log.read_bytes() for log in logs)


def test_a_stopped_ingest_commits_what_it_has_read(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history = Sender(fresh_kafka), tmp_path / "history"
    sender.readings("liander-287", 1, 2, 3)
    sender.flush()
    with running(fresh_kafka, history, tmp_path / "ingest.log", commit_s=0.2) as process:
        wait_until(lambda: len(counts(history)) == 3, what="the first messages are in the history")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_topic_that_was_made_anew_is_refused_and_nothing_is_written(fresh_kafka: Kafka, tmp_path: Path) -> None:
    history = tmp_path / "history"
    sender = Sender(fresh_kafka, partitions=1)
    sender.readings("liander-287", *range(1, 10))
    sender.flush()
    once(fresh_kafka, history)
    fresh_kafka.delete_topics()
    sender = Sender(fresh_kafka, partitions=1)
    sender.readings("liander-287", 20)
    sender.flush()
    with pytest.raises(HistoryError, match="ends at offset 1, the history has read up to 9"):
        once(fresh_kafka, history)
    assert len(counts(history)) == 9


def test_an_ingest_waits_for_a_kafka_that_is_not_there_yet_and_says_so(own_kafka: Kafka, tmp_path: Path) -> None:
    sender, history, log = Sender(own_kafka), tmp_path / "history", tmp_path / "ingest.log"
    sender.readings("liander-287", 1)
    sender.flush()
    own_kafka.stop()
    with running(own_kafka, history, log):
        wait_until(lambda: b"kafka does not answer, next try in" in log.read_bytes(), timeout_s=60, what="it says so")
        own_kafka.start()
        wait_until(lambda: len(counts(history)) == 1, timeout_s=90, what="the message is in the history")
    assert b"Traceback" not in log.read_bytes()


def test_an_ingest_goes_on_after_kafka_was_killed(own_kafka: Kafka, tmp_path: Path) -> None:
    sender, history, log = Sender(own_kafka), tmp_path / "history", tmp_path / "ingest.log"
    with running(own_kafka, history, log) as process:
        sender.readings("liander-287", 1)
        sender.flush()
        wait_until(lambda: len(counts(history)) == 1, timeout_s=60, what="the first message is in the history")
        own_kafka.kill()
        own_kafka.start()
        sender.readings("liander-287", 2)
        sender.flush()
        wait_until(lambda: len(counts(history)) == 2, timeout_s=90, what="the second message is in the history")
        assert process.poll() is None
    assert set(counts(history).values()) == {3}


def test_partitions_that_are_added_later_are_read_by_the_next_run(fresh_kafka: Kafka, tmp_path: Path) -> None:
    history = tmp_path / "history"
    Sender(fresh_kafka, partitions=1)
    assert has_nothing_to_do(fresh_kafka, history)
    fresh_kafka.delete_topics()
    sender = Sender(fresh_kafka)
    for site in SITES:
        sender.readings(site, 1)
    sender.flush()
    assert once(fresh_kafka, history).messages == len(SITES)


def test_missing_topics_are_named_and_the_others_are_read(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender = Sender(fresh_kafka, only=[topics.READINGS])
    sender.readings("liander-287", 1)
    sender.flush()
    done = once(fresh_kafka, tmp_path / "history")
    assert done.messages == 1
    assert done.missing == sorted(set(topics.KAFKA_TOPICS.values()) - {"ringmain.readings"})


def test_a_kafka_without_any_topic_is_refused_and_nothing_is_made(fresh_kafka: Kafka, tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"has none of the topics ringmain\.forecasts, .*: start the bridge"):
        once(fresh_kafka, tmp_path / "history")
    assert not (tmp_path / "history").exists()


def test_an_issue_too_old_to_be_remembered_is_looked_up_in_the_history(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history = Sender(fresh_kafka), tmp_path / "history"
    hourly = [AT_MS + 3_600_000 * n for n in range(3 * NEWEST)]
    sender.series("liander-287", *hourly)
    sender.flush()
    assert once(fresh_kafka, history).rows == 2 * len(hourly)
    sender.series("liander-287", hourly[0], hourly[0] - 1, hourly[5], hourly[0] - 1, hourly[-1])
    sender.flush()
    done = once(fresh_kafka, history)
    assert (done.rows, done.duplicates) == (2, 4)
    issues = scan(str(history), topics.SERIES).group_by("issued_at").agg(pl.len()).collect()
    assert issues.height == len(hourly) + 1
    assert set(issues["len"]) == {2}


def test_rows_that_retention_deleted_do_not_come_back(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history = Sender(fresh_kafka), tmp_path / "history"
    sender.readings("liander-287", *range(1, 20))
    sender.flush()
    once(fresh_kafka, history)
    DeltaTable(str(history / "readings")).delete()
    sender.readings("liander-287", *range(1, 22))
    sender.flush()
    assert once(fresh_kafka, history).duplicates == 19
    assert counts(history) == {("liander-287", 20): 3, ("liander-287", 21): 3}


def test_a_table_of_a_newer_trainer_is_refused_with_a_clear_text(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history = Sender(fresh_kafka), tmp_path / "history"
    sender.readings("liander-287", 1)
    sender.flush()
    once(fresh_kafka, history)
    DeltaTable(str(history / "steps")).alter.set_table_properties({VERSION_PROPERTY: "99"}, raise_if_not_exists=False)
    sender.readings("liander-287", 2)
    sender.flush()
    with pytest.raises(HistoryError, match=r"steps.? has version 99, this trainer knows versions up to"):
        once(fresh_kafka, history)
    assert counts(history) == {("liander-287", 1): 3}


def test_a_full_disk_stops_it_with_a_clear_text_and_the_next_start_goes_on(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, history, log = Sender(fresh_kafka), tmp_path / "history", tmp_path / "ingest.log"
    for site in SITES:
        sender.readings(site, *range(1, 100), rows=200)
    sender.flush()
    with running(fresh_kafka, history, log, commit_s=0.5, file_bytes_max=20_000) as process:
        assert process.wait(60) == 1
    assert b"cannot be written" in log.read_bytes()
    assert b"what was read is read again at the next start" in log.read_bytes()
    assert b"Traceback" not in log.read_bytes()
    assert counts(history) == {}
    once(fresh_kafka, history)
    assert counts(history) == {(site, n): 200 for site in SITES for n in range(1, 100)}


def test_the_log_tells_how_far_it_is(fresh_kafka: Kafka, tmp_path: Path) -> None:
    sender, log = Sender(fresh_kafka), tmp_path / "ingest.log"
    sender.readings("liander-287", *range(1, 10))
    sender.flush()
    with running(fresh_kafka, tmp_path / "history", log, commit_s=0.05):
        wait_until(lambda: b"progress rows=27 " in log.read_bytes(), what="it tells")
        wait_until(lambda: b" behind=0 end_s=0" in log.read_bytes(), what="it has read all")


@pytest.mark.parametrize("kind", [topics.READINGS, topics.STEPS])
def test_the_benchmark_counts_what_is_in_the_history(kind: str, fresh_kafka: Kafka, tmp_path: Path) -> None:
    run, figures = measure(fresh_kafka, tmp_path / "run", kind, 1000)
    assert figures[f"{kind}_rows"] == run.summary["rows"] == 1000 * (20 if kind == topics.READINGS else 8)
    assert figures[f"{kind}_per_s"] > 0
    assert run.rss_mb > 50
