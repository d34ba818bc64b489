"""Starts and stops the real programs as processes, as an operator would, each with its log file.

Every program gets its own session: Ctrl-C reaches only the simulation, which then stops the programs in order. With
`setpriv` on the system, a program also ends when the simulation is killed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self

STOP_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.05


class ProgramError(Exception):
    """A program ended unexpectedly, or with a status other than 0: see its log file."""


class Program:
    """One program: `python -m <module> <arguments>`; it can be started, stopped, killed, and started again."""

    def __init__(
        self, name: str, module: str, *arguments: str | Path, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = [*_dies_with_parent(), sys.executable, "-m", module, *map(str, arguments)]
        self._environment = None if environment is None else dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the program; its output goes to the end of its log file."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment,
            )
        return self

    @property
    def pid(self) -> int:
        """Process id of the newest start.

        Raises:
            ProgramError: If the program was never started.
        """
        if self._process is None:
            raise ProgramError(f"{self.name} was not started")
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status; None before the start and while the program runs."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether the program runs."""
        return self._process is not None and self._process.poll() is None

    def require_running(self) -> None:
        """Make sure that the program still runs.

        Raises:
            ProgramError: If it has ended; the text has the end of its log.
        """
        if not self.running:
            raise ProgramError(f"{self.name} ended with status {self.status}; end of {self.log}:\n{self.end_of_log()}")

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End the program and all its processes at once, as a power cut would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Interrupt the program, and kill it if it does not end within the time."""
        self.interrupt()
        try:
            if self._process is not None:
                self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def wait(self, timeout_s: float) -> None:
        """Wait until the program has ended by itself.

        Raises:
            ProgramError: If it still runs after the time, or ended with a status other than 0; the text names its log.
        """
        until = time.monotonic() + timeout_s
        while self.running:
            if time.monotonic() > until:
                raise ProgramError(f"{self.name} did not end within {timeout_s:g} s; log: {self.log}")
            time.sleep(_POLL_S)
        if self.status:
            raise ProgramError(f"{self.name} ended with status {self.status}; end of {self.log}:\n{self.end_of_log()}")

    def end_of_log(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


class Programs:
    """The programs of one simulation, by name; the end of the `with` block stops all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs: dict[str, Program] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    def __getitem__(self, name: str) -> Program:
        return self._programs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._programs)

    def start(self, name: str, module: str, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Program:
        """Start a program; its log is `logs/<name>.log` in the folder."""
        log = self.folder / "logs" / f"{name}.log"
        self._programs[name] = Program(name, module, *arguments, log=log, environment=environment)
        return self._programs[name].start()

    def require_running(self, *names: str) -> None:
        """Make sure that these programs still run.

        Raises:
            ProgramError: If one has ended.
        """
        for name in names:
            self._programs[name].require_running()

    def stop_all(self) -> None:
        """Interrupt all programs at once, wait, and kill the remaining ones."""
        for program in self._programs.values():
            program.interrupt()
        until = time.monotonic() + STOP_TIMEOUT_S
        for program in self._programs.values():
            program.stop(max(until - time.monotonic(), 0.0))


def wait_for_http(url: str, timeout_s: float, program: Program) -> None:
    """Wait until a program answers on its HTTP address.

    Raises:
        ProgramError: If it does not answer within the time, or ends.
    """
    until = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1.0):  # noqa: S310  an address on loopback
                return
        except (urllib.error.URLError, OSError) as error:
            program.require_running()
            if time.monotonic() > until:
                raise ProgramError(f"{program.name} does not answer at {url} within {timeout_s:g} s: {error}") from error
        time.sleep(_POLL_S)


def _dies_with_parent() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []
