"""Delta tables: offsets and rows in one commit, nothing twice, and what is known can be read back."""

import resource
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType

from ringmain_protocol import topics
from ringmain_protocol.messages import Readings, encode
from ringmain_trainer.errors import HistoryError
from ringmain_trainer.history.delta import append, offset_id, open_table, scan
from ringmain_trainer.history.maintenance import compact
from ringmain_trainer.history.query import summary
from ringmain_trainer.history.received import known_sequences, read_received
from ringmain_trainer.history.records import Batch, ReceivedLog, Record
from ringmain_trainer.history.tables import TABLES, bucket

READINGS = TABLES[topics.READINGS]
OFFSET = offset_id("cluster", "ringmain.readings", 3)
COLUMNS = {
    "readings": "stream sequence signal at value quality time_plausible",
    "steps": "stream sequence signal start_at step_s value quality",
    "series": "name issued_at valid_at step_s unit value",
    "forecasts": "stream sequence signal issued_at valid_at lead quantiles values release reason",
    "schedules": "stream sequence issued_at valid_at fallback equipment power_kw soc_kwh pcc_kw",
    "setpoints": "stream sequence issued_at valid_for_s mode fallback equipment power_kw reason",
    "status": "at payload time_zone mode",
}
ALWAYS = {"site", "received_at", "bucket", "month"}


def batch(*sequences: int, site: str = "liander-287") -> Batch:
    made, known = Batch(topics.READINGS), ReceivedLog()
    for sequence in sequences:
        message = Readings(
            stream="0123456789abcdef",
            sequence=sequence,
            signals=["load_kw"],
            at_ms=[1_603_000_000_000],
            values=[1.0],
            quality=[0],
        )
        assert made.add(Record(topics.READINGS, site.encode(), encode(message), (), 0), known) is None
    return made


@pytest.mark.parametrize("kind", list(TABLES))
def test_tables_have_the_agreed_columns_and_partitions(tmp_path: Path, kind: str) -> None:
    table = open_table(str(tmp_path), TABLES[kind])
    assert {field.name for field in table.schema().fields} == ALWAYS | set(COLUMNS[TABLES[kind].name].split())
    assert table.metadata().partition_columns == ["bucket", "month"]
    assert append(table, Batch(kind).frame(), {})
    assert scan(str(tmp_path), kind).collect().is_empty()


