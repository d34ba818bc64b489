"""The SQLite file of all data that must survive `kill -9` and power loss.

Writes are collected and committed at intervals, which limits flash wear; a reading is accepted when it is committed.
Setpoints need none of it. On a full disk, state is retried with the next commit; outbox messages of the failed commit are
dropped and counted. A damaged file is moved aside and begun anew; where no file can be opened, memory serves until the next
start.
"""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import msgspec

from ringmain_protocol import topics
from ringmain_protocol.steps import Reading, StepValue

logger = logging.getLogger("ringmain_agent")

DAMAGED: Final = ".damaged"
"""Suffix of the one damaged file that is kept; while it is there, the status says that state was begun anew."""

CHECK_MAX_S: Final = 2.0
"""Longest check of the file at start; a larger file is checked as far as this allows."""

MEMORY_MESSAGES_MAX: Final = 10_000
"""Capacity of the outbox where no file can be opened."""

FIRST_DROPPED: Final = (topics.SETPOINT, topics.FORECAST, topics.SCHEDULE, topics.READINGS, topics.STEPS)
"""Order in which a full outbox drops kinds, the oldest of a kind first; all others come after these."""

LAST_DROPPED: Final = "limit"
"""Evidence of limits is dropped after everything else."""

IN_USE_WAIT_S: Final = 1.0
"""An agent that ends leaves the file within this time."""

_STREAM: Final = "stream"
_BEGUN_ANEW: Final = "begun_anew"

_SUFFIXES: Final = ("", "-wal", "-shm")

_ENVIRONMENT: Final = frozenset(
    {
        sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_NOLFS,
    }
)  # fmt: skip
"""Codes of troubles around the file: it is tried again. Any other error means that the file is damaged or not ours."""

_READ_ERRORS: Final = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ})

