"""A CSV or Parquet file to instants and numbers in our units and sign. Whatever cannot be read with certainty is refused.

Errors name the line of the file (the header is line 1) and the column.
"""

import re
from typing import Final, NamedTuple

import polars as pl

from ringmain_protocol.topics import is_site
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.errors import ImportDataError
from ringmain_trainer.imports.column_mapping import FileFormat, FileMapping, SignalMapping, units_of
from ringmain_trainer.imports.source_file import LINE, Source, refuse
from ringmain_trainer.imports.time_stamps import WRITTEN, instants

VALUE_MAX: Final = 1e12
"""No quantity of a site is larger, in any of our units."""


class Values(NamedTuple):
    """The values of one signal of one site: `start_at` is the START of the interval, `value` in our unit and sign.

    `stamps` has `line` and `written`, the stamp by the file's own clock, of all rows in their order in the file.
    """

    site: str
    mapping: SignalMapping
    step_s: int
    rows: pl.DataFrame
    known_ahead_h: float
    stamps: pl.DataFrame
    has_offsets: bool


def read_values(source: Source, mapping: FileFormat) -> list[Values]:
    """The values that the mapping takes out of the file, by site and signal, in order of time.

    Raises:
        ImportDataError: With line and column of what cannot be read.
    """
    file = mapping.file
    _require_columns(source, mapping)
    rows = instants(source, mapping)
    rows = rows.with_columns(_sites(source, rows, file))
    values: list[Values] = []
    for signal in mapping.signal:
        own = rows.filter(pl.lit(value=True), *(pl.col(name).cast(pl.String) == text for name, text in signal.where.items()))
        if own.is_empty():
            raise ImportDataError(f"{source.path}: no row has {signal.where}")
        own = own.with_columns(_numbers(source, own, signal.column, file))
        columns = [LINE, "_at", "_value", *(["_issued_at"] if "_issued_at" in own.columns else [])]
        for (site,), whole in own.group_by("_site", maintain_order=True):
            part = whole.drop_nulls([name for name in ("_at", "_issued_at") if name in whole.columns])
            if part.is_empty():
                continue
            step_s = file.step_s or _step_s(source, part["_at"], signal)  # of all rows: an empty field is a gap
            if file.order == "time" and "_issued_at" not in part.columns:
                _require_order(source, part, file)
            alone = _unique(source, part.select(columns).drop_nulls("_value"), signal, file).sort(
                "_at", "_issued_at" if len(columns) > 3 else "_at"
            )
            if alone.is_empty():
                continue
            factor, offset = units_of(signal.signal)[signal.unit]
            factor *= 3600 / step_s if signal.per_interval else 1.0
            sign = -1.0 if signal.positive == "generation" else 1.0
            value = sign * (pl.col("_value") * factor + offset)
            start = pl.col("_at") - (pl.duration(seconds=step_s) if file.stamp == "end" else pl.duration())
            issued = [pl.col("_issued_at").alias("issued_at")] if len(columns) > 3 else []
            kept = alone.select(pl.col(LINE), start.alias("start_at"), (value + 0.0).alias("value"), *issued)
            beyond = kept.filter(pl.col("value").abs() > VALUE_MAX)[LINE].to_list()
            bad = source.rows.filter(pl.col(LINE).is_in(beyond))
            refuse(source, bad, signal.column, signal.column, f"is beyond {VALUE_MAX:g} in our unit")
            stamps = whole.select(line=LINE, written=pl.col(WRITTEN).dt.replace_time_zone(None))
            has_offsets = whole.schema[WRITTEN] != pl.Datetime("us")
            values.append(Values(str(site), signal, step_s, kept.drop(LINE), file.known_ahead_h, stamps, has_offsets))
    if not values:
        raise ImportDataError(f"{source.path}: no column has a value")
    return values


def _require_columns(source: Source, mapping: FileFormat) -> None:
    file = mapping.file
    wanted = [*file.time_columns, *(name for name in (file.site_column, file.issued_at) if name)]
    for signal in mapping.signal:
        wanted += [signal.column, *signal.where]
    if missing := sorted({name for name in wanted if name not in source.header}):
        raise ImportDataError(
            f"{source.path}: there is no column {', '.join(missing)}; there are {', '.join(source.header)}"
        )


