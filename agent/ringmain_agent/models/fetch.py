"""One check of the model repository, as a process of its own: `python -m ringmain_agent.models.fetch`.

It refreshes through TUF, reads the rollout file, downloads models, and checks manifest and golden vectors. The request comes
on standard input, the answer goes to standard output, both JSON. The model store activates the models.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlparse

import msgspec
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]
from tuf.ngclient.updater import Updater
from urllib3.exceptions import HTTPError

from ringmain_agent.models.fetch_messages import FETCH, SLOTS, TRIALS, Fetch, Fetched, Newest, SignedTimestamp, Slot
from ringmain_agent.models.repository_access import FolderFetcher, WebFetcher
from ringmain_model.confinement import Memory, confine, die_with_parent
from ringmain_model.errors import ModelRejectedError
from ringmain_model.trial import is_digest, on_trial
from ringmain_model.verify import check_model, read_model
from ringmain_program.files import move_into_place
from ringmain_protocol.errors import MessageError
from ringmain_protocol.manifest import (
    MAX_MODEL_BYTES,
    Rollout,
    decode_document,
    rollout_path,
    selected_release,
    target_path,
)

MAX_ROOT_BYTES: Final = 512_000
MAX_ROLLOUT_BYTES: Final = 64_000
CPU_S: Final = 60
"""Processor time of one look, and again of each signal; a look takes some 0.5 s, the largest model file 1 s."""
TROUBLE_MAX: Final = 4_000
_DOWNLOADS: Final = "downloads-"


def fetch_models(fetch: Fetch) -> Fetched:
    """Check the repository, and store the verified models of this site in slots."""
    newest = fetch.newest
    try:
        updater = _updater(fetch)
        updater.refresh()
        newest = _newest(fetch)
        return msgspec.structs.replace(_check_repository(fetch, updater), newest=newest)
    except (RepositoryError, DownloadError, MessageError, OSError, HTTPError, ValueError, MemoryError) as error:
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        trouble = f"{type(error).__name__}: {error}{cause}; the active model stays; check the repository {fetch.repository}"
        return Fetched(refused=fetch.refused, trouble=trouble[:TROUBLE_MAX], newest=newest)


def _updater(fetch: Fetch) -> Updater:
    root, cache = Path(fetch.root), _cache(fetch)
    if root.stat().st_size > MAX_ROOT_BYTES:
        raise ValueError(f"{root} has {root.stat().st_size} bytes, more than {MAX_ROOT_BYTES}")
    cache.mkdir(parents=True, exist_ok=True)
    remote = urlparse(fetch.repository).scheme in {"http", "https"}
    base = fetch.repository.rstrip("/") if remote else "folder:"
    return Updater(
        str(cache),
        f"{base}/metadata/",
        str(Path(fetch.folder) / SLOTS),
        f"{base}/targets/",
        fetcher=WebFetcher() if remote else FolderFetcher(Path(fetch.repository)),
        bootstrap=root.read_bytes(),
    )


def _cache(fetch: Fetch) -> Path:
    return Path(fetch.folder) / "tuf"


def _newest(fetch: Fetch) -> Newest:
    """The version of the timestamp just verified.

    Raises:
        ValueError: If it is lower than one that was seen before: the cache that TUF compares with was lost or replaced.
    """
    root_sha256 = sha256(Path(fetch.root).read_bytes()).hexdigest()
    version = msgspec.json.decode((_cache(fetch) / "timestamp.json").read_bytes(), type=SignedTimestamp).signed.version
    if fetch.newest.root_sha256 == root_sha256 and version < fetch.newest.version:
        raise ValueError(f"the repository is older than one seen before: timestamp {version} after {fetch.newest.version}")
    return Newest(root_sha256=root_sha256, version=version)


def _check_repository(fetch: Fetch, updater: Updater) -> Fetched:
    info = updater.get_targetinfo(rollout_path(fetch.channel))
    if info is None:
        return Fetched(refused=fetch.refused, trouble=f"channel {fetch.channel!r} has no rollout yet")
    if info.length > MAX_ROLLOUT_BYTES:
        raise ValueError(f"rollout file of {info.length} bytes exceeds the limit of {MAX_ROLLOUT_BYTES} bytes")
    with _downloads(fetch) as folder:
        downloaded = updater.download_target(info, str(folder / "rollout"))
        release = selected_release(decode_document(Path(downloaded).read_bytes(), Rollout), fetch.site)
        return _check_models(fetch, updater, folder, release)


def _check_models(fetch: Fetch, updater: Updater, downloads: Path, release: int) -> Fetched:
    models, refused, put_aside, troubles = {}, dict(fetch.refused), {}, []
    for signal in fetch.signals if release else []:
        active = fetch.active.get(signal)
        if active is not None and active.release == release:
            continue
        info = updater.get_targetinfo(target_path(signal, fetch.site, release))  # always below models/
        if info is None:
            continue  # a site without a model in this release keeps the active one
        digest = info.hashes.get("sha256", "")
        if not is_digest(digest):
            troubles.append(f"{signal} release {release} has no SHA-256")
            continue
        if digest in fetch.put_aside:
            put_aside[signal] = f"release {release}: {fetch.put_aside[digest]}"
            continue
        if digest not in refused:
            try:
                models[signal] = _verified(fetch, updater, info, downloads, signal=signal, release=release)
            except ModelRejectedError as error:
                refused[digest] = str(error)[:500]
        if digest in refused:
            troubles.append(f"{signal} release {release} was refused: {refused[digest]}")
    return Fetched(models=models, refused=refused, put_aside=put_aside, trouble="; ".join(troubles)[:TROUBLE_MAX])


def _verified(  # noqa: PLR0913  one file and all that it is checked against
    fetch: Fetch, updater: Updater, info: TargetFile, downloads: Path, *, signal: str, release: int
) -> Slot:
    """Download and verify a model; only a verified one becomes a slot.

    Raises:
        ModelRejectedError: If the file must not run here.
    """
    if info.length > MAX_MODEL_BYTES:
        raise ModelRejectedError(f"{info.length} bytes exceed {MAX_MODEL_BYTES}")
    slot = Slot(release=release, sha256=info.hashes["sha256"])
    candidate = Path(updater.download_target(info, str(downloads / slot.sha256)))
    with on_trial(Path(fetch.folder) / TRIALS / FETCH, slot.sha256, synced=True):
        try:
            manifest = check_model(read_model(candidate), site=fetch.site, signal=signal).manifest
        except ModelRejectedError:
            raise
        except Exception as error:
            raise ModelRejectedError(f"its check failed: {type(error).__name__}: {error}"[:500]) from error
    if manifest.release != release:
        raise ModelRejectedError(f"manifest has release {manifest.release}, its path {release}")
    move_into_place(candidate, Path(fetch.folder) / SLOTS / slot.sha256)
    return slot


@contextmanager
def _downloads(fetch: Fetch) -> Iterator[Path]:
    """A new folder that nobody else can have put a link into; what killed looks and earlier versions left is deleted."""
    for left in Path(fetch.folder).glob(f"{_DOWNLOADS}*"):
        shutil.rmtree(left, ignore_errors=True)
    for pattern in ("rollout.part", f"{SLOTS}/*.part", "tuf/tmp*"):
        for left in Path(fetch.folder).glob(pattern):
            with suppress(OSError):
                left.unlink()
    with tempfile.TemporaryDirectory(prefix=_DOWNLOADS, dir=fetch.folder, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _main() -> None:
    die_with_parent()
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints of native code must not damage the answer
    fetch = msgspec.json.decode(sys.stdin.buffer.read(), type=Fetch)
    confine(cpu_s=CPU_S * (1 + len(fetch.signals)))
    Memory()
    result.write(msgspec.json.encode(fetch_models(fetch)))
    result.flush()


if __name__ == "__main__":
    _main()
