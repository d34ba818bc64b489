"""The planner process: only frames leave on its output, and it ends with its input and its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import pytest
from msgspec.structs import replace

from ringmain_agent.config.agent import load_config
from ringmain_agent.models.fetch_messages import SLOTS, Slot
from ringmain_agent.models.store import STATE_NAME, ModelStore, StoreState
from ringmain_agent.planning.client import Planner
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan, Snapshot
from ringmain_model.verify import check_model
from ringmain_protocol.messages import Fallback
from support.hostile_models import NEVER_S, endless, endless_loop, external_data, memory_bomb, shape_bomb
from support.models import DAY, write_model
from support.sites import NOW_MS

ENOUGH_S = 60.0
SAMPLE: Final = Path(__file__).parents[4] / "deploy" / "config" / "agent.toml"


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another process."""
    end_s = time.monotonic() + ENOUGH_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_printing_in_the_process_does_not_spoil_the_answers(site: Site, snapshot: Snapshot) -> None:
    """HiGHS prints its banner on file descriptor 1; only frames may leave there."""
    program = """if True:
        import os, sys
        from ringmain_agent.planning import dispatch
        from ringmain_agent.planning import process
        class Loud(dispatch.Dispatcher):
            def dispatch(self, problem):
                os.write(1, b"printed by a library")
                print("printed by Python", flush=True)
                return super().dispatch(problem)
        process.Dispatcher = Loud
        sys.exit(process.main())"""
    planner = Planner(site, command=(sys.executable, "-c", program))
    planner.request(snapshot)
    assert planner.wait(ENOUGH_S) is not None
    planner.close()


def test_process_ends_when_its_input_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ringmain_agent.planning.process"], input=b"", check=False, timeout=ENOUGH_S
    )
    assert done.returncode == 0


