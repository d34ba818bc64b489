"""A CSV or Parquet file to instants and numbers in our units and sign. Whatever cannot be read with certainty is refused.

Errors name the line of the file (the header is line 1) and the column.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from ringmain_protocol.topics import is_site
from ringmain_trainer.errors import ImportDataError
from ringmain_trainer.history.tables import INSTANT
from ringmain_trainer.imports.column_mapping import FileFormat, FileMapping, SignalMapping, fixed_offset_s, units_of, zone_of

VALUE_MAX: Final = 1e12
"""No quantity of a site is larger, in any of our units."""

_LINE: Final = "_line"
_SAMPLE_ROWS: Final = 2000
_SHOWN: Final = 60
_YEARS: Final = (1900, 2200)
_ISO: Final = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?")
_DAYS: Final = re.compile(r"(\d{1,2})([./-])(\d{1,2})[./-]\d{4}([T ]+\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)?")
_EPOCH: Final = re.compile(r"\d{9,10}(\.\d+)?|\d{12,13}")


class Source(NamedTuple):
    """A file as it lies there: all columns as text (CSV) or as they are (Parquet), with `_line`."""

    path: Path
    rows: pl.DataFrame

    @property
    def header(self) -> list[str]:
        """Names of the columns."""
        return [name for name in self.rows.columns if name != _LINE]


class Values(NamedTuple):
    """The values of one signal of one site: `start_at` is the START of the interval, `value` in our unit and sign."""

    site: str
    mapping: SignalMapping
    step_s: int
    rows: pl.DataFrame
    known_ahead_h: float


def read_source(path: Path, *, delimiter: str | None = None) -> Source:
    """The file, without understanding it.

    Raises:
        ImportDataError: If it cannot be read or has no rows.
    """
    try:
        if not path.is_file():
            raise ImportDataError(f"{path}: there is no such file")
        if path.name.lower().endswith((".parquet", ".pq")):
            rows = pl.read_parquet(path)
        else:
            separator = delimiter or _delimiter(path)
            rows = pl.read_csv(path, separator=separator, infer_schema=False)
    except (OSError, UnicodeDecodeError, EOFError, pl.exceptions.PolarsError) as error:
        raise ImportDataError(f"{path}: cannot be read: {' '.join(str(error).split())[:300]}") from error
    rows = rows.rename({name: name.strip().lstrip("\ufeff") for name in rows.columns})
    if rows.is_empty():
        raise ImportDataError(f"{path}: there are no rows")
    return Source(path, rows.with_row_index(_LINE, offset=2))


def samples(source: Source) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Some numbers of each column, and how many different texts each column holds."""
    head = source.rows
    step = max(1, head.height // _SAMPLE_ROWS)
    some = head.gather_every(step).with_columns(pl.col(source.header).cast(pl.String))
    numbers = {
        name: some[name].str.replace(",", ".", literal=True).cast(pl.Float64, strict=False).drop_nulls().to_list()
        for name in source.header
    }
    return numbers, {name: head[name].n_unique() for name in source.header}


def read_values(source: Source, mapping: FileFormat) -> list[Values]:
    """What the mapping takes out of the file, by site and signal, in order of time.

    Raises:
        ImportDataError: With line and column of what cannot be read.
    """
    file = mapping.file
    _require_columns(source, mapping)
    rows = _instants(source, mapping)
    rows = rows.with_columns(_sites(source, rows, file))
    found: list[Values] = []
    for signal in mapping.signal:
        own = rows.filter(pl.lit(value=True), *(pl.col(name).cast(pl.String) == text for name, text in signal.where.items()))
        if own.is_empty():
            raise ImportDataError(f"{source.path}: no row has {signal.where}")
        own = own.with_columns(_numbers(source, own, signal.column, file))
        columns = [_LINE, "_at", "_value", *(["_issued_at"] if "_issued_at" in own.columns else [])]
        for (site,), part in own.group_by("_site", maintain_order=True):
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
            kept = alone.select(pl.col(_LINE), start.alias("start_at"), (value + 0.0).alias("value"), *issued)
            beyond = kept.filter(pl.col("value").abs() > VALUE_MAX)[_LINE].to_list()
            bad = source.rows.filter(pl.col(_LINE).is_in(beyond))
            _refuse(source, bad, signal.column, signal.column, f"is beyond {VALUE_MAX:g} in our unit")
            found.append(Values(str(site), signal, step_s, kept.drop(_LINE), file.known_ahead_h))
    if not found:
        raise ImportDataError(f"{source.path}: no column has a value")
    return found


def _delimiter(path: Path) -> str:
    import gzip  # noqa: PLC0415

    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
        line = file.readline(100_000).decode("utf-8-sig")
    counts = {sign: line.count(sign) for sign in (",", ";", "\t", "|")}
    return max(counts, key=lambda sign: counts[sign])


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
            _refuse(source, bad, file.site_column, file.site_column, "is no name for a site")
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
            _refuse(
                source,
                rows.filter(plain.str.contains(".", literal=True)),
                column,
                column,
                "has a point beside decimal commas",
            )
            plain = plain.str.replace(",", ".", literal=True)
        values = plain.cast(pl.Float64, strict=False)
        hint = (
            "is no number"
            if file.decimal == ","
            else 'is no number (decimal = "," reads decimal commas; missing names empty ones)'
        )
        _refuse(source, rows.filter(plain.is_not_null() & values.is_null()), column, column, hint)
    _refuse(source, rows.filter(values.is_not_null() & ~values.is_finite()), column, column, "is not finite")
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
    _refuse(source, back, file.time, " ".join(file.time_columns), hint)


def _unique(source: Source, rows: pl.DataFrame, signal: SignalMapping, file: FileMapping) -> pl.DataFrame:
    key = [name for name in ("_at", "_issued_at") if name in rows.columns]
    if not rows.select(key).is_duplicated().any():
        return rows
    if file.duplicates == "mean":
        return (
            rows.group_by(key, maintain_order=True).agg(pl.col(_LINE).first(), pl.col("_value").mean()).select(rows.columns)
        )
    if file.duplicates != "refuse":
        return rows.unique(key, keep=file.duplicates, maintain_order=True)
    twice = rows.filter(rows.select(key).is_duplicated()).sort("_at", maintain_order=True).head(2)
    lines = " and ".join(str(line) for line in twice[_LINE])
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
    if not isinstance(usual, int) or not 0 < usual <= 86400 or (gaps == usual).sum() <= 0.5 * len(gaps):
        raise ImportDataError(f"{source.path}, column {signal.column}: no step is usual between its rows; say step_s")
    return usual


class _Names(NamedTuple):
    """A column of stamps, its name in errors, what is made of it, and the columns that tell rows of one stamp apart."""

    column: str
    shown: str
    made: str
    apart: list[str]


def _instants(source: Source, mapping: FileFormat) -> pl.DataFrame:
    """The rows with `_at`, the stamp as an instant, and `_issued_at` if there is one."""
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
    _refuse(
        source,
        rows.filter(parsed.is_null()),
        column,
        shown,
        "is no time as in the other lines; format says how it is written",
    )
    rows = rows.with_columns(parsed.alias("_stamp"))
    strange = rows.filter(~pl.col("_stamp").dt.year().is_between(*_YEARS))
    _refuse(source, strange, column, shown, f"is not in the years {_YEARS[0]} to {_YEARS[1]}")
    if file.midnight == "next_day":
        late = pl.col("_stamp").dt.time() == pl.time(0, 0)
        rows = rows.with_columns(pl.when(late).then(pl.col("_stamp").dt.offset_by("1d")).otherwise("_stamp").alias("_stamp"))
    if rows["_stamp"].dtype == pl.Datetime("us"):
        rows = _to_utc(source, rows, file, names)
    return rows.rename({"_stamp": names.made}).with_columns(pl.col(names.made).cast(INSTANT))


def _to_utc(source: Source, rows: pl.DataFrame, file: FileMapping, names: _Names) -> pl.DataFrame:
    """Stamps of a clock without offset as instants: of the doubled hour in autumn, what comes first in the file is first."""
    zone, offset_s = zone_of(file.time_zone), fixed_offset_s(file.time_zone)
    if zone is None:
        shifted = pl.col("_stamp").dt.offset_by(f"{-(offset_s or 0)}s").dt.replace_time_zone("UTC")
        return rows.with_columns(shifted.alias("_stamp"))
    nth = pl.int_range(pl.len()).over([*names.apart, "_stamp"])
    which = pl.when(nth == 0).then(pl.lit("earliest")).otherwise(pl.lit("latest"))
    local = pl.col("_stamp").dt.replace_time_zone(file.time_zone, ambiguous=which, non_existent="null")
    made = rows.with_columns(local.dt.convert_time_zone("UTC").alias("_utc"))
    gone = made.filter(pl.col("_utc").is_null())
    if file.nonexistent == "refuse":
        hint = f'does not exist in {file.time_zone} (clock change); is time_zone right? nonexistent = "skip" leaves it out'
        _refuse(source, gone, names.column, names.shown, hint)
    return made.drop_nulls("_utc").drop("_stamp").rename({"_utc": "_stamp"})


def _parsed(source: Source, rows: pl.DataFrame, plain: pl.Series, file: FileMapping, shown: str) -> pl.Series:
    """Text to instants with, or stamps without, offset."""
    if file.format is not None:
        try:
            made = plain.str.to_datetime(file.format, strict=False, time_unit="us")
        except pl.exceptions.PolarsError as error:
            raise ImportDataError(f"{source.path}: format {file.format!r} cannot be used: {error}") from error
        zone = made.dtype.time_zone if isinstance(made.dtype, pl.Datetime) else None
        return made.dt.convert_time_zone("UTC") if zone else made
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
    raise ImportDataError(f"{source.path}, line 2, column {shown}: {first[:_SHOWN]!r} is no time that is known; say format")


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
    return utc.set(~with_offset, None)  # a stamp without offset among others with one cannot be told


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
            place = f"{source.path}, line {rows[_LINE][0]}, column {shown}"
            raise ImportDataError(f"{place}: {plain[0]!r} may be day or month first; say day_first")
    day, month = (one, two) if day_first else (two, one)
    text = (
        year + "-" + month.str.zfill(2) + "-" + day.str.zfill(2) + " " + clock.fill_null("00:00") + seconds.fill_null(":00")
    )
    return text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")


def _refuse(source: Source, bad: pl.DataFrame, column: str, shown: str, what: str) -> None:
    """Raise if there is such a row, with the first of them."""
    if bad.is_empty():
        return
    text = str(bad[column][0]) if column in bad.columns else ""
    more = f" (and {bad.height - 1} more)" if bad.height > 1 else ""
    raise ImportDataError(f"{source.path}, line {bad[_LINE][0]}, column {shown}: {text[:_SHOWN]!r} {what}{more}")
