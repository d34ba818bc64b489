"""The agent's model store against a real signed repository: what is taken, and what is refused with the old model kept."""

import http.server
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from ringmain_agent.config.agent import LoadedConfig, load_config
from ringmain_agent.models.fetch_messages import SLOTS
from ringmain_agent.models.store import STATE_NAME, ModelStore
from ringmain_protocol.manifest import Rollout, encode_document, rollout_path, target_path
from ringmain_trainer.release.tuf_repository import Repository, create_repository
from servers.base import wait_until
from support.hostile_models import endless, endless_loop, external_data
from support.models import write_model

SITE, SIGNAL = "site-1", "load_kw"
CONFIG = """
site = "site-1"
time_zone = "UTC"
[mqtt.local]
host = "127.0.0.1"
[mqtt.upstream]
host = "127.0.0.1"
[feeds.load_kw]
topic = "load"
unit = "kW"
[grid_connection]
import_limit_kw = 100
export_limit_kw = 100
[models]
repository = "{repository}"
root = "root.json"
check_every_s = 1
fetch_timeout_s = {timeout_s}
"""


class Centre:
    """The publishing side: a repository with its keys, and models to put into it."""

    def __init__(self, folder: Path) -> None:
        """A new repository; `root.json` is what an installation would carry."""
        self.folder, self.keys = folder / "repository", folder / "keys"
        self._models = folder / "models"
        self._models.mkdir()
        create_repository(self.folder, self.keys, _now())
        shutil.copy(self.folder / "metadata" / "1.root.json", folder / "root.json")

    def release(
        self,
        number: int,
        *,
        manifest_release: int | None = None,
        changed: Callable[[bytes], bytes] = bytes,
        tolerance: float = 0.01,
        **broken: object,
    ) -> None:
        """Sign a model and let every site have it."""
        manifest = {"release": manifest_release or number, "tolerance": tolerance}
        model = write_model(self._models / f"{number}.onnx", manifest=manifest, **broken)  # type: ignore[arg-type]
        repository = Repository(self.folder, self.keys)
        repository.add_model(target_path(SIGNAL, SITE, number), changed(model.read_bytes()))
        self._choose(repository, number)

    def roll_back(self, number: int) -> None:
        """Let every site have an older release; the online key is enough."""
        self._choose(Repository(self.folder, self.keys), number)

    def timestamp(self, now: datetime) -> None:
        """Sign the timestamp again, as if it were another day."""
        Repository(self.folder, self.keys).commit(now, online_only=True)

    def _choose(self, repository: object, number: int) -> None:
        rollout = encode_document(Rollout(release=number, previous=0, permille=1000))
        repository.set_rollout(rollout_path("stable"), rollout)  # type: ignore[attr-defined]
        repository.commit(_now())  # type: ignore[attr-defined]

    def model_file(self, number: int) -> Path:
        """The published file of a release."""
        return next(self.folder.glob(f"targets/models/{SIGNAL}/{SITE}/*.{number}.onnx"))


class Site:
    """The agent's side, in a folder of its own."""

    def __init__(self, folder: Path, repository: str, root: Path, *, timeout_s: float = 30.0) -> None:
        """As installed."""
        self.folder = folder
        (folder / "state").mkdir(parents=True)
        (folder / "agent.toml").write_text(CONFIG.format(repository=repository, timeout_s=timeout_s), encoding="utf-8")
        shutil.copy(root, folder / "root.json")
        self.now_s = 0.0
        self.restart()

    def restart(self) -> None:
        """As after a power cut."""
        self.loaded: LoadedConfig = load_config(self.folder / "agent.toml")
        self.store = ModelStore(self.loaded, self.folder / "state")

    def look(self) -> bool:
        """One look into the repository, to its end; whether the active models changed."""
        self.now_s += 1000.0
        self.store.poll(now_s=self.now_s)
        changed: list[bool] = []

        def ended() -> bool:
            self.now_s += 0.02
            changed.append(self.store.poll(now_s=self.now_s))
            return self.store._child is None  # noqa: SLF001  the look is over

        wait_until(ended, what="look into the repository")
        return any(changed)


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


@pytest.fixture
def site(tmp_path: Path, centre: Centre) -> Iterator[Site]:
    """A site that runs release 1."""
    centre.release(1)
    made = Site(tmp_path / "site", str(centre.folder), tmp_path / "root.json")
    assert made.look()
    assert made.store.releases == {SIGNAL: 1}
    yield made
    made.store.close()


def test_a_new_release_is_activated_and_survives_a_restart_without_network(site: Site, centre: Centre) -> None:
    centre.release(2)
    assert site.look()
    assert site.store.releases == {SIGNAL: 2}
    shutil.rmtree(centre.folder)
    site.restart()
    assert site.store.releases == {SIGNAL: 2}
    assert Path(site.store.paths[SIGNAL]).is_file()


def test_nothing_new_changes_nothing(site: Site) -> None:
    assert not site.look()
    assert site.store.trouble == ""


