"""The signed repository as static files: `metadata/` and `targets/`, read by agents through TUF.

python-tuf keeps versions, snapshot and timestamp; this module knows files, keys and how long signatures hold. Each file but
`timestamp.json` is written once, under a name of its own: a reader sees the old state or the new one. Order: target files,
their metadata, snapshot, and the timestamp last.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Timestamp  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer
from tuf.repository import Repository as TufRepository  # type: ignore[attr-defined]

from ringmain_program.files import write_file
from ringmain_trainer.errors import PublishError
from ringmain_trainer.release.tuf_roles import (
    BINS,
    ROLLOUT,
    TARGETS_ROLES,
    bin_names,
    first_metadata,
    life_days,
    load_key,
    make_keys,
    signing_keys,
)

_TIMESTAMP_FILE: Final = "timestamp.json"


class Repository(TufRepository):
    """Metadata as last published: the state that the timestamp names, without leftovers of an interrupted publication.

    Target files are added and removed in memory; `commit` signs and writes.
    """

    def __init__(self, folder: Path, keys: Path, roles: dict[str, Metadata[Any]] | None = None) -> None:
        self._folder = folder
        self._keys = keys
        self._roles = {} if roles is None else roles
        self._edited: set[str] = set()
        self._files: dict[str, bytes] = {}
        self._signers: dict[str, CryptoSigner] = {}
        self._now: datetime

    def open(self, role: str) -> Metadata[Any]:
        """Metadata of a role, read from its file once.

        Raises:
            PublishError: If the file is missing or damaged.
        """
        if role not in self._roles:
            try:
                content = (self._folder / "metadata" / self._newest_file(role)).read_bytes()
                self._roles[role] = Metadata.from_bytes(content)
            except (OSError, ValueError, KeyError, RepositoryError) as error:
                raise PublishError(
                    f"no usable repository in {self._folder} (`repository init` makes one): {error}"
                ) from error
        return self._roles[role]

    def close(self, role: str, md: Metadata[Any]) -> None:
        """Sign the next version of a role and write it."""
        md.signed.version += bool(md.signatures)  # the first signature is version 1
        md.signed.expires = self._now.replace(microsecond=0) + timedelta(days=life_days(role))
        md.signatures.clear()
        for name in signing_keys(role):
            md.sign(self._signers[name], append=True)
        if role == Root.type:
            _check_root(md)
        name = _TIMESTAMP_FILE if role == Timestamp.type else f"{md.signed.version}.{role}.json"
        write_file(self._folder / "metadata" / name, md.to_bytes(JSONSerializer(compact=True)))

    @property
    def targets_infos(self) -> dict[str, MetaFile]:
        """Versions that the next snapshot lists."""
        return {f"{role}.json": MetaFile(self.open(role).signed.version) for role in TARGETS_ROLES}

    @property
    def snapshot_info(self) -> MetaFile:
        """Version that the next timestamp names."""
        return MetaFile(self.snapshot().version)

    def target_paths(self) -> list[str]:
        """All models in the repository."""
        return sorted(path for name in bin_names() for path in self.targets(name).targets)

    def rollout(self, path: str) -> bytes | None:
        """A rollout file as last published."""
        target = self.targets(ROLLOUT).targets.get(path)
        return None if target is None else (self._folder / "targets" / _hashed_name(target)).read_bytes()

    def newest_timestamp(self) -> bytes:
        """The newest timestamp file, the hint for agents."""
        return (self._folder / "metadata" / _TIMESTAMP_FILE).read_bytes()

    def add_model(self, path: str, content: bytes) -> None:
        """Put a model into its bin."""
        self._add(BINS.get_role_for_target(path), path, content)

    def remove_model(self, path: str) -> None:
        """Take a model out of the list; its file stays, for readers of the old list."""
        role = BINS.get_role_for_target(path)
        del self.targets(role).targets[path]
        self._edited.add(role)

    def set_rollout(self, path: str, content: bytes) -> None:
        """Put a rollout file under the online role."""
        self._add(ROLLOUT, path, content)

    def commit(self, now: datetime, *, online_only: bool = False) -> None:
        """Sign and write the edited roles and those with less than half their life left; snapshot and timestamp always.

        With `online_only` roles that need another key than the online one wait for the next full commit.

        Raises:
            PublishError: If a key is missing. Nothing is written then.
        """
        due = [role for role in ((ROLLOUT,) if online_only else TARGETS_ROLES) if self._is_due(role, now)]
        self._load_keys(now, *due, Snapshot.type, Timestamp.type)
        for path, content in self._files.items():
            write_file(self._folder / "targets" / path, content)
        for role in due:
            self.close(role, self.open(role))
        self.do_snapshot(force=True)
        self.do_timestamp(force=True)
        self._edited.clear()
        self._files.clear()

    def sign_root(self, now: datetime) -> int:
        """Sign the next version of the root; its number."""
        self._load_keys(now, Root.type)
        with self.edit_root() as root:
            pass
        return int(root.version)

    def _add(self, role: str, path: str, content: bytes) -> None:
        target = TargetFile.from_data(path, content, ["sha256"])
        self.targets(role).targets[path] = target
        self._files[_hashed_name(target)] = content
        self._edited.add(role)

    def _is_due(self, role: str, now: datetime) -> bool:
        metadata = self.open(role)
        ages = metadata.signed.expires - now < timedelta(days=life_days(role)) / 2
        return role in self._edited or not metadata.signatures or ages

    def _load_keys(self, now: datetime, *roles: str) -> None:
        self._now = now
        self._signers = {name: load_key(self._keys, name) for role in roles for name in signing_keys(role)}

    def _newest_file(self, role: str) -> str:
        if role == Timestamp.type:
            return _TIMESTAMP_FILE
        if role == Root.type:
            versions = (int(path.name.split(".")[0]) for path in (self._folder / "metadata").glob("*.root.json"))
            return f"{max(versions)}.root.json"
        if role == Snapshot.type:
            return f"{self.timestamp().snapshot_meta.version}.snapshot.json"
        return f"{self.snapshot().meta[f'{role}.json'].version}.{role}.json"


def create_repository(folder: Path, keys: Path, now: datetime) -> None:
    """New keys, and a repository without any model.

    Raises:
        PublishError: If there is a repository or a key already.
    """
    if (folder / "metadata").exists():
        raise PublishError(f"{folder} holds a repository already")
    repository = Repository(folder, keys, first_metadata(make_keys(keys)))
    repository.sign_root(now)
    repository.commit(now)


def renew_root(folder: Path, keys: Path, now: datetime) -> int:
    """Sign the root again, with two of its three keys; its new version. Yearly: with an expired root agents take nothing.

    Raises:
        PublishError: If the repository or a root key is missing.
    """
    return Repository(folder, keys).sign_root(now)


def _check_root(root: Metadata[Any]) -> None:
    """Refuse a root that agents would refuse: every later one would be lost to them.

    Raises:
        PublishError: If too few of its own keys have signed it.
    """
    try:
        root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
    except UnsignedMetadataError as error:
        raise PublishError(f"{error}: the keys root-1 and root-2 must be those that the first root names") from error


def _hashed_name(target: TargetFile) -> str:
    folder, _, name = target.path.rpartition("/")
    return f"{folder}/{target.hashes['sha256']}.{name}"
