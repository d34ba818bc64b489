"""Questions that analysts ask of the history."""

from typing import Any

import polars as pl

from ringmain_protocol import topics
from ringmain_trainer.history import scan
from ringmain_trainer.tables import TABLES


def summary(location: str) -> list[dict[str, Any]]:
    """What the history holds: rows, and first and last instant, by table, site and signal or series."""
    found: list[dict[str, Any]] = []
    for kind, table in TABLES.items():
        by = [name for name in ("site", "signal", "name", "equipment") if name in table.columns]
        at = pl.col("valid_at" if kind == topics.SERIES else table.time)
        columns = [pl.len().alias("rows"), at.min().alias("first_at"), at.max().alias("last_at")]
        if "value" in table.columns:
            columns.append(pl.col("value").null_count().alias("missing"))
        rows = scan(location, kind).group_by(by).agg(columns).sort(by).collect()
        found += [{"table": table.name, **row} for row in rows.iter_rows(named=True)]
    return found
