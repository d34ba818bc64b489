"""Work on many sites: on processes of this machine (joblib) or on a Dask cluster, with the same results to the bit.

Tasks are taken one by one (ten thousand sites make no list of ten thousand jobs), and results come as they are ready.
A failed task does not stop the others: an exception is its result, and so is the death of its process. Each task
computes with one thread, as sums then have one order.
"""

import os
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from itertools import chain, islice
from typing import Any, Final, Generic, NamedTuple, TypeVar

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from polars.exceptions import PanicException
from threadpoolctl import threadpool_limits

from ringmain_trainer.errors import TrainerError

RECYCLE_TASKS: Final = 200
"""Tasks of a process before a new one replaces it: memory that libraries do not give back is then free."""

_DASK_CONNECT_S: Final = 30
_DASK_WORKERLESS_S: Final = 60
_DASK_LOOK_S: Final = 5
_PARENT_LOOK_S: Final = 0.5
_ONE_THREAD: Final = threading.Lock()
_AHEAD: Final = 2  # tasks handed out for each process or thread
_DIED: Final = "its process was killed (out of memory, or a crash of a library), also when it ran alone"
_THREADS: Final = "POLARS_MAX_THREADS"

Task = TypeVar("Task")
Result = TypeVar("Result")


class Outcome(NamedTuple, Generic[Result]):
    """The result of the task with this number: a value; or none, with reason and traceback (if there is one)."""

    number: int
    value: Result | None
    reason: str = ""
    trace: str = ""


@contextmanager
def one_thread() -> Generator[None]:
    """Compute on one thread: sums then have one order, and results are equal on all machines of one type.

    The limit holds for the whole process. In a worker with several threads one computes at a time.
    """
    with _ONE_THREAD, threadpool_limits(1):
        yield


def run_all(
    work: Callable[[Task], Result], tasks: Iterable[Task], *, jobs: int = -1, dask: str = ""
) -> Iterator[Outcome[Result]]:
    """Do the work for each task; the outcomes in the order in which they are ready.

    Args:
        work: A function of a module, or a partial of one, so that other processes find it. It runs again for a task whose
            process died, so it must not mind.
        tasks: Taken one by one.
        jobs: Processes; -1 is one per CPU. With 1 everything runs in this process, and its death is the end of it.
        dask: Address of a Dask scheduler, `tcp://host:8786`; `jobs` then does not count.

    Raises:
        TrainerError: If there is no such scheduler, or it has no workers.
    """
    numbered = enumerate(tasks)
    if dask:
        return _on_dask(work, numbered, dask)
    processes = int(joblib.effective_n_jobs(jobs))
    if processes == 1:
        return (_guarded(work, number, task) for number, task in numbered)
    return _on_processes(work, numbered, processes)


def _guarded(work: Callable[[Task], Result], number: int, task: Task) -> Outcome[Result]:
    """The work with one thread; an exception is an outcome, it must not stop the others."""
    with threadpool_limits(limits=1):
        try:
            return Outcome(number, work(task))
        except TrainerError as error:  # says all by itself
            return Outcome(number, None, str(error))
        except (Exception, PanicException) as error:  # noqa: BLE001  an unexpected error must not stop the others
            text = " ".join(str(error).split())
            return Outcome(number, None, f"{type(error).__name__}: {text}"[:2000], traceback.format_exc(limit=30)[-8000:])


def _on_processes(
    work: Callable[[Task], Result], numbered: Iterator[tuple[int, Task]], processes: int
) -> Iterator[Outcome[Result]]:
    for first in numbered:
        yield from _portion(work, chain([first], islice(numbered, RECYCLE_TASKS * processes - 1)), processes)
        get_reusable_executor().shutdown(wait=True)


def _portion(
    work: Callable[[Task], Result], numbered: Iterator[tuple[int, Task]], processes: int
) -> Iterator[Outcome[Result]]:
    """Tasks of one generation of processes. When a process dies, the unfinished tasks are done again, each alone."""
    under_way: dict[int, Task] = {}
    while True:
        try:
            for outcome in _parallel(work, _noted(numbered, under_way), processes):
                del under_way[outcome.number]
                yield outcome
        except BrokenProcessPool:
            ended = False
        else:
            ended = True
        while under_way:
            number = min(under_way)
            yield _alone(work, number, under_way.pop(number))
        if ended:
            return


