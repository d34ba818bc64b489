"""Candidates to a release in the signed repository, and the hint that tells agents to look."""

import fcntl
import os
import time
from collections.abc import Collection, Generator, Iterable
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
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.errors import ExportError, PublishError
from ringmain_trainer.export.onnx_file import check_file, with_release
from ringmain_trainer.registry.candidates import Candidate, mark_released, read_newest_rejected, read_waiting
from ringmain_trainer.registry.gate import Decision
from ringmain_trainer.release.tuf_repository import Repository

RELEASES_KEPT: Final = 3
"""Models of each site and signal that stay in the list, for a way back."""

ALL_SITES_PERMILLE: Final = 1000
_ANNOUNCE_TIMEOUT_S: Final = 15.0


class Release(Struct, frozen=True, kw_only=True):
    """A publication; `forced` are the paths that a person released against the gate, `waiting` counts the undecided."""

    release: int
    previous: int
    paths: list[str]
    sites: list[str]
    forced: list[str] = []
    waiting: int = 0


def publish(config: TrainerConfig, *, now: datetime, sites: Collection[str] = (), force: bool = False) -> Release:
    """Verify the promoted candidates, give them the next release number, sign, and let all sites have them.

    Args:
        config: Where candidates, keys and repository are.
        now: Time of signing.
        sites: Candidates of these sites only; all if empty.
        force: Release the waiting candidates of these sites against the gate, or, where none waits, the last rejected one.
            The record of the candidate keeps this.

    Raises:
        PublishError: If nothing may be released, a candidate does not hold, or a key or the repository is missing.
    """
    if force and not sites:
        raise PublishError("--force releases against the gate and needs --site")
    with _alone(Path(config.keys)):
        waiting, undecided = _chosen(config, sites, force=force)
        repository = Repository(Path(config.repository), Path(config.keys))
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
            forced = candidate.record.decision is not Decision.PROMOTED
            at_ms = round(1000 * now.timestamp())
            mark_released(Path(config.candidates), candidate, release, now_ms=at_ms, forced=forced)
    records = [candidate.record for candidate in waiting]
    against = [target_path(r.signal, r.site, release) for r in records if r.decision is not Decision.PROMOTED]
    return Release(
        release=release,
        previous=previous,
        paths=sorted(models),
        sites=sorted({record.site for record in records}),
        forced=sorted(against),
        waiting=undecided,
    )


def refresh(config: TrainerConfig, *, now: datetime) -> None:
    """Sign snapshot and timestamp again, with the online key alone: daily, from a timer.

    Raises:
        PublishError: If the repository or the online key is missing.
    """
    with _alone(Path(config.keys)):
        Repository(Path(config.repository), Path(config.keys)).commit(now, online_only=True)


def announce(config: TrainerConfig, sites: Iterable[str], *, host: str, port: int) -> int:
    """Publish the newest timestamp as the retained hint of each site; how many were confirmed.

    Raises:
        PublishError: If the broker does not take them in time. The release stands: agents look by themselves, too.
    """
    hint = Repository(Path(config.repository), Path(config.keys)).newest_timestamp()
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


def _chosen(config: TrainerConfig, sites: Collection[str], *, force: bool) -> tuple[list[Candidate], int]:
    """The candidates to release, and the number of others that wait undecided.

    Raises:
        PublishError: If there is none; the text says why.
    """
    candidates = Path(config.candidates)
    waiting = read_waiting(candidates)
    asked = [one for one in waiting if not sites or one.record.site in sites]
    if force:
        there = {(one.record.signal, one.record.site) for one in asked}
        missing = ((model.signal, site) for model in config.model for site in sorted(sites))
        others = (read_newest_rejected(candidates, *key) for key in missing if key not in there)
        chosen = [*asked, *(one for one in others if one is not None)]
    else:
        chosen = [one for one in asked if one.record.decision is Decision.PROMOTED]
    undecided = sum(one.record.decision is not Decision.PROMOTED for one in waiting if one not in chosen)
    if not chosen and undecided:
        raise PublishError(f"no promoted candidate waits in {config.candidates}; {undecided} wait undecided, see `train`")
    if not chosen:
        raise PublishError(
            f"no candidate waits in {config.candidates}: `train` makes them, and its result says what it rejects"
        )
    return chosen, undecided


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
    return [old for releases in by_model.values() for old in sorted(releases, key=_release_of)[:-RELEASES_KEPT]]


@contextmanager
def _alone(keys: Path) -> Generator[None]:
    """One publication at a time: the lock lies with the keys, not in the folder that the world reads."""
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(keys / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
