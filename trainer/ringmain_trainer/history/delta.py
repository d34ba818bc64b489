"""The history: Delta tables below one folder or object store, `<history>/<name>`. This module opens, appends and reads.

Appending carries the Kafka offsets in the same commit, as application transactions: after any crash the table itself says
where to read on. What a message is made of is in `records`.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

import polars as pl
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from ringmain_trainer.errors import HistoryError
from ringmain_trainer.history.migrations import fields, migrate, require_known
from ringmain_trainer.history.tables import LANDING, PARTITIONED_BY, TABLES, VERSION, Table, bucket

_WRITER: Final = WriterProperties(max_row_group_size=65_536)  # a reader of one site leaves out the others' groups
_COLOR: Final = re.compile("\x1b\\[[0-9;]*m")
_TRIES: Final = 20
"""How often a commit is tried again when others change the table meanwhile."""


def table_path(location: str, table: Table) -> str:
    """Folder or URL of a table."""
    return f"{location.rstrip('/')}/{table.name}"


def open_table(location: str, table: Table) -> DeltaTable:
    """The table at its newest version, made if it is not there, migrated if an older trainer made it.

    Raises:
        HistoryError: If a newer trainer wrote it; the text says which.
    """
    path = table_path(location, table)
    DeltaTable.create(path, schema=Schema(fields(table)), partition_by=list(PARTITIONED_BY), mode="ignore")
    return migrate(DeltaTable(path), table)


def offset_id(cluster: str, topic: str, partition: int) -> str:
    """Name under which a table keeps the offset to read next from a partition of a Kafka cluster."""
    return f"kafka:{cluster}/{topic}/{partition}"


def append(table: DeltaTable, frame: pl.DataFrame, offsets: Mapping[str, int]) -> bool:
    """Commit rows together with the offsets to read next.

    Args:
        table: The handle whose offsets were read before. When the table has changed since, by compaction for example, it is
            loaded and written again, unless these offsets have moved.
        frame: The rows; may be none.
        offsets: Offset to read next by `offset_id`.

    Returns:
        Whether it was committed. If not, somebody else has moved these offsets: reload, seek, read again.

    Raises:
        HistoryError: If an offset does not rise, delta-rs itself would take it; or if the table cannot be written.
    """
    stored = {name: table.transaction_version(name) for name in offsets}
    for name, offset in offsets.items():
        before = stored[name]
        if before is not None and offset <= before:
            raise HistoryError(f"offset {offset} of {name} does not rise: the history has {before}")
    properties = CommitProperties(app_transactions=[Transaction(name, offset) for name, offset in offsets.items()])
    for _ in range(_TRIES):
        foreign = {field.name for field in table.schema().fields} > set(frame.columns)  # columns of others, null in our rows
        more: Literal["merge"] | None = "merge" if foreign else None
        try:
            write_deltalake(
                table,
                frame,
                mode="append",
                schema_mode=more,
                writer_properties=_WRITER,
                commit_properties=properties,
            )
            return True
        except CommitFailedError:
            table.update_incremental()
            if require_known(table) != VERSION or any(table.transaction_version(name) != stored[name] for name in offsets):
                return False
        except (DeltaError, OSError) as error:
            text = " ".join(_COLOR.sub("", str(error)).split())
            raise HistoryError(
                f"{table.table_uri} cannot be written: {text}; what was read is read again at the next start"
            ) from error
    return False


def scan(  # noqa: PLR0913  a site, signals and a span of time are what readers ask for
    location: str,
    kind: str,
    *,
    site: str | None = None,
    signals: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pl.LazyFrame:
    """The rows of a table, lazily; no rows if there is no table yet. What is asked for decides which files are opened.

    Args:
        location: Folder or URL of the history.
        kind: Kind of message, as in `ringmain_protocol.topics`.
        site: Rows of this site alone.
        signals: Rows of these signals alone; for series their names, for schedules and setpoints the equipment.
        since: Rows whose time (`tables.Table.time`) is not before.
        until: Rows whose time is before.

    Raises:
        HistoryError: If a newer trainer wrote the table.
    """
    table = TABLES[kind]
    path = table_path(location, table)
    if not DeltaTable.is_deltatable(path):
        return pl.LazyFrame(schema=table.columns)
    handle = DeltaTable(path)
    current = require_known(handle) == VERSION
    rows = pl.scan_delta(handle)  # leaves out files by partition and by the statistics in the log
    missing = {name: kind for name, kind in table.columns.items() if name not in {f.name for f in handle.schema().fields}}
    if missing:  # a table of an older trainer
        rows = rows.with_columns(pl.lit(None, kind).alias(name) for name, kind in missing.items())
    if site is not None:
        rows = rows.filter(
            pl.col("bucket").is_in([bucket(site), LANDING]) & (pl.col("site") == site) if current else pl.col("site") == site
        )
    if signals is not None:
        rows = rows.filter(pl.col(table.channel).is_in(list(signals)))
    if since is not None:
        rows = rows.filter(pl.col(table.time) >= since)
    if until is not None:
        rows = rows.filter(pl.col(table.time) < until)
    return rows
