"""The signed repository as files: who signs what, and which version comes next."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ringmain_protocol.manifest import rollout_path, target_path
from ringmain_trainer.errors import PublishError
from ringmain_trainer.release.tuf_repository import Repository, create_repository, renew_root
from ringmain_trainer.release.tuf_roles import ONLINE_KEY, ROOT_KEYS, TARGETS_KEY, bin_names, make_keys
from support.tuf_client import Client

NOW = datetime.now(UTC)  # noqa: TID251  TUF's client looks at the real clock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository without models; its keys are beside it."""
    create_repository(tmp_path / "repository", tmp_path / "keys", NOW)
    return tmp_path / "repository"


@pytest.fixture
def keys(folder: Path) -> Path:
    return folder.parent / "keys"


def versions(folder: Path) -> dict[str, int]:
    """Newest version of each role, by file."""
    newest: dict[str, int] = {}
    for path in (folder / "metadata").iterdir():
        signed: dict[str, Any] = json.loads(path.read_bytes())["signed"]
        role = path.name.removesuffix(".json").split(".")[-1]
        newest[role] = max(newest.get(role, 0), signed["version"])
    return newest


def test_keys_are_apart_and_readable_by_their_owner_only(keys: Path) -> None:
    files = {path.stem: path for path in keys.glob("*.pem")}
    assert files.keys() == {*ROOT_KEYS, TARGETS_KEY, ONLINE_KEY}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert len({path.read_bytes() for path in files.values()}) == 5


def test_roles_are_as_agreed(folder: Path) -> None:
    metadata = folder / "metadata"
    root = json.loads((metadata / "1.root.json").read_bytes())["signed"]
    keys = {role: (tuple(value["keyids"]), value["threshold"]) for role, value in root["roles"].items()}
    assert len(keys["root"][0]) == 3
    assert keys["root"][1] == 2
    assert keys["snapshot"] == keys["timestamp"]
    assert len({*keys["root"][0], *keys["targets"][0], *keys["snapshot"][0]}) == 5
    targets = json.loads((metadata / "1.targets.json").read_bytes())["signed"]["delegations"]["roles"]
    assert [(r["name"], r["paths"], r["terminating"]) for r in targets] == [
        ("models", ["models/*/*/*"], True),
        ("rollout", ["rollout/*"], True),
    ]
    assert [r["keyids"] for r in targets] == [list(keys["targets"][0]), list(keys["snapshot"][0])]
    models = json.loads((metadata / "1.models.json").read_bytes())["signed"]["delegations"]["succinct_roles"]
    assert (models["name_prefix"], models["bit_length"], models["keyids"]) == ("models-bin", 4, list(keys["targets"][0]))
    assert len(bin_names()) == 16


def test_a_repository_or_key_is_never_overwritten(folder: Path, keys: Path, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="already"):
        create_repository(folder, tmp_path / "other-keys", NOW)
    with pytest.raises(PublishError, match="never overwritten"):
        create_repository(tmp_path / "other", keys, NOW)


def test_only_the_roles_that_changed_get_a_new_version(folder: Path, keys: Path) -> None:
    before = versions(folder)
    assert set(before.values()) == {1}
    repository = Repository(folder, keys)
    repository.add_model(target_path("load_kw", "uw-114", 1), b"model")
    repository.add_model(target_path("pv_kw", "uw-114", 1), b"other model")
    repository.commit(NOW)
    changed = {role for role, version in versions(folder).items() if version != before[role]}
    bins = {role for role in changed if role in bin_names()}
    assert changed - bins == {"snapshot", "timestamp"}
    assert 1 <= len(bins) <= 2
    assert {versions(folder)[role] for role in changed} == {2}


def test_a_role_with_less_than_half_its_life_left_is_signed_again(folder: Path, keys: Path) -> None:
    Repository(folder, keys).commit(NOW + timedelta(days=16), online_only=True)
    assert {role: version for role, version in versions(folder).items() if version > 1} == dict.fromkeys(
        ("rollout", "snapshot", "timestamp"), 2
    )
    Repository(folder, keys).commit(NOW + timedelta(days=100))
    assert versions(folder)["targets"] == versions(folder)["models"] == 2


def test_a_root_signed_with_foreign_keys_is_not_written(folder: Path, keys: Path, tmp_path: Path) -> None:
    """Agents accept a new root only from the keys of the old one: this one would lock all of them out."""
    foreign = tmp_path / "foreign"
    make_keys(foreign)
    with pytest.raises(PublishError, match="root was signed by 0/2 keys: the keys root-1 and root-2"):
        renew_root(folder, foreign, NOW)
    assert versions(folder)["root"] == 1
    (keys / "root-2.pem").write_bytes((keys / "root-1.pem").read_bytes())
    with pytest.raises(PublishError, match="1/2 keys"):
        renew_root(folder, keys, NOW)
    assert versions(folder)["root"] == 1


def test_a_repository_that_is_not_there_or_damaged_is_named(folder: Path, keys: Path, tmp_path: Path) -> None:
    for missing in (tmp_path / "none", folder):
        with pytest.raises(PublishError, match=f"no usable repository in {missing}"):
            Repository(missing, keys).target_paths()
        (folder / "metadata" / "1.snapshot.json").write_bytes(b"{}")


def test_models_that_leave_the_list_are_offered_no_more(folder: Path, keys: Path, tmp_path: Path) -> None:
    path = target_path("load_kw", "uw-114", 1)
    repository = Repository(folder, keys)
    repository.add_model(path, b"model")
    repository.set_rollout(rollout_path("stable"), b"{}")
    repository.commit(NOW)
    client = Client(folder, tmp_path / "client")
    assert (client.get(path), client.get(rollout_path("stable"))) == (b"model", b"{}")
    repository.remove_model(path)
    repository.commit(NOW)
    assert client.get(path) is None
    assert Repository(folder, keys).target_paths() == []
