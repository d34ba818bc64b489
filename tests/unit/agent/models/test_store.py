"""The store of models survives whatever lies in its folder and however its child ends; the child here is a script."""

import itertools
import os
import shutil
import stat
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import pytest

from ringmain_agent.config.agent import load_config
from ringmain_agent.models.fetch_messages import FETCH, SLOTS, TRIALS, Fetched, Newest, Slot
from ringmain_agent.models.store import LOOK_INTERVAL_MIN_S, SLOTS_KEPT, STATE_NAME, ModelStore, StoreState

ENOUGH_S: Final = 60.0
SAMPLE: Final = Path(__file__).parents[4] / "deploy" / "config" / "agent.toml"
OLD, NEW = b"release 1", b"release 2"


def slot(release: int, content: bytes) -> Slot:
    return Slot(release=release, sha256=sha256(content).hexdigest())


ACTIVE, FRESH = slot(1, OLD), slot(2, NEW)
ANSWER: Final = msgspec.json.encode(Fetched(models={"load_kw": FRESH}))
DIGEST: Final = "a" * 64


class Site:
    """A state folder with release 1 active and release 2 verified, and a child that is a script."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state, self.child = folder / "state", folder / "python"
        (self.state / SLOTS).mkdir(parents=True)
        for one, content in ((ACTIVE, OLD), (FRESH, NEW)):
            (self.state / SLOTS / one.sha256).write_bytes(content)
        (self.state / STATE_NAME).write_bytes(msgspec.json.encode(StoreState(active={"load_kw": ACTIVE})))
        (folder / "answer").write_bytes(ANSWER)
        self.now_s = 0.0
        self.script(f"cat {folder / 'answer'}")
        monkeypatch.setattr("sys.executable", str(self.child))
        self.restart()

    def script(self, program: str) -> None:
        """What the child does."""
        self.child.write_text(f"#!/bin/sh\n{program}\n")
        self.child.chmod(0o755)

    def restart(self) -> None:
        """As after a power cut."""
        self.store = ModelStore(load_config(SAMPLE), self.state)

    def look(self) -> bool:
        """One look to its end; whether the active models changed."""
        self.now_s += 10_000.0
        self.store.poll(now_s=self.now_s)
        changed, end_s = False, time.monotonic() + ENOUGH_S
        while self.store._child is not None:  # noqa: SLF001  the look is over
            assert time.monotonic() < end_s
            changed |= self.store.poll(now_s=self.now_s)
            time.sleep(0.002)
        return changed


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def test_verified_model_is_activated_and_survives_a_restart(site: Site) -> None:
    assert site.store.releases == {"load_kw": 1}
    assert site.look()
    site.restart()
    assert (site.store.releases, site.store.trouble) == ({"load_kw": 2}, "")
    assert Path(site.store.paths["load_kw"]).read_bytes() == NEW


def _lost_and_found(state: Path) -> None:
    (state / SLOTS / "lost+found").mkdir()
    (state / SLOTS / "lost+found" / "x").touch()
    for number in range(8):
        (state / SLOTS / f"old-{number}").touch()


def _folder_at_the_part_file(state: Path) -> None:
    (state / f"{STATE_NAME}.part").mkdir()


def _folder_at_the_state_file(state: Path) -> None:
    (state / STATE_NAME).unlink()
    (state / STATE_NAME).mkdir()


def _file_at_the_trials(state: Path) -> None:
    shutil.rmtree(state / TRIALS)
    (state / TRIALS).touch()


def _file_at_the_slots(state: Path) -> None:
    shutil.rmtree(state / SLOTS)
    (state / SLOTS).touch()


def _state_file_of(content: bytes) -> Callable[[Path], None]:
    def spoil(state: Path) -> None:
        (state / STATE_NAME).write_bytes(content)

    return spoil


DAMAGES: dict[str, tuple[Callable[[Path], None], int]] = {
    "lost+found": (_lost_and_found, 2),
    "folder at models.json.part": (_folder_at_the_part_file, 1),
    "folder at models.json": (_folder_at_the_state_file, 0),
    "file at trials": (_file_at_the_trials, 2),
    "file at slots": (_file_at_the_slots, 2),
    "empty state": (_state_file_of(b""), 2),
    "bad UTF-8": (_state_file_of(b'{"active":{"load_kw":{"release":1,"sha256":"\xff\xfe"}}}'), 2),
    "another shape": (_state_file_of(b'{"active":[1]}'), 2),
    "a path for a digest": (_state_file_of(b'{"active":{"load_kw":{"release":1,"sha256":"../../agent.toml"}}}'), 2),
    "deep": (_state_file_of(b"[" * 100_000), 2),
}
"""What lies in the state folder, and the release that is active after the next look; 0: none."""


def _full_of_files(state: Path) -> None:
    for number in range(SLOTS_KEPT + 8):
        (state / SLOTS / f"old-{number}").touch()


def _pipe_for_a_slot(state: Path) -> None:
    (state / SLOTS / ACTIVE.sha256).unlink()
    os.mkfifo(state / SLOTS / ACTIVE.sha256)


def _sealed(state: Path) -> None:
    state.chmod(stat.S_IRUSR | stat.S_IXUSR)


def _gone(state: Path) -> None:
    shutil.rmtree(state)


DAMAGES |= {
    "files": (_full_of_files, 2),
    "pipe for a slot": (_pipe_for_a_slot, 2),
    "read only": (_sealed, 2 if os.geteuid() == 0 else 1),
    "no folder": (_gone, 2),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("restarted", [True, False])
def test_no_file_or_folder_in_the_store_stops_anything(site: Site, damage: str, *, restarted: bool) -> None:
    spoil, release = DAMAGES[damage]
    spoil(site.state)
    if restarted:
        site.restart()
    site.look()
    assert restarted or site.store.releases == {"load_kw": release or 1}
    site.look()
    assert not restarted or site.store.releases == ({"load_kw": release} if release else {})
    assert release == 2 or site.store.trouble
    assert not site.store.planner_died("it ended")
    site.store.close()
    site.restart()


def test_a_file_for_the_state_folder_stops_nothing(site: Site) -> None:
    shutil.rmtree(site.state)
    site.state.touch()
    site.restart()
    assert not site.look()
    assert (site.store.releases, bool(site.store.trouble)) == ({}, True)


@pytest.mark.parametrize(
    "program",
    ["exit 3", "printf '\\377\\376'", "printf '{\"models\":7}'", "head -c 3000000 /dev/zero", "kill -9 $$", "exec sleep 0"],
)
def test_a_child_that_ends_otherwise_is_named_and_nothing_else(site: Site, program: str) -> None:
    """It reads nothing: a request that waits in a pipe would end the agent or hold it up."""
    site.script(program)
    assert not site.look()
    assert "model check ended with status" in site.store.trouble
    assert site.store.releases == {"load_kw": 1}


def test_a_child_that_cannot_be_started_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert not site.look()
    assert "model check failed: FileNotFoundError" in site.store.trouble


def test_announcements_cause_one_look_a_minute(site: Site) -> None:
    """Whoever may write announcements kept a core of every gateway busy."""
    looks: list[float] = []
    site.now_s = 10_000.0
    for tenth in range(2_000):
        now_s = site.now_s + tenth / 10
        site.store.announced(b"", now_s=now_s, delay_s=0.0)
        due_s = site.store._due_s  # noqa: SLF001
        if now_s >= due_s:
            looks.append(now_s)
            site.store._started_s, site.store._due_s = now_s, now_s + 900.0  # noqa: SLF001  as at the start of a look
    assert min(b - a for a, b in itertools.pairwise(looks)) >= LOOK_INTERVAL_MIN_S
    assert len(looks) == 4


@pytest.mark.parametrize(
    ("timestamp", "due_s"),
    [
        (b'{"signed":{"version":7,"_type":"timestamp"},"signatures":[]}', 900.0),
        (b'{"signed":{"version":8}}', 60.0),
        (b"\xff", 60.0),
        (b"[" * 100_000, 60.0),
        (b'{"signed":{"version":"x"}}', 60.0),
    ],
)
def test_announcement_of_what_was_seen_causes_no_look(site: Site, timestamp: bytes, due_s: float) -> None:
    """A retained one comes again at each connection."""
    (site.state.parent / "answer").write_bytes(msgspec.json.encode(Fetched(newest=Newest(version=7))))
    site.look()
    site.store.announced(timestamp, now_s=site.now_s + 1, delay_s=0.0)
    assert site.store._due_s - site.now_s == due_s  # noqa: SLF001


def test_stop_of_the_agent_counts_against_no_model_and_three_ends_in_a_row_do(site: Site) -> None:
    note = site.state / TRIALS / FETCH / DIGEST
    for _ in range(4):
        note.touch()
        site.store.close()
        site.restart()
    assert site.store._state.trials.put_aside == {}  # noqa: SLF001
    for _ in range(3):  # the power fails again and again, each time while this one is loaded
        note.touch()
        site.restart()
    assert list(site.store._state.trials.put_aside) == [DIGEST]  # noqa: SLF001


def test_model_that_killed_the_planner_twice_is_handed_out_no_more(site: Site) -> None:
    note = site.store.planner_trials / ACTIVE.sha256
    for death in range(2):
        assert site.store.releases == {"load_kw": 1}
        note.touch()
        assert site.store.planner_died(f"death {death}")
    site.restart()
    assert (site.store.paths, site.store.releases) == ({}, {})
    assert site.store.put_aside == {"load_kw": "release 1: 2 times ended the planner (death 1)"}
    assert site.look()  # the next release replaces it
    assert (site.store.releases, site.store.put_aside) == ({"load_kw": 2}, {})


def test_model_put_aside_stays_so_while_the_disk_is_full(site: Site) -> None:
    (site.state / f"{STATE_NAME}.part").mkdir()
    for _ in range(2):
        (site.store.planner_trials / ACTIVE.sha256).touch()
        assert site.store.planner_died("it ended")
    assert site.store.paths == {}
    assert "may be tried again after a restart" in site.store.trouble


def test_model_that_runs_after_power_cuts_is_not_suspected_any_more(site: Site) -> None:
    for _ in range(5):
        (site.store.planner_trials / ACTIVE.sha256).touch()
        site.restart()
        site.store.models_ran([("load_kw", 1), ("pv_kw", 0)])
    assert site.store.releases == {"load_kw": 1}