READS_FAILED_MAX: Final = 10
"""After more read errors without a commit in between, the medium below the file is taken for damaged."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS outbox (sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS steps (start_ms INTEGER, signal TEXT, value REAL, PRIMARY KEY (start_ms, signal)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS open_readings (signal TEXT, at_ms INTEGER, value REAL, quality INTEGER,
    PRIMARY KEY (signal, at_ms)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS newest (signal TEXT PRIMARY KEY, at_ms INTEGER, value REAL, quality INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retained (topic TEXT PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""

_INDEX: Final = "CREATE INDEX IF NOT EXISTS outbox_by_kind ON outbox (kind)"

Statement = tuple[str, tuple[Any, ...]]
Message = tuple[int, str, bytes]


class StateFileInUseError(Exception):
    """Another process has the file open."""


class StateFile:
    """Collects writes and commits them as one transaction; owned by one thread.

    * Data of a successful `commit` survives a crash at any later instant.
    * No sequence of the outbox is used twice in a stream, not even after a failed commit.
    * Whatever happens to the file, reading gives what is there or nothing, and writing what is possible: `trouble` and
      `begun_anew` say it, `failures` counts it.
    """

    def __init__(self, path: Path, *, outbox_messages_max: int) -> None:
        """Open or create the file; a damaged one is moved aside.

        Raises:
            StateFileInUseError: If another process has it open.
        """
        self._path = path
        self._capacity = outbox_messages_max
        self._state: list[Statement] = []
        self._messages: list[Message] = []
        self._next = 1
        self._count = 0
        self._inode: tuple[int, int] | None = None
        self._reads_failed = 0
        self._kept_aside = False
        self.dropped: dict[str, int] = {}
        self.failures = 0
        self.trouble = ""
        self.generation = 0
        """Rises each time that state is begun anew while the agent runs: state in memory is then to be kept again."""
        self.begun_anew = ""
        """When and why state was begun anew; empty once nobody needs to look at it any more."""
        self.resumed = False
        """True if the stream is from before this start."""
        self.stream = ""
        """Identity of the outbox, within which sequences count."""
        self._db = self._open()

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

    def messages_after(self, sequence: int, limit: int) -> list[Message]:
        """Committed messages with a higher sequence, in order."""
        query = "SELECT sequence, kind, payload FROM outbox WHERE sequence > ? ORDER BY sequence LIMIT ?"
        return self._rows(query, (sequence, limit), Message)

    def message(self, sequence: int) -> Message | None:
        """A committed message, or None after its deletion."""
        rows: list[Message] = self._rows(
            "SELECT sequence, kind, payload FROM outbox WHERE sequence = ?", (sequence,), Message
        )
        return rows[0] if rows else None

    def sequences_below(self, sequence: int, limit: int) -> list[int]:
        """Committed messages with a lower sequence, in order."""
        query = "SELECT sequence FROM outbox WHERE sequence < ? ORDER BY sequence LIMIT ?"
        return [number for (number,) in self._rows(query, (sequence, limit), tuple[int])]

    def delete_messages(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Delete confirmed messages at once; after a crash they may return, which does no harm."""
        try:
            self._db.execute("BEGIN")
            deleted = 0
            for first, last in ranges:
                deleted += self._db.execute("DELETE FROM outbox WHERE sequence BETWEEN ? AND ?", (first, last)).rowcount
            self._db.execute("COMMIT")
            self._count -= deleted
        except (sqlite3.Error, MemoryError) as error:
            self._fail(error)

    def begin_stream(self, why: str) -> None:
        """Begin a new stream for all messages, committed or not: what the old one covers is not certain any more."""
        self.stream = token_hex(16)
        self.set_fact(_STREAM, self.stream)
        self._note_anew(why)
        self.commit()

    # State

    def set_fact(self, name: str, value: float | str | bytes | None) -> None:
        """Keep one value under a name."""
        self._state.append(("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value)))

    def fact(self, name: str) -> Any:  # noqa: ANN401  any value of SQLite
        """A kept value, or None."""
        rows = self._rows("SELECT value FROM facts WHERE name = ?", (name,), tuple[Any])
        return rows[0][0] if rows else None

    def number(self, name: str) -> int | None:
        """A kept whole number, or None."""
        value = self.fact(name)
        return value if isinstance(value, int) else None

    def set_retained(self, topic: str, payload: bytes) -> None:
        """Keep a retained message for a start without network."""
        self._state.append(("INSERT OR REPLACE INTO retained VALUES (?, ?)", (topic, payload)))

    def forget_retained(self, topic: str) -> None:
        """Delete a kept message."""
        self._state.append(("DELETE FROM retained WHERE topic = ?", (topic,)))

    def retained(self) -> list[tuple[str, bytes]]:
        """The kept retained messages."""
        return self._rows("SELECT topic, payload FROM retained", (), tuple[str, bytes])

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
        return iter(self._rows("SELECT signal, at_ms, value, quality FROM open_readings ORDER BY at_ms", (), Reading))

    def newest(self) -> Iterator[Reading]:
        """The kept newest reading of each signal."""
        return iter(self._rows("SELECT signal, at_ms, value, quality FROM newest", (), Reading))

    def steps(self) -> Iterator[tuple[str, int, float | None]]:
        """The kept closed steps: signal, START, value."""
        return iter(self._rows("SELECT signal, start_ms, value FROM steps", (), tuple[str, int, float | None]))

    # Commit

    def commit(self) -> bool:
        """Write all collected data as one transaction; False on failure, with the cause in `trouble`."""
        if not self._state and not self._messages:
            return True
        in_place = self._find_again()
        try:
            self._write()
        except (sqlite3.Error, MemoryError) as error:
            if not self._fail(error) or not self._write_anew():
                full = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
                self._drop("disk_full" if full else "state_not_written", len(self._messages))
                self._messages.clear()
                del self._state[:-10_000]  # bounded on a full disk: the newest writes count
                return False
        self._state.clear()
        self._messages.clear()
        self._reads_failed = 0
        if in_place and self._inode is not None:
            self.trouble = ""
        if self._kept_aside and not self._aside.exists():
            self._kept_aside, self.begun_anew = False, ""
        return True

    def _write(self) -> None:
        dropped: dict[str, int] = {}
        self._db.execute("BEGIN")
        for statement, values in self._state:
            try:
                self._db.execute(statement, values)
            except (OverflowError, sqlite3.ProgrammingError, sqlite3.InterfaceError):  # no value of SQLite
                self._drop("not_storable", 1)
        self._db.executemany("INSERT INTO outbox VALUES (?, ?, ?)", self._messages)
        capacity = self._capacity if self._inode is not None else min(self._capacity, MEMORY_MESSAGES_MAX)
        excess = self._count + len(self._messages) - capacity
        for kind in (*FIRST_DROPPED, None, LAST_DROPPED):
            if excess <= 0:
                break
            dropped[kind or "other"] = count = self._evict(kind, excess)
            excess -= count
        self._db.execute("COMMIT")
        self._count += len(self._messages) - sum(dropped.values())
        for kind, count in dropped.items():
            self._drop(f"outbox_full_{kind}", count)

    def _evict(self, kind: str | None, count: int) -> int:
        """Delete the oldest messages of a kind, or those of kinds without a place in the order; returns their number."""
        values = (*FIRST_DROPPED, LAST_DROPPED) if kind is None else (kind,)
        where = f"kind NOT IN ({', '.join('?' * len(values))})" if kind is None else "kind = ?"
        oldest = f"SELECT sequence FROM outbox WHERE {where} ORDER BY sequence LIMIT ?"  # noqa: S608  no value in it
        return self._db.execute(f"DELETE FROM outbox WHERE sequence IN ({oldest})", (*values, count)).rowcount  # noqa: S608

    def _write_anew(self) -> bool:
        """Write the collected data into the file that was begun anew."""
        try:
            self._write()
        except (sqlite3.Error, MemoryError) as error:
            self._roll_back(error)
            return False
        return True

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def _rows(self, query: str, values: tuple[Any, ...], kind: Any) -> list[Any]:  # noqa: ANN401  a type of rows
        """Rows of a query, checked; none if they cannot be read."""
        try:
            return msgspec.convert(self._db.execute(query, values).fetchall(), list[kind])
        except (sqlite3.Error, MemoryError, msgspec.ValidationError) as error:
            self._fail(error)
            return []

    # Troubles of the file

    def _open(self) -> sqlite3.Connection:
        """The file; begun anew if it is damaged; memory if no file can be opened."""
        try:
            db = _connect(self._path)
            try:
                self._load(db)
            except BaseException:
                db.close()
                raise
        except (sqlite3.Error, OSError, MemoryError, msgspec.ValidationError) as error:
            if _code(error) == sqlite3.SQLITE_BUSY:
                raise StateFileInUseError(f"{self._path} is in use by another agent") from error
            if is_damage(error) or getattr(error, "sqlite_errorcode", 0) in _READ_ERRORS:
                return self._move_aside(error)
            return self._in_memory(error)
        return db

    def _load(self, db: sqlite3.Connection) -> None:
        """Read what counts from a file that has just been opened.

        Raises:
            sqlite3.Error, msgspec.ValidationError: If it is damaged.
        """
        row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        last = msgspec.convert(row[0] if row else 0, int)
        count = int(db.execute("SELECT count(*) FROM outbox").fetchone()[0])
        facts = dict(db.execute("SELECT name, value FROM facts WHERE name IN (?, ?)", (_STREAM, _BEGUN_ANEW)).fetchall())
        stream = facts.get(_STREAM)
        self.resumed = stream is not None
        if stream is None:
            stream = token_hex(16)
            self.set_fact(_STREAM, stream)
        self.stream = msgspec.convert(stream, str)
        self._next, self._count = max(last + 1, self._next), count
        self._kept_aside = self._aside.exists()
        if self._kept_aside and not self.begun_anew:
            self.begun_anew = msgspec.convert(facts.get(_BEGUN_ANEW) or f"{self._aside.name} is kept", str)
        status = self._path.stat()
        self._inode = status.st_dev, status.st_ino

    @property
    def _aside(self) -> Path:
        return self._path.with_name(self._path.name + DAMAGED)

    def _move_aside(self, error: Exception) -> sqlite3.Connection:
        """Keep the damaged file under another name, and begin a new one; in memory if that fails, too."""
        try:
            for suffix in _SUFFIXES:
                source, target = (path.with_name(path.name + suffix) for path in (self._path, self._aside))
                target.unlink(missing_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    source.rename(target)
            db = _connect(self._path)
            self._load(db)
        except (sqlite3.Error, OSError, MemoryError) as another:
            self._note_anew(f"{error}")
            return self._in_memory(another)
        self._note_anew(f"{error}; the old file is kept as {self._aside.name}")
        return db

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        """A database in memory, for an agent without a file."""
        self.failures += 1
        self._inode = None
        self._say(f"{self._path}: {error}; nothing survives a restart")
        db = sqlite3.connect(":memory:", isolation_level=None)
        db.executescript(_SCHEMA)
        db.execute(_INDEX)
        self.stream, self.resumed, self._count = token_hex(16), False, 0
        self.set_fact(_STREAM, self.stream)
        return db

    def _fail(self, error: Exception) -> bool:
        """Note a failure; True if the file was damaged and another one has taken its place."""
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError):
            raise error
        if getattr(error, "sqlite_errorcode", 0) in _READ_ERRORS:
            self._reads_failed += 1
        if is_damage(error) or self._reads_failed > READS_FAILED_MAX:
            self._reads_failed = 0
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self.failures += 1
            self.generation += 1
            self._db = self._move_aside(error)
            return True
        self._roll_back(error)
        return False

    def _roll_back(self, error: Exception) -> None:
        self.failures += 1
        with contextlib.suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        self._say(f"{error}")

    def _say(self, trouble: str) -> None:
        if self.trouble != trouble:
            logger.warning("state file cannot be used: %s; control goes on; see to the disk of the state folder", trouble)
        self.trouble = trouble

    def _note_anew(self, why: str) -> None:
        self.begun_anew = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}: {why}"  # noqa: TID251  for people; nothing is decided by it
        self.set_fact(_BEGUN_ANEW, self.begun_anew)
        logger.error("state begun anew under stream %s: %s; control goes on", self.stream, why)

    def _find_again(self) -> bool:
        """True if the file is in its place; where it has gone, as its folder was deleted or came late, a copy is written."""
        try:
            status = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return self._copy()
        except OSError as error:
            self.failures += 1
            self._say(f"{self._path} cannot be reached: {error}; what is written now may not survive a restart")
            return False
        if self._inode is None or self._inode == (status.st_dev, status.st_ino):
            return True
        self.failures += 1
        self._say(f"{self._path} was replaced while the agent runs: restart the agent")
        return False

    def _copy(self) -> bool:
        try:
            db = _connect(self._path)
            try:
                self._db.backup(db)
                status = self._path.stat()
            except BaseException:
                db.close()
                raise
        except (sqlite3.Error, OSError, MemoryError) as error:
            if _code(error) != sqlite3.SQLITE_BUSY:
                for suffix in _SUFFIXES:
                    with contextlib.suppress(OSError):
                        self._path.with_name(self._path.name + suffix).unlink()
            self.failures += 1
            self._say(f"{self._path} is gone and cannot be made: {error}; nothing survives a restart")
            return False
        self._db.close()
        self._db, self._inode = db, (status.st_dev, status.st_ino)
        self.failures += 1
        logger.warning("state file %s was gone; it is written again", self._path)
        return True


def is_damage(error: Exception) -> bool:
    """True if an error means that the file is damaged or not one of ours, False if its surroundings are the cause."""
    if isinstance(error, OSError | MemoryError):
        return False
    return _code(error) not in _ENVIRONMENT


def _code(error: Exception) -> int:
    """Primary code of SQLite; 0 if it has none, as for rows that cannot be decoded."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _connect(path: Path) -> sqlite3.Connection:
    """A checked connection to a file that nobody else may read.

    Raises:
        sqlite3.Error: If the file is damaged, in use, or cannot be opened.
        OSError: If folder or file cannot be made.
    """
    _make_private(path)
    db = sqlite3.connect(path, isolation_level=None, timeout=IN_USE_WAIT_S)
    try:
        # The file belongs to one process: no index in shared memory, which a restart could not create on a full disk.
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(_SCHEMA)
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk
            db.execute(_INDEX)
        _check(db)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    """Check the structure of the file, as far as `CHECK_MAX_S` allows.

    Raises:
        sqlite3.DatabaseError: If it is damaged.
    """
    end_s = time.monotonic() + CHECK_MAX_S
    db.set_progress_handler(lambda: time.monotonic() > end_s, 10_000)
    try:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_INTERRUPT:
            raise
    else:
        if found != "ok":
            raise sqlite3.DatabaseError(f"{found}")
    finally:
        db.set_progress_handler(None, 0)


def _make_private(path: Path) -> None:
    """Folder and file for their owner only, whatever the umask.

    Raises:
        OSError: If they cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    with contextlib.suppress(OSError):  # of another owner, or on a file system without modes
        path.parent.chmod(0o700)
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).chmod(0o600)
