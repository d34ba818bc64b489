"""Where rows of a small commit wait until they are worth files of their own.

A commit of five minutes of a large fleet has some rows for each of hundreds of buckets: hundreds of tiny files, every time.
So such rows are written to the bucket `tables.LANDING` instead, a file for each month; readers of a site look there as well.
When enough have come together they are moved to their buckets, in one commit.
"""

import logging
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from ringmain_trainer.errors import HistoryError
from ringmain_trainer.history.tables import BUCKETS, LANDING, Table

log: Final = logging.getLogger("ringmain_trainer")

FILES_FEW: Final = 8
"""A commit that makes no more files than this is left as it is."""

ROWS_MIN: Final = 2_000
"""Rows that a file of a commit should have, on average."""

_DIGEST: Final = "encode(sha256(site), 'hex')"
_DIGIT: Final = "strpos('0123456789abcdef', substr({digest}, {place}, 1)) - 1"
_NUMBER: Final = " + ".join(
    f"CAST({_DIGIT.format(digest=_DIGEST, place=place)} AS BIGINT) * {16 ** (8 - place)}" for place in range(1, 9)
)
BUCKET_SQL: Final = f"CAST(({_NUMBER}) % {BUCKETS} AS INT)"
"""`tables.bucket` for the engine that rewrites the rows."""


class Landing:
    """Rows that wait in one table.

    Attributes:
        files: How many files.
        rows: How many rows in them.
    """

    def __init__(self, table: Table, handle: DeltaTable) -> None:
        self._table = table
        waiting = pl.DataFrame(handle.get_add_actions(flatten=True))
        if "partition.bucket" in waiting.columns:
            waiting = waiting.filter(pl.col("partition.bucket") == LANDING)
        self.files, self.rows = waiting.height, int(waiting["num_records"].sum()) if waiting.height else 0

    def place(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows as they are to be written: in their buckets if those get enough of them, else in the landing."""
        files = frame.select(pl.struct("bucket", "month").n_unique()).item()
        if files <= FILES_FEW or frame.height >= ROWS_MIN * files:
            return frame
        self.files += frame["month"].n_unique()
        self.rows += frame.height
        landed = frame.with_columns(pl.lit(LANDING, pl.Int32).alias("bucket"))
        return landed.sort("month", *self._table.sort_by, maintain_order=True)

    def settle(self, path: str, *, rows_max: int, files_max: int) -> bool:
        """Move the rows to their buckets if there are enough; whether it was done. What cannot be done now waits.

        Raises:
            HistoryError: If the table cannot be written; then nothing has changed.
        """
        if self.rows < rows_max and self.files < files_max:
            return False
        rows, files = self.rows, self.files
        handle = DeltaTable(path)  # not that of the ingest, which must not see what others have committed
        try:
            handle.update(predicate=f"bucket = {LANDING}", updates={"bucket": BUCKET_SQL})
        except CommitFailedError as error:
            log.info("table=%s rows wait on: %s", self._table.name, " ".join(str(error).split())[:200])
            return False
        except (DeltaError, OSError) as error:
            raise HistoryError(f"{path} cannot be written: {' '.join(str(error).split())}; nothing is lost") from error
        self.files = self.rows = 0
        log.info("table=%s rows=%d of %d files moved to their buckets", self._table.name, rows, files)
        return True
