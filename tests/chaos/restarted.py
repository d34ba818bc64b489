"""A program of the ring that is started again whenever it ends, as systemd or Kubernetes would."""

import contextlib
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final

RESTART_AFTER_S: Final = 0.3
STOP_TIMEOUT_S: Final = 20.0
SAYING: Final = "@ "
"""Begins a line that is meant for the test; all others go to the log only."""

Said = Callable[[str], None]


class Restarted:
    """One program. Its log has the time of the monotonic clock before every line.

    Its output goes through a pipe, so that a limit on its files is no limit on its log.

    Attributes:
        ended: How often it ended although nobody had asked.
        killed: How often it was killed.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        said: Said | None = None,
    ) -> None:
        self.name = name
        self.ended = self.killed = 0
        self.log = log
        self._command = command
        self._environment = None if environment is None else dict(environment)
        self._said = said
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        self._stopping = Event()
        self._asked = False  # the next end is wanted
        self._not_before_s = 0.0
        self._file_bytes_max: int | None = None
        self._thread = Thread(target=self._supervise, name=name, daemon=True)

    def start(self) -> None:
        """Begin to keep it running; returns at once."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        process = self._process
        return process is not None and process.poll() is None

    def kill(self, down_s: float) -> None:
        """SIGKILL; it is started again after so long."""
        with self._lock:
            self._not_before_s = time.monotonic() + down_s
            if self._process is not None and self._process.poll() is None:
                self._asked = True
                self.killed += 1
                self._process.kill()

    def limit_files(self, bytes_max: int | None) -> None:
        """No file of it may grow beyond this: what a full disk is to it. Holds for later starts too; None ends it."""
        with self._lock:
            self._file_bytes_max = bytes_max
            self._apply_limit()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """End it for good: ask, wait, kill. Returns its exit status, None if it did not run."""
        with self._lock:
            self._stopping.set()
            self._asked = True
        self.send(number)
        process = self._process
        if process is not None:
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)
        return None if process is None else process.returncode

    def _supervise(self) -> None:
        with self.log.open("a", encoding="utf-8", buffering=1) as log:
            while not self._stopping.is_set():
                if (wait_s := self._not_before_s - time.monotonic()) > 0:
                    self._stopping.wait(wait_s)
                    continue
                with self._lock:
                    if self._stopping.is_set():
                        return
                    self._asked = False
                    process = self._spawn()
                log.write(f"{time.monotonic():.3f} == started pid={process.pid}\n")
                with process:
                    for raw in process.stdout or ():
                        line = raw.decode(errors="replace").rstrip("\n")
                        if self._said is not None and line.startswith(SAYING):
                            self._said(line.removeprefix(SAYING))
                        else:
                            log.write(f"{time.monotonic():.3f} {line}\n")
                status = process.returncode
                log.write(f"{time.monotonic():.3f} == ended status={status}\n")
                with self._lock:
                    self.ended += not self._asked
                    self._not_before_s = max(self._not_before_s, time.monotonic() + RESTART_AFTER_S * (not self._asked))

    def _spawn(self) -> subprocess.Popen[bytes]:
        setpriv = shutil.which("setpriv")
        dies_with_us = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        self._process = subprocess.Popen(
            [*dies_with_us, *self._command()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=self._environment,
        )
        self._apply_limit()
        return self._process

    def _apply_limit(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
            soft = hard if self._file_bytes_max is None else self._file_bytes_max
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (soft, hard))
