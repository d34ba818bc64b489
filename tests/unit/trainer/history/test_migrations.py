"""Old tables become new ones without losing a row or an offset; newer tables are refused."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction, write_deltalake
from deltalake.schema import PrimitiveType

from ringmain_protocol import topics
from ringmain_trainer.errors import HistoryError
from ringmain_trainer.history.delta import append, offset_id, open_table, scan
from ringmain_trainer.history.migrations import MIGRATIONS, VERSION_PROPERTY, migrate, table_version
from ringmain_trainer.history.tables import INSTANT, TABLES, VERSION, Kind, bucket

STEPS = TABLES[topics.STEPS]
OFFSET = offset_id("cluster", "ringmain.steps", 3)
SITES = [f"site-{i:03d}" for i in range(60)]
OLD: dict[str, Kind] = {
    "site": pl.String,
    "stream": pl.String,
    "sequence": pl.Int64,
    "signal": pl.String,
    "start_at": INSTANT,
    "step_s": pl.Int32,
    "value": pl.Float32,
    "quality": pl.Int8,
    "received_at": INSTANT,
    "bucket": pl.Int32,
    "month": pl.String,
}
"""Columns of the table `steps` as the first release wrote them."""

OLD_DELTA: dict[Kind, str] = {
    pl.String: "string",
    pl.Int64: "long",
    pl.Int32: "integer",
    pl.Float32: "float",
    pl.Int8: "byte",
    INSTANT: "timestamp",
}


def old_rows(months: tuple[str, ...] = ("2024-01", "2024-02")) -> pl.DataFrame:
    """A row per site and month in the 16 buckets of the first release: the topic's shard modulo 16."""
    rows = [
        {
            "site": site,
            "stream": "0123456789abcdef",
            "sequence": number,
            "signal": "load_kw",
            "start_at": f"{month}-05T00:00:00Z",
            "step_s": 900,
            "value": 1.5 * i,
            "quality": 0,
            "received_at": f"{month}-05T01:00:00Z",
            "bucket": int(topics.shard(site), 16) % 16,
            "month": month,
        }
        for number, month in enumerate(months, start=1)
        for i, site in enumerate(SITES)
    ]
    instants = [pl.col(name).str.to_datetime(time_unit="us", time_zone="UTC") for name in ("start_at", "received_at")]
    return pl.DataFrame(rows, schema={**OLD, "start_at": pl.String, "received_at": pl.String}).with_columns(instants)


def old_table(folder: Path) -> DeltaTable:
    """A table as the first release left it: 16 buckets, no version, offsets in its transactions."""
    fields = [Field(name, PrimitiveType(OLD_DELTA[kind])) for name, kind in OLD.items()]
    path = str(folder / "steps")
    DeltaTable.create(path, schema=Schema(fields), partition_by=["bucket", "month"])
    rows = old_rows()
    for offset, part in enumerate((rows[:50], rows[50:]), start=41):
        done = CommitProperties(app_transactions=[Transaction(OFFSET, offset)])
        write_deltalake(DeltaTable(path), part, mode="append", commit_properties=done)
    return DeltaTable(path)


def test_a_new_table_says_its_version(tmp_path: Path) -> None:
    assert table_version(open_table(str(tmp_path), STEPS)) == VERSION
    assert set(MIGRATIONS) == set(range(1, VERSION))


def test_an_old_table_gets_the_new_layout_and_keeps_rows_and_offsets(tmp_path: Path) -> None:
    old = old_table(tmp_path)
    assert table_version(old) == 1
    table = open_table(str(tmp_path), STEPS)
    assert table_version(table) == VERSION
    assert table.transaction_version(OFFSET) == 42
    kept = scan(str(tmp_path), topics.STEPS).collect().select(list(OLD))
    assert kept.drop("bucket").sort("site", "month").equals(old_rows().drop("bucket").sort("site", "month"))
    assert all(bucket(site) == found for site, found in kept.select("site", "bucket").iter_rows())
    assert append(table, old_rows(("2024-03",)).with_columns(pl.lit(0, pl.Int32).alias("bucket")), {OFFSET: 43})
    assert scan(str(tmp_path), topics.STEPS, site="site-007").collect().height == 2


def test_an_old_table_can_be_read_before_it_is_migrated(tmp_path: Path) -> None:
    old_table(tmp_path)
    rows = scan(str(tmp_path), topics.STEPS, site="site-007").collect()
    assert rows.height == 2
    assert table_version(DeltaTable(str(tmp_path / "steps"))) == 1


@pytest.mark.parametrize("months", [("2024-01",), ("2024-01", "2024-02")])
def test_a_migration_that_was_killed_goes_on(tmp_path: Path, months: tuple[str, ...]) -> None:
    """After one or all of the months, and before the version is set."""
    path = str(old_table(tmp_path).table_uri)
    for month in months:
        rows = old_rows((month,)).with_columns(bucket=pl.Series([bucket(site) for site in SITES], dtype=pl.Int32))
        write_deltalake(path, rows, mode="overwrite", predicate=f"month = '{month}'")
    assert table_version(DeltaTable(path)) == 1
    assert scan(str(tmp_path), topics.STEPS, site="site-007").collect().height == 2
    table = open_table(str(tmp_path), STEPS)
    assert (table_version(table), table.transaction_version(OFFSET)) == (VERSION, 42)
    assert scan(str(tmp_path), topics.STEPS).collect().height == 2 * len(SITES)
    assert scan(str(tmp_path), topics.STEPS, site="site-007").collect().height == 2


def test_columns_that_an_old_table_lacks_are_added_as_null(tmp_path: Path) -> None:
    old_table(tmp_path)
    more = STEPS._replace(head={**STEPS.head, "reason": pl.String})
    table = open_table(str(tmp_path), more)
    assert "reason" in {field.name for field in table.schema().fields}
    assert scan(str(tmp_path), topics.STEPS).collect()["reason"].null_count() == 2 * len(SITES)


def test_two_that_open_an_old_table_at_once_lose_nothing(tmp_path: Path) -> None:
    one, two = old_table(tmp_path), DeltaTable(str(tmp_path / "steps"))
    for handle in (one, two):  # the second has read its handle before the first changed the table
        assert table_version(migrate(handle, STEPS)) == VERSION
    assert scan(str(tmp_path), topics.STEPS).collect().height == 2 * len(SITES)


def test_a_newer_table_is_refused_and_the_text_says_what_to_use(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), STEPS)
    newer = {VERSION_PROPERTY: str(VERSION + 1), "ringmain.trainer": "9.8.7"}
    table.alter.set_table_properties(newer, raise_if_not_exists=False)
    for use in (lambda: open_table(str(tmp_path), STEPS), lambda: scan(str(tmp_path), topics.STEPS)):
        with pytest.raises(HistoryError, match=rf"version {VERSION + 1}.*knows .* {VERSION}: use ringmain 9\.8\.7 or newer"):
            use()
    table.alter.set_table_properties({VERSION_PROPERTY: "old"}, raise_if_not_exists=False)
    with pytest.raises(HistoryError, match="is 'old', not a whole number"):
        open_table(str(tmp_path), STEPS)


def test_an_ingest_that_was_running_when_the_table_became_newer_is_stopped(tmp_path: Path) -> None:
    table = open_table(str(tmp_path), STEPS)
    other = open_table(str(tmp_path), STEPS)
    other.alter.set_table_properties({VERSION_PROPERTY: str(VERSION + 1)}, raise_if_not_exists=False)
    with pytest.raises(HistoryError, match="use ringmain"):
        append(table, old_rows().head(0), {OFFSET: 1})