def _parallel(
    work: Callable[[Task], Result], numbered: Iterable[tuple[int, Task]], processes: int
) -> Iterator[Outcome[Result]]:
    with _one_thread_in_polars(), joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(
            n_jobs=processes, return_as="generator_unordered", batch_size=1, pre_dispatch=_AHEAD * processes
        )
        yield from parallel(joblib.delayed(_child)(os.getpid(), work, number, task) for number, task in numbered)


def _alone(work: Callable[[Task], Result], number: int, task: Task) -> Outcome[Result]:
    """An unfinished task of a dead process, done alone: if a process dies again, this task is the cause."""
    try:
        (outcome,) = _parallel(work, [(number, task)], 2)  # joblib uses no process at all for one
    except TerminatedWorkerError:
        return Outcome(number, None, _DIED)
    except BrokenProcessPool as error:  # the process did not find the work: an installation that is not whole
        return Outcome(number, None, f"no process can do it: {error.__cause__ or error}"[:2000])
    return outcome


def _on_dask(
    work: Callable[[Task], Result], numbered: Iterator[tuple[int, Task]], address: str
) -> Iterator[Outcome[Result]]:
    try:
        from distributed import Client  # noqa: PLC0415  an extra
    except ImportError as error:
        raise TrainerError("Dask is not installed: pip install 'ringmain[dask]'") from error
    try:
        client = Client(address, timeout=_DASK_CONNECT_S)
    except (OSError, ValueError) as error:
        raise TrainerError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        died: list[tuple[int, Task]] = []
        yield from _handed_out(client, work, numbered, died)
        for one in died:
            again: list[tuple[int, Task]] = []
            yield from _handed_out(client, work, iter([one]), again)
            for number, _ in again:
                yield Outcome(number, None, _DIED)


def _handed_out(
    client: Any,  # noqa: ANN401  of an extra
    work: Callable[[Task], Result],
    numbered: Iterator[tuple[int, Task]],
    died: list[tuple[int, Task]],
) -> Iterator[Outcome[Result]]:
    """A few tasks for each thread of the cluster at a time; tasks of dead workers are put into `died`."""
    from distributed import wait  # noqa: PLC0415  an extra
    from distributed.scheduler import KilledWorker  # noqa: PLC0415

    under_way: dict[Any, tuple[int, Task]] = {}
    idle_s = 0
    while True:
        threads = sum(client.nthreads().values())
        for number, task in islice(numbered, max(0, max(1, _AHEAD * threads) - len(under_way))):
            under_way[client.submit(_guarded, work, number, task, pure=False)] = (number, task)
        if not under_way:
            return
        try:
            done = wait(list(under_way), timeout=_DASK_LOOK_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            idle_s = 0 if threads else idle_s + _DASK_LOOK_S
            if idle_s >= _DASK_WORKERLESS_S:
                raise TrainerError(f"the Dask scheduler at {client.scheduler.address} has no workers") from None
            continue
        for future in done:
            number, task = under_way.pop(future)
            error = future.exception() if future.status == "error" else None
            if isinstance(error, KilledWorker):
                died.append((number, task))
            elif future.status == "finished":
                yield future.result()
            else:  # for example a worker without this program
                yield Outcome(number, None, f"{future.status} on the cluster: {error}")
            future.release()


def _child(parent: int, work: Callable[[Task], Result], number: int, task: Task) -> Outcome[Result]:
    _end_with(parent)
    return _guarded(work, number, task)


@cache
def _end_with(parent: int) -> None:
    """End this process soon after its parent: a new training must not meet orphans."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _noted(numbered: Iterator[tuple[int, Task]], under_way: dict[int, Task]) -> Iterator[tuple[int, Task]]:
    for number, task in numbered:
        under_way[number] = task
        yield number, task


@contextmanager
def _one_thread_in_polars() -> Generator[None]:
    """Processes that begin now read with one thread each; Polars looks at its environment when it is imported."""
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before
