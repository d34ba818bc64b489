"""Messages that the history has received: one that comes twice is recognized, even after its rows were deleted.

Beside each table lies a folder `_received`. Every commit of ingest first writes a small file there, under a new number, with
what it adds, and carries the number as an application transaction: rows, offsets and what was received become true in the
same instant. Transactions outlive checkpoints, compaction, vacuum and the deletion of rows; vacuum leaves folders alone that
begin with `_`. A file names the one before it; every so often a file holds everything, and older ones go.

The tables of the outbox share their sequences, so a file that holds everything holds what is committed in all of them: then
the ranges join up, and years of a site are a handful of numbers.
"""

import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import DeltaTable

from ringmain_protocol import topics
from ringmain_trainer.errors import HistoryError
from ringmain_trainer.history.delta import scan, table_path
from ringmain_trainer.history.records import ReceivedLog
from ringmain_trainer.history.sequence_ranges import NEWEST, Newest, Ranges
from ringmain_trainer.history.tables import TABLES

log: Final = logging.getLogger("ringmain_trainer")

RECEIVED: Final = "ringmain:received"
"""Application transaction whose version is the number of the newest file."""

FOLDER: Final = "_received"
CHAIN_MAX: Final = 64
"""After this number of files follows one that holds everything."""

_OUTBOX: Final = (topics.READINGS, topics.STEPS, topics.FORECAST, topics.SCHEDULE, topics.SETPOINT)
_SCHEMA: Final = {"site": pl.String, "stream": pl.String, "first": pl.Int64, "last": pl.Int64}


class ReceivedChain:
    """Messages that one table has received: its files, and how an ingest continues them.

    Attributes:
        received: Columns `site`, `stream`, `first`, `last`, oldest first, as read at the beginning.
    """

    def __init__(self, location: str, kind: str, handle: DeltaTable | None = None) -> None:
        self._location, self._kind = location, kind
        self._folder = f"{table_path(location, TABLES[kind])}/{FOLDER}"
        self._files: list[int] = []
        """From the one that holds everything to the newest."""
        self._newest = 0
        self._written: tuple[int, bool] | None = None
        self.received = self._read(handle)

    def note(self, taken: pl.DataFrame, *, now_us: int) -> dict[str, int]:
        """Write down what a commit is about to add; the application transaction that the commit must carry, if any.

        Args:
            taken: As `records.Batch.taken`.
            now_us: Time, for a number that nobody else takes.

        Raises:
            HistoryError: If it cannot be written.
        """
        self._written = None
        whole = not self._files or len(self._files) > CHAIN_MAX
        if taken.is_empty() and not whole:
            return {}
        added = taken.select("site", "stream", first="number", last="number")
        if whole:
            kinds = _OUTBOX if self._kind in _OUTBOX else (self._kind,)
            added = pl.concat([*(ReceivedChain(self._location, kind).received for kind in kinds), added])
        number = max(now_us << 10, self._newest + 1) + random.randrange(1024)  # noqa: S311  no two write one file
        previous = pl.lit(None if whole else self._files[-1], pl.Int64).alias("previous")
        frame = _condensed(self._kind, added).with_columns(previous)
        try:
            frame.write_parquet(self._file(number), compression="zstd", mkdir=True)
        except (OSError, pl.exceptions.PolarsError) as error:
            text = f"{self._file(number)} cannot be written: {error}; what was read is read again at the next start"
            raise HistoryError(text) from error
        self._written = (number, whole)
        return {RECEIVED: number}

    def committed(self) -> None:
        """The commit is done: go on from its file. What is behind the last file that held everything is deleted."""
        if self._written is None:
            return
        number, whole = self._written
        self._newest = number
        if whole and self._files and "://" not in self._location:
            for path in Path(self._folder).glob("*.parquet"):
                if int(path.stem) < self._files[0]:
                    path.unlink(missing_ok=True)
        self._files = [number] if whole else [*self._files, number]
        self._written = None

    def _read(self, handle: DeltaTable | None) -> pl.DataFrame:
        path = table_path(self._location, TABLES[self._kind])
        if handle is None:
            handle = DeltaTable(path) if DeltaTable.is_deltatable(path) else None
        number: int | None = None if handle is None else handle.transaction_version(RECEIVED)
        if handle is None or number is None:
            return _from_rows(self._location, self._kind)
        self._newest = number
        parts: list[pl.DataFrame] = []
        try:
            while number is not None:
                self._files.insert(0, number)
                part = pl.read_parquet(self._file(number))
                parts.insert(0, part.select(list(_SCHEMA)))
                number = None if part.is_empty() else part["previous"].item(0)
        except (OSError, pl.exceptions.PolarsError) as error:
            log.warning("table=%s %s cannot be read, its rows are read instead: %s", TABLES[self._kind].name, FOLDER, error)
            self._files = []
            return _from_rows(self._location, self._kind)
        return _condensed(self._kind, pl.concat(parts))

    def _file(self, number: int) -> str:
        return f"{self._folder}/{number}.parquet"