def test_a_full_disk_is_an_error_that_says_so_and_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), READINGS)
    assert append(table, batch(1).frame(), {OFFSET: 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(HistoryError, match=r"readings/? cannot be written: .*File too large"):
            append(table, batch(2).frame(), {OFFSET: 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    table = open_table(str(tmp_path), READINGS)
    assert table.transaction_version(OFFSET) == 1
    assert append(table, batch(2).frame(), {OFFSET: 2})
    assert sorted(scan(str(tmp_path), topics.READINGS).collect()["sequence"]) == [1, 2]


def test_rows_and_offset_are_one_commit(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), READINGS)
    before = table.version()
    assert append(table, batch(1, 2).frame(), {OFFSET: 17})
    assert DeltaTable(str(tmp_path / "readings")).transaction_version(OFFSET) == 17
    assert DeltaTable(str(tmp_path / "readings")).version() == before + 1
    assert scan(str(tmp_path), topics.READINGS).collect().height == 2


def test_offsets_move_on_also_when_every_message_was_a_duplicate(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), READINGS)
    assert append(table, batch().frame(), {OFFSET: 5})
    assert DeltaTable(str(tmp_path / "readings")).transaction_version(OFFSET) == 5


@pytest.mark.parametrize("offset", [17, 16, 0])
def test_an_offset_that_does_not_rise_is_refused(tmp_path: Path, offset: int) -> None:
    table = open_table(str(tmp_path), READINGS)
    assert append(table, batch(1).frame(), {OFFSET: 17})
    for handle in (table, open_table(str(tmp_path), READINGS)):
        with pytest.raises(HistoryError, match="does not rise"):
            append(handle, batch(2).frame(), {OFFSET: offset})
    assert scan(str(tmp_path), topics.READINGS).collect().height == 1


def test_of_two_that_read_the_same_only_one_commits(tmp_path: Path) -> None:
    one, two = open_table(str(tmp_path), READINGS), open_table(str(tmp_path), READINGS)
    assert append(one, batch(1, 2).frame(), {OFFSET: 2})
    assert not append(two, batch(1, 2, 3).frame(), {OFFSET: 3})
    assert known_sequences(str(tmp_path)) == {("liander-287", "0123456789abcdef"): [(1, 2)]}


def test_a_table_that_others_changed_meanwhile_is_loaded_and_written_again(tmp_path: Path) -> None:
    """Compaction, retention or a new property in between must not make an ingest read everything again."""
    table = open_table(str(tmp_path), READINGS)
    assert append(table, batch(1).frame(), {OFFSET: 1})
    other = open_table(str(tmp_path), READINGS)
    other.delete("sequence = 1")
    other.alter.set_table_properties({"delta.checkpointInterval": "50"})
    assert append(table, batch(2).frame(), {OFFSET: 2})
    assert append(table, batch(3).frame(), {OFFSET: 3})
    assert DeltaTable(str(tmp_path / "readings")).transaction_version(OFFSET) == 3
    assert sorted(scan(str(tmp_path), topics.READINGS).collect()["sequence"]) == [2, 3]


def test_a_column_that_somebody_added_does_not_stop_reading_or_writing(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), READINGS)
    assert append(table, batch(1).frame(), {})
    table.alter.add_columns([Field("remark", PrimitiveType("string"))])
    table = open_table(str(tmp_path), READINGS)
    assert append(table, batch(2).frame(), {})
    rows = scan(str(tmp_path), topics.READINGS, site="liander-287").sort("sequence").collect()
    assert rows["sequence"].to_list() == [1, 2]
    assert rows["remark"].to_list() == [None, None]


def test_a_scan_gives_what_was_asked_for(tmp_path: Path, write_history: Callable[..., None], start_s: int) -> None:
    values = {name: np.arange(96, dtype=np.float32) for name in ("load_kw", "pv_kw")}
    for site in ("liander-287", "liander-307"):
        write_history(tmp_path, site, values)
    begin = datetime.fromtimestamp(start_s, UTC)
    found = scan(
        str(tmp_path),
        topics.STEPS,
        site="liander-307",
        signals=["pv_kw"],
        since=begin + timedelta(hours=1),
        until=begin + timedelta(hours=2),
    ).collect()
    assert set(found["site"]) == {"liander-307"}
    assert set(found["signal"]) == {"pv_kw"}
    assert sorted(found["value"]) == [4.0, 5.0, 6.0, 7.0]


def test_reading_one_site_opens_the_files_of_its_bucket_alone(tmp_path: Path, write_history: Callable[..., None]) -> None:
    """The other sites' files may as well be gone."""
    for i in range(12):
        write_history(tmp_path, f"site-{i}", {"load_kw": np.arange(96, dtype=np.float32)}, stream=f"{i:08x}")
    for folder in (tmp_path / "steps").glob("bucket=*"):
        if folder.name != f"bucket={bucket('site-3')}":
            shutil.rmtree(folder)
    assert scan(str(tmp_path), topics.STEPS, site="site-3").collect().height == 96


def test_sites_spread_over_nearly_all_buckets() -> None:
    """One site is at most 1 in 256 of the files of a thousand sites."""
    assert len({bucket(f"site-{i:04d}") for i in range(1000)}) > 280
    assert bucket("liander-287") == int(sha256(b"liander-287").hexdigest()[:8], 16) % 320


def test_two_that_read_different_partitions_both_commit(tmp_path: Path) -> None:
    one, two = open_table(str(tmp_path), READINGS), open_table(str(tmp_path), READINGS)
    assert append(one, batch(1).frame(), {OFFSET: 2})
    assert append(two, batch(1, site="liander-307").frame(), {offset_id("cluster", "ringmain.readings", 4): 3})
    assert scan(str(tmp_path), topics.READINGS).collect().height == 2


def test_known_sequences_are_read_back_as_ranges(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), READINGS)
    assert append(table, batch(5, 1, 2, 3).frame(), {OFFSET: 4})
    assert append(table, batch(4, 9).frame(), {OFFSET: 6})
    assert append(table, batch(2, site="liander-307").frame(), {OFFSET: 7})
    stream = "0123456789abcdef"
    assert known_sequences(str(tmp_path)) == {("liander-287", stream): [(1, 5), (9, 9)], ("liander-307", stream): [(2, 2)]}


def test_a_history_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert known_sequences(str(tmp_path / "none")) == {}
    assert summary(str(tmp_path / "none")) == []
    assert read_received(str(tmp_path / "none")).issues == {}


def test_the_summary_says_what_there_is_of_each_site_and_signal(
    tmp_path: Path, site_values: Callable[..., dict[str, Any]], write_history: Callable[..., None]
) -> None:
    values = site_values(2)
    values["load_kw"][10:14] = float("nan")
    write_history(tmp_path, "liander-287", values)
    found = {(row["table"], row.get("signal") or row.get("name")): row for row in summary(str(tmp_path))}
    assert found.keys() == {("steps", "load_kw"), ("steps", "temperature_degc"), ("series", "temperature_degc")}
    assert found["steps", "load_kw"]["rows"] == 192
    assert found["steps", "load_kw"]["missing"] == 4
    assert len(read_received(str(tmp_path)).issues["liander-287", "temperature_degc"]) == 8


def test_many_files_become_few_and_offsets_and_rows_stay(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), READINGS)
    for sequence in range(1, 121):  # enough for a checkpoint of the log
        assert append(table, batch(sequence).frame(), {OFFSET: sequence})
    (done,) = compact(str(tmp_path))
    assert (done["table"], done["files_before"], done["files_after"]) == ("readings", 120, 1)
    assert append(table, batch(121).frame(), {OFFSET: 121})  # an ingest that was running meanwhile
    table = open_table(str(tmp_path), READINGS)
    table.create_checkpoint()
    for file in (tmp_path / "readings" / "_delta_log").glob("*.json"):
        if int(file.stem) < table.version():
            file.unlink()
    assert DeltaTable(str(tmp_path / "readings")).transaction_version(OFFSET) == 121
    assert known_sequences(str(tmp_path)) == {("liander-287", "0123456789abcdef"): [(1, 121)]}
