"""Texts of a file to instants. A clock that is not certain is refused."""

import re
from typing import Final, NamedTuple

import polars as pl

from ringmain_trainer.errors import ImportDataError
from ringmain_trainer.history.tables import INSTANT
from ringmain_trainer.imports.column_mapping import FileFormat, FileMapping, fixed_offset_s, zone_of
from ringmain_trainer.imports.source_file import LINE, SHOWN, Source, refuse

WRITTEN: Final = "_written"
"""Column of the stamps as the file's own clock shows them; as UTC where they carry an offset."""

_YEARS: Final = (1900, 2200)
_ISO: Final = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?")
_DAYS: Final = re.compile(r"(\d{1,2})([./-])(\d{1,2})[./-]\d{4}([T ]+\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)?")
_EPOCH: Final = re.compile(r"\d{9,10}(\.\d+)?|\d{12,13}")


class _Names(NamedTuple):
    """A column of stamps, its name in errors, the column of its instants, the columns that distinguish rows of one stamp."""

    column: str
    shown: str
    target: str
    apart: list[str]


def instants(source: Source, mapping: FileFormat) -> pl.DataFrame:
    """The rows with `_at`, the stamp as an instant, and `_issued_at` if there is one; null where a local clock skips it."""
    rows, file = source.rows, mapping.file
    if file.time_of_day is not None:
        joined = pl.concat_str([pl.col(name).cast(pl.String) for name in file.time_columns], separator=" ")
        rows = rows.with_columns(joined.alias("_time"))
    name = "_time" if file.time_of_day is not None else file.time
    apart = sorted({*([file.site_column] if file.site_column else []), *(one for s in mapping.signal for one in s.where)})
    rows = _stamps(source, rows, file, _Names(name, " ".join(file.time_columns), "_at", apart))
    if file.issued_at is None:
        return rows
    return _stamps(source, rows, file, _Names(file.issued_at, file.issued_at, "_issued_at", [*apart, "_at"]))


def _stamps(source: Source, rows: pl.DataFrame, file: FileMapping, names: _Names) -> pl.DataFrame:
    column, shown = names.column, names.shown
    texts = rows[column]
    if isinstance(texts.dtype, pl.Datetime) and texts.dtype.time_zone is not None:
        parsed = texts.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    elif texts.dtype == pl.Date or isinstance(texts.dtype, pl.Datetime):
        parsed = texts.cast(pl.Datetime("us"))
    else:
        plain = texts.cast(pl.String).str.strip_chars()
        parsed = _parsed(source, rows, plain, file, shown)
    refuse(
        source,
        rows.filter(parsed.is_null()),
        column,
        shown,
        "is no time as in the other lines; format says how it is written",
    )
    rows = rows.with_columns(parsed.alias("_stamp"))
    strange = rows.filter(~pl.col("_stamp").dt.year().is_between(*_YEARS))
    refuse(source, strange, column, shown, f"is not in the years {_YEARS[0]} to {_YEARS[1]}")
    if file.midnight == "next_day":
        late = pl.col("_stamp").dt.time() == pl.time(0, 0)
        rows = rows.with_columns(pl.when(late).then(pl.col("_stamp").dt.offset_by("1d")).otherwise("_stamp").alias("_stamp"))
    if names.target == "_at":
        rows = rows.with_columns(pl.col("_stamp").alias(WRITTEN))
    if rows["_stamp"].dtype == pl.Datetime("us"):
        rows = _to_utc(source, rows, file, names)
    return rows.rename({"_stamp": names.target}).with_columns(pl.col(names.target).cast(INSTANT))


def _to_utc(source: Source, rows: pl.DataFrame, file: FileMapping, names: _Names) -> pl.DataFrame:
    """Stamps of a clock without offset as instants: of the doubled hour in autumn, what comes first in the file is first."""
    zone, offset_s = zone_of(file.time_zone), fixed_offset_s(file.time_zone)
    if zone is None:
        shifted = pl.col("_stamp").dt.offset_by(f"{-(offset_s or 0)}s").dt.replace_time_zone("UTC")
        return rows.with_columns(shifted.alias("_stamp"))
    nth = pl.int_range(pl.len()).over([*names.apart, "_stamp"])
    which = pl.when(nth == 0).then(pl.lit("earliest")).otherwise(pl.lit("latest"))
    local = pl.col("_stamp").dt.replace_time_zone(file.time_zone, ambiguous=which, non_existent="null")
    instants_of = rows.with_columns(local.dt.convert_time_zone("UTC").alias("_utc"))
    skipped = instants_of.filter(pl.col("_utc").is_null())
    if file.nonexistent == "refuse":
        hint = f'does not exist in {file.time_zone} (clock change); is time_zone right? nonexistent = "skip" leaves it out'
        refuse(source, skipped, names.column, names.shown, hint)
    return instants_of.drop("_stamp").rename({"_utc": "_stamp"})