def test_process_dies_with_its_parent(site: Site, tmp_path: Path) -> None:
    """A solver that hangs reads no end of input."""
    program = """if True:
        import os, sys, time, msgspec
        from ringmain_agent.planning.client import Planner
        from ringmain_agent.site.site import Site
        planner = Planner(msgspec.msgpack.decode(open(sys.argv[1], "rb").read(), type=Site))
        planner.start()
        while not planner.ready:
            planner.poll()
            time.sleep(0.01)
        os.kill(planner.pid, 19)
        print(planner.pid, flush=True)
        os.kill(os.getpid(), 9)"""
    path = tmp_path / "site"
    path.write_bytes(msgspec.msgpack.encode(site))
    done = subprocess.run([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, check=False, timeout=ENOUGH_S)
    pid = int(done.stdout)

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    until(gone)


LATER_MS: Final = NOW_MS + 86_400_000
BOMB_AT_S: Final = LATER_MS // 1000
"""The instant of the plan; the golden vectors are earlier, and right."""


def bombed(path: Path, bomb: Callable[[bytes, int], bytes], at_s: int = BOMB_AT_S) -> bytes:
    """A model of the site that keeps all its promises until that instant."""
    content = write_model(path).read_bytes()
    check_model(bomb(content, NEVER_S), site="site-1", signal="load_kw")
    return bomb(content, at_s)


def planned(site: Site, snapshot: Snapshot, path: Path) -> tuple[Plan | None, int]:
    """The plan of a real process with this model of the load, and how often it had to be started again."""
    planner = Planner(site, deadline_s=ENOUGH_S)
    planner.request(replace(snapshot, issued_at_ms=LATER_MS, models={"load_kw": str(path)}))
    plan = planner.wait(ENOUGH_S)
    planner.close()
    return plan, planner.restarts


def rows(content: bytes, at_s: int) -> bytes:
    return shape_bomb(content, at_s, horizon_steps=DAY)


@pytest.mark.parametrize(
    ("bomb", "reason"),
    [(memory_bomb, "ONNX Runtime"), (rows, "quantiles have the shape (1, 1, 3)")],
    ids=["memory", "shape"],
)
def test_model_that_breaks_out_is_replaced_by_persistence_and_the_optimizer_goes_on(
    site: Site, snapshot: Snapshot, tmp_path: Path, bomb: Callable[[bytes, int], bytes], reason: str
) -> None:
    (tmp_path / "2.onnx").write_bytes(bombed(tmp_path / "1.onnx", bomb))
    plan, restarts = planned(site, snapshot, tmp_path / "2.onnx")
    assert plan is not None
    assert (plan.fallback, restarts) == (Fallback.OPTIMAL, 0)
    assert plan.forecasts[0].release == 0
    assert reason in plan.reason


@pytest.mark.parametrize("break_out", [external_data, endless_loop], ids=["external data", "loop"])
def test_file_with_a_part_that_is_not_ours_is_refused_by_the_planner_as_well(
    site: Site, snapshot: Snapshot, tmp_path: Path, break_out: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "2.onnx").write_bytes(break_out(write_model(tmp_path / "1.onnx").read_bytes()))
    plan, restarts = planned(site, snapshot, tmp_path / "2.onnx")
    assert plan is not None
    assert (plan.fallback, plan.forecasts[0].release, restarts) == (Fallback.OPTIMAL, 0, 0)
    assert "not a model that our export makes" in plan.reason


def slot_of(folder: Path, content: bytes) -> Slot:
    """The active model of the load in a state folder."""
    slot = Slot(release=3, sha256=sha256(content).hexdigest())
    (folder / SLOTS).mkdir(parents=True)
    (folder / SLOTS / slot.sha256).write_bytes(content)
    (folder / STATE_NAME).write_bytes(msgspec.json.encode(StoreState(active={"load_kw": slot})))
    return slot


def test_model_that_hangs_the_planner_twice_is_put_aside_and_plans_go_on(
    site: Site, snapshot: Snapshot, tmp_path: Path
) -> None:
    """Without it there were no plans any more: the planner was killed and began anew with the same model."""
    loaded = load_config(SAMPLE)
    slot = slot_of(tmp_path, bombed(tmp_path / "1.onnx", endless))
    store = ModelStore(loaded, tmp_path)
    planner = Planner(site, deadline_s=1.0, trials=store.planner_trials)
    releases: list[int] = []
    for _ in range(3):
        until(lambda: planner.poll() is None and planner.ready)
        planner.request(replace(snapshot, issued_at_ms=LATER_MS, models=store.paths))
        plan = planner.wait(ENOUGH_S)
        releases += [] if plan is None else [plan.forecasts[0].release]
        if plan is None:
            assert store.planner_died(planner.failure)
    planner.close()
    assert (releases, planner.restarts) == ([0], 2)
    assert store.put_aside == {
        "load_kw": "release 3: 2 times ended the planner (planner process killed: a plan took more than 1 s)"
    }
    again = ModelStore(loaded, tmp_path)
    assert (again.paths, again.releases, again.put_aside) == ({}, {}, store.put_aside)
    assert slot.sha256 not in again.paths.values()


def test_good_model_leaves_no_note_and_is_planned_with(site: Site, snapshot: Snapshot, tmp_path: Path) -> None:
    slot_of(tmp_path, write_model(tmp_path / "1.onnx").read_bytes())
    store = ModelStore(load_config(SAMPLE), tmp_path)
    planner = Planner(site, trials=store.planner_trials)
    for _ in range(2):
        planner.request(replace(snapshot, models=store.paths))
        plan = planner.wait(ENOUGH_S)
        assert plan is not None
        assert plan.forecasts[0].release == 3
        assert list(store.planner_trials.iterdir()) == []
    planner.close()


def test_planner_that_dies_of_something_else_puts_no_model_aside(site: Site, snapshot: Snapshot, tmp_path: Path) -> None:
    slot_of(tmp_path, write_model(tmp_path / "1.onnx").read_bytes())
    store = ModelStore(load_config(SAMPLE), tmp_path)
    for _ in range(3):
        planner = Planner(site, trials=store.planner_trials)
        planner.request(replace(snapshot, models=store.paths))
        assert planner.wait(ENOUGH_S) is not None
        assert planner.pid is not None
        os.kill(planner.pid, signal.SIGKILL)
        until(lambda planner=planner: planner.poll() is None and planner.restarts == 1)  # type: ignore[misc]
        assert not store.planner_died(planner.failure)
        planner.close()
    assert store.put_aside == {}


def test_model_that_cannot_be_noted_is_not_loaded(site: Site, snapshot: Snapshot, tmp_path: Path) -> None:
    """On a disk that can no longer be written nobody could say afterwards what the planner died of."""
    write_model(tmp_path / "1.onnx")
    planner = Planner(site, trials=tmp_path / "missing")
    planner.request(replace(snapshot, models={"load_kw": str(tmp_path / "1.onnx")}))
    plan = planner.wait(ENOUGH_S)
    planner.close()
    assert plan is not None
    assert (plan.fallback, plan.forecasts[0].release) == (Fallback.OPTIMAL, 0)
    assert "No such file" in plan.reason
