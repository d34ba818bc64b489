"""Kafka records to the columns of a history table. Pure: nothing is read or written here.

A message becomes one head (site, sequence, ...) and a row for each value; heads are repeated only when the frame is built.
Readings and steps take the fast path of `value_columns`, all other kinds that of `message_columns`.
"""

from collections import Counter

import polars as pl

from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_trainer.history.kafka_record import ReceivedLog, Record, facts_of
from ringmain_trainer.history.message_columns import MessageColumns
from ringmain_trainer.history.tables import TABLES
from ringmain_trainer.history.value_columns import Names, ValueColumns

__all__ = ["Batch", "Names", "ReceivedLog", "Record", "facts_of"]


class Batch:
    """Messages of one kind on their way into one table."""

    def __init__(self, kind: str, names: Names | None = None) -> None:
        self.table = TABLES[kind]
        self._rows: ValueColumns | MessageColumns
        if kind in (topics.READINGS, topics.STEPS):
            self._rows = ValueColumns(kind, names or Names())
        else:
            self._rows = MessageColumns(kind)
        self.rejected: Counter[str] = Counter()
        self.duplicates = 0

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self._rows.rows

    @property
    def unsure(self) -> set[tuple[str, str, int]]:
        """Series (site, name, issue) that are in this batch and may be in the history: too old to be remembered."""
        return self._rows.unsure

    def add(self, record: Record, known: ReceivedLog) -> MessageError | None:
        """Add one record, unless it is a duplicate; the error names the fault of a record that cannot be used."""
        try:
            new = self._rows.take(record, known)
        except MessageError as error:
            self.rejected[error.reason] += 1
            return error
        self.duplicates += not new
        return None

    def frame(self) -> pl.DataFrame:
        """All rows, sorted by partition, then as `tables.Table.sort_by`."""
        return self._rows.frame()

    def taken(self) -> pl.DataFrame:
        """Keys of the messages: `site`, `stream` (the name of a series), `number` (sequence, issue or instant)."""
        return self._rows.taken()