def received_of(chains: dict[str, ReceivedChain]) -> ReceivedLog:
    """The messages in the chains of all tables, to recognize repeated ones."""
    known = ReceivedLog()
    sequences = merged(pl.concat([chains[kind].received for kind in _OUTBOX]))
    for site, stream, first, last in _grouped(sequences):
        known.sequences[site, stream] = Ranges(zip(first, last, strict=True))
    for site, name, _, last in _grouped(chains[topics.SERIES].received):
        known.issues[site, name] = Newest(last)
    known.status = dict(chains[topics.STATUS].received.select("site", "last").iter_rows())
    return known


def read_received(location: str) -> ReceivedLog:
    """The messages in the history, to recognize repeated ones."""
    return received_of({kind: ReceivedChain(location, kind) for kind in TABLES})


def known_sequences(location: str) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Sequences in the history as inclusive ranges, by (site, stream)."""
    return {key: list(ranges) for key, ranges in read_received(location).sequences.items()}


def merged(ranges: pl.DataFrame) -> pl.DataFrame:
    """Inclusive ranges by site and stream, in order, joined where they touch."""
    by = ["site", "stream"]
    gap = pl.col("first") > pl.col("last").cum_max().shift(1).over(by) + 1
    runs = ranges.sort(*by, "first").with_columns(gap.fill_null(value=True).cum_sum().alias("run"))
    joined = runs.group_by(*by, "run", maintain_order=True).agg(pl.col("first").min(), pl.col("last").max())
    return joined.select(list(_SCHEMA))


def _condensed(kind: str, received: pl.DataFrame) -> pl.DataFrame:
    """As little as it takes to recognize what comes twice."""
    if kind in _OUTBOX:
        return merged(received)
    if kind == topics.SERIES:
        newest = pl.col("last").unique().sort().tail(NEWEST)
        issues = received.group_by("site", "stream", maintain_order=True).agg(newest).explode("last")
        return issues.select("site", "stream", first="last", last="last")
    return received.unique("site", keep="last", maintain_order=True)


def _from_rows(location: str, kind: str) -> pl.DataFrame:
    """The same out of the rows of the table."""
    if kind == topics.STATUS:
        last = pl.col("at").sort_by("received_at").last().dt.epoch("ms").alias("last")
        rows = scan(location, kind).group_by("site").agg(last).with_columns(pl.lit("").alias("stream"), first="last")
    elif kind == topics.SERIES:
        issue = pl.col("issued_at").dt.epoch("ms")
        rows = scan(location, kind).select("site", stream="name", first=issue, last=issue)
    else:
        rows = scan(location, kind).select("site", "stream", first="sequence", last="sequence")
        rows = rows.filter(pl.all_horizontal(pl.col("stream", "first").is_not_null()))
    return _condensed(kind, rows.unique().collect(engine="streaming").select(list(_SCHEMA)))


def _grouped(received: pl.DataFrame) -> Iterator[tuple[str, str, list[int], list[int]]]:
    """Rows of each site and stream; numbers become Python's for one at a time only."""
    groups = received.group_by("site", "stream", maintain_order=True).agg("first", "last")
    flat = groups.select(pl.col("first", "last").explode())
    first, last, begin = flat["first"].to_numpy(), flat["last"].to_numpy(), 0
    for site, stream, count in groups.select("site", "stream", pl.col("last").list.len()).iter_rows():
        rows = slice(begin, begin + count)
        begin += count
        yield site, stream, first[rows].tolist(), last[rows].tolist()
