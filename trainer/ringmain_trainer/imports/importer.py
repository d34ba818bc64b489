"""Files of history from elsewhere into the tables: measured values become `steps`, weather and prices may become `series`.

A step value is what `ringmain_protocol.steps` says it is; a row of the file holds for its interval. Its steps count as
received when its interval ended, so a backtest over imported history is honest, and what an agent measured itself wins.
A file is imported once: a hash of its bytes and of the mapping is an application transaction in the commit of its rows.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

import msgspec
import polars as pl
from msgspec import Struct

from ringmain_program.config import ConfigError, load
from ringmain_protocol import topics
from ringmain_protocol.messages import Quality
from ringmain_protocol.steps import Reading, step_start_ms, step_value
from ringmain_trainer.config.trainer import is_time_zone
from ringmain_trainer.errors import HistoryError, ImportDataError
from ringmain_trainer.history.delta import append, open_table
from ringmain_trainer.history.tables import INSTANT, TABLES, bucket
from ringmain_trainer.imports.column_mapping import FileFormat, fixed_offset_s, units_of
from ringmain_trainer.imports.file_checks import check_file
from ringmain_trainer.imports.file_reader import Values, read_values
from ringmain_trainer.imports.header_recognition import describe, recognize
from ringmain_trainer.imports.source_file import Source, read_source, samples

log: Final = logging.getLogger("ringmain_trainer")

_ROWS_SHOWN: Final = 20


class Imported(Struct):
    """Rows that came into a table from a file, for one site and signal; none if the file was imported before.

    `warnings` name faults of the file that leave its rows usable, each with line or time and what to do.
    """

    table: str
    site: str
    signal: str
    rows: int
    suspect: int
    file_step_s: int
    first_at: datetime | None
    last_at: datetime | None
    imported_before: bool = False
    warnings: list[str] = []


def import_file(  # noqa: PLR0913  the options of the command line
    path: Path,
    *,
    history: str,
    step_s: int,
    now: datetime,
    mapping: Path | None = None,
    site: str | None = None,
    time_zone: str | None = None,
    local_time_zone: str = "UTC",
) -> list[Imported]:
    """Put a CSV or Parquet file into the history.

    Args:
        path: The file; CSV may be compressed (.gz).
        history: Folder or URL of the history.
        step_s: Length of the steps that models are made from.
        now: Time of the import.
        mapping: TOML file with the meaning of the columns; without one the names in the header decide.
        site: The site that all rows belong to.
        time_zone: Time zone of stamps without an offset, when there is no mapping.
        local_time_zone: The clock of the site, for a warning where stamps follow it although they were read by another one.

    Raises:
        ImportDataError: If anything in the file is uncertain; nothing of it was imported.
        ConfigError: If the mapping cannot be used.
        HistoryError: If the history cannot be written.
    """
    source, chosen = read_mapped(path, mapping=mapping, site=site, time_zone=time_zone)
    values = read_values(source, chosen)
    warnings = check_file(values, chosen.file, local_time_zone)
    for site_name, text in sorted({(one_site, text) for (one_site, _), texts in warnings.items() for text in texts}):
        log.warning("%s, site %s, %s", path, site_name, text)
    stream = stream_of(path, chosen)
    now_ms = round(1000 * now.timestamp())
    result: list[Imported] = []
    for kind, frames in _frames(values, step_s):
        table, transaction = TABLES[kind], f"import:{stream}"
        handle = open_table(history, table)
        before = handle.transaction_version(transaction) is not None
        if not before:
            whole = _complete(pl.concat([frame for _, frame in frames]), kind, stream, now_ms)
            if not append(handle, whole, {transaction: 1}):
                if open_table(history, table).transaction_version(transaction) is None:
                    raise HistoryError(f"{handle.table_uri} is written by others all the time: import {path} again")
                before = True
        for one, frame in frames:
            noted = warnings[one.site, one.mapping.signal]
            result.append(_imported(table.name, one, frame, before=before, warnings=noted))
    return result


def read_mapped(path: Path, *, mapping: Path | None, site: str | None, time_zone: str | None) -> tuple[Source, FileFormat]:
    """The file and the meaning of its columns: from the mapping, or recognized from its header.

    Raises:
        ImportDataError: If the header is not enough; the text holds a mapping to start from.
        ConfigError: If the mapping cannot be used.
    """
    _require_options(site, time_zone)
    if mapping is not None:
        chosen = load(mapping, FileFormat)
        if time_zone is not None:
            raise ConfigError("--time-zone is for files without --mapping; the mapping says time_zone")
        if site is not None:
            if chosen.file.site_column is not None:
                raise ConfigError(f"{mapping}: file.site_column names the site of each row: remove --site")
            chosen = msgspec.structs.replace(chosen, file=msgspec.structs.replace(chosen.file, site=site))
        if chosen.file.site is None and chosen.file.site_column is None:
            raise ConfigError(f"{mapping}: file.site, file.site_column or --site must name the site of the rows")
        return read_source(path, delimiter=chosen.file.delimiter), chosen
    source = read_source(path)
    numbers, distinct = samples(source)
    recognized = recognize(source.header, numbers, distinct, site=site, time_zone=time_zone or "UTC")
    if recognized.mapping is None:
        raise ImportDataError(
            f"{path}: the header does not say {'; '.join(recognized.undecided)}.\n"
            f"A mapping to start from, to be mended and given with --mapping:\n\n{recognized.draft}"
        )
    log.info("recognized: %s", describe(recognized.mapping))
    if recognized.ignored:
        log.info("left out: %s", ", ".join(recognized.ignored[:_ROWS_SHOWN]))
    for text in recognized.assumed:
        log.warning("%s; if not, say so in a mapping (--mapping)", text)
    return source, recognized.mapping


def _require_options(site: str | None, time_zone: str | None) -> None:
    if site is not None and not topics.is_site(site):
        raise ConfigError(f"--site {site!r}: the name of a site has letters a-z, digits and -, at most 63")
    if time_zone is not None and fixed_offset_s(time_zone) is None and not is_time_zone(time_zone):
        raise ConfigError(f"--time-zone {time_zone!r} is neither in the IANA database nor an offset such as +01:00")


def stream_of(path: Path, mapping: FileFormat) -> str:
    """Name of the stream of a file: a hash of its bytes and of the meaning of its columns."""
    with path.open("rb") as file:
        content = file_digest(file, "sha256").hexdigest()
    columns = [msgspec.to_builtins(one) for one in mapping.signal]
    for column in columns:
        del column["nominal_kv"]  # a check of the values changes none of them
    meaning = {"file": mapping.file, "signal": columns}
    return sha256(content.encode() + msgspec.json.encode(meaning, order="sorted")).hexdigest()[:32]


def step_rows(rows: pl.DataFrame, signal: str, *, file_step_s: int, step_s: int) -> pl.DataFrame:
    """Values of intervals (`start_at`, `value`) as step values (and `quality`); steps without one are left out."""
    at_ms = rows["start_at"].dt.epoch("ms").to_list()
    values = rows["value"].to_list()
    if file_step_s == step_s and all(at % (1000 * step_s) == 0 for at in at_ms):  # the definition changes nothing then
        return rows.select("start_at", pl.col("value").cast(pl.Float32), pl.lit(Quality.GOOD, pl.Int8).alias("quality"))
    readings = [Reading(signal, at, value) for at, value in zip(at_ms, values, strict=True)]
    steps = [value for value in _step_values(signal, readings, file_step_s, step_s) if value[1] is not None]
    schema = {"start_ms": pl.Int64, "value": pl.Float32, "quality": pl.Int8}
    frame = pl.DataFrame(steps, schema=schema, orient="row")
    return frame.select((pl.col("start_ms") * 1000).cast(INSTANT).alias("start_at"), "value", "quality")


def _step_values(
    signal: str, readings: Sequence[Reading], hold_s: int, step_s: int
) -> Iterator[tuple[int, float | None, int]]:
    """Every step that a reading reaches into."""
    step_ms, hold_ms, first, last_done = 1000 * step_s, 1000 * hold_s, 0, None
    for reading in readings:
        start_ms = step_start_ms(reading.at_ms, step_s)
        if last_done is not None:
            start_ms = max(start_ms, last_done + step_ms)
        while start_ms < reading.at_ms + hold_ms:
            while readings[first].at_ms + hold_ms <= start_ms:
                first += 1
            end = first
            while end < len(readings) and readings[end].at_ms < start_ms + step_ms:
                end += 1
            step = step_value(signal, readings[first:end], start_ms=start_ms, step_s=step_s, hold_s=hold_s)
            yield start_ms, step.value, step.quality
            last_done = start_ms
            start_ms += step_ms


def series_rows(rows: pl.DataFrame, *, step_s: int, known_ahead_h: float) -> pl.DataFrame:
    """Values as issues of a series: `issued_at`, `valid_at`, `value`; a hole in an issue is null.

    Without instants of issue every day (UTC) is an issue of its own, known so long before its begin.
    """
    if "issued_at" not in rows.columns:
        day = pl.col("start_at").dt.truncate("1d")
        rows = rows.with_columns((day - pl.duration(minutes=round(60 * known_ahead_h))).alias("issued_at"))
    known = rows.select("issued_at", valid_at="start_at", value="value")
    span = known.group_by("issued_at").agg(first=pl.col("valid_at").min(), last=pl.col("valid_at").max())
    grid = span.select("issued_at", pl.datetime_ranges("first", "last", f"{step_s}s").alias("valid_at")).explode("valid_at")
    return grid.join(known, on=["issued_at", "valid_at"], how="left").sort("issued_at", "valid_at")


Made = tuple[Values, pl.DataFrame]


def _frames(imported: Sequence[Values], step_s: int) -> Iterator[tuple[str, list[Made]]]:
    """Rows by table, without what all of them have in common."""
    steps: list[Made] = []
    series: list[Made] = []
    for one in imported:
        name, plain = one.mapping.signal, {"site": one.site, "bucket": bucket(one.site)}
        constant = [pl.lit(plain["site"]).alias("site"), pl.lit(plain["bucket"], pl.Int32).alias("bucket")]
        if one.mapping.to == "steps":
            rows = step_rows(one.rows, name, file_step_s=one.step_s, step_s=step_s)
            end = (pl.col("start_at") + pl.duration(seconds=step_s)).cast(INSTANT)
            added = [pl.lit(name).alias("signal"), pl.lit(step_s, pl.Int32).alias("step_s"), end.alias("received_at")]
            steps.append((one, rows.with_columns(*constant, *added)))
        else:
            rows = series_rows(one.rows, step_s=one.step_s, known_ahead_h=one.known_ahead_h)
            unit = next(iter(units_of(name)))
            added = [pl.lit(name).alias("name"), pl.lit(one.step_s, pl.Int32).alias("step_s"), pl.lit(unit).alias("unit")]
            series.append((one, rows.with_columns(*constant, *added, pl.col("issued_at").alias("received_at"))))
    yield from ((kind, made) for kind, made in ((topics.STEPS, steps), (topics.SERIES, series)) if made)


def _complete(rows: pl.DataFrame, kind: str, stream: str, now_ms: int) -> pl.DataFrame:
    """The columns of the table, in the order of its partitions."""
    table = TABLES[kind]
    month = pl.col(table.time).dt.strftime("%Y-%m").alias("month")
    sent = [pl.lit(stream).alias("stream"), pl.lit(now_ms, pl.Int64).alias("sequence")] if "stream" in table.columns else []
    whole = rows.with_columns(month, *sent)
    missing = [pl.lit(None, kind).alias(name) for name, kind in table.columns.items() if name not in whole.columns]
    ordered = whole.with_columns(missing).select(list(table.columns))
    return ordered.sort("bucket", "month", *table.sort_by, maintain_order=True).rechunk()


def _imported(table: str, values: Values, rows: pl.DataFrame, *, before: bool, warnings: list[str]) -> Imported:
    at = rows["start_at" if "start_at" in rows.columns else "valid_at"]
    first, last = at.min(), at.max()
    return Imported(
        table=table,
        site=values.site,
        signal=values.mapping.signal,
        rows=0 if before else rows.height,
        suspect=int((rows["quality"] == Quality.SUSPECT).sum()) if "quality" in rows.columns else 0,
        file_step_s=values.step_s,
        first_at=first if isinstance(first, datetime) else None,
        last_at=last if isinstance(last, datetime) else None,
        imported_before=before,
        warnings=warnings,
    )
