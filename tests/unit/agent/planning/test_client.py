"""The planner process answers, is late or dies; the client never waits for it and always gets a new one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from ringmain_agent.planning.client import PLANS_WITHOUT_SCHEDULE, Planner
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan, Snapshot
from ringmain_protocol.messages import Fallback

ENOUGH_S = 60.0


@pytest.fixture
def new_planner(site: Site) -> Iterator[Callable[..., Planner]]:
    planners: list[Planner] = []

    def make(**settings: object) -> Planner:
        planner = Planner(site, **settings)  # type: ignore[arg-type]
        planners.append(planner)
        planner.start()
        return planner

    yield make
    for planner in planners:
        planner.close()


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    """Command of a planner process that does something else: `ready()` says that it has started."""

    def make(program: str) -> tuple[str, str]:
        path = tmp_path / "child.py"
        start = "import os, sys, time\nready = lambda: os.write(1, b'\\x01\\0\\0\\0\\xc0')\n"
        path.write_text(start + program)
        return sys.executable, str(path)

    return make


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another process."""
    end_s = time.monotonic() + ENOUGH_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_request_is_answered_with_a_plan(new_planner: Callable[..., Planner], snapshot: Snapshot) -> None:
    planner = new_planner()
    assert planner.newest() is None
    planner.request(snapshot)
    plan = planner.wait(ENOUGH_S)
    assert plan is not None
    assert (plan.fallback, plan.issued_at_ms) == (Fallback.OPTIMAL, snapshot.issued_at_ms)
    assert plan.plan_ms > plan.solve_ms > 0
    assert planner.newest() == plan
    assert planner.poll() is None


def test_plan_that_arrives_while_something_else_is_done_is_not_lost(
    new_planner: Callable[..., Planner], snapshot: Snapshot
) -> None:
    """A request moves bytes too, and may bring the answer to the one before it in."""
    planner = new_planner()
    until(lambda: planner.poll() is None and planner.ready)
    planner.request(snapshot)

    def arrived_in_a_request() -> bool:
        planner.request(snapshot)
        return planner.newest() is not None

    until(arrived_in_a_request)
    assert planner.poll() is not None


def test_only_the_newest_of_waiting_requests_is_planned(new_planner: Callable[..., Planner], snapshot: Snapshot) -> None:
    planner = new_planner()
    plans: list[Plan] = []
    for i in range(4):  # the process has not started up: all of them wait
        planner.request(replace(snapshot, issued_at_ms=snapshot.issued_at_ms + i * 900_000))
    while (plan := planner.wait(ENOUGH_S)) is not None:
        plans.append(plan)
    assert [plan.issued_at_ms for plan in plans] == [snapshot.issued_at_ms + 3 * 900_000]


def test_killed_process_is_replaced_and_the_next_request_answered(
    new_planner: Callable[..., Planner], snapshot: Snapshot
) -> None:
    planner = new_planner()
    planner.request(snapshot)
    first = planner.wait(ENOUGH_S)
    pid = planner.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: planner.poll() is None and planner.restarts == 1)
    assert "it ended" in planner.failure
    assert planner.newest() == first
    planner.request(replace(snapshot, issued_at_ms=snapshot.issued_at_ms + 900_000))
    second = planner.wait(ENOUGH_S)
    assert second is not None
    assert second.issued_at_ms == snapshot.issued_at_ms + 900_000
    assert (planner.failure, planner.restarts) == ("", 1)
    assert planner.pid != pid


def test_late_process_is_killed(
    new_planner: Callable[..., Planner], child: Callable[[str], tuple[str, str]], snapshot: Snapshot
) -> None:
    planner = new_planner(command=child("ready()\ntime.sleep(600)"), deadline_s=0.1)
    until(lambda: planner.poll() is None and planner.ready)
    pid = planner.pid
    planner.request(snapshot)
    assert planner.wait(ENOUGH_S) is None
    assert planner.restarts == 1
    assert "took more than 0.1 s" in planner.failure
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_process_that_never_starts_up_is_killed(
    new_planner: Callable[..., Planner], child: Callable[[str], tuple[str, str]], snapshot: Snapshot
) -> None:
    planner = new_planner(command=child("time.sleep(600)"), start_deadline_s=0.1)
    planner.request(snapshot)
    assert planner.wait(ENOUGH_S) is None
    assert "its start took more than" in planner.failure


def test_request_never_blocks_even_when_nobody_reads(
    new_planner: Callable[..., Planner], child: Callable[[str], tuple[str, str]], snapshot: Snapshot
) -> None:
    """A snapshot of 4 MB does not fit into a pipe."""
    planner = new_planner(command=child("ready()\ntime.sleep(600)"), deadline_s=600.0)
    until(lambda: planner.poll() is None and planner.ready)
    planner.request(replace(snapshot, history={"load_kw": bytes(4_000_000)}))
    assert planner.poll() is None
    assert planner.restarts == 0


def test_large_snapshot_is_answered(new_planner: Callable[..., Planner], snapshot: Snapshot) -> None:
    planner = new_planner()
    planner.request(replace(snapshot, history=snapshot.history | {"other_kw": bytes(4_000_000)}))
    assert planner.wait(ENOUGH_S) is not None


@pytest.mark.parametrize("answer", ["b'\\xff' * 4", "b'\\x02\\0\\0\\0\\xc1\\xc1'", "b'\\x01\\0\\0\\0\\x05'"])
def test_nonsense_from_the_process_is_a_failure_and_not_a_plan(
    new_planner: Callable[..., Planner], child: Callable[[str], tuple[str, str]], answer: str
) -> None:
    planner = new_planner(command=child(f"ready()\nos.write(1, {answer})\ntime.sleep(600)"))
    until(lambda: planner.poll() is None and planner.restarts == 1)
    assert planner.newest() is None


