"""One check of the model repository, as a process of its own: `python -m ringmain_agent.models.fetch`.

It refreshes through TUF, reads the rollout file, downloads models, and checks manifest and golden vectors. The request comes
on standard input, the answer goes to standard output, both JSON. The model store activates the models.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlparse

import msgspec
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater
from urllib3.exceptions import HTTPError

from ringmain_agent.models.fetch_messages import SLOTS, Fetch, Fetched, Slot
from ringmain_model.errors import ModelRejectedError
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


class FolderFetcher(FetcherInterface):
    """Fetcher of a repository in a folder, such as a mounted USB stick."""

    def __init__(self, folder: Path) -> None:
        """A fetcher that reads below this folder."""
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.removeprefix("folder:/")
        try:
            return iter([path.read_bytes()])
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{path} does not exist", 404) from error


def fetch_models(fetch: Fetch) -> Fetched:
    """Check the repository, and store the verified models of this site in slots."""
    try:
        return _check_repository(fetch, _updater(fetch))
    except (RepositoryError, DownloadError, MessageError, OSError, HTTPError, ValueError) as error:
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        trouble = f"{type(error).__name__}: {error}{cause}; the active model stays; check the repository {fetch.repository}"
        return Fetched(refused=fetch.refused, trouble=trouble)


def _updater(fetch: Fetch) -> Updater:
    root, cache = Path(fetch.root), Path(fetch.folder) / "tuf"
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
        fetcher=None if remote else FolderFetcher(Path(fetch.repository)),
        bootstrap=root.read_bytes(),
    )


def _check_repository(fetch: Fetch, updater: Updater) -> Fetched:
    updater.refresh()
    info = updater.get_targetinfo(rollout_path(fetch.channel))
    if info is None:
        return Fetched(refused=fetch.refused, trouble=f"channel {fetch.channel!r} has no rollout yet")
    part = Path(fetch.folder) / "rollout.part"
    updater.download_target(info, str(part))
    release = selected_release(decode_document(part.read_bytes(), Rollout), fetch.site)
    models, refused, troubles = {}, dict(fetch.refused), []
    for signal in fetch.signals if release else []:
        active = fetch.active.get(signal)
        if active is not None and active.release == release:
            continue
        info = updater.get_targetinfo(target_path(signal, fetch.site, release))  # always below models/
        if info is None:
            continue  # a site without a model in this release keeps the active one
        digest = info.hashes.get("sha256", "")
        if digest not in refused:
            try:
                models[signal] = _verified(fetch, updater, info, signal=signal, release=release)
            except ModelRejectedError as error:
                refused[digest] = str(error)[:500]
        if digest in refused:
            troubles.append(f"{signal} release {release} was refused: {refused[digest]}")
    return Fetched(models=models, refused=refused, trouble="; ".join(troubles))


def _verified(fetch: Fetch, updater: Updater, info: TargetFile, *, signal: str, release: int) -> Slot:
    """Download and verify a model; only a verified one becomes a slot.

    Raises:
        ModelRejectedError: If the file must not run here.
    """
    if info.length > MAX_MODEL_BYTES:
        raise ModelRejectedError(f"{info.length} bytes exceed {MAX_MODEL_BYTES}")
    slot = Path(fetch.folder) / SLOTS / info.hashes["sha256"]
    candidate = slot.with_suffix(".part")
    updater.download_target(info, str(candidate))
    try:
        manifest = check_model(read_model(candidate), site=fetch.site, signal=signal).manifest
        if manifest.release != release:
            raise ModelRejectedError(  # noqa: TRY301  the file is deleted in any case
                f"manifest has release {manifest.release}, its path {release}"
            )
    except ModelRejectedError:
        candidate.unlink()
        raise
    move_into_place(candidate, slot)
    return Slot(release=release, sha256=slot.name)


def _main() -> None:
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints of native code must not damage the answer
    fetch = msgspec.json.decode(sys.stdin.buffer.read(), type=Fetch)
    result.write(msgspec.json.encode(fetch_models(fetch)))
    result.flush()


if __name__ == "__main__":
    _main()
