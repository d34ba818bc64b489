"""Any CSV with a time and numbers as columns on a regular grid, for the benchmarks that take a file of the user's.

Times may be ISO 8601 with or without an offset, day first (`31/12/2020 13:45`, also with dots or dashes) or month first
where only that reads, or seconds since 1970. Gaps stay NaN.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ringmain_trainer.calendar import DAY_S

STEPS_S: Final = (300, 600, 900, 1200, 1800, 3600)
_DATES: Final = ("%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d/%m/%y", "%m/%d/%Y", "%m/%d/%y")
_CLOCKS: Final = ("%H:%M:%S", "%H:%M", "%H:%M:%S%.f")
_NOTHING: Final = ("", "nan", "NaN", "NA", "N/A", "null", "NULL", "None", "-")
_OFF_GRID_MAX: Final = 0.01


class SeriesFileError(Exception):
    """The file cannot be read as it is; the text says what to do."""


class SeriesFile(NamedTuple):
    """Columns `(n_steps,)` on a whole grid; the value at `i` holds for the step that starts at `start_s + i * step_s`."""

    start_s: int
    step_s: int
    columns: dict[str, NDArray[np.float64]]


def read_table(path: Path) -> pl.DataFrame:
    """All columns as text.

    Raises:
        SeriesFileError: If there is no such file, or it is no table.
    """
    try:
        header = pl.read_csv(path, n_rows=1, has_header=False, infer_schema=False, separator="\n", quote_char=None)
        separator = max((",", ";", "\t"), key=str(header.item()).count)
        frame = pl.read_csv(path, infer_schema=False, encoding="utf8-lossy", separator=separator)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SeriesFileError(f"{path}: {error}") from error
    return frame.rename({name: name.strip() for name in frame.columns})


def numbers(frame: pl.DataFrame, name: str) -> NDArray[np.float64]:
    """A column as numbers, NaN where it is empty.

    Raises:
        SeriesFileError: If there is no such column, or it holds something else.
    """
    if name not in frame.columns:
        raise SeriesFileError(f"there is no column {name!r}; there are {', '.join(frame.columns)}")
    text = frame[name].str.strip_chars()
    text = text.set(text.is_in(_NOTHING), None)
    values = text.cast(pl.Float64, strict=False)
    if values.null_count() > text.null_count():  # perhaps a decimal comma
        values = text.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    if values.null_count() > text.null_count():
        wrong = text.filter(values.is_null() & text.is_not_null())[0]
        raise SeriesFileError(f"column {name!r} holds {wrong!r}, which is not a number")
    found = values.fill_null(float("nan")).to_numpy().astype(np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def instants(frame: pl.DataFrame, name: str, *, time_zone: str) -> NDArray[np.int64]:
    """A column of times as UTC seconds; the smallest integer where the local clock has no such time.

    What has no offset is by the clock of `time_zone`; of an hour that comes twice the second one in the file is the later.

    Raises:
        SeriesFileError: If there is no such column, or it does not hold times.
    """
    if name not in frame.columns:
        raise SeriesFileError(f"there is no column {name!r}; there are {', '.join(frame.columns)}")
    text = frame[name].str.strip_chars().str.replace("T", " ", literal=True)
    if not len(text) or text.null_count() == len(text):
        raise SeriesFileError(f"column {name!r} is empty")
    example = str(text.drop_nulls()[0])
    if example.lstrip("-").replace(".", "", 1).isdigit():
        seconds = text.cast(pl.Float64, strict=False)
        return _whole(seconds / 1000 if abs(float(example)) > 1e11 else seconds, name)
    if example.endswith("Z") or (len(example) > 16 and example[-6:-5] in "+-" and ":" in example[-6:]):
        zoned = text.str.replace("Z$", "+00:00").str.to_datetime("%Y-%m-%d %H:%M:%S%.f%:z", time_unit="ms", strict=False)
        if zoned.null_count():
            zoned = text.str.replace("Z$", "+00:00").str.to_datetime("%Y-%m-%d %H:%M%:z", time_unit="ms", strict=False)
        return _whole(zoned.dt.epoch("ms") / 1000, name, text)
    local = _local_times(text, name)
    local = _next_day_at_midnight(local)
    again = local.to_frame("at").select(pl.col("at").cum_count().over("at") > 1).to_series()
    which = pl.Series(np.where(again.fill_null(value=False).to_numpy(), "latest", "earliest"))
    frame = pl.DataFrame({"at": local, "which": which})
    try:
        zone = pl.col("at").dt.replace_time_zone(time_zone, ambiguous=pl.col("which"), non_existent="null")
        return _whole(frame.select(zone.dt.epoch("ms") / 1000).to_series(), name)
    except pl.exceptions.PolarsError as error:
        raise SeriesFileError(f"time zone {time_zone!r}: {error}") from error


def read_series_file(
    path: Path, *, time: str, columns: Sequence[str], time_zone: str = "UTC", stamp: str = "start"
) -> SeriesFile:
    """Columns of a file on the grid of its most frequent step.

    Args:
        path: CSV, also compressed.
        time: Column of the times.
        columns: Columns to read.
        time_zone: Of times without an offset.
        stamp: Whether a time is the `start` or the `end` of its step.

    Raises:
        SeriesFileError: If that is not to be had.
    """
    frame = read_table(path)
    at = instants(frame, time, time_zone=time_zone)
    values = np.stack([numbers(frame, name) for name in columns], axis=1)
    known = at > np.iinfo(np.int64).min
    at, values = at[known], values[known]
    step_s = _step(np.unique(at), path)
    at = at - step_s if stamp == "end" else at
    off = at % step_s != 0
    if off.mean() > _OFF_GRID_MAX:
        raise SeriesFileError(
            f"{path}: {off.mean():.0%} of the times are not on whole steps of {step_s} s; resample the file"
        )
    start_s = int(at.min()) // step_s * step_s
    grid = np.full(((int(at.max()) - start_s) // step_s + 1, values.shape[1]), np.nan)
    if len(grid) > 5_000_000:
        raise SeriesFileError(f"{path}: from {start_s} to {int(at.max())} s since 1970 are too many steps; check the times")
    rows = (at - start_s) // step_s
    for column in range(values.shape[1]):
        there = np.isfinite(values[:, column])
        grid[rows[there], column] = values[there, column]
    return SeriesFile(start_s, step_s, dict(zip(columns, grid.T, strict=True)))


def _local_times(text: pl.Series, name: str) -> pl.Series:
    """Times without an offset, by the format that reads most of them; of equals the one with the steadiest steps."""
    best: tuple[int, float] | None = None
    found = text
    for clock in (*_CLOCKS, ""):
        for date in _DATES:
            form = f"{date} {clock}".strip()
            times = text.str.to_datetime(form, time_unit="ms", strict=False)
            if times.null_count() > text.null_count() + 0.01 * len(text):
                continue
            steps = np.diff(times.drop_nulls().dt.epoch("ms").to_numpy())
            rank = (times.null_count(), -Counter(steps.tolist()).most_common(1)[0][1] if len(steps) else 0)
            if best is None or rank < best:
                best, found = rank, times
    if best is None:
        raise SeriesFileError(
            f"column {name!r} holds {text.drop_nulls()[0]!r}, which is no time that is understood: write ISO 8601 "
            "(2020-12-31T13:45Z), dd/mm/yyyy hh:mm, or seconds since 1970"
        )
    return found


def _next_day_at_midnight(local: pl.Series) -> pl.Series:
    """Some files write midnight at the end of a day with the date of that day; it is the first of the next."""
    at = local.dt.epoch("s").fill_null(0).to_numpy()
    if len(at) < 3:
        return local
    steps = np.diff(at)
    step = int(np.median(steps))
    back = np.concatenate([[False], steps == step - DAY_S]) & (at % DAY_S == 0)
    return local + pl.Series([timedelta(days=1) if one else timedelta() for one in back])


def _step(at: NDArray[np.int64], path: Path) -> int:
    if len(at) < 3:
        raise SeriesFileError(f"{path}: {len(at)} different times are too few")
    step_s = int(Counter(np.diff(at).tolist()).most_common(1)[0][0])
    if step_s not in STEPS_S:
        raise SeriesFileError(f"{path}: the most frequent step is {step_s} s; taken are {STEPS_S} s: resample the file")
    return step_s


def _whole(seconds: pl.Series, name: str, text: pl.Series | None = None) -> NDArray[np.int64]:
    if seconds.null_count() > 0.01 * len(seconds) + 8:
        wrong = "" if text is None else f", for example {text.filter(seconds.is_null())[0]!r}"
        raise SeriesFileError(f"column {name!r}: {seconds.null_count()} of {len(seconds)} times are not understood{wrong}")
    filled = seconds.fill_null(float("nan")).to_numpy()
    least = np.iinfo(np.int64).min
    return np.where(np.isfinite(filled), np.nan_to_num(np.rint(filled)), least).astype(np.int64)
