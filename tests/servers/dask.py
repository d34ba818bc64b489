"""A real Dask cluster on this machine: one scheduler, workers as processes that come back when they are killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from servers.base import HOST, accepts_connections, free_port, wait_until

ROOT: Final = Path(__file__).parents[2]


class DaskCluster:
    """Scheduler and workers, each its own process, on loopback; their output is in files."""

    def __init__(self, folder: Path, *, workers: int = 2) -> None:
        self._folder = folder
        self._workers = workers
        self._processes: list[subprocess.Popen[bytes]] = []
        self._port = free_port()

    @property
    def address(self) -> str:
        """What `--dask` takes."""
        return f"tcp://{HOST}:{self._port}"

    def __enter__(self) -> Self:
        self._start("scheduler", "--host", HOST, "--port", str(self._port), "--no-dashboard", "--no-show")
        wait_until(lambda: accepts_connections(self._port), what="the Dask scheduler")
        for _ in range(self._workers):
            options = ("--host", HOST, "--nthreads", "1", "--no-dashboard", "--local-directory", str(self._folder))
            self._start("worker", self.address, *options)
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own each; asked kindly, a nanny takes ten seconds
            process.wait()

    def _start(self, what: str, *options: str) -> None:
        path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))  # work of tests is found by its module
        environment = os.environ | {"PYTHONPATH": path, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
        with (self._folder / f"{what}-{len(self._processes)}.log").open("wb") as log:
            command = [sys.executable, "-m", "dask", what, *options]
            self._processes.append(
                subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
            )
