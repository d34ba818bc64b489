"""What was received is remembered as long as the table lives, whatever is done to its rows, its files and its log."""

import os
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from ringmain_protocol import topics
from ringmain_protocol.messages import Readings, Series, Status, Steps, encode
from ringmain_trainer.history import received as known_module
from ringmain_trainer.history.delta import append, open_table, table_path
from ringmain_trainer.history.received import FOLDER, ReceivedChain, known_sequences, merged, read_received
from ringmain_trainer.history.records import Batch, ReceivedLog, Record
from ringmain_trainer.history.sequence_ranges import NEWEST
from ringmain_trainer.history.tables import TABLES

AT_MS = 1_603_000_000_000
STREAM = "0123456789abcdef"
VALUES: dict[str, Any] = {"signals": ["load_kw"], "at_ms": [AT_MS], "values": [1.0], "quality": [0]}


class Ingest:
    """Commits as the real one does, without Kafka."""

    def __init__(self, history: Path | str) -> None:
        self._tables = {kind: open_table(str(history), table) for kind, table in TABLES.items()}
        self._chains = {kind: ReceivedChain(str(history), kind, handle) for kind, handle in self._tables.items()}
        self._offset = max((handle.transaction_version("offset") or 0) for handle in self._tables.values())
        self.known = read_received(str(history))

    def commit(self, kind: str, *records: Record, crash: bool = False) -> int:
        """Take records in and commit them; how many were new."""
        batch = Batch(kind)
        for record in records:
            assert batch.add(record, self.known) is None
        transactions = self._chains[kind].note(batch.taken(), now_us=1_795_000_000_000_000)
        if crash:
            return 0
        self._offset += 1
        assert append(self._tables[kind], batch.frame(), {"offset": self._offset, **transactions})
        self._chains[kind].committed()
        return len(records) - batch.duplicates


def readings(sequence: int, site: str = "liander-287", stream: str = STREAM) -> Record:
    message = Readings(stream=stream, sequence=sequence, **VALUES)
    return Record(topics.READINGS, site.encode(), encode(message), (), AT_MS)


def steps(sequence: int, site: str = "liander-287") -> Record:
    message = Steps(stream=STREAM, sequence=sequence, step_s=900, **VALUES)
    return Record(topics.STEPS, site.encode(), encode(message), (), AT_MS)


def series(issued_at_ms: int) -> Record:
    message = Series(issued_at_ms=issued_at_ms, start_ms=AT_MS, step_s=900, unit="degC", values=[1.0])
    headers = [("mqtt_topic", topics.topic("liander-287", topics.SERIES, "wind").encode())]
    return Record(topics.SERIES, b"liander-287", encode(message), headers, AT_MS)


def status(at_ms: int) -> Record:
    texts: dict[str, Any] = {"agent_version": "1", "config_sha256": "", "stream": STREAM, "mode_source": "config"}
    message = Status(at_ms=at_ms, time_zone="Europe/Amsterdam", mode="observe", fallback="rule", releases={}, **texts)  # type: ignore[arg-type]
    return Record(topics.STATUS, b"liander-287", encode(message), (), AT_MS)


def files(history: Path, kind: str) -> list[str]:
    return sorted(path.name for path in (history / TABLES[kind].name / FOLDER).iterdir())


def test_everything_received_is_known_at_the_next_start(tmp_path: Path) -> None:
    rng, ingest, expected = random.Random(3), Ingest(tmp_path), set[tuple[str, int]]()
    for _ in range(12):
        some = {(rng.choice(["liander-287", "uw-114"]), rng.randrange(60)) for _ in range(8)}
        assert ingest.commit(topics.READINGS, *(readings(n, site) for site, n in sorted(some))) == len(some - expected)
        expected |= some
        if rng.random() < 0.3:
            ingest = Ingest(tmp_path)
        found = known_sequences(str(tmp_path))
        assert {(site, n) for (site, _), ranges in found.items() for a, b in ranges for n in range(a, b + 1)} == expected


def test_a_file_whose_commit_never_came_says_nothing(tmp_path: Path) -> None:
    Ingest(tmp_path).commit(topics.READINGS, readings(1))
    Ingest(tmp_path).commit(topics.READINGS, readings(2), crash=True)
    assert len(files(tmp_path, topics.READINGS)) == 2
    assert known_sequences(str(tmp_path)) == {("liander-287", STREAM): [(1, 1)]}
    assert Ingest(tmp_path).commit(topics.READINGS, readings(2)) == 1


def test_the_holes_of_one_table_are_filled_by_what_the_others_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_module, "CHAIN_MAX", 3)
    ingest = Ingest(tmp_path)
    for first in range(0, 60, 6):
        ingest.commit(topics.READINGS, *(readings(n) for n in range(first, first + 6, 2)))
        ingest.commit(topics.STEPS, *(steps(n) for n in range(first + 1, first + 6, 2)))
    assert known_sequences(str(tmp_path)) == {("liander-287", STREAM): [(0, 59)]}
    parts = [pl.read_parquet(tmp_path / "steps" / FOLDER / name) for name in files(tmp_path, topics.STEPS)]
    whole = [part for part in parts if part["previous"].item(0) is None]
    assert max(part["last"].max() for part in whole) > 20  # type: ignore[type-var,operator]
    assert all(part.height <= 4 for part in whole)  # joined, not a row for every second number


