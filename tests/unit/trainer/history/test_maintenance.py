"""Compaction and retention: few sorted files, nothing lost, and nobody in the way of a running ingest."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable

from ringmain_protocol import topics
from ringmain_trainer.errors import HistoryError
from ringmain_trainer.history.delta import append, offset_id, open_table, scan
from ringmain_trainer.history.landing import Landing
from ringmain_trainer.history.maintenance import compact, retain
from ringmain_trainer.history.migrations import VERSION_PROPERTY
from ringmain_trainer.history.tables import INSTANT, LANDING, TABLES, VERSION, bucket

STEPS = TABLES[topics.STEPS]
OFFSET = offset_id("cluster", "ringmain.steps", 0)
SITES = [f"site-{i}" for i in range(40)]


def rows(first: int, count: int, sites: list[str] = SITES, *, at: str = "2024-01-01") -> pl.DataFrame:
    """Quarter-hours `first` to `first + count` of all sites, in the order of time as ingest delivers them."""
    steps = pl.DataFrame({"sequence": np.arange(first, first + count)}).join(pl.DataFrame({"site": sites}), how="cross")
    start = pl.lit(at).str.to_datetime(time_unit="us", time_zone="UTC") + pl.duration(minutes=15 * pl.col("sequence"))
    whole = steps.with_columns(
        stream=pl.lit("0123456789abcdef"),
        signal=pl.lit("load_kw"),
        start_at=start.cast(INSTANT),
        received_at=start.cast(INSTANT),
        step_s=pl.lit(900, pl.Int32),
        value=pl.col("sequence").cast(pl.Float32),
        quality=pl.lit(0, pl.Int8),
        bucket=pl.col("site").replace_strict({site: bucket(site) for site in sites}, return_dtype=pl.Int32),
        month=start.dt.strftime("%Y-%m"),
    )
    return whole.select(list(STEPS.columns)).sort("bucket", "month", maintain_order=True)


def files_of(folder: Path) -> list[str]:
    return [str(uri).removeprefix("file://") for uri in DeltaTable(str(folder / "steps")).file_uris()]


def test_small_files_become_one_a_bucket_and_month_sorted_by_site_signal_and_time(tmp_path: Path) -> None:
    sites = ["site-1", *[s for s in (f"x-{i}" for i in range(3000)) if bucket(s) == bucket("site-1")][:3]]
    table = open_table(str(tmp_path), STEPS)
    for i in range(9):
        assert append(table, rows(400 * i, 400, sites), {OFFSET: i + 1})
    before = scan(str(tmp_path), topics.STEPS).collect().sort("site", "start_at")
    (done,) = compact(str(tmp_path))
    assert (done["files_before"], done["files_after"], done["skipped"]) == (10, 2, 0)  # a month, and some days of the next
    assert scan(str(tmp_path), topics.STEPS).collect().sort("site", "start_at").equals(before)
    for file in files_of(tmp_path):
        frame = pl.read_parquet(file)
        assert frame.select("site", "start_at").equals(frame.select("site", "start_at").sort("site", "start_at"))
    assert DeltaTable(str(tmp_path / "steps")).transaction_version(OFFSET) == 9


def test_rows_that_wait_in_the_landing_are_moved_to_their_buckets(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), STEPS)
    landing = Landing(STEPS, table)
    for i in range(3):
        assert append(table, landing.place(rows(i, 1)), {OFFSET: i + 1})
    assert set(scan(str(tmp_path), topics.STEPS).collect()["bucket"]) == {LANDING}
    (done,) = compact(str(tmp_path))
    found = scan(str(tmp_path), topics.STEPS).collect()
    assert dict(found.select("site", "bucket").iter_rows()) == {site: bucket(site) for site in SITES}
    assert found.height == found.select("site", "sequence").n_unique() == 3 * len(SITES)
    assert done["files_after"] == len({bucket(site) for site in SITES})
    assert DeltaTable(str(tmp_path / "steps")).transaction_version(OFFSET) == 3


def test_compaction_of_what_is_compact_changes_nothing(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), STEPS)
    for i in range(3):
        assert append(table, rows(10 * i, 10), {})
    compact(str(tmp_path))
    files = files_of(tmp_path)
    (done,) = compact(str(tmp_path))
    assert (done["files_before"], done["files_after"]) == (len(files), len(files))
    assert files_of(tmp_path) == files


def test_a_bucket_too_large_to_sort_in_memory_is_put_together_all_the_same(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), STEPS)
    for i in range(4):
        assert append(table, rows(100 * i, 100, ["site-1"]), {OFFSET: i + 1})
    (done,) = compact(str(tmp_path), rows_max=50)
    assert (done["files_before"], done["files_after"]) == (4, 1)
    assert scan(str(tmp_path), topics.STEPS).collect()["sequence"].sort().to_list() == list(range(400))
    assert DeltaTable(str(tmp_path / "steps")).transaction_version(OFFSET) == 4


def test_large_files_are_left_alone(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), STEPS)
    for i in range(3):
        assert append(table, rows(500 * i, 500, ["site-1"]), {})
    smallest = min(Path(file).stat().st_size for file in files_of(tmp_path))
    (done,) = compact(str(tmp_path), target_bytes=smallest)
    assert (done["files_before"], done["files_after"]) == (3, 3)


def test_an_ingest_that_runs_beside_compaction_loses_and_doubles_nothing(tmp_path: Path) -> None:
    table, refused = open_table(str(tmp_path), STEPS), list[int]()
    for i in range(5):
        assert append(table, rows(i, 1), {OFFSET: i + 1})

    def run() -> None:
        refused.extend(i for i in range(5, 40) if not append(table, rows(i, 1), {OFFSET: i + 1}))

    ingest = threading.Thread(target=run)
    ingest.start()
    while ingest.is_alive():
        compact(str(tmp_path))
    ingest.join()
    assert refused == []
    compact(str(tmp_path))
    found = scan(str(tmp_path), topics.STEPS).collect()
    assert found.height == found.select("site", "sequence").n_unique() == 40 * len(SITES)
    assert DeltaTable(str(tmp_path / "steps")).transaction_version(OFFSET) == 40
    assert len(files_of(tmp_path)) == len({bucket(site) for site in SITES})


def test_two_compactions_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), STEPS)
    for i in range(12):
        assert append(table, rows(i, 1), {OFFSET: i + 1})
    both = [threading.Thread(target=compact, args=(str(tmp_path),)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    found = scan(str(tmp_path), topics.STEPS).collect()
    assert found.height == found.select("site", "sequence").n_unique() == 12 * len(SITES)


def test_compaction_makes_the_log_short_enough_to_be_opened_without_its_old_entries(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), STEPS)
    for i in range(3):
        assert append(table, rows(i, 1), {OFFSET: i + 1})
    compact(str(tmp_path))
    version = DeltaTable(str(tmp_path / "steps")).version()
    assert (tmp_path / "steps" / "_delta_log" / f"{version:020d}.checkpoint.parquet").is_file()
    for entry in (tmp_path / "steps" / "_delta_log").glob("*.json"):
        if int(entry.stem) < version:
            entry.unlink()
    assert DeltaTable(str(tmp_path / "steps")).transaction_version(OFFSET) == 3
    assert scan(str(tmp_path), topics.STEPS).collect().height == 3 * len(SITES)


def test_whole_months_beyond_the_retention_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), STEPS)
    for i, at in enumerate(("2023-11-30", "2023-12-30", "2024-01-30"), start=1):
        assert append(table, rows(0, 192, at=at), {OFFSET: i})
    now = datetime(2024, 3, 1, tzinfo=UTC)
    assert retain(str(tmp_path), {"steps": 0, "readings": 5}, now) == []
    (done,) = retain(str(tmp_path), {"steps": 31}, now)  # 30 January is within, so January stays
    assert done["kept_from"] == "2024-01"
    kept = scan(str(tmp_path), topics.STEPS).collect()
    assert kept["start_at"].min() == datetime(2024, 1, 30, tzinfo=UTC)
    assert kept.height == 192 * len(SITES)
    assert DeltaTable(str(tmp_path / "steps")).transaction_version(OFFSET) == 3
    assert append(table, rows(0, 1, at="2024-02-01"), {OFFSET: 4})  # the ingest that was running


def test_upkeep_leaves_tables_of_other_versions_alone(tmp_path: Path, write_history: Callable[..., None]) -> None:
    write_history(tmp_path, "site-1", {"load_kw": np.arange(96, dtype=np.float32)})
    table = DeltaTable(str(tmp_path / "steps"))
    table.alter.set_table_properties({VERSION_PROPERTY: str(VERSION + 1)}, raise_if_not_exists=False)
    with pytest.raises(HistoryError, match="this trainer knows versions up to"):
        compact(str(tmp_path))
    with pytest.raises(HistoryError, match="this trainer knows versions up to"):
        retain(str(tmp_path), {"steps": 1}, datetime(2024, 3, 1, tzinfo=UTC))
    table = DeltaTable(str(tmp_path / "steps"))
    table.alter.set_table_properties({VERSION_PROPERTY: str(VERSION - 1)}, raise_if_not_exists=False)
    with pytest.raises(HistoryError, match="older version"):
        compact(str(tmp_path))
