"""Candidates: trained models that wait for a release, as files below one folder.

`waiting/<signal>/<site>/` holds `model.onnx`, `model.joblib` (the pipeline and its offsets, no class of ours) and, written
last, `candidate.json` with their hashes. A release moves the folder to `released/<release>/<signal>/<site>/`.
"""

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Final

import joblib
import msgspec
from msgspec import Struct

from ringmain_trainer.errors import PublishError
from ringmain_trainer.files import write_file
from ringmain_trainer.fit import FittedModel

_WAITING: Final = "waiting"
_RELEASED: Final = "released"
MODEL: Final = "model.onnx"
DUMP: Final = "model.joblib"
RECORD: Final = "candidate.json"


class CandidateRecord(Struct, frozen=True, kw_only=True):
    """What a candidate is and what came out of its training; `model_sha256` and `dump_sha256` seal the files beside it."""

    site: str
    signal: str
    created_at_ms: int
    model_sha256: str
    dump_sha256: str
    trained_sha256: str
    trained_forecasts: int
    metrics: dict[str, float]


class Candidate(Struct, frozen=True, kw_only=True):
    """A waiting candidate, read and found whole."""

    record: CandidateRecord
    folder: Path
    content: bytes


def candidate_folder(candidates: Path, signal: str, site: str) -> Path:
    """Where a waiting candidate is."""
    return candidates / _WAITING / signal / site


def is_waiting(candidates: Path, signal: str, site: str) -> bool:
    """Whether a whole candidate waits: its record is written last."""
    return (candidate_folder(candidates, signal, site) / RECORD).is_file()


def drop_candidate(candidates: Path, signal: str, site: str) -> None:
    """Remove what waits for this site and signal: a release holds what the newest training made, or nothing."""
    shutil.rmtree(candidate_folder(candidates, signal, site), ignore_errors=True)


def write_candidate(candidates: Path, fitted: FittedModel, content: bytes, record: CandidateRecord) -> CandidateRecord:
    """Write the files of a candidate, the record last; the record with the hashes filled in."""
    folder = candidate_folder(candidates, record.signal, record.site)
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


def mark_released(candidates: Path, candidate: Candidate, release: int) -> None:
    """Move a candidate out of the way of the next release."""
    target = candidates / _RELEASED / str(release) / candidate.record.signal / candidate.record.site
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)  # of a publication that was interrupted under this number
    candidate.folder.replace(target)


def _read(folder: Path) -> Candidate:
    try:
        record = msgspec.json.decode((folder / RECORD).read_bytes(), type=CandidateRecord)
        content, dump = (folder / MODEL).read_bytes(), (folder / DUMP).read_bytes()
    except (OSError, msgspec.MsgspecError) as error:
        raise PublishError(f"candidate {folder} is not whole: {error}") from error
    if (record.model_sha256, record.dump_sha256) != (_hash(content), _hash(dump)):
        raise PublishError(f"candidate {folder}: the files are not those of the training")
    if (record.signal, record.site) != (folder.parent.name, folder.name):
        raise PublishError(f"candidate {folder} says that it is {record.signal} of {record.site}")
    return Candidate(record=record, folder=folder, content=content)


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()