def test_a_rollback_is_taken_from_the_slot(site: Site, centre: Centre) -> None:
    centre.release(2)
    site.look()
    centre.roll_back(1)
    assert site.look()
    assert site.store.releases == {SIGNAL: 1}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"golden_error": 1.0}, "golden"),
        ({"falling": True}, "do not rise"),
        ({"manifest_release": 7}, "release"),
        ({"history_steps": 100}, ""),
    ],
)
def test_a_model_that_breaks_its_promise_is_refused_and_not_tried_again(
    site: Site, centre: Centre, broken: dict[str, object], reason: str
) -> None:
    centre.release(2, **broken)  # type: ignore[arg-type]
    assert not site.look()
    assert site.store.releases == {SIGNAL: 1}
    assert "load_kw release 2 was refused" in site.store.trouble
    assert reason in site.store.trouble
    assert not site.look()
    assert "was refused" in site.store.trouble
    assert len(list((site.folder / "state" / SLOTS).iterdir())) == 1


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


def _flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize("damage", [_flip, _cut, _grow, Path.unlink])
def test_a_damaged_file_is_refused_and_taken_when_it_is_whole(
    site: Site, centre: Centre, damage: Callable[[Path], None]
) -> None:
    centre.release(2)
    path = centre.model_file(2)
    whole = path.read_bytes()
    damage(path)
    assert not site.look()
    assert site.store.releases == {SIGNAL: 1}
    assert site.store.trouble
    path.write_bytes(whole)
    assert site.look()
    assert site.store.releases == {SIGNAL: 2}


