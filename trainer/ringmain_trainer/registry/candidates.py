"""Candidates: trained models that wait for a release, as files below one folder.

`waiting/<signal>/<site>/` holds `model.onnx`, `model.joblib` (the pipelines and offsets, no class of this package) and,
written last, `candidate.json` with their hashes and the verdict of the gate. A release moves the folder to
`released/<release>/<signal>/<site>/`. A candidate that the gate rejects goes to `rejected/<signal>/<site>/<created_at_ms>/`.
"""

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Final

import joblib
import msgspec
from msgspec import Struct

from ringmain_program.files import write_file
from ringmain_trainer.errors import PublishError
from ringmain_trainer.models.fit import FittedModel
from ringmain_trainer.registry.gate import Decision
from ringmain_trainer.registry.input_reference import Reference

_WAITING: Final = "waiting"
_RELEASED: Final = "released"
_REJECTED: Final = "rejected"
_ATTEMPTS: Final = "attempts"
MODEL: Final = "model.onnx"
DUMP: Final = "model.joblib"
RECORD: Final = "candidate.json"


class CandidateRecord(Struct, frozen=True, kw_only=True):
    """A candidate and its training; `model_sha256` and `dump_sha256` seal the two files in its folder.

    `decision`, `reason` and `scores` are the gate's; `forced` if a person released it against them. Drift is measured
    against `inputs`.
    """

    site: str
    signal: str
    created_at_ms: int
    model_sha256: str
    dump_sha256: str
    trained_sha256: str
    trained_forecasts: int
    metrics: dict[str, float]
    decision: Decision = Decision.UNDECIDED
    reason: str = "there was no gate when it was trained"
    scores: dict[str, float] = {}
    inputs: dict[str, Reference] = {}
    released_at_ms: int = 0
    forced: bool = False


class Candidate(Struct, frozen=True, kw_only=True):
    """A candidate whose files are whole."""

    record: CandidateRecord
    folder: Path
    content: bytes


def candidate_folder(candidates: Path, signal: str, site: str) -> Path:
    """Folder of a waiting candidate."""
    return candidates / _WAITING / signal / site


def rejected_folder(candidates: Path, signal: str, site: str) -> Path:
    """Folder of the rejected candidates of a site and signal, each in a folder named by its `created_at_ms`."""
    return candidates / _REJECTED / signal / site


def is_waiting(candidates: Path, signal: str, site: str) -> bool:
    """Whether a whole candidate waits: its record is written last."""
    return (candidate_folder(candidates, signal, site) / RECORD).is_file()


def drop_candidate(candidates: Path, signal: str, site: str) -> None:
    """Remove the waiting candidate: a release holds the result of the newest training, or nothing."""
    shutil.rmtree(candidate_folder(candidates, signal, site), ignore_errors=True)


def write_candidate(candidates: Path, fitted: FittedModel, content: bytes, record: CandidateRecord) -> CandidateRecord:
    """Write a candidate to the folder that its decision asks for, the record last; returns the record with the hashes."""
    folder = candidate_folder(candidates, record.signal, record.site)
    if record.decision is Decision.REJECTED:
        folder = rejected_folder(candidates, record.signal, record.site) / str(record.created_at_ms)
    try:
        return _write(folder, fitted, content, record)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)  # a full disk leaves no half candidate
        raise


def _write(folder: Path, fitted: FittedModel, content: bytes, record: CandidateRecord) -> CandidateRecord:
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "members": [
            {"name": member.name, "pipelines": member.pipelines, "offsets": member.offsets, "weight": member.weight}
            for member in fitted.members
        ],
        "shifts": fitted.shifts,
        "limits": tuple(fitted.limits),
        "metrics": fitted.metrics,
    }
    part = folder / (DUMP + ".part")
    joblib.dump(parts, part, compress=3)
    part.replace(folder / DUMP)
    write_file(folder / MODEL, content)
    hashes = {"model_sha256": _hash(content), "dump_sha256": _hash((folder / DUMP).read_bytes())}
    record = msgspec.structs.replace(record, **hashes)
    write_file(folder / RECORD, msgspec.json.format(msgspec.json.encode(record), indent=1))
    return record


def read_waiting(candidates: Path) -> list[Candidate]:
    """All candidates that wait, by signal and site.

    Raises:
        PublishError: If one is not whole: training was interrupted, or somebody changed it.
    """
    return [_read(path.parent) for path in sorted((candidates / _WAITING).glob(f"*/*/{RECORD}"))]


def read_waiting_of(candidates: Path, signal: str, site: str) -> Candidate:
    """The candidate that waits for one site and signal.

    Raises:
        PublishError: If there is none, or it is not whole.
    """
    return _read(candidate_folder(candidates, signal, site), (signal, site))


