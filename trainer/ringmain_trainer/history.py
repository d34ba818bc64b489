"""The history: Delta tables below one folder or object store, `<history>/<name>`. This module opens, appends and reads.

Appending carries the Kafka offsets in the same commit, as application transactions: after any crash the table itself says
where to read on. What a message is made of is in `records`.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import ArrayType, PrimitiveType

from ringmain_trainer.errors import HistoryError
from ringmain_trainer.tables import INSTANT, PARTITIONED_BY, TABLES, Kind, Table, bucket

_DELTA: Final = {
    pl.String: "string",
    pl.Int64: "long",
    pl.Int32: "integer",
    pl.Int8: "byte",
    pl.Float64: "double",
    pl.Float32: "float",
    pl.Boolean: "boolean",
}


def table_path(location: str, table: Table) -> str:
    """Folder or URL of a table."""
    return f"{location.rstrip('/')}/{table.name}"


def open_table(location: str, table: Table) -> DeltaTable:
    """The table at its newest version, made if it is not there."""
    fields = [Field(name, _delta_type(kind)) for name, kind in table.columns.items()]
    path = table_path(location, table)
    DeltaTable.create(path, schema=Schema(fields), partition_by=list(PARTITIONED_BY), mode="ignore")
    return DeltaTable(path)


def offset_id(cluster: str, topic: str, partition: int) -> str:
    """Name under which a table keeps the offset to read next from a partition of a Kafka cluster."""
    return f"kafka:{cluster}/{topic}/{partition}"


def append(table: DeltaTable, frame: pl.DataFrame, offsets: Mapping[str, int]) -> bool:
    """Commit rows together with the offsets to read next.

    Args:
        table: The handle whose offsets were read before; it is not reloaded here, so that a foreign commit is noticed.
        frame: The rows; may be none.
        offsets: Offset to read next by `offset_id`.

    Returns:
        Whether it was committed. If not, somebody else has moved these offsets: reload, seek, read again.

    Raises:
        HistoryError: If an offset does not rise, delta-rs itself would take it; or if the table cannot be written.
    """
    for name, offset in offsets.items():
        stored = table.transaction_version(name)
        if stored is not None and offset <= stored:
            raise HistoryError(f"offset {offset} of {name} does not rise: the history has {stored}")
    transactions = [Transaction(name, offset) for name, offset in offsets.items()]
    try:
        write_deltalake(table, frame, mode="append", commit_properties=CommitProperties(app_transactions=transactions))
    except CommitFailedError:
        return False
    except (DeltaError, OSError) as error:
        text = " ".join(str(error).split())
        raise HistoryError(
            f"{table.table_uri} cannot be written: {text}; what was read is read again at the next start"
        ) from error
    return True


def scan(location: str, kind: str, *, site: str | None = None) -> pl.LazyFrame:
    """The rows of a table, of one site or of all; no rows if there is no table yet."""
    table = TABLES[kind]
    path = table_path(location, table)
    if not DeltaTable.is_deltatable(path):
        return pl.LazyFrame(schema=table.columns)
    rows = pl.scan_delta(path)
    if site is not None:
        rows = rows.filter((pl.col("bucket") == bucket(site)) & (pl.col("site") == site))
    return rows


def _delta_type(kind: Kind) -> PrimitiveType | ArrayType:
    if kind == INSTANT:
        return PrimitiveType("timestamp")
    if kind == pl.List(pl.Float64):
        return ArrayType(PrimitiveType("double"), contains_null=True)
    return PrimitiveType(next(name for polars, name in _DELTA.items() if kind == polars))
