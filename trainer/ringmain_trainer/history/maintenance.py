"""Upkeep of the history tables: few sorted files out of many, and what nobody needs any more is deleted.

Ingest and readers may go on meanwhile. A rewrite that meets a commit of somebody else into the same partitions is done
again, then left for the next time; the offsets of ingest are in the log and are not touched by anything here.
"""

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import polars as pl
from deltalake import DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from ringmain_trainer.errors import HistoryError
from ringmain_trainer.history.delta import table_path
from ringmain_trainer.history.landing import Landing
from ringmain_trainer.history.migrations import require_known
from ringmain_trainer.history.tables import LANDING, TABLES, VERSION, Table

log: Final = logging.getLogger("ringmain_trainer")

TARGET_BYTES: Final = 128 * 2**20
"""A file of at least half this size is left as it is."""

ROWS_MAX: Final = 2_000_000
"""Rows that are sorted in memory at once; a bucket and month with more is put together unsorted."""

_ROW_GROUP: Final = 65_536
_TRIES: Final = 3
_WRITER: Final = WriterProperties(compression="ZSTD", max_row_group_size=_ROW_GROUP)


class Part(NamedTuple):
    """A bucket and month of a table."""

    bucket: int
    month: str
    rows: int


def compact(location: str, *, target_bytes: int = TARGET_BYTES, rows_max: int = ROWS_MAX) -> list[dict[str, Any]]:
    """Make few files, sorted by site, signal and time, out of the many that continuous ingest leaves.

    Where there are few files already, nothing is done. Files that no version of the last week needs are deleted, and the log
    is made short.

    Raises:
        HistoryError: If a table cannot be written; it is as it was, what was done before stays done.
    """
    found: list[dict[str, Any]] = []
    for table in TABLES.values():
        path = table_path(location, table)
        if not DeltaTable.is_deltatable(path):
            continue
        try:
            handle = DeltaTable(path)
            if require_known(handle) != VERSION:
                raise HistoryError(
                    f"{path} is of an older version: run ringmain-trainer ingest or import first, it migrates"
                )
            before = len(handle.file_uris())
            landing = Landing(table, handle)
            if landing.files and landing.settle(path, rows_max=0, files_max=0):
                handle.update_incremental()
            limits = {"target_bytes": target_bytes, "rows_max": rows_max}
            skipped = sum(_compact(handle, table, group, **limits) for group in _groups(handle, **limits))
            after = len(DeltaTable(path).file_uris())
            found.append(
                {"table": table.name, "files_before": before, "files_after": after, "skipped": skipped, **_clean(path)}
            )
        except (DeltaError, OSError) as error:
            text = " ".join(str(error).split())
            raise HistoryError(f"{path} cannot be compacted: {text}; it is as it was") from error
    return found


def retain(location: str, days: Mapping[str, int], now: datetime) -> list[dict[str, Any]]:
    """Delete rows older than the days of each table; 0 keeps them all. A month goes when all of it is too old.

    Raises:
        HistoryError: If a table cannot be written.
    """
    found: list[dict[str, Any]] = []
    for table in TABLES.values():
        path = table_path(location, table)
        if not days.get(table.name) or not DeltaTable.is_deltatable(path):
            continue
        first = f"{now - timedelta(days=days[table.name]):%Y-%m}"
        try:
            handle = DeltaTable(path)
            require_known(handle)
            metrics = _delete(handle, f"month < '{first}'")
            rows = {"files_removed": metrics.get("num_removed_files", 0), "kept_from": first}
            found.append({"table": table.name, **rows, **_clean(path)})
        except (DeltaError, OSError) as error:
            text = " ".join(str(error).split())
            raise HistoryError(f"{path}: old rows cannot be deleted: {text}; it is as it was") from error
    return found


def _delete(handle: DeltaTable, predicate: str) -> dict[str, Any]:
    for _ in range(_TRIES):
        try:
            return handle.delete(predicate)
        except CommitFailedError:  # late rows came in
            handle.update_incremental()
    return {}


def _groups(handle: DeltaTable, target_bytes: int, rows_max: int) -> Iterator[list[Part]]:
    """Buckets of one month that are rewritten together, up to a number of rows; a larger bucket alone."""
    files = pl.DataFrame(handle.get_add_actions(flatten=True))
    if files.is_empty():
        return
    size, small = pl.col("size_bytes"), pl.col("size_bytes") < target_bytes // 2
    parts = files.group_by(pl.col("partition.month").alias("month"), pl.col("partition.bucket").alias("bucket")).agg(
        pl.col("num_records").sum().alias("rows"),
        size.sum().alias("bytes"),
        small.sum().alias("small"),
        size.filter(small).sum().alias("small_bytes"),
    )
    # small files next to large ones wait until they are worth a rewrite
    worth = (pl.col("small") >= 2) & ((4 * pl.col("small_bytes") >= pl.col("bytes")) | (pl.col("small") >= 32))
    group: list[Part] = []
    worth &= pl.col("month").is_not_null() & (pl.col("bucket") != LANDING)  # what could not be moved there waits
    for row in parts.filter(worth).sort("month", "bucket").iter_rows(named=True):
        part = Part(row["bucket"], row["month"], row["rows"])
        if group and (group[0].month != part.month or sum(p.rows for p in group) + part.rows > rows_max):
            yield group
            group = []
        group.append(part)
        if part.rows > rows_max:
            yield group
            group = []
    if group:
        yield group


def _compact(handle: DeltaTable, table: Table, group: list[Part], *, target_bytes: int, rows_max: int) -> int:
    """Rewrite buckets of one month; how many of them had to be left because others wrote there."""
    month, buckets = group[0].month, [part.bucket for part in group]
    for _ in range(_TRIES):
        handle.update_incremental()
        try:
            if len(group) == 1 and group[0].rows > rows_max:
                chosen = [("bucket", "=", str(buckets[0])), ("month", "=", month)]
                handle.optimize.compact(partition_filters=chosen, target_size=target_bytes, writer_properties=_WRITER)
            else:
                rows = pl.scan_delta(handle).filter(pl.col("month") == month, pl.col("bucket").is_in(buckets))
                frame = rows.collect().sort("bucket", *table.sort_by, nulls_last=True, maintain_order=True)
                write_deltalake(  # one batch: several would be written in parallel and lose their order
                    handle,
                    frame.rechunk(),
                    mode="overwrite",
                    predicate=f"month = '{month}' AND bucket IN ({', '.join(map(str, buckets))})",
                    target_file_size=target_bytes,
                    writer_properties=_WRITER,
                )
            return 0
        except CommitFailedError as error:
            log.info("table=%s month=%s others wrote meanwhile: %s", table.name, month, " ".join(str(error).split())[:120])
    return len(buckets)


def _clean(path: str) -> dict[str, int]:
    """Delete files that no version of the last week needs, and log entries that a checkpoint replaces."""
    handle = DeltaTable(path)
    deleted = handle.vacuum(dry_run=False)
    handle.update_incremental()
    handle.create_checkpoint()
    handle.cleanup_metadata()
    return {"files_deleted": len(deleted)}