def test_a_foreign_repository_is_refused(site: Site, centre: Centre, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Centre(tmp_path / "other")
    other.release(1)
    other.release(9)
    shutil.rmtree(centre.folder)
    shutil.copytree(other.folder, centre.folder)
    assert not site.look()
    assert site.store.releases == {SIGNAL: 1}
    assert site.store.trouble


def test_an_old_repository_replayed_is_refused(site: Site, centre: Centre, tmp_path: Path) -> None:
    shutil.copytree(centre.folder, tmp_path / "old")
    centre.release(2)
    site.look()
    shutil.rmtree(centre.folder)
    shutil.copytree(tmp_path / "old", centre.folder)
    assert not site.look()
    assert site.store.releases == {SIGNAL: 2}
    assert "BadVersionNumberError" in site.store.trouble


def test_an_expired_timestamp_leaves_the_active_model_running(site: Site, centre: Centre) -> None:
    centre.timestamp(_now() - timedelta(days=400))
    assert not site.look()
    assert site.store.releases == {SIGNAL: 1}
    assert "ExpiredMetadataError" in site.store.trouble


def test_metadata_replaced_by_a_page_of_a_captive_portal_is_refused(site: Site, centre: Centre) -> None:
    (centre.folder / "metadata" / "timestamp.json").write_text("<html>please log in</html>")
    assert not site.look()
    assert site.store.releases == {SIGNAL: 1}


def test_a_model_path_signed_by_the_online_role_alone_is_never_run(site: Site, centre: Centre) -> None:
    repository = Repository(centre.folder, centre.keys)
    repository.set_rollout("rollout/evil.onnx", b"evil")
    rollout = encode_document(Rollout(release=9, previous=9, permille=1000))
    repository.set_rollout(rollout_path("stable"), rollout)
    repository.commit(_now())
    assert not site.look()
    assert site.store.releases == {SIGNAL: 1}


def test_a_slot_that_was_damaged_on_disk_is_not_used_and_fetched_again(site: Site) -> None:
    _flip(Path(site.store.paths[SIGNAL]))
    site.restart()
    assert site.store.releases == {}
    assert "damaged" in site.store.reasons[SIGNAL]
    assert site.look()
    assert site.store.releases == {SIGNAL: 1}


def test_a_repository_behind_a_web_server_is_read_and_its_absence_borne(centre: Centre, tmp_path: Path) -> None:
    centre.release(1)
    serve = partial(_Quiet, directory=str(centre.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site = Site(tmp_path / "site", f"http://127.0.0.1:{server.server_port}", tmp_path / "root.json")
        assert site.look()
        assert site.store.releases == {SIGNAL: 1}
        server.shutdown()
    assert not site.look()
    assert "the active model stays" in site.store.trouble
    assert site.store.releases == {SIGNAL: 1}
    site.store.close()


def test_a_missing_root_is_said_and_nothing_is_trusted(tmp_path: Path, centre: Centre) -> None:
    centre.release(1)
    site = Site(tmp_path / "site", str(centre.folder), tmp_path / "root.json")
    (site.folder / "root.json").unlink()
    assert not site.look()
    assert "root.json" in site.store.trouble
    assert site.store.releases == {}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_fetching_leaves_no_child_behind(site: Site) -> None:
    site.store.announced(b"", now_s=site.now_s, delay_s=0)
    site.store.poll(now_s=site.now_s + 2000)
    child = site.store._child  # noqa: SLF001
    site.store.close()
    assert child is not None
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


@pytest.mark.parametrize(
    ("changed", "reason"), [(external_data, "external data"), (endless_loop, "operator 'Loop'")], ids=["file", "loop"]
)
def test_a_signed_file_with_a_part_that_is_not_ours_is_refused_unopened(
    site: Site, centre: Centre, changed: Callable[[bytes], bytes], reason: str
) -> None:
    centre.release(2, changed=changed)
    assert not site.look()
    assert site.store.releases == {SIGNAL: 1}
    assert reason in site.store.trouble
    assert site.store.put_aside == {}


def test_golden_vectors_are_not_switched_off_by_their_tolerance(site: Site, centre: Centre) -> None:
    centre.release(2, golden_error=1e9, tolerance=1e300)
    assert not site.look()
    assert "prove nothing" in site.store.trouble


def test_a_model_that_never_ends_its_check_is_put_aside_after_the_second_time(tmp_path: Path, centre: Centre) -> None:
    """The check of each look took all its time, for ever; now the third look does not even fetch it."""
    centre.release(1)
    site = Site(tmp_path / "site", str(centre.folder), tmp_path / "root.json", timeout_s=3.0)
    assert site.look()
    centre.release(2, changed=lambda content: endless(content, 0))
    for _ in range(2):
        assert site.store.put_aside == {}
        assert not site.look()
        assert "took more than 3 s" in site.store.trouble
    site.restart()
    assert not site.look()
    assert list(site.store.put_aside) == [SIGNAL]
    assert "2 times ended its check (took more than 3 s)" in site.store.put_aside[SIGNAL]
    assert (site.store.releases, site.store.trouble) == ({SIGNAL: 1}, "")
    centre.release(3)
    assert site.look()
    assert (site.store.releases, site.store.put_aside) == ({SIGNAL: 3}, {})
    assert [path.name for path in (site.folder / "state").glob("downloads-*")] == []
    site.store.close()


def test_a_large_rollout_file_is_not_downloaded(site: Site, centre: Centre) -> None:
    """The online key alone filled memory and flash of every gateway with 400 MB."""
    repository = Repository(centre.folder, centre.keys)
    repository.set_rollout(rollout_path("stable"), b" " * 70_000)
    repository.commit(_now())
    assert not site.look()
    assert "rollout file of 70000 bytes exceeds the limit of 64000 bytes" in site.store.trouble
    assert site.store.releases == {SIGNAL: 1}


def test_a_stick_with_an_endless_file_is_refused(site: Site, centre: Centre) -> None:
    (centre.folder / "metadata" / "timestamp.json").unlink()
    (centre.folder / "metadata" / "timestamp.json").symlink_to("/dev/zero")
    assert not site.look()
    assert "not a regular file" in site.store.trouble
    assert site.store.releases == {SIGNAL: 1}


def test_an_old_repository_is_refused_even_if_the_cache_is_lost(site: Site, centre: Centre, tmp_path: Path) -> None:
    shutil.copytree(centre.folder, tmp_path / "old")
    centre.release(2)
    site.look()
    shutil.rmtree(centre.folder)
    shutil.copytree(tmp_path / "old", centre.folder)
    for _ in range(2):  # the second look finds the cache that the first one made of the old repository
        shutil.rmtree(site.folder / "state" / "tuf", ignore_errors=True)
        site.restart()
        assert not site.look()
        assert site.store.releases == {SIGNAL: 2}
        assert "older than one seen before" in site.store.trouble


def test_a_new_root_begins_the_count_anew(site: Site, centre: Centre, tmp_path: Path) -> None:
    """A fleet that lost its keys starts again with a root of its own, and timestamp 1."""
    centre.release(2)
    site.look()
    (tmp_path / "other").mkdir()
    other = Centre(tmp_path / "other")
    other.release(7)
    shutil.rmtree(centre.folder)
    shutil.copytree(other.folder, centre.folder)
    shutil.copy(tmp_path / "other" / "root.json", site.folder / "root.json")
    shutil.rmtree(site.folder / "state" / "tuf")
    site.restart()
    assert site.look()
    assert site.store.releases == {SIGNAL: 7}


def test_links_in_the_state_folder_are_not_written_through(site: Site, centre: Centre, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    state = site.folder / "state"
    for name in ("rollout.part", "models.json.part", "downloads-x"):
        (state / name).symlink_to(victim)
    centre.release(2)
    for digest in ("0" * 64, "models"):
        (state / SLOTS / digest).with_suffix(".part").symlink_to(victim)
    assert site.look()
    assert site.store.releases == {SIGNAL: 2}
    assert victim.read_text() == "untouched"


def test_what_killed_looks_left_is_deleted(site: Site, centre: Centre) -> None:
    """Each killed download of 400 MB stayed on the flash."""
    state = site.folder / "state"
    (state / "downloads-old").mkdir()
    left = [state / "downloads-old" / "rollout", state / "rollout.part", state / SLOTS / "x.part", state / "tuf" / "tmpabc"]
    for path in left:
        path.write_bytes(b"x")
    centre.release(2)
    assert site.look()
    assert [path for path in left if path.exists()] == []


def test_the_state_holds_what_must_survive(site: Site) -> None:
    state = json.loads((site.folder / "state" / STATE_NAME).read_bytes())
    assert state["newest"]["version"] >= 1
    assert state["active"][SIGNAL]["release"] == 1
