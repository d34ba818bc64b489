"""A CSV or Parquet file as it lies there, and the refusal that names line and column. The header is line 1."""

import gzip
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from ringmain_trainer.errors import ImportDataError

LINE: Final = "_line"
SHOWN: Final = 60
"""Characters of a text from the file that an error shows."""

_SAMPLE_ROWS: Final = 2000


class Source(NamedTuple):
    """A file as it lies there: all columns as text (CSV) or as they are (Parquet), with `_line`."""

    path: Path
    rows: pl.DataFrame

    @property
    def header(self) -> list[str]:
        """Names of the columns."""
        return [name for name in self.rows.columns if name != LINE]


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
    return Source(path, rows.with_row_index(LINE, offset=2))


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


def _delimiter(path: Path) -> str:
    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
        line = file.readline(100_000).decode("utf-8-sig")
    counts = {sign: line.count(sign) for sign in (",", ";", "\t", "|")}
    return max(counts, key=lambda sign: counts[sign])


def refuse(source: Source, bad: pl.DataFrame, column: str, shown: str, what: str) -> None:
    """Raise if there is such a row, with the first of them."""
    if bad.is_empty():
        return
    text = str(bad[column][0]) if column in bad.columns else ""
    more = f" (and {bad.height - 1} more)" if bad.height > 1 else ""
    raise ImportDataError(f"{source.path}, line {bad[LINE][0]}, column {shown}: {text[:SHOWN]!r} {what}{more}")