def _sites(source: Source, rows: pl.DataFrame, file: FileMapping) -> pl.Series:
    if file.site_column is None:
        return pl.Series("_site", [file.site], dtype=pl.String).new_from_index(0, rows.height).alias("_site")
    texts = rows[file.site_column].cast(pl.String)
    named: dict[str, str] = {}
    for text in texts.unique().to_list():
        site = file.sites.get(text) or re.sub(r"[^a-z0-9]+", "-", str(text or "").lower()).strip("-")
        if not is_site(site):
            bad = rows.filter(texts.is_null() if text is None else texts == text)
            refuse(source, bad, file.site_column, file.site_column, "is no name for a site")
        if site in named.values():
            raise ImportDataError(
                f"{source.path}: two texts in {file.site_column} become the site {site}: name them in sites"
            )
        named[text] = site
    return texts.replace_strict(named, return_dtype=pl.String).alias("_site")


def _numbers(source: Source, rows: pl.DataFrame, column: str, file: FileMapping) -> pl.Series:
    texts = rows[column]
    if texts.dtype.is_numeric() or texts.dtype == pl.Boolean:
        values = texts.cast(pl.Float64).fill_nan(None)
    else:
        plain = texts.cast(pl.String).str.strip_chars()
        plain = plain.set(plain.is_in(list(file.missing)).fill_null(value=False), None)
        if file.decimal == ",":
            pointed = rows.filter(plain.str.contains(".", literal=True))
            refuse(source, pointed, column, column, 'has a decimal point, but decimal = ","')
            plain = plain.str.replace(",", ".", literal=True)
        values = plain.cast(pl.Float64, strict=False)
        hint = (
            "is no number"
            if file.decimal == ","
            else 'is no number (decimal = "," reads decimal commas; missing names empty ones)'
        )
        refuse(source, rows.filter(plain.is_not_null() & values.is_null()), column, column, hint)
    refuse(source, rows.filter(values.is_not_null() & ~values.is_finite()), column, column, "is not finite")
    return values.alias("_value")


def _require_order(source: Source, part: pl.DataFrame, file: FileMapping) -> None:
    """Refuse rows in which time goes back; newest first is an order as well."""
    change_s = part["_at"].diff().dt.total_seconds().fill_null(0)
    falling = (change_s < 0).sum() > (change_s > 0).sum()
    back = part.filter(change_s > 0 if falling else change_s < 0)
    hint = (
        'goes back in time; midnight = "next_day" if 00:00 carries the date of the day that ends, time_zone if a local '
        'clock changes here, order = "any" if the rows are mixed'
    )
    refuse(source, back, file.time, " ".join(file.time_columns), hint)


def _unique(source: Source, rows: pl.DataFrame, signal: SignalMapping, file: FileMapping) -> pl.DataFrame:
    key = [name for name in ("_at", "_issued_at") if name in rows.columns]
    if not rows.select(key).is_duplicated().any():
        return rows
    if file.duplicates == "mean":
        return (
            rows.group_by(key, maintain_order=True).agg(pl.col(LINE).first(), pl.col("_value").mean()).select(rows.columns)
        )
    if file.duplicates != "refuse":
        return rows.unique(key, keep=file.duplicates, maintain_order=True)
    twice = rows.filter(rows.select(key).is_duplicated()).sort("_at", maintain_order=True).head(2)
    lines = " and ".join(str(line) for line in twice[LINE])
    raise ImportDataError(
        f"{source.path}, lines {lines}, column {signal.column}: two values for {twice['_at'][0]:%Y-%m-%dT%H:%M:%SZ}; "
        'pick rows by where or site_column, or say duplicates = "first", "last" or "mean"'
    )


def _step_s(source: Source, at: pl.Series, signal: SignalMapping) -> int:
    """The usual distance of two rows."""
    gaps = at.unique().sort().diff().drop_nulls().dt.total_seconds()
    if gaps.is_empty():
        raise ImportDataError(f"{source.path}, column {signal.column}: one value alone has no step; say step_s")
    usual = gaps.mode().min()
    if not isinstance(usual, int) or not 0 < usual <= DAY_S or (gaps == usual).sum() <= 0.5 * len(gaps):
        raise ImportDataError(f"{source.path}, column {signal.column}: no step is usual between its rows; say step_s")
    return usual