def _parsed(source: Source, rows: pl.DataFrame, plain: pl.Series, file: FileMapping, shown: str) -> pl.Series:
    """Text to instants with, or stamps without, offset."""
    if file.format is not None:
        try:
            parsed = plain.str.to_datetime(file.format, strict=False, time_unit="us")
        except pl.exceptions.PolarsError as error:
            raise ImportDataError(f"{source.path}: format {file.format!r} cannot be used: {error}") from error
        zone = parsed.dtype.time_zone if isinstance(parsed.dtype, pl.Datetime) else None
        return parsed.dt.convert_time_zone("UTC") if zone else parsed
    first = next((text for text in plain.head(100).to_list() if text), "")
    if _ISO.fullmatch(first):
        return _iso(plain)
    if _DAYS.fullmatch(first):
        return _day_month_year(source, rows, plain, file, shown)
    if _EPOCH.fullmatch(first):
        seconds = plain.cast(pl.Float64, strict=False)
        scale = 1.0 if len(first.split(".")[0]) <= 10 else 1000.0
        seconds = seconds.set((seconds.abs() < 1e14).not_().fill_null(value=True), None)
        return (seconds / scale * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    raise ImportDataError(f"{source.path}, line 2, column {shown}: {first[:SHOWN]!r} is no time that is known; say format")


def _iso(plain: pl.Series) -> pl.Series:
    pattern = r"^(\d{4}-\d{1,2}-\d{1,2})(?:[T ](\d{1,2}:\d{2})(:\d{2}(?:\.\d+)?)?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?$"
    parts = plain.str.extract_groups(pattern).struct.unnest()
    day, clock, seconds, offset = parts.get_columns()
    text = day + " " + clock.fill_null("00:00") + seconds.fill_null(":00")
    stamp = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    with_offset = plain.is_not_null() & offset.is_not_null()
    if not with_offset.any():
        return stamp
    sign = pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
    digits = offset.str.replace_all(r"[^0-9]", "")
    hours = digits.str.slice(0, 2).cast(pl.Int64, strict=False).fill_null(0)
    minutes = digits.str.slice(2, 2).cast(pl.Int64, strict=False).fill_null(0)
    shift_s = pl.select(sign * (3600 * hours + 60 * minutes)).to_series()
    utc = (stamp.cast(pl.Int64) - 1_000_000 * shift_s).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return utc.set(~with_offset, None)  # a stamp without offset among others with one is uncertain


def _day_month_year(source: Source, rows: pl.DataFrame, plain: pl.Series, file: FileMapping, shown: str) -> pl.Series:
    pattern = r"^(\d{1,2})([./-])(\d{1,2})[./-](\d{4})(?:[T ]+(\d{1,2}:\d{2})(:\d{2}(?:\.\d+)?)?)?$"
    one, separator, two, year, clock, seconds = plain.str.extract_groups(pattern).struct.unnest().get_columns()
    first, second = one.cast(pl.Int64), two.cast(pl.Int64)
    day_first = file.day_first
    if day_first is None and separator[0] == ".":
        day_first = True
    if day_first is None:
        day_first = bool((first > 12).any())
        if day_first == bool((second > 12).any()):
            place = f"{source.path}, line {rows[LINE][0]}, column {shown}"
            raise ImportDataError(f"{place}: {plain[0]!r} may be day or month first; say day_first")
    day, month = (one, two) if day_first else (two, one)
    text = (
        year + "-" + month.str.zfill(2) + "-" + day.str.zfill(2) + " " + clock.fill_null("00:00") + seconds.fill_null(":00")
    )
    return text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