def read_one_waiting(candidates: Path, signal: str, site: str) -> Candidate | None:
    """The candidate of this site and signal that waits.

    Raises:
        PublishError: If it is not whole.
    """
    return _read(candidate_folder(candidates, signal, site)) if is_waiting(candidates, signal, site) else None


def read_released_records(candidates: Path, release: int) -> list[CandidateRecord]:
    """Records of a release, by signal and site."""
    paths = sorted((candidates / _RELEASED / str(release)).glob(f"*/*/{RECORD}"))
    return [msgspec.json.decode(path.read_bytes(), type=CandidateRecord) for path in paths]


def read_newest_rejected(candidates: Path, signal: str, site: str) -> Candidate | None:
    """The newest candidate of a site and signal that the gate rejected.

    Raises:
        PublishError: If it is not whole.
    """
    folders = _rejected(candidates, signal, site)
    return _read(folders[-1], (signal, site)) if folders else None


def prune_rejected(candidates: Path, signal: str, site: str, kept: int) -> None:
    """Remove all but the newest rejected candidates of a site and signal."""
    folders = _rejected(candidates, signal, site)
    for folder in folders[: max(0, len(folders) - kept)]:
        shutil.rmtree(folder, ignore_errors=True)


def read_champion(candidates: Path, signal: str, site: str) -> tuple[int, Candidate] | None:
    """The newest released model of a site and signal, with the number of its release.

    Raises:
        PublishError: If it is not whole.
    """
    champion = _champion(candidates, signal, site)
    return None if champion is None else (champion[0], _read(champion[1], (signal, site)))


def last_trained_ms(candidates: Path, signal: str, site: str) -> int | None:
    """Time of the newest training of a site and signal, also of one that was rejected or gave no candidate.

    Raises:
        PublishError: If a record cannot be read.
    """
    times_ms = [int(folder.name) for folder in _rejected(candidates, signal, site)]
    attempt = candidates / _ATTEMPTS / signal / site
    if attempt.is_file():
        times_ms += [int(text) for text in attempt.read_text(encoding="utf-8").split() if text.isdecimal()]
    champion = _champion(candidates, signal, site)
    folders = [champion[1]] if champion else []
    if is_waiting(candidates, signal, site):
        folders.append(candidate_folder(candidates, signal, site))
    return max([*times_ms, *(_record(folder).created_at_ms for folder in folders)], default=None)


def note_attempt(candidates: Path, signal: str, site: str, at_ms: int) -> None:
    """Record the time of a training: one that gives no candidate is then not repeated at every look."""
    write_file(candidates / _ATTEMPTS / signal / site, f"{at_ms}\n".encode())


def mark_released(candidates: Path, candidate: Candidate, release: int, *, now_ms: int, forced: bool) -> None:
    """Move a candidate from the waiting to the released ones, with the time of the release and whether it was forced."""
    record = msgspec.structs.replace(candidate.record, released_at_ms=now_ms, forced=forced)
    write_file(candidate.folder / RECORD, msgspec.json.format(msgspec.json.encode(record), indent=1))
    target = candidates / _RELEASED / str(release) / candidate.record.signal / candidate.record.site
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)  # of a publication that was interrupted under this number
    candidate.folder.replace(target)


def _rejected(candidates: Path, signal: str, site: str) -> list[Path]:
    """Folders of the rejected candidates of a site and signal, oldest first."""
    folders = rejected_folder(candidates, signal, site).glob(f"*/{RECORD}")
    return sorted((path.parent for path in folders if path.parent.name.isdecimal()), key=lambda folder: int(folder.name))


def _champion(candidates: Path, signal: str, site: str) -> tuple[int, Path] | None:
    """Number and folder of the newest release that has this site and signal."""
    releases = (int(one.name) for one in (candidates / _RELEASED).glob("[0-9]*") if one.name.isdecimal())
    folders = (
        (release, candidates / _RELEASED / str(release) / signal / site) for release in sorted(releases, reverse=True)
    )
    return next(((release, folder) for release, folder in folders if (folder / RECORD).is_file()), None)


def _record(folder: Path) -> CandidateRecord:
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=CandidateRecord)
    except (OSError, msgspec.MsgspecError) as error:
        raise PublishError(f"candidate {folder} is not whole: {error}") from error


def _read(folder: Path, signal_and_site: tuple[str, str] | None = None) -> Candidate:
    record = _record(folder)
    try:
        content, dump = (folder / MODEL).read_bytes(), (folder / DUMP).read_bytes()
    except OSError as error:
        raise PublishError(f"candidate {folder} is not whole: {error}") from error
    if (record.model_sha256, record.dump_sha256) != (_hash(content), _hash(dump)):
        raise PublishError(f"candidate {folder}: the files are not those of the training")
    if (record.signal, record.site) != (signal_and_site or (folder.parent.name, folder.name)):
        raise PublishError(f"candidate {folder} says that it is {record.signal} of {record.site}")
    return Candidate(record=record, folder=folder, content=content)


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()
