"""Work on many sites: every task has an outcome, whatever becomes of it, and none stops the others."""

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from ringmain_trainer import workers as fan_out
from ringmain_trainer.workers import Outcome, run_all


def square(number: int) -> int:
    """The work; some numbers are poison."""
    if number == 3:
        raise ValueError("3 cannot be\nsquared")
    if number == 4:
        raise MemoryError
    return number * number


def square_or_die(number: int, *, fatal: int) -> int:
    """Ends as the kernel ends a process that takes too much memory."""
    if number == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def first_or_wait(number: int, *, go: Path) -> int:
    """All but the first end when there is a file."""
    while number and not go.exists():
        time.sleep(0.01)
    return number


def worker(_: int) -> tuple[int, int, str | None]:
    """Process, threads of the widest pool, threads of Polars."""
    widest = max((pool["num_threads"] for pool in threadpool_info()), default=1)
    return os.getpid(), widest, os.environ.get("POLARS_MAX_THREADS")


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_exception_is_the_outcome_of_its_task_alone(jobs: int) -> None:
    outcomes: list[Outcome[int]] = sorted(run_all(square, range(8), jobs=jobs), key=itemgetter(0))
    assert [outcome.value for outcome in outcomes] == [0, 1, 4, None, None, 25, 36, 49]
    assert outcomes[3].reason == "ValueError: 3 cannot be squared"
    assert "in square" in outcomes[3].trace
    assert outcomes[4].reason.startswith("MemoryError")


def test_a_killed_process_costs_its_own_task_only() -> None:
    outcomes = {o.number: o for o in run_all(partial(square_or_die, fatal=5), range(12), jobs=2)}
    assert {number: o.value for number, o in outcomes.items()} == {n: n * n if n != 5 else None for n in range(12)}
    assert outcomes[5].reason.startswith("its process was killed")


def test_tasks_are_taken_as_they_are_needed(tmp_path: Path) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    go = tmp_path / "go"
    outcomes = run_all(partial(first_or_wait, go=go), tasks(), jobs=2)
    assert next(outcomes).number == 0
    assert len(taken) <= 6  # two for each process, and one for each that ended
    go.touch()
    assert sorted(outcome.number for outcome in outcomes) == list(range(1, 50))


def test_each_process_computes_with_one_thread_and_is_replaced_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "RECYCLE_TASKS", 4)
    values = [o.value for o in run_all(worker, range(16), jobs=2) if o.value]
    assert len(values) == 16
    assert {widest for _, widest, _ in values} == {1}
    assert {polars for _, _, polars in values} == {"1"}
    assert len({process for process, _, _ in values}) > 2
    assert "POLARS_MAX_THREADS" not in os.environ
