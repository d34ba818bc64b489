"""Models: fetched through TUF, verified, proved against their golden vectors, activated by one atomic rename.

The work on a repository is done by a child process that ends (`python -m ringmain_agent.model_store`): slow links, damaged
files and crashes in native code stay away from control, and the memory comes back. On any doubt the active model stays.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlparse

import msgspec
from msgspec import Struct

from ringmain_agent.config import LoadedConfig

if TYPE_CHECKING:
    from tuf.ngclient.fetcher import FetcherInterface

logger = logging.getLogger("ringmain_agent")

STATE_NAME: Final = "models.json"
SLOTS: Final = "slots"
MAX_ROOT_BYTES: Final = 512_000
SLOTS_KEPT: Final = 3


class Slot(Struct, frozen=True, kw_only=True):
    """A model file that has been verified: its release and the SHA-256 that is its name."""

    release: int
    sha256: str


class Fetch(Struct, frozen=True, kw_only=True):
    """What the child is asked for."""

    site: str
    signals: list[str]
    repository: str
    root: str
    channel: str
    folder: str
    active: dict[str, Slot] = {}
    refused: dict[str, str] = {}


class Fetched(Struct, frozen=True, kw_only=True):
    """What the child found: models that passed every check, files that did not, and why there is nothing."""

    models: dict[str, Slot] = {}
    refused: dict[str, str] = {}
    trouble: str = ""


class StoreState(Struct, frozen=True, kw_only=True):
    """What is active, and which files are not tried again."""

    active: dict[str, Slot] = {}
    refused: dict[str, str] = {}


class ModelStore:
    """The active models of a site, and the child that looks for newer ones. Times are monotonic seconds."""

    def __init__(self, loaded: LoadedConfig, folder: Path) -> None:
        """Take up the active models; a slot whose SHA-256 is not its name is not used."""
        self.trouble = ""
        self.reasons: dict[str, str] = {}
        self._loaded = loaded
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._due_s = 0.0
        (folder / SLOTS).mkdir(parents=True, exist_ok=True)
        self._state = self._read_state()
        sound = {signal: slot for signal, slot in self._state.active.items() if self._is_sound(slot)}
        for signal in self._state.active.keys() - sound.keys():
            self.reasons[signal] = "model file is damaged; persistence until it is fetched again"
            logger.error("model signal=%s %s", signal, self.reasons[signal])
        self._state = StoreState(active=sound, refused=self._state.refused)

    @property
    def releases(self) -> dict[str, int]:
        """Release of the active model of each signal."""
        return {signal: slot.release for signal, slot in self._state.active.items()}

    @property
    def paths(self) -> dict[str, str]:
        """File of the active model of each signal."""
        return {signal: str(self._slot_path(slot)) for signal, slot in self._state.active.items()}

    def hasten(self, *, now_s: float, delay_s: float) -> None:
        """There is something to fetch: look soon, at a random delay so that a fleet does not come at once."""
        self._due_s = min(self._due_s, now_s + delay_s)

    def poll(self, *, now_s: float) -> bool:
        """Start a look when one is due, take the result of one that has ended; True when the active models changed."""
        models = self._loaded.config.models
        if models is None:
            return False
        if self._child is None:
            if now_s >= self._due_s:
                self._due_s = now_s + models.check_every_s
                self._start(now_s)
            return False
        if self._child.poll() is None:
            if now_s - self._started_s > models.fetch_timeout_s:
                self._child.kill()
                self._child.wait()
            return False
        return self._take(self._child)

    def close(self) -> None:
        """End a look that is under way."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _start(self, now_s: float) -> None:
        models = self._loaded.config.models
        if models is None:
            return
        remote = urlparse(models.repository).scheme in ("http", "https")
        fetch = Fetch(
            site=self._loaded.config.site,
            signals=list(self._loaded.site.forecast_signals),
            repository=models.repository if remote else str(self._loaded.path(models.repository)),
            root=str(self._loaded.path(models.root)),
            channel=models.channel,
            folder=str(self._folder),
            active=self._state.active,
            refused=self._state.refused,
        )
        self._child = subprocess.Popen(
            [sys.executable, "-m", "ringmain_agent.model_store"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._started_s = now_s
        if self._child.stdin is not None:
            self._child.stdin.write(msgspec.json.encode(fetch))
            self._child.stdin.close()
            self._child.stdin = None

    def _take(self, child: subprocess.Popen[bytes]) -> bool:
        output, _ = child.communicate()
        self._child = None
        try:
            fetched = msgspec.json.decode(output, type=Fetched)
        except msgspec.DecodeError:
            fetched = Fetched(trouble=f"model check ended with status {child.returncode}; the active model stays")
        self._note(fetched.trouble)
        for digest, reason in fetched.refused.items():
            logger.error("model refused sha256=%s %s", digest, reason)
        fresh = {signal: slot for signal, slot in fetched.models.items() if self._state.active.get(signal) != slot}
        if not fresh and not fetched.refused:
            return False
        self._write_state(StoreState(active=self._state.active | fresh, refused=dict(list(fetched.refused.items())[-50:])))
        for signal, slot in fresh.items():
            self.reasons.pop(signal, None)
            logger.info("model activated signal=%s release=%d sha256=%s", signal, slot.release, slot.sha256)
        self._tidy()
        return bool(fresh)

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            logger.warning("models %s", trouble)
        self.trouble = trouble

    def _slot_path(self, slot: Slot) -> Path:
        return self._folder / SLOTS / slot.sha256

    def _is_sound(self, slot: Slot) -> bool:
        path = self._slot_path(slot)
        return path.is_file() and sha256(path.read_bytes()).hexdigest() == slot.sha256

    def _read_state(self) -> StoreState:
        try:
            return msgspec.json.decode((self._folder / STATE_NAME).read_bytes(), type=StoreState)
        except FileNotFoundError:
            return StoreState()
        except msgspec.DecodeError as error:
            logger.error("models %s cannot be read (%s); models are fetched again", STATE_NAME, error)  # noqa: TRY400
            return StoreState()

    def _write_state(self, state: StoreState) -> None:
        replace_file(self._folder / STATE_NAME, msgspec.json.encode(state))
        self._state = state

    def _tidy(self) -> None:
        """Keep the active slots and a few before them."""
        active = {slot.sha256 for slot in self._state.active.values()}
        slots = sorted((self._folder / SLOTS).iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        others = [path for path in slots if path.name not in active]
        for path in others[SLOTS_KEPT * max(len(active), 1) :]:
            path.unlink()


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a power cut leaves the old one or the new one."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# The child process


def fetch_models(fetch: Fetch) -> Fetched:
    """Look into the repository and bring what this site shall run, verified, into slots."""
    from tuf.api.exceptions import DownloadError, RepositoryError  # noqa: PLC0415  only the child needs it
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        return _fetch_models(fetch)
    except (RepositoryError, DownloadError, OSError, HTTPError, ValueError) as error:
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        return Fetched(
            refused=fetch.refused,
            trouble=f"{type(error).__name__}: {error}{cause}; the active model stays. Is {fetch.repository} the repository?",
        )


def _fetch_models(fetch: Fetch) -> Fetched:
    from tuf.ngclient.updater import Updater  # noqa: PLC0415

    from ringmain_agent.errors import ModelRejectedError  # noqa: PLC0415
    from ringmain_agent.forecast import check_model  # noqa: PLC0415
    from ringmain_protocol.manifest import (  # noqa: PLC0415
        MAX_MODEL_BYTES,
        Rollout,
        decode_document,
        rollout_path,
        selected_release,
        target_path,
    )

    folder = Path(fetch.folder)
    root = Path(fetch.root)
    if root.stat().st_size > MAX_ROOT_BYTES:
        raise ValueError(f"{root} has more than {MAX_ROOT_BYTES} bytes")
    (folder / "tuf").mkdir(parents=True, exist_ok=True)
    updater = Updater(
        str(folder / "tuf"),
        f"{_base(fetch.repository)}/metadata/",
        str(folder / SLOTS),
        f"{_base(fetch.repository)}/targets/",
        fetcher=_fetcher(fetch.repository),
        bootstrap=root.read_bytes(),
    )
    updater.refresh()
    info = updater.get_targetinfo(rollout_path(fetch.channel))
    if info is None:
        return Fetched(refused=fetch.refused, trouble=f"channel {fetch.channel!r} has no rollout yet")
    part = folder / "rollout.part"
    updater.download_target(info, str(part))
    rollout = decode_document(part.read_bytes(), Rollout)
    release = selected_release(rollout, fetch.site)
    models: dict[str, Slot] = {}
    refused = dict(fetch.refused)
    troubles = []
    for signal in fetch.signals if release else []:
        active = fetch.active.get(signal)
        if active is not None and active.release == release:
            continue
        info = updater.get_targetinfo(target_path(signal, fetch.site, release))
        if info is None:
            continue  # a site without a model in a release keeps what it has
        digest = info.hashes.get("sha256", "")
        if digest in refused:
            troubles.append(f"{signal} release {release} was refused: {refused[digest]}")
            continue
        if info.length > MAX_MODEL_BYTES:
            refused[digest] = f"{info.length} bytes exceed {MAX_MODEL_BYTES}"
            continue
        slot = folder / SLOTS / digest
        candidate = slot.with_suffix(".part")
        updater.download_target(info, str(candidate))
        try:
            manifest = check_model(candidate, site=fetch.site, signal=signal)
            if manifest.release != release:
                raise ModelRejectedError(  # noqa: TRY301
                    f"manifest says release {manifest.release}, the path {release}"
                )
        except ModelRejectedError as error:
            refused[digest] = str(error)[:500]
            troubles.append(f"{signal} release {release} was refused: {error}")
            candidate.unlink()
            continue
        with candidate.open("rb") as file:
            os.fsync(file.fileno())
        candidate.replace(slot)
        models[signal] = Slot(release=release, sha256=digest)
    return Fetched(models=models, refused=refused, trouble="; ".join(troubles))


def _base(repository: str) -> str:
    return repository.rstrip("/") if urlparse(repository).scheme in ("http", "https") else "folder:"


def _fetcher(repository: str) -> "FetcherInterface | None":
    from tuf.api.exceptions import DownloadHTTPError  # noqa: PLC0415
    from tuf.ngclient.fetcher import FetcherInterface  # noqa: PLC0415

    class FolderFetcher(FetcherInterface):
        """Reads a repository in a folder, a mounted USB stick for example."""

        def _fetch(self, url: str) -> Iterator[bytes]:
            path = Path(repository) / url.removeprefix("folder:/")
            try:
                return iter([path.read_bytes()])
            except FileNotFoundError as error:
                raise DownloadHTTPError(f"{path} is not there", 404) from error

    return None if urlparse(repository).scheme in ("http", "https") else FolderFetcher()


def _main() -> None:
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever native code prints must not spoil the answer
    fetch = msgspec.json.decode(sys.stdin.buffer.read(), type=Fetch)
    result.write(msgspec.json.encode(fetch_models(fetch)))
    result.flush()


if __name__ == "__main__":
    _main()
