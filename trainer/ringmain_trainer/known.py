"""What the history already holds, read back from the tables, so that a message that comes twice is recognized."""

from typing import Final

import polars as pl

from ringmain_protocol import topics
from ringmain_trainer.history import scan
from ringmain_trainer.ranges import Ranges
from ringmain_trainer.records import Known

_OUTBOX: Final = (topics.READINGS, topics.STEPS, topics.FORECAST, topics.SCHEDULE, topics.SETPOINT)


def read_known(location: str) -> Known:
    """What the history holds, to recognize what comes twice."""
    known = Known()
    for kind in _OUTBOX:
        rows = scan(location, kind).select("site", "stream", "sequence")
        for (site, stream), ranges in _ranges(rows, ["site", "stream"], "sequence").items():
            before = known.sequences.get((site, stream), Ranges())
            known.sequences[site, stream] = Ranges([*before, *ranges])
    issues = scan(location, topics.SERIES).select("site", "name", pl.col("issued_at").dt.epoch("ms"))
    known.issues = {key: Ranges(ranges) for key, ranges in _ranges(issues, ["site", "name"], "issued_at").items()}
    status = scan(location, topics.STATUS).group_by("site").agg(pl.col("at").sort_by("received_at").last().dt.epoch("ms"))
    known.status = dict(status.collect().iter_rows())
    return known


def known_sequences(location: str) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Sequences in the history as inclusive ranges, by (site, stream)."""
    return {key: list(ranges) for key, ranges in read_known(location).sequences.items()}


def _ranges(rows: pl.LazyFrame, by: list[str], number: str) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Distinct numbers as inclusive ranges, by two columns."""
    column = pl.col(number)
    runs = (
        rows.unique()
        .sort(*by, number)
        .with_columns((column.diff() != 1).fill_null(value=True).cum_sum().over(by).alias("run"))
    )
    merged = runs.group_by(*by, "run").agg(column.min().alias("first"), column.max().alias("last")).sort(*by, "first")
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for one, two, _, first, last in merged.collect().iter_rows():
        found.setdefault((one, two), []).append((first, last))
    return found
