"""The signed repository, seen through TUF's own client: what agents can get, and what nobody can slip in."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import ExpiredMetadataError, UnsignedMetadataError
from tuf.api.metadata import Metadata

from ringmain_protocol.manifest import Rollout, decode_document, encode_document, rollout_path, target_path
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.errors import PublishError
from ringmain_trainer.export.onnx_file import check_file
from ringmain_trainer.registry.candidates import MODEL, RECORD, candidate_folder
from ringmain_trainer.release.publish import publish, refresh
from ringmain_trainer.release.tuf_repository import Repository, create_repository, renew_root
from ringmain_trainer.release.tuf_roles import ONLINE_KEY, ROOT_KEYS, TARGETS_KEY
from ringmain_trainer.training.train_fleet import train
from support.tuf_client import Client

NOW = datetime.now(UTC)  # noqa: TID251  TUF's client looks at the real clock
SITES = ("liander-287", "liander-307")


@pytest.fixture
def config(
    trainer_config: TrainerConfig, site_values: Callable[..., dict[str, Any]], write_history: Callable[..., None]
) -> TrainerConfig:
    """A repository without models, and two sites to train."""
    for seed, site in enumerate(SITES):
        write_history(Path(trainer_config.history), site, site_values(20, seed))
    create_repository(Path(trainer_config.repository), Path(trainer_config.keys), NOW)
    return trainer_config


@pytest.fixture
def client(config: TrainerConfig, tmp_path: Path) -> Client:
    return Client(Path(config.repository), tmp_path / "client")


def released(config: TrainerConfig) -> int:
    """Train and publish, also what the gate holds back: on the same days again nothing is better than the released model."""
    train(config, now=NOW)
    return publish(config, now=NOW, sites=SITES, force=True).release


def test_a_new_repository_is_whole_and_offers_nothing(client: Client) -> None:
    assert client.get(rollout_path("stable")) is None
    assert client.get(target_path("load_kw", "liander-287", 1)) is None


def test_agents_get_what_was_released(config: TrainerConfig, client: Client) -> None:
    assert released(config) == 1
    assert released(config) == 2
    content = client.get(rollout_path("stable"))
    assert content is not None
    assert decode_document(content, Rollout) == Rollout(release=2, previous=1, permille=1000)
    for site in ("liander-287", "liander-307"):
        for release in (1, 2):
            model = client.get(target_path("load_kw", site, release))
            assert model is not None
            manifest = check_file(model)
            assert (manifest.site, manifest.signal, manifest.release) == (site, "load_kw", release)
    assert client.get(target_path("load_kw", "liander-435", 2)) is None


def test_a_candidate_is_released_once(config: TrainerConfig) -> None:
    released(config)
    with pytest.raises(PublishError, match="no candidate"):
        publish(config, now=NOW)
    kept = Path(config.candidates) / "released" / "1" / "load_kw" / "liander-287"
    assert (kept / MODEL).is_file()
    assert (kept / RECORD).is_file()


def test_only_the_newest_models_of_a_site_stay_in_the_list(config: TrainerConfig, client: Client) -> None:
    for _ in range(4):
        newest = released(config)
    found = {release: client.get(target_path("load_kw", "liander-287", release)) is not None for release in range(1, 6)}
    assert newest == 4
    assert found == {1: False, 2: True, 3: True, 4: True, 5: False}


def test_a_site_that_is_not_in_a_release_keeps_its_models_in_the_list(config: TrainerConfig, client: Client) -> None:
    released(config)
    for _ in range(4):
        train(config, now=NOW)
        folder = candidate_folder(Path(config.candidates), "load_kw", "liander-307")
        folder.rename(folder.parent.parent.parent / "set-aside")
        assert publish(config, now=NOW, sites=SITES, force=True).sites == ["liander-287"]
        for path in sorted((Path(config.candidates) / "set-aside").rglob("*"), reverse=True):
            path.unlink()
        (Path(config.candidates) / "set-aside").rmdir()
    assert client.get(target_path("load_kw", "liander-307", 1)) is not None


def test_a_candidate_that_does_not_hold_stops_the_whole_release(config: TrainerConfig, client: Client) -> None:
    train(config, now=NOW)
    folder = candidate_folder(Path(config.candidates), "load_kw", "liander-307")
    content = (folder / MODEL).read_bytes().replace(b"golden", b"goldem")
    (folder / MODEL).write_bytes(content)
    record = json.loads((folder / RECORD).read_bytes()) | {"model_sha256": sha256(content).hexdigest()}
    (folder / RECORD).write_text(json.dumps(record))
    with pytest.raises(PublishError, match="liander-307"):
        publish(config, now=NOW)
    assert client.get(rollout_path("stable")) is None
    assert Repository(Path(config.repository), Path(config.keys)).target_paths() == []


@pytest.mark.parametrize("name", [TARGETS_KEY, ONLINE_KEY])
def test_nothing_is_published_without_the_keys_it_needs(config: TrainerConfig, client: Client, name: str) -> None:
    train(config, now=NOW)
    key = Path(config.keys) / f"{name}.pem"
    key.chmod(0o640)
    with pytest.raises(PublishError, match="mode 0600"):
        publish(config, now=NOW)
    key.unlink()
    with pytest.raises(PublishError, match=str(key)):
        publish(config, now=NOW)
    assert client.get(rollout_path("stable")) is None


def test_root_keys_are_not_needed_to_publish(config: TrainerConfig, client: Client) -> None:
    for name in ROOT_KEYS:
        (Path(config.keys) / f"{name}.pem").unlink()
    assert released(config) == 1
    assert client.get(rollout_path("stable")) is not None


def test_the_online_key_alone_keeps_the_repository_fresh(config: TrainerConfig, client: Client) -> None:
    released(config)
    for name in (*ROOT_KEYS, TARGETS_KEY):
        (Path(config.keys) / f"{name}.pem").unlink()
    before = (Path(config.repository) / "metadata" / "timestamp.json").read_bytes()
    refresh(config, now=NOW + timedelta(days=20))
    after = Metadata.from_bytes((Path(config.repository) / "metadata" / "timestamp.json").read_bytes())
    assert after.signed.version == Metadata.from_bytes(before).signed.version + 1
    assert after.signed.expires > NOW + timedelta(days=49)
    assert client.get(target_path("load_kw", "liander-287", 1)) is not None


def test_the_root_is_renewed_by_two_root_keys(config: TrainerConfig, client: Client) -> None:
    released(config)
    assert renew_root(Path(config.repository), Path(config.keys), NOW + timedelta(days=300)) == 2
    assert client.get(target_path("load_kw", "liander-287", 1)) is not None
    assert released(config) == 2
    assert client.get(target_path("load_kw", "liander-287", 2)) is not None
    renew_root(Path(config.repository), Path(config.keys), NOW - timedelta(days=400))
    with pytest.raises(ExpiredMetadataError):
        client.get(rollout_path("stable"))


def test_a_model_signed_with_the_online_key_reaches_nobody(config: TrainerConfig, client: Client) -> None:
    released(config)
    keys = Path(config.keys)
    (keys / f"{TARGETS_KEY}.pem").write_bytes((keys / f"{ONLINE_KEY}.pem").read_bytes())
    assert released(config) == 2
    with pytest.raises(UnsignedMetadataError):
        client.get(target_path("load_kw", "liander-287", 2))


def test_the_online_role_cannot_offer_models(config: TrainerConfig, client: Client) -> None:
    path = target_path("load_kw", "liander-435", 1)
    repository = Repository(Path(config.repository), Path(config.keys))
    repository.set_rollout(path, b"foreign")
    repository.commit(NOW)
    assert client.get(path) is None


def test_a_publication_that_was_interrupted_before_the_timestamp_is_done_again(
    config: TrainerConfig, client: Client
) -> None:
    released(config)
    train(config, now=NOW)
    metadata = Path(config.repository) / "metadata"
    timestamp = (metadata / "timestamp.json").read_bytes()
    set_aside = {c: c.read_bytes() for c in Path(config.candidates).glob("waiting/*/*/*")}
    assert publish(config, now=NOW, sites=SITES, force=True).release == 2
    (metadata / "timestamp.json").write_bytes(timestamp)  # as if it had died just before
    for path, content in set_aside.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    rollout = client.get(rollout_path("stable"))
    assert rollout is not None
    assert decode_document(rollout, Rollout).release == 1
    assert publish(config, now=NOW, sites=SITES, force=True).release == 2
    assert client.get(target_path("load_kw", "liander-287", 2)) is not None


def test_nothing_half_written_stands_in_the_repository(config: TrainerConfig) -> None:
    released(config)
    assert list(Path(config.repository).rglob("*.part")) == []
    timestamp = json.loads((Path(config.repository) / "metadata" / "timestamp.json").read_bytes())
    assert timestamp["signed"]["version"] == 2


def test_an_unreadable_rollout_stops_the_publication(config: TrainerConfig) -> None:
    repository = Repository(Path(config.repository), Path(config.keys))
    repository.set_rollout(rollout_path("stable"), b"{}")
    repository.commit(NOW)
    train(config, now=NOW)
    with pytest.raises(PublishError, match="rollout/stable"):
        publish(config, now=NOW)
    rollout = Rollout(release=41, previous=0, permille=0)
    repository.set_rollout(rollout_path("stable"), encode_document(rollout))
    repository.commit(NOW)
    assert publish(config, now=NOW).release == 42
