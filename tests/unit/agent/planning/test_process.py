"""The planner process: only frames leave on its output, and it ends with its input and its parent."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ringmain_agent.planning.client import Planner
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot

ENOUGH_S = 60.0


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
