"""The signed repository as static files: `metadata/` and `targets/`, read by agents through TUF.

Everything but `timestamp.json` is written once under a name that never comes again, so a reader sees the old state or the
new one. Order: target files, metadata, snapshot, and the timestamp last.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, TargetFile  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer

from ringmain_program.files import write_file
from ringmain_trainer.errors import PublishError
from ringmain_trainer.release.tuf_roles import (
    BINS,
    ROLLOUT,
    ROOT_THRESHOLD,
    bin_names,
    first_metadata,
    life_days,
    load_key,
    make_keys,
    signing_keys,
)

TIMESTAMP: Final = "timestamp"
_SNAPSHOT: Final = "snapshot"
_NOT_LISTED: Final = frozenset(("root", _SNAPSHOT, TIMESTAMP))
"""Roles that the snapshot does not list."""


class Repository:
    """Metadata as last published, changed in memory; `commit` writes what has changed."""

    def __init__(self, folder: Path, keys: Path, roles: dict[str, Any], changed: Iterable[str] = ()) -> None:
        self._folder = folder
        self._keys = keys
        self._roles = roles
        self._changed = set(changed)
        self._files: dict[str, bytes] = {}

    def target_paths(self) -> list[str]:
        """All models in the repository."""
        return sorted(path for name in bin_names() for path in self._roles[name].signed.targets)

    def rollout(self, path: str) -> bytes | None:
        """A rollout file as last published."""
        target = self._roles[ROLLOUT].signed.targets.get(path)
        return None if target is None else (self._folder / "targets" / _hashed_name(target)).read_bytes()

    def add_model(self, path: str, content: bytes) -> None:
        """Put a model into its bin."""
        self._add(BINS.get_role_for_target(path), path, content)

    def remove_model(self, path: str) -> None:
        """Take a model out of the list; its file stays, for readers of the old list."""
        role = BINS.get_role_for_target(path)
        del self._roles[role].signed.targets[path]
        self._changed.add(role)

    def set_rollout(self, path: str, content: bytes) -> None:
        """Put a rollout file under the online role."""
        self._add(ROLLOUT, path, content)

    def commit(self, now: datetime, *, online_only: bool = False) -> None:
        """Sign and write what changed, and what has less than half its life left; snapshot and timestamp always.

        Raises:
            PublishError: If a key is missing, or (`online_only`) something changed that the online key may not sign.
        """
        due = set(self._changed)
        for role, metadata in self._roles.items():
            left = metadata.signed.expires - now
            if role not in _NOT_LISTED and left < timedelta(days=life_days(role)) / 2:
                due.add(role)
        if online_only:
            due &= {ROLLOUT}
        signers = {name: load_key(self._keys, name) for role in (*due, _SNAPSHOT) for name in signing_keys(role)}
        for path, content in self._files.items():
            write_file(self._folder / "targets" / path, content)
        snapshot, timestamp = self._roles[_SNAPSHOT].signed, self._roles[TIMESTAMP].signed
        for role in sorted(due):
            self._sign(role, now, signers)
        for role in self._roles.keys() - _NOT_LISTED:
            snapshot.meta[f"{role}.json"] = MetaFile(self._roles[role].signed.version)
        self._sign(_SNAPSHOT, now, signers)
        timestamp.snapshot_meta = MetaFile(snapshot.version)
        self._sign(TIMESTAMP, now, signers)
        self._changed.clear()
        self._files.clear()

    def timestamp(self) -> bytes:
        """The newest timestamp, as agents are to see it."""
        return (self._folder / "metadata" / f"{TIMESTAMP}.json").read_bytes()

    def _add(self, role: str, path: str, content: bytes) -> None:
        target = TargetFile.from_data(path, content, ["sha256"])
        self._roles[role].signed.targets[path] = target
        self._files[_hashed_name(target)] = content
        self._changed.add(role)

    def _sign(self, role: str, now: datetime, signers: dict[str, CryptoSigner]) -> None:
        metadata = self._roles[role]
        metadata.signed.version += bool(metadata.signatures)  # the first signature is version 1
        _sign(metadata, role, now, [signers[name] for name in signing_keys(role)])
        _write(self._folder, role, metadata)


def create_repository(folder: Path, keys: Path, now: datetime) -> None:
    """New keys, and a repository without any model.

    Raises:
        PublishError: If there is a repository or a key already.
    """
    if (folder / "metadata").exists():
        raise PublishError(f"{folder} holds a repository already")
    made = make_keys(keys)
    roles = first_metadata(made)
    _sign(roles["root"], "root", now, [made[name] for name in signing_keys("root")])
    _write(folder, "root", roles["root"])
    Repository(folder, keys, roles, roles.keys() - _NOT_LISTED).commit(now)


def renew_root(folder: Path, keys: Path, now: datetime) -> int:
    """Sign the root again, with two of its three keys; its new version. Yearly: with an expired root agents take nothing.

    Raises:
        PublishError: If the repository or a root key is missing.
    """
    newest = _newest_root(folder / "metadata")
    root = _read(folder / "metadata" / f"{newest}.root.json")
    root.signed.version += 1
    _sign(root, "root", now, [load_key(keys, name) for name in signing_keys("root")])
    _write(folder, "root", root)
    return int(root.signed.version)


def open_repository(folder: Path, keys: Path) -> Repository:
    """The repository as last published: what the timestamp names, not what an interrupted publication left behind.

    Raises:
        PublishError: If it is not there or not whole.
    """
    metadata = folder / "metadata"
    try:
        timestamp = _read(metadata / f"{TIMESTAMP}.json")
        version = timestamp.signed.snapshot_meta.version
        snapshot = _read(metadata / f"{version}.{_SNAPSHOT}.json")
        names = {name.removesuffix(".json"): meta.version for name, meta in snapshot.signed.meta.items()}
        roles = {name: _read(metadata / f"{version}.{name}.json") for name, version in names.items()}
        root = _read(metadata / f"{_newest_root(metadata)}.root.json")
        roles |= {"root": root, _SNAPSHOT: snapshot, TIMESTAMP: timestamp}
    except (OSError, ValueError, RepositoryError) as error:
        raise PublishError(f"no usable repository in {folder} (`repository init` makes one): {error}") from error
    return Repository(folder, keys, roles)


def _newest_root(metadata: Path) -> int:
    found = [int(path.name.split(".")[0]) for path in metadata.glob("*.root.json")]
    if not found:
        raise PublishError(f"no root in {metadata}: `repository init` makes a repository")
    return max(found)


def _sign(metadata: Metadata[Any], role: str, now: datetime, signers: list[CryptoSigner]) -> None:
    metadata.signed.expires = now.replace(microsecond=0) + timedelta(days=life_days(role))
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    if role == "root" and len(metadata.signatures) < ROOT_THRESHOLD:
        raise PublishError(f"root has {len(metadata.signatures)} signatures, it needs {ROOT_THRESHOLD}")


def _write(folder: Path, role: str, metadata: Metadata[Any]) -> None:
    name = f"{role}.json" if role == TIMESTAMP else f"{metadata.signed.version}.{role}.json"
    write_file(folder / "metadata" / name, metadata.to_bytes(JSONSerializer(compact=True)))


def _read(path: Path) -> Metadata[Any]:
    return Metadata.from_bytes(path.read_bytes())


def _hashed_name(target: TargetFile) -> str:
    folder, _, name = target.path.rpartition("/")
    return f"{folder}/{target.hashes['sha256']}.{name}"
