"""Who signs what in the signed repository, and for how long. Keys are files, one each, readable by their owner only.

Root (2 of 3) and targets are meant to be kept offline; the online key signs freshness and the rollout. Source: The Update
Framework, specification 1.0.
"""

from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from tuf.api.metadata import (  # type: ignore[attr-defined]
    DelegatedRole,
    Delegations,
    Metadata,
    Root,
    Snapshot,
    SuccinctRoles,
    Targets,
    Timestamp,
)

from ringmain_program.files import write_file
from ringmain_trainer.errors import PublishError

ROOT_KEYS: Final = ("root-1", "root-2", "root-3")
TARGETS_KEY: Final = "targets"
ONLINE_KEY: Final = "online"
ROOT_THRESHOLD: Final = 2

MODELS: Final = "models"
ROLLOUT: Final = "rollout"
BINS: Final = SuccinctRoles([], 1, 4, "models-bin")
"""Sixteen bins: a site that looks for its model reads a sixteenth of the fleet's list."""

TARGETS_ROLES: Final = ("targets", MODELS, ROLLOUT, *BINS.get_roles())
"""Roles that list files or delegate to those that do; the snapshot lists them."""

LIFE_DAYS: Final = {"root": 365, "targets": 180, MODELS: 180, ROLLOUT: 30, "snapshot": 30, "timestamp": 30}
"""Life of a signature; bins as `models`."""


def life_days(role: str) -> int:
    """Days for which a new signature of the role holds."""
    return LIFE_DAYS.get(role, LIFE_DAYS[MODELS])


def signing_keys(role: str) -> tuple[str, ...]:
    """Names of the keys that sign a role."""
    if role == "root":
        return ROOT_KEYS[:ROOT_THRESHOLD]
    return (ONLINE_KEY,) if role in {ROLLOUT, "snapshot", "timestamp"} else (TARGETS_KEY,)


def bin_names() -> list[str]:
    """Names of the sixteen bins."""
    return list(BINS.get_roles())


def make_keys(folder: Path) -> dict[str, CryptoSigner]:
    """New keys, each in its own file with mode 0600.

    Raises:
        PublishError: If one of them is there already.
    """
    names = (*ROOT_KEYS, TARGETS_KEY, ONLINE_KEY)
    there = [name for name in names if _key_file(folder, name).exists()]
    if there:
        raise PublishError(f"{folder} has the keys {', '.join(there)}: they are never overwritten")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in names:
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_file(_key_file(folder, name), pem, mode=0o600)
    return {name: load_key(folder, name) for name in names}


def load_key(folder: Path, name: str) -> CryptoSigner:
    """A signer from its key file.

    Raises:
        PublishError: If there is no such key, or others may read it.
    """
    path = _key_file(folder, name)
    try:
        if path.stat().st_mode & 0o077:
            raise PublishError(f"{path}: others may read this key; it must have mode 0600")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise PublishError(f"key {path} cannot be used: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise PublishError(f"{path} is no Ed25519 key")
    return CryptoSigner(key)


def first_metadata(keys: dict[str, CryptoSigner]) -> dict[str, Any]:
    """Unsigned metadata of a repository without any model."""
    root = Root(consistent_snapshot=True)
    for role in ("root", "targets", "snapshot", "timestamp"):
        for name in ROOT_KEYS if role == "root" else signing_keys(role):
            root.add_key(keys[name].public_key, role)
    root.roles["root"].threshold = ROOT_THRESHOLD
    targets_key, online_key = keys[TARGETS_KEY].public_key, keys[ONLINE_KEY].public_key
    targets, models = Targets(), Targets()
    delegated = {
        MODELS: DelegatedRole(MODELS, [], 1, terminating=True, paths=["models/*/*/*"]),
        ROLLOUT: DelegatedRole(ROLLOUT, [], 1, terminating=True, paths=["rollout/*"]),
    }
    targets.delegations = Delegations({}, delegated)
    targets.add_key(targets_key, MODELS)
    targets.add_key(online_key, ROLLOUT)
    bins = SuccinctRoles([], BINS.threshold, BINS.bit_length, BINS.name_prefix)
    models.delegations = Delegations({}, succinct_roles=bins)
    models.add_key(targets_key)
    parts = {
        "root": root,
        "targets": targets,
        MODELS: models,
        ROLLOUT: Targets(),
        **{name: Targets() for name in bin_names()},
    }
    return {name: Metadata(signed) for name, signed in (parts | {"snapshot": Snapshot(), "timestamp": Timestamp()}).items()}


def _key_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.pem"
