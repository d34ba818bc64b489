"""Candidates to a release in the signed repository, and the hint that tells agents to look."""

import fcntl
import os
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import paho.mqtt.client as mqtt
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion

from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.manifest import Rollout, decode_document, encode_document, rollout_path, target_path
from ringmain_trainer.candidates import Candidate, mark_released, read_waiting
from ringmain_trainer.config import TrainerConfig
from ringmain_trainer.errors import ExportError, PublishError
from ringmain_trainer.export import check_file, with_release
from ringmain_trainer.repository import Repository, open_repository

RELEASES_KEPT: Final = 3
"""So many models of each site and signal stay in the list, for a way back."""

ALL_SITES_PERMILLE: Final = 1000
_ANNOUNCE_TIMEOUT_S: Final = 15.0


class Release(Struct, frozen=True, kw_only=True):
    """What was published."""

    release: int
    previous: int
    paths: list[str]
    sites: list[str]


def publish(config: TrainerConfig, *, now: datetime) -> Release:
    """Verify all waiting candidates, give them the next release number, sign, and let all sites have them.

    Raises:
        PublishError: If nothing waits, a candidate does not hold, or a key or the repository is missing.
    """
    with _alone(Path(config.keys)):
        waiting = read_waiting(Path(config.candidates))
        if not waiting:
            raise PublishError(f"no candidate waits in {config.candidates}: `train` makes them")
        repository = open_repository(Path(config.repository), Path(config.keys))
        path = rollout_path(config.channel)
        before = _rollout(repository, path)
        release = max([before.release if before else 0, *map(_release_of, repository.target_paths())]) + 1
        models = {target_path(c.record.signal, c.record.site, release): _verified(c, release) for c in waiting}
        for name, content in models.items():
            repository.add_model(name, content)
        for old in _outdated(repository.target_paths()):
            repository.remove_model(old)
        previous = before.release if before else 0
        rollout = Rollout(release=release, previous=previous, permille=ALL_SITES_PERMILLE)
        repository.set_rollout(path, encode_document(rollout))
        repository.commit(now)
        for candidate in waiting:
            mark_released(Path(config.candidates), candidate, release)
    sites = sorted({candidate.record.site for candidate in waiting})
    return Release(release=release, previous=previous, paths=sorted(models), sites=sites)


def refresh(config: TrainerConfig, *, now: datetime) -> None:
    """Sign snapshot and timestamp again, with the online key alone: daily, from a timer.

    Raises:
        PublishError: If the repository or the online key is missing.
    """
    with _alone(Path(config.keys)):
        open_repository(Path(config.repository), Path(config.keys)).commit(now, online_only=True)


def announce(config: TrainerConfig, sites: Iterable[str], *, host: str, port: int) -> int:
    """Publish the newest timestamp as the retained hint of each site; how many were confirmed.

    Raises:
        PublishError: If the broker does not take them in time. The release stands: agents look by themselves, too.
    """
    hint = open_repository(Path(config.repository), Path(config.keys)).timestamp()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    try:
        client.connect(host, port, keepalive=30)
        client.loop_start()
        sent = [client.publish(topics.topic(site, topics.MODEL), hint, qos=1, retain=True) for site in sites]
        end = time.monotonic() + _ANNOUNCE_TIMEOUT_S
        for message in sent:
            message.wait_for_publish(max(0.0, end - time.monotonic()))
        confirmed = sum(message.is_published() for message in sent)
    except (OSError, RuntimeError, ValueError) as error:
        raise PublishError(f"broker {host}:{port} did not take the announcement: {error}") from error
    finally:
        client.disconnect()
        with suppress(AttributeError):  # paho's thread forgets itself at its end, also while paho looks at it
            client.loop_stop()
    if confirmed < len(sent):
        raise PublishError(f"broker {host}:{port} confirmed {confirmed} of {len(sent)} announcements")
    return confirmed


def _verified(candidate: Candidate, release: int) -> bytes:
    """The model file under its release number, after it has reproduced its golden vectors."""
    record = candidate.record
    try:
        content = with_release(candidate.content, release)
        manifest = check_file(content)
    except ExportError as error:
        raise PublishError(f"candidate {record.signal} of {record.site}: {error}") from error
    if (manifest.site, manifest.signal, manifest.release) != (record.site, record.signal, release):
        raise PublishError(
            f"candidate {record.signal} of {record.site} says that it is {manifest.signal} of {manifest.site}"
        )
    return content


def _rollout(repository: Repository, path: str) -> Rollout | None:
    content = repository.rollout(path)
    try:
        return None if content is None else decode_document(content, Rollout)
    except MessageError as error:
        raise PublishError(f"{path} in the repository: {error}") from error


def _release_of(path: str) -> int:
    return int(path.rsplit("/", 1)[1].removesuffix(".onnx"))


def _outdated(paths: Iterable[str]) -> list[str]:
    """All but the newest models of each site and signal."""
    by_model: dict[str, list[str]] = {}
    for path in paths:
        by_model.setdefault(path.rsplit("/", 1)[0], []).append(path)
    return [old for found in by_model.values() for old in sorted(found, key=_release_of)[:-RELEASES_KEPT]]


@contextmanager
def _alone(keys: Path) -> Generator[None]:
    """One publication at a time: the lock is beside the keys, not in the folder that the world reads."""
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(keys / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
