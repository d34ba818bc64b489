"""Small commits make few files, and their rows are found wherever they are."""

import threading
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from ringmain_protocol import topics
from ringmain_protocol.messages import Steps, encode
from ringmain_trainer.errors import HistoryError
from ringmain_trainer.history.delta import append, open_table, scan, table_path
from ringmain_trainer.history.landing import FILES_FEW, ROWS_MIN, Landing
from ringmain_trainer.history.records import Batch, ReceivedLog, Record
from ringmain_trainer.history.tables import LANDING, TABLES, bucket

STEPS = TABLES[topics.STEPS]
AT_MS = 1_603_000_000_000  # 2020-10-18
SITES = [f"site-{number}" for number in range(60)]


def frame(first: int, *, sites: list[str] = SITES, rows: int = 4, month_ms: int = 0) -> pl.DataFrame:
    """One message of every site."""
    batch, known = Batch(topics.STEPS), ReceivedLog()
    for site in sites:
        at_ms = [AT_MS + month_ms + 900_000 * (first * rows + i) for i in range(rows)]
        columns = {"signals": ["load_kw"] * rows, "at_ms": at_ms, "values": [float(first)] * rows, "quality": [0] * rows}
        message = Steps(stream="0123456789abcdef", sequence=first, step_s=900, **columns)  # type: ignore[arg-type]
        assert batch.add(Record(topics.STEPS, site.encode(), encode(message), (), AT_MS), known) is None
    return batch.frame()


def buckets(location: Path) -> dict[str, set[int]]:
    """Where the rows of each site are."""
    pairs = pl.scan_delta(table_path(str(location), STEPS)).select("site", "bucket").unique().collect()
    found: dict[str, set[int]] = {}
    for site, number in pairs.iter_rows():
        found.setdefault(site, set()).add(number)
    return found


def test_a_small_commit_of_many_sites_makes_one_file_for_each_month(tmp_path: Path) -> None:
    handle = open_table(str(tmp_path), STEPS)
    landing = Landing(STEPS, handle)
    both = pl.concat([frame(1), frame(1, month_ms=31 * 86_400_000)])
    placed = landing.place(both)
    assert append(handle, placed, {"offset": 1})
    assert len(handle.file_uris()) == 2 == landing.files
    assert landing.rows == both.height == Landing(STEPS, DeltaTable(handle.table_uri)).rows
    assert set(placed["bucket"]) == {LANDING}
    assert placed.equals(placed.sort("month", "site", "signal", "start_at"))


def test_a_large_commit_and_one_of_few_sites_go_to_their_buckets(tmp_path: Path) -> None:
    landing = Landing(STEPS, open_table(str(tmp_path), STEPS))
    few = frame(1, sites=SITES[:FILES_FEW])
    large = frame(1, sites=SITES[: FILES_FEW + 2], rows=ROWS_MIN)
    assert landing.place(few).equals(few)
    assert landing.place(large).equals(large)
    assert landing.place(few.clear()).is_empty()
    assert (landing.files, landing.rows) == (0, 0)


def test_a_site_is_read_from_the_landing_and_from_its_bucket(tmp_path: Path) -> None:
    handle = open_table(str(tmp_path), STEPS)
    landing = Landing(STEPS, handle)
    assert append(handle, frame(1), {"offset": 1})
    assert append(handle, landing.place(frame(2)), {"offset": 2})
    rows = scan(str(tmp_path), topics.STEPS, site="site-7").collect()
    assert sorted(rows["bucket"].unique()) == [LANDING, bucket("site-7")]
    assert sorted(rows["sequence"].to_list()) == [1] * 4 + [2] * 4


def test_what_waits_is_moved_to_its_bucket_when_there_is_enough_and_nothing_else_changes(tmp_path: Path) -> None:
    handle = open_table(str(tmp_path), STEPS)
    landing = Landing(STEPS, handle)
    for number in range(1, 4):
        assert append(handle, landing.place(frame(number)), {"offset": number})
    before = scan(str(tmp_path), topics.STEPS).collect()
    assert not landing.settle(handle.table_uri, rows_max=before.height + 1, files_max=4)
    assert landing.settle(handle.table_uri, rows_max=before.height, files_max=4)
    assert buckets(tmp_path) == {site: {bucket(site)} for site in SITES}
    by = ["site", "start_at"]
    after = scan(str(tmp_path), topics.STEPS).collect()
    assert after.drop("bucket").sort(by).equals(before.drop("bucket").sort(by))
    assert DeltaTable(handle.table_uri).transaction_version("offset") == 3
    assert append(handle, landing.place(frame(4)), {"offset": 4})  # the handle of before goes on
    assert scan(str(tmp_path), topics.STEPS).collect().height == before.height + len(SITES) * 4
    assert landing.files == 1


def test_rows_that_come_while_others_are_moved_are_neither_lost_nor_doubled(tmp_path: Path) -> None:
    handle = open_table(str(tmp_path), STEPS)
    landing, stop = Landing(STEPS, handle), threading.Event()

    def settle() -> None:
        while not stop.is_set():
            Landing(STEPS, DeltaTable(handle.table_uri)).settle(handle.table_uri, rows_max=1, files_max=1)

    others = [threading.Thread(target=settle) for _ in range(2)]
    for other in others:
        other.start()
    try:
        for number in range(1, 16):
            assert append(handle, landing.place(frame(number)), {"offset": number})
    finally:
        stop.set()
        for other in others:
            other.join()
    rows = scan(str(tmp_path), topics.STEPS).group_by("site", "sequence").agg(pl.len()).collect()
    assert rows.height == len(SITES) * 15
    assert set(rows["len"]) == {4}


def test_a_table_that_cannot_be_rewritten_is_said_and_stays_as_it_was(tmp_path: Path) -> None:
    handle = open_table(str(tmp_path), STEPS)
    landing = Landing(STEPS, handle)
    assert append(handle, landing.place(frame(1)), {"offset": 1})
    next((tmp_path / "steps" / f"bucket={LANDING}").rglob("*.parquet")).write_bytes(b"PAR1")
    with pytest.raises(HistoryError, match=r"cannot be written: .*; nothing is lost"):
        landing.settle(handle.table_uri, rows_max=1, files_max=1)
    assert DeltaTable(handle.table_uri).version() == handle.version()
