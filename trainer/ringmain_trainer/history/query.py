"""Questions that analysts ask of the history: what there is, SQL, rows of a site, and files of the answers.

Everything is lazy: only the files and columns that an answer needs are read, and an export runs through in pieces, so that
its size does not matter.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
from msgspec import Struct

from ringmain_protocol import topics
from ringmain_trainer.errors import QuestionError
from ringmain_trainer.history.delta import scan
from ringmain_trainer.history.tables import TABLES

SHOWN_MAX: Final = 10_000
"""Rows of an answer that are shown; an export has all."""

_KINDS: Final = {table.name: kind for kind, table in TABLES.items()}
_READS: Final = re.compile(r"\s*(--[^\n]*\n\s*)*(select|with|explain|show|\()", re.IGNORECASE)
_SUFFIXES: Final = (".parquet", ".csv")


class Selection(Struct, frozen=True, kw_only=True):
    """Which rows are asked for; nothing said means all. `since` counts, `until` does not."""

    site: str | None = None
    signals: list[str] | None = None
    since: datetime | None = None
    until: datetime | None = None


class Exported(Struct):
    """A file that was written."""

    file: str
    rows: int
    size_bytes: int


def summary(location: str, *, site: str | None = None) -> list[dict[str, Any]]:
    """Contents of the history: rows, and first and last instant, by table, site and signal or series."""
    found: list[dict[str, Any]] = []
    for kind, table in TABLES.items():
        by = [name for name in ("site", "signal", "name", "equipment") if name in table.columns]
        at = pl.col("valid_at" if kind == topics.SERIES else table.time)
        columns = [pl.len().alias("rows"), at.min().alias("first_at"), at.max().alias("last_at")]
        if "value" in table.columns:
            columns.append(pl.col("value").null_count().alias("missing"))
        rows = scan(location, kind, site=site).group_by(by).agg(columns).collect(engine="streaming").sort(by)
        found += [{"table": table.name, **row} for row in rows.iter_rows(named=True)]
    return found


def select(location: str, table: str, chosen: Selection) -> pl.LazyFrame:
    """Rows of a table, lazily; those of one site in order.

    Raises:
        QuestionError: If there is no such table.
    """
    if table not in _KINDS:
        raise QuestionError(f"there is no table {table!r}; there are {', '.join(_KINDS)}")
    kind = _KINDS[table]
    rows = scan(location, kind, site=chosen.site, signals=chosen.signals, since=chosen.since, until=chosen.until).drop(
        "bucket", "month"
    )
    return rows if chosen.site is None else rows.sort(*TABLES[kind].sort_by, nulls_last=True)


def query(
    location: str, sql: str, chosen: Selection | None = None, views: Mapping[str, pl.LazyFrame] | None = None
) -> pl.LazyFrame:
    """The answer to an SQL query over all tables, lazily; `step_values` is `steps` with one value for each step.

    Args:
        location: Folder or URL of the history.
        sql: SQL as Polars knows it; reads only.
        chosen: What all tables are narrowed to before.
        views: Further tables, by name.

    Raises:
        QuestionError: If the query cannot be understood; the text names the tables and their columns.
    """
    if not _READS.match(sql):
        raise QuestionError("the history answers SELECT (also WITH, EXPLAIN, SHOW TABLES); nothing is changed by SQL")
    only = chosen or Selection()
    frames = {
        name: scan(location, kind, site=only.site, signals=only.signals, since=only.since, until=only.until)
        for name, kind in _KINDS.items()
    }
    frames["step_values"] = step_values(frames["steps"])
    frames |= views or {}
    try:
        answer = pl.SQLContext(frames, eager=False).execute(sql)
        answer.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise QuestionError(_explained(error)) from error
    return answer


def step_values(steps: pl.LazyFrame) -> pl.LazyFrame:
    """Steps with a value, one for each site, signal and step: the one received last."""
    there = steps.filter(pl.col("value").is_not_null())
    newest = there.sort("received_at", "sequence").unique(["site", "signal", "step_s", "start_at"], keep="last")
    return newest.select("site", "signal", "start_at", "step_s", "value", "quality")


def answer_rows(answer: pl.LazyFrame, *, rows_max: int = SHOWN_MAX) -> tuple[list[dict[str, Any]], bool]:
    """The first rows of an answer, and whether there are more.

    Raises:
        QuestionError: If it cannot be computed.
    """
    try:
        frame = answer.head(rows_max + 1).collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise QuestionError(_explained(error)) from error
    return frame.head(rows_max).to_dicts(), frame.height > rows_max


def export(answer: pl.LazyFrame, file: Path) -> Exported:
    """Write an answer to a Parquet or CSV file, in pieces; the file is there whole or not at all.

    Raises:
        QuestionError: If it cannot be computed or written.
    """
    if file.suffix not in _SUFFIXES:
        raise QuestionError(f"{file}: an export is a file {' or '.join(_SUFFIXES)}")
    part = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".parquet":
            answer.sink_parquet(part, compression="zstd")
            rows = pl.scan_parquet(part).select(pl.len()).collect().item()
        else:
            lists = [name for name, kind in answer.collect_schema().items() if isinstance(kind, pl.List)]
            flat = answer.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join(" ") for name in lists)
            flat.sink_csv(part, datetime_format="%Y-%m-%dT%H:%M:%S%.3fZ")
            rows = pl.scan_csv(part, infer_schema=False).select(pl.len()).collect().item()
        part.replace(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise QuestionError(f"{file}: {_explained(error)}") from error
    finally:
        if part.is_file():
            part.unlink()
    return Exported(str(file), rows, file.stat().st_size)


def tables_text(names: Sequence[str] = tuple(_KINDS)) -> str:
    """Tables and columns, one line a table."""
    lines = [f"{name}: {', '.join(TABLES[_KINDS[name]].columns)}" for name in names]
    return "\n".join([*lines, "step_values: site, signal, start_at, step_s, value, quality"])


def _explained(error: Exception) -> str:
    text = str(error).split("\n\nResolved plan")[0].strip()
    if "Datetime" in text and "comparison" in text:
        return "instants have UTC as their zone: compare them with text, for example start_at >= '2024-01-31 12:00'"
    known = (pl.exceptions.ColumnNotFoundError, pl.exceptions.SQLInterfaceError, pl.exceptions.SQLSyntaxError)
    return f"{text}\nTables and their columns:\n{tables_text()}" if isinstance(error, known) else text