def test_files_do_not_pile_up_and_old_numbers_stay_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest = Ingest(tmp_path)
    monkeypatch.setattr(known_module, "CHAIN_MAX", 10)
    for n in range(40):
        ingest.commit(topics.READINGS, readings(n))
        ingest = Ingest(tmp_path) if n % 15 == 14 else ingest
    assert len(files(tmp_path, topics.READINGS)) <= 2 * (10 + 2)
    assert known_sequences(str(tmp_path)) == {("liander-287", STREAM): [(0, 39)]}
    assert ingest.commit(topics.READINGS, readings(0), readings(30)) == 0


def test_checkpoints_clean_up_compaction_vacuum_and_deletion_make_nothing_forgotten(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path)
    for n in range(10):
        ingest.commit(topics.READINGS, readings(n))
    handle = DeltaTable(table_path(str(tmp_path), TABLES[topics.READINGS]))
    handle.optimize.compact()
    handle.delete()
    short = {"delta.logRetentionDuration": "interval 0 days", "delta.deletedFileRetentionDuration": "interval 0 days"}
    handle.alter.set_table_properties(short)
    handle.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    handle.update_incremental()
    handle.create_checkpoint()
    log = tmp_path / "readings" / "_delta_log"
    for path in log.glob("*.json"):  # as if they were old
        os.utime(path, (0, 0))
    handle.cleanup_metadata()
    assert len(list(log.glob("*.json"))) <= 1
    assert DeltaTable(handle.table_uri).count() == 0
    assert known_sequences(str(tmp_path)) == {("liander-287", STREAM): [(0, 9)]}
    assert Ingest(tmp_path).commit(topics.READINGS, readings(4), readings(10)) == 1


def test_a_history_without_these_files_is_read_from_its_rows_once(tmp_path: Path) -> None:
    batch = Batch(topics.READINGS)
    for n in (1, 2, 5):
        batch.add(readings(n), ReceivedLog())
    assert append(open_table(str(tmp_path), batch.table), batch.frame(), {})
    assert known_sequences(str(tmp_path)) == {("liander-287", STREAM): [(1, 2), (5, 5)]}
    assert Ingest(tmp_path).commit(topics.READINGS, readings(2), readings(3)) == 1
    DeltaTable(table_path(str(tmp_path), batch.table)).delete()
    assert known_sequences(str(tmp_path)) == {("liander-287", STREAM): [(1, 3), (5, 5)]}


def test_a_copy_of_the_table_without_the_files_is_read_from_its_rows(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path)
    ingest.commit(topics.READINGS, readings(1))
    ingest.commit(topics.READINGS, readings(2))
    for name in files(tmp_path, topics.READINGS):
        (tmp_path / "readings" / FOLDER / name).unlink()
    assert known_sequences(str(tmp_path)) == {("liander-287", STREAM): [(1, 2)]}
    again = Ingest(tmp_path)
    assert again.commit(topics.READINGS, readings(2), readings(3)) == 1
    assert known_sequences(str(tmp_path)) == {("liander-287", STREAM): [(1, 3)]}


def test_the_newest_issues_and_the_last_status_are_known(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path)
    for day in range(0, 2 * NEWEST, 8):
        ingest.commit(topics.SERIES, *(series(AT_MS + 86_400_000 * n) for n in range(day, day + 8)))
        ingest.commit(topics.STATUS, status(AT_MS + day))
    known = read_received(str(tmp_path))
    assert list(known.issues["liander-287", "wind"]) == [AT_MS + 86_400_000 * n for n in range(NEWEST, 2 * NEWEST)]
    assert known.status == {"liander-287": AT_MS + 2 * NEWEST - 8}
    assert Ingest(tmp_path).commit(topics.SERIES, series(AT_MS + 86_400_000 * (2 * NEWEST - 1))) == 0


def test_ranges_are_joined_within_a_stream_only() -> None:
    rows = [("a", "s", 5, 9), ("a", "s", 1, 4), ("a", "t", 10, 10), ("b", "s", 11, 11), ("a", "s", 8, 8), ("a", "s", 11, 12)]
    frame = pl.DataFrame(rows, schema=["site", "stream", "first", "last"], orient="row")
    assert merged(frame).rows() == [("a", "s", 1, 9), ("a", "s", 11, 12), ("a", "t", 10, 10), ("b", "s", 11, 11)]
    assert merged(frame.clear()).is_empty()


def test_numbers_of_files_rise_even_if_the_clock_goes_back(tmp_path: Path) -> None:
    handle = open_table(str(tmp_path), TABLES[topics.READINGS])
    chain = ReceivedChain(str(tmp_path), topics.READINGS, handle)
    numbers: list[int] = []
    for now_us in (2_000_000, 1_000_000, 3_000_000):
        taken = pl.DataFrame({"site": ["a"], "stream": ["s"], "number": [now_us]})
        numbers += chain.note(taken, now_us=now_us).values()
        chain.committed()
    assert numbers == sorted(set(numbers))
    assert timedelta(microseconds=numbers[0] >> 10) >= timedelta(seconds=2)


def test_a_history_may_be_a_url(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path.as_uri())
    for n in range(3):
        ingest.commit(topics.READINGS, readings(n))
    assert known_sequences(tmp_path.as_uri()) == known_sequences(str(tmp_path)) == {("liander-287", STREAM): [(0, 2)]}
