"""Versions of the history tables, and the numbered steps from each to the next.

The version is the table property `ringmain.version`; a table without one is of version 1. A step may be interrupted anywhere
and is simply done again: the property is set last, and until then readers do not rely on what it changes. Application
transactions (the offsets of ingest) are part of the log and outlive every step.
"""

import logging
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import polars as pl
from deltalake import DeltaTable, Field, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import ArrayType, PrimitiveType

from ringmain_trainer.errors import HistoryError
from ringmain_trainer.history.tables import INSTANT, VERSION, Kind, Table, bucket

log: Final = logging.getLogger("ringmain_trainer")

VERSION_PROPERTY: Final = "ringmain.version"
TRAINER_PROPERTY: Final = "ringmain.trainer"
FIRST: Final = 1
"""Version of a table without the property."""

_TRIES: Final = 20
_DELTA: Final = {
    pl.String: "string",
    pl.Int64: "long",
    pl.Int32: "integer",
    pl.Int8: "byte",
    pl.Float64: "double",
    pl.Float32: "float",
    pl.Boolean: "boolean",
}


def table_version(handle: DeltaTable) -> int:
    """Version that the property of a table names.

    Raises:
        HistoryError: If the property is no number.
    """
    text = handle.metadata().configuration.get(VERSION_PROPERTY)
    if text is None:
        return FIRST
    if not text.isdigit():
        raise HistoryError(f"{handle.table_uri}: the table property {VERSION_PROPERTY} is {text!r}, not a whole number")
    return int(text)


def require_known(handle: DeltaTable) -> int:
    """Version of a table that this trainer can read.

    Raises:
        HistoryError: If a newer trainer wrote it; the text says which.
    """
    found = table_version(handle)
    if found > VERSION:
        writer = handle.metadata().configuration.get(TRAINER_PROPERTY)
        use = f"ringmain {writer} or newer" if writer else "the newer trainer"
        raise HistoryError(f"{handle.table_uri} has version {found}, this trainer knows versions up to {VERSION}: use {use}")
    return found


def migrate(handle: DeltaTable, table: Table) -> DeltaTable:
    """The table at the version of this trainer, made so step by step if it is older.

    Stop other writers of an older version before: they know nothing of the new layout.

    Raises:
        HistoryError: If the table is newer, or a step cannot be done.
    """
    for _ in range(_TRIES):
        found = require_known(handle)
        if found == VERSION:
            return handle
        try:
            if handle.version() > 0:  # not just made
                log.info("table=%s migration from=%d to=%d begins", table.name, found, found + 1)
                MIGRATIONS[found](handle, table)
            done = found + 1 if handle.version() > 0 else VERSION
            mark = {VERSION_PROPERTY: str(done), TRAINER_PROPERTY: trainer_version()}
            fresh = DeltaTable(handle.table_uri)
            if table_version(fresh) == found:
                fresh.alter.set_table_properties(mark, raise_if_not_exists=False)
        except CommitFailedError as error:  # somebody else wrote meanwhile
            log.info("table=%s migration is begun again: %s", table.name, " ".join(str(error).split())[:200])
        except (DeltaError, OSError) as error:
            text = " ".join(str(error).split())
            uri, what = handle.table_uri, f"migration from version {found} failed"
            raise HistoryError(f"{uri}: {what}: {text}; nothing is lost, it goes on at the next start") from error
        handle = DeltaTable(handle.table_uri)
    raise HistoryError(f"{handle.table_uri} is written by others all the time: stop them, then migrate again")


def trainer_version() -> str:
    """Version of this package."""
    try:
        return version("ringmain")
    except PackageNotFoundError:
        return "unknown"


def fields(table: Table) -> list[Field]:
    """Columns of a table as Delta Lake names them."""
    return [Field(name, _delta_type(kind)) for name, kind in table.columns.items()]


def add_columns(handle: DeltaTable, table: Table) -> None:
    """Columns that the table lacks; older rows have null there."""
    known = {field.name for field in handle.schema().fields}
    missing = [field for field in fields(table) if field.name not in known]
    if missing:
        handle.alter.add_columns(missing)


def _rebucket(handle: DeltaTable, table: Table) -> None:
    """Version 1 had 16 buckets: every row goes to its bucket of today, a month at a time, whole or not at all."""
    add_columns(handle, table)
    handle = DeltaTable(handle.table_uri)
    files = pl.DataFrame(handle.get_add_actions(flatten=True))
    months = sorted(files["partition.month"].unique().to_list()) if "partition.month" in files.columns else []
    for month in months:
        of_month = pl.scan_delta(handle).filter(pl.col("month") == month)
        pairs = of_month.select("site", "bucket").unique().collect(engine="streaming")
        buckets = {site: bucket(site) for site in pairs["site"].unique().to_list()}
        if any(buckets[site] != found for site, found in pairs.iter_rows()):
            rows = sum(files.filter(pl.col("partition.month") == month)["num_records"].to_list())
            log.info("table=%s migration month=%s rows=%d", table.name, month, rows)
            moved = pl.col("site").replace_strict(buckets, return_dtype=pl.Int32).alias("bucket")
            write_deltalake(
                handle,
                of_month.with_columns(moved).collect_batches(lazy=True, engine="streaming"),
                mode="overwrite",
                predicate=f"month = '{month}'",
                writer_properties=WriterProperties(compression="ZSTD"),
            )
            handle = DeltaTable(handle.table_uri)


def _delta_type(kind: Kind) -> PrimitiveType | ArrayType:
    if kind == INSTANT:
        return PrimitiveType("timestamp")
    if kind == pl.List(pl.Float64):
        return ArrayType(PrimitiveType("double"), contains_null=True)
    return PrimitiveType(next(name for polars, name in _DELTA.items() if kind == polars))


MIGRATIONS: Final[dict[int, Callable[[DeltaTable, Table], None]]] = {1: _rebucket}
"""From the version to the next."""