def test_process_that_keeps_dying_is_started_ever_more_rarely(
    new_planner: Callable[..., Planner], child: Callable[[str], tuple[str, str]]
) -> None:
    now_s = 0.0
    planner = new_planner(command=child("sys.exit(3)"), clock=lambda: now_s)
    pauses: list[float] = []
    for restarts in range(1, 9):
        died_s = now_s
        while planner.restarts < restarts:
            planner.poll()
            if planner.pid is None and planner.restarts < restarts:
                now_s += 0.5
        pauses.append(now_s - died_s)
    assert pauses == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]


WORN: Final = """if True:
    import sys
    from ringmain_agent.planning import dispatch, process
    from ringmain_agent.errors import DispatchError
    class Worn(dispatch.Dispatcher):
        found = list(sys.argv[1])
        def dispatch(self, problem):
            if (self.found.pop(0) if len(self.found) > 1 else self.found[0]) == "-":
                raise DispatchError("Time limit reached", "the linear program has no usable solution")
            return super().dispatch(problem)
    process.Dispatcher = Worn
    sys.exit(process.main())"""
"""The planner process with a solver that finds a schedule at each + and none at each -; the last holds for ever."""


def worn(found: str) -> tuple[str, ...]:
    """Command of such a process."""
    return sys.executable, "-c", WORN, found


def test_process_that_finds_no_schedule_any_more_is_replaced(
    new_planner: Callable[..., Planner], snapshot: Snapshot
) -> None:
    """It answers in time, so nothing else would ever end it."""
    planner = new_planner(command=worn("+-"))
    answers: list[tuple[Fallback, int, str]] = []
    for _ in range(PLANS_WITHOUT_SCHEDULE + 2):
        planner.request(snapshot)
        plan = planner.wait(ENOUGH_S)
        assert plan is not None
        answers.append((plan.fallback, planner.restarts, planner.failure))
    assert answers == [
        (Fallback.OPTIMAL, 0, ""),
        *[(Fallback.RULE, 0, "")] * (PLANS_WITHOUT_SCHEDULE - 1),
        (Fallback.RULE, 1, f"planner process replaced: {PLANS_WITHOUT_SCHEDULE} plans in a row without a schedule"),
        (Fallback.OPTIMAL, 1, ""),
    ]


def test_process_is_not_replaced_where_there_is_no_forecast(new_planner: Callable[..., Planner], snapshot: Snapshot) -> None:
    """Then the rule is the right answer, from any process and for as long as there is no history."""
    planner = new_planner()
    for _ in range(3 * PLANS_WITHOUT_SCHEDULE):
        planner.request(replace(snapshot, history={}))
        plan = planner.wait(ENOUGH_S)
        assert plan is not None
        assert plan.fallback is Fallback.RULE
    assert (planner.restarts, planner.failure) == (0, "")


def test_schedule_in_between_begins_the_count_anew(new_planner: Callable[..., Planner], snapshot: Snapshot) -> None:
    planner = new_planner(command=worn(3 * ("-" * (PLANS_WITHOUT_SCHEDULE - 1) + "+")))
    for _ in range(3 * PLANS_WITHOUT_SCHEDULE):
        planner.request(snapshot)
        assert planner.wait(ENOUGH_S) is not None
    assert planner.restarts == 0


def test_process_is_replaced_ever_more_rarely_where_no_schedule_is_ever_found(
    new_planner: Callable[..., Planner], snapshot: Snapshot
) -> None:
    """And goes on answering meanwhile: each request has its plan, with the forecasts in it."""
    now_s = 0.0
    planner = new_planner(command=worn("-"), clock=lambda: now_s)
    replaced_s: list[float] = []
    for _ in range(80):
        restarts = planner.restarts
        planner.request(snapshot)
        plan = planner.wait(ENOUGH_S)
        assert plan is not None
        assert plan.forecasts
        if planner.restarts > restarts:
            replaced_s.append(now_s)
        now_s += 0.25
    assert replaced_s == [0.5, 1.5, 3.5, 7.5, 15.5]


def test_request_that_waits_while_the_process_is_replaced_is_answered(
    new_planner: Callable[..., Planner], snapshot: Snapshot
) -> None:
    planner = new_planner(command=worn("-"))
    for _ in range(PLANS_WITHOUT_SCHEDULE - 1):
        planner.request(snapshot)
        assert planner.wait(ENOUGH_S) is not None
    planner.request(snapshot)
    planner.request(replace(snapshot, issued_at_ms=snapshot.issued_at_ms + 900_000))
    plan = planner.wait(ENOUGH_S)
    assert plan is not None
    assert plan.issued_at_ms == snapshot.issued_at_ms + 900_000
    assert planner.restarts == 1


def test_client_needs_no_numerical_library() -> None:
    """The main process stays small: NumPy, ONNX Runtime and HiGHS are in the child only."""
    program = """if True:
        import sys
        from ringmain_agent.control import planned_step as fallback
        from ringmain_agent.control import limits
        from ringmain_agent.planning import client as planner
        from ringmain_agent.control import settlement_period as quarter
        from ringmain_agent.control import regulate
        from ringmain_agent.site import site
        from ringmain_agent import snapshot
        sys.exit(bool({"numpy", "onnxruntime", "highspy"} & set(sys.modules)))"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=ENOUGH_S).returncode == 0
