"""Other programs read the history as it is: DuckDB, the way that the page in docs names, and by the list of files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
from deltalake import DeltaTable

from ringmain_protocol import topics
from ringmain_trainer.history.delta import append, open_table
from ringmain_trainer.history.maintenance import compact
from ringmain_trainer.history.tables import TABLES, bucket

STEPS = TABLES[topics.STEPS]
SITES = ("uw-114", "uw-115", "uw-116")


def write(folder: Path) -> str:
    """Three sites with two signals, three commits, then compaction: replaced files lie beside the new ones."""
    table = open_table(str(folder), STEPS)
    begin, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 10, tzinfo=UTC)
    start = pl.datetime_range(begin, end, "15m", time_unit="us", eager=True)
    rows = pl.concat(
        pl.DataFrame({"start_at": start}).with_columns(
            site=pl.lit(site),
            stream=pl.lit("0123456789abcdef"),
            sequence=pl.int_range(pl.len(), dtype=pl.Int64),
            signal=pl.lit(signal),
            step_s=pl.lit(900, pl.Int32),
            value=pl.lit(100.0 * i, pl.Float32),
            quality=pl.lit(0, pl.Int8),
            received_at=pl.col("start_at") + timedelta(minutes=15),
            bucket=pl.lit(bucket(site), pl.Int32),
            month=pl.col("start_at").dt.strftime("%Y-%m"),
        )
        for i, site in enumerate(SITES)
        for signal in ("load_kw", "pv_kw")
    ).select(list(STEPS.columns))
    for part in range(3):
        assert append(table, rows.gather_every(3, part), {})
    compact(str(folder))
    return str(folder / "steps")


def test_duckdb_reads_the_files_that_the_log_lists(tmp_path: Path) -> None:
    """The list and not the folder: files that were replaced are still there."""
    path = write(tmp_path)
    uris = [str(uri).removeprefix("file://") for uri in DeltaTable(path).file_uris()]
    assert len(uris) < len(list(Path(path).rglob("bucket=*/**/*.parquet")))
    with duckdb.connect() as connection:
        connection.read_parquet(uris, hive_partitioning=True).create_view("steps")
        found = connection.sql("SELECT count(*), count(DISTINCT site), min(month), max(month) FROM steps").fetchall()
        means = connection.sql(
            "SELECT site, avg(value) FROM steps WHERE signal = 'load_kw' GROUP BY site ORDER BY site"
        ).fetchall()
        own = connection.sql(
            "SELECT count(*), sum(epoch(start_at)::BIGINT % 900) FROM steps WHERE site = 'uw-115' AND signal = 'pv_kw' "
            "AND bucket IN (-1, ('0x' || substr(sha256('uw-115'), 1, 8))::BIGINT % 320) "
            "AND start_at < TIMESTAMPTZ '2024-01-02 00:00:00Z'"
        ).fetchall()
    assert found == [(2 * 3 * 3841, 3, "2024-01", "2024-02")]
    assert means == [(site, 100.0 * i) for i, site in enumerate(SITES)]
    assert own == [(96, 0)]
