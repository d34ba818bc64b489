"""The SQLite file of all data that must survive `kill -9` and power loss.

Writes are collected and committed at intervals, which limits flash wear; a reading is accepted when it is committed.
On a full disk, state is retried with the next commit; outbox messages of the failed commit are dropped and counted.
"""

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ringmain_protocol.steps import Reading, StepValue

logger = logging.getLogger("ringmain_agent")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS outbox (sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS steps (start_ms INTEGER, signal TEXT, value REAL, PRIMARY KEY (start_ms, signal)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS open_readings (signal TEXT, at_ms INTEGER, value REAL, quality INTEGER,
    PRIMARY KEY (signal, at_ms)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS newest (signal TEXT PRIMARY KEY, at_ms INTEGER, value REAL, quality INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retained (topic TEXT PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""

Statement = tuple[str, tuple[Any, ...]]


class StateFile:
    """Collects writes and commits them as one transaction; owned by one thread.

    * Data of a successful `commit` survives a crash at any later instant.
    * No sequence of the outbox is used twice, not even after a failed commit.
    """

    def __init__(self, path: Path, *, outbox_messages_max: int) -> None:
        """Open or create the file.

        Raises:
            sqlite3.DatabaseError: If the file is damaged or of another program; without it the agent starts with no state.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        # The file belongs to one process: no index in shared memory, which a restart could not create on a full disk.
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._state: list[Statement] = []
        self._messages: list[tuple[int, str, bytes]] = []
        self._max = outbox_messages_max
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        self._next = (row[0] if row else 0) + 1
        self._count = int(self._db.execute("SELECT count(*) FROM outbox").fetchone()[0])
        self.dropped: dict[str, int] = {}
        self.trouble = ""

    def close(self) -> None:
        """Close the file; uncommitted data is lost."""
        self._db.close()

    # Outbox rows

    @property
    def outbox_messages(self) -> int:
        """Messages that wait for a receipt."""
        return self._count

    @property
    def last_sequence(self) -> int:
        """The latest used sequence; 0 before the first."""
        return self._next - 1

    def next_sequence(self) -> int:
        """A new sequence."""
        self._next += 1
        return self._next - 1

    def put(self, sequence: int, kind: str, payload: bytes) -> None:
        """Add a message to the next commit."""
        self._messages.append((sequence, kind, payload))

    def messages_after(self, sequence: int, limit: int) -> list[tuple[int, str, bytes]]:
        """Committed messages with a higher sequence, in order."""
        rows = self._db.execute(
            "SELECT sequence, kind, payload FROM outbox WHERE sequence > ? ORDER BY sequence LIMIT ?", (sequence, limit)
        )
        return rows.fetchall()

    def message(self, sequence: int) -> tuple[int, str, bytes] | None:
        """A committed message, or None after its deletion."""
        rows = self._db.execute("SELECT sequence, kind, payload FROM outbox WHERE sequence = ?", (sequence,))
        return rows.fetchone()  # type: ignore[no-any-return]

    def sequences_below(self, sequence: int, limit: int) -> list[int]:
        """Committed messages with a lower sequence, in order."""
        rows = self._db.execute(
            "SELECT sequence FROM outbox WHERE sequence < ? ORDER BY sequence LIMIT ?", (sequence, limit)
        )
        return [row[0] for row in rows]

    def delete_messages(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Delete confirmed messages at once; after a crash they may return, which does no harm."""
        try:
            self._db.execute("BEGIN")
            for first, last in ranges:
                deleted = self._db.execute("DELETE FROM outbox WHERE sequence BETWEEN ? AND ?", (first, last)).rowcount
                self._count -= deleted
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._roll_back(error)
            self._count = int(self._db.execute("SELECT count(*) FROM outbox").fetchone()[0])

    # State

    def set_fact(self, name: str, value: float | str | bytes | None) -> None:
        """Keep one value under a name."""
        self._state.append(("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value)))

    def fact(self, name: str) -> Any:  # noqa: ANN401  any value of SQLite
        """A kept value, or None."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def set_retained(self, topic: str, payload: bytes) -> None:
        """Keep a retained message for a start without network."""
        self._state.append(("INSERT OR REPLACE INTO retained VALUES (?, ?)", (topic, payload)))

    def forget_retained(self, topic: str) -> None:
        """Delete a kept message."""
        self._state.append(("DELETE FROM retained WHERE topic = ?", (topic,)))

    def retained(self) -> list[tuple[str, bytes]]:
        """The kept retained messages."""
        return self._db.execute("SELECT topic, payload FROM retained").fetchall()

    def add_readings(self, readings: Iterable[Reading]) -> None:
        """Keep readings of the open step."""
        for reading in readings:
            self._state.append(("INSERT OR REPLACE INTO open_readings VALUES (?, ?, ?, ?)", tuple(reading)))

    def keep_newest(self, readings: Iterable[Reading]) -> None:
        """Keep the newest reading of some signals."""
        for reading in readings:
            self._state.append(("INSERT OR REPLACE INTO newest VALUES (?, ?, ?, ?)", tuple(reading)))

    def add_steps(self, steps: Sequence[StepValue], *, forget_before_ms: int) -> None:
        """Keep closed steps, and delete those before the window."""
        for step in steps:
            self._state.append(("INSERT OR REPLACE INTO steps VALUES (?, ?, ?)", (step.start_ms, step.signal, step.value)))
        self._state.append(("DELETE FROM steps WHERE start_ms < ?", (forget_before_ms,)))

    def keep_open_readings(self, oldest_ms: dict[str, int]) -> None:
        """Delete readings of each signal before its oldest one that still counts."""
        for signal, at_ms in oldest_ms.items():
            self._state.append(("DELETE FROM open_readings WHERE signal = ? AND at_ms < ?", (signal, at_ms)))

    def open_readings(self) -> Iterator[Reading]:
        """The kept readings of the open step."""
        rows = self._db.execute("SELECT signal, at_ms, value, quality FROM open_readings ORDER BY at_ms")
        return (Reading(*row) for row in rows.fetchall())

    def newest(self) -> Iterator[Reading]:
        """The kept newest reading of each signal."""
        rows = self._db.execute("SELECT signal, at_ms, value, quality FROM newest")
        return (Reading(*row) for row in rows.fetchall())

    def steps(self) -> Iterator[tuple[str, int, float | None]]:
        """The kept closed steps: signal, START, value."""
        return iter(self._db.execute("SELECT signal, start_ms, value FROM steps").fetchall())

    # Commit

    def commit(self) -> bool:
        """Write all collected data as one transaction; False on failure, with the cause in `trouble`."""
        if not self._state and not self._messages:
            return True
        try:
            self._db.execute("BEGIN")
            for statement, values in self._state:
                self._db.execute(statement, values)
            self._db.executemany("INSERT INTO outbox VALUES (?, ?, ?)", self._messages)
            excess = self._count + len(self._messages) - self._max
            if excess > 0:
                self._db.execute(
                    "DELETE FROM outbox WHERE sequence IN (SELECT sequence FROM outbox ORDER BY sequence LIMIT ?)", (excess,)
                )
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._roll_back(error)
            self._drop("disk_full", len(self._messages))
            self._messages.clear()
            return False
        self._count += len(self._messages) - max(excess, 0)
        self._drop("outbox_full", max(excess, 0))
        self._state.clear()
        self._messages.clear()
        self.trouble = ""
        return True

    def _roll_back(self, error: sqlite3.OperationalError) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        if self.trouble != str(error):
            logger.warning("state file cannot be written: %s; control goes on; free some disk space", error)
        self.trouble = str(error)
        del self._state[:-10_000]  # bounded on a full disk: the newest writes count

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count
