"""The journal of a training: one line for each finished site and signal, from which a killed training continues.

`<candidates>/training.jsonl` begins with the header of the whole training. An incomplete line, the last one of a killed
training, counts as not written. While a training runs it holds the lock of the journal.
"""

import fcntl
import logging
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from io import FileIO
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.errors import TrainerError
from ringmain_trainer.features.site_data import SiteData
from ringmain_trainer.training.recipe import TOOLS

FILE: Final = "training.jsonl"

PACKAGES: Final = ("ringmain", *TOOLS)
"""Packages that decide the result of a training."""
log: Final = logging.getLogger("ringmain_trainer")

Result = TypeVar("Result", bound=Struct)


class Header(Struct, frozen=True, kw_only=True):
    """A training: its begin, the end of its data (`--until`), and a hash of everything else that decides its results."""

    now_ms: int
    until_ms: int | None
    config_sha256: str


class Journal(Generic[Result]):
    """An open journal: `done` are the results of the interrupted training by site and signal; new ones go to the file."""

    def __init__(self, header: Header, done: dict[tuple[str, str], Result], file: FileIO) -> None:
        self.header = header
        self.done = done
        self._file = file

    def add(self, result: Result) -> None:
        """Append a result. A full disk loses the line, not the training."""
        try:
            self._file.write(msgspec.json.encode(result) + b"\n")
        except OSError as error:
            log.warning("%s cannot be written, a resumed training will fit this again: %s", self._file.name, error)


@contextmanager
def open_journal(folder: Path, asked: Header, result_type: type[Result], *, resume: bool) -> Generator[Journal[Result]]:
    """Open and lock the journal of the candidates.

    Args:
        folder: The candidates.
        asked: Header of this training.
        result_type: A Struct with `site` and `signal`.
        resume: Continue the training in the journal, with its `now`; data later than its begin are left out. If its
            configuration or packages were others, everything begins anew, with a warning.

    Raises:
        TrainerError: If another training has it open, or it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainerError(f"another training writes to {folder}: wait for its end, or name other candidates") from error
        file.seek(0)
        content = file.read() if resume else b""
        header = _header(content, asked) if resume else None
        if header is None:
            file.truncate(0)
            file.write(msgspec.json.encode(asked) + b"\n")
            yield Journal(asked, {}, file)
            return
        file.truncate(content.rfind(b"\n") + 1)
        yield Journal(header, _results(content, result_type), file)


def header_of(config: TrainerConfig, *, now: datetime, until: datetime | None) -> Header:
    """The header of a training. The number of processes, Kafka and the like are left out: they change no model."""
    training = msgspec.structs.replace(config.training, jobs=1)
    plain = TrainerConfig()
    same = msgspec.structs.replace(config, training=training, kafka=plain.kafka, ingest=plain.ingest, channel=plain.channel)
    tools = {name: version(name) for name in PACKAGES}
    return Header(
        now_ms=round(1000 * now.timestamp()),
        until_ms=None if until is None else round(1000 * until.timestamp()),
        config_sha256=sha256(msgspec.json.encode([same, tools])).hexdigest(),
    )


def inputs_hash(data: SiteData) -> str:
    """A hash of all data that a model of a site is made from."""
    hashed = sha256(repr((data.site, data.time_zone, data.steps.start_s, data.steps.values.shape)).encode())
    hashed.update(data.steps.values.tobytes())
    for name, history in data.series.items():
        hashed.update(repr((name, history.unit, len(history.issues))).encode())
        for issue in history.issues:
            hashed.update(repr((issue.issued_at_s, issue.start_s, issue.step_s, len(issue.values))).encode())
            hashed.update(issue.values.tobytes())
    return hashed.hexdigest()


def instant(at_ms: int) -> datetime:
    """Milliseconds of the header as an instant."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _header(content: bytes, asked: Header) -> Header | None:
    """The header in the journal; None if that training cannot be continued."""
    try:
        header = msgspec.json.decode(content.split(b"\n", 1)[0], type=Header)
    except msgspec.MsgspecError:
        log.info("resume: no interrupted training in the journal, a new one begins")
        return None
    if header.config_sha256 != asked.config_sha256 or asked.until_ms not in {None, header.until_ms}:
        log.warning(
            "resume: configuration, packages or --until differ from the interrupted training; everything begins anew"
        )
        return None
    return header if header.until_ms is not None else msgspec.structs.replace(header, until_ms=header.now_ms)


def _results(content: bytes, result_type: type[Result]) -> dict[tuple[str, str], Result]:
    done: dict[tuple[str, str], Result] = {}
    for line in content.splitlines()[1:]:
        try:
            result: Any = msgspec.json.decode(line, type=result_type)
        except msgspec.MsgspecError:
            continue  # the training was killed, or the disk was full, in the middle of this line
        done[result.site, result.signal] = result
    return done
