"""One server process of a test: own folder, own loopback port, own log, stopped by its process id."""

import random
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

HOST: Final = "127.0.0.1"


class ServerMissingError(Exception):
    """The program is not installed; the text says what to run."""


class ServerError(Exception):
    """The server did not come up; the text ends with its log."""


def free_port() -> int:
    """A free loopback port below the range that the system gives to clients.

    From that range, a client that keeps reconnecting to a killed server could be given the server's own port, connect to
    itself, and keep the server from coming back.
    """
    for port in random.sample(range(15_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServerError("no free loopback port among 200 tried")


def accepts_connections(port: int) -> bool:
    """Whether something listens on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 30.0, what: str = "condition") -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: If it does not within the time.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.02)


class Server(ABC):
    """A server that can be started, stopped, killed and started again on the same port with the same data.

    A context manager: started at entry, stopped at exit.

    Attributes:
        host: Always the loopback address.
        port: The port for clients.
        folder: Configuration, data and log of the server.
    """

    name = "server"
    start_timeout_s = 60.0

    def __init__(self, folder: Path) -> None:
        self.host = HOST
        self.port = free_port()
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def command(self) -> list[str]:
        """What to run; raises ServerMissingError if it is not installed."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether clients are served."""

    @property
    def log_file(self) -> Path:
        """What the server wrote to its standard output and error, over all its starts."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait until clients are served; nothing happens if it runs."""
        if self.running:
            return
        self._reap()
        command = self.command()
        self._log = self.log_file.open("ab")
        self._process = subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the tests first, and they stop their servers
        )
        try:
            wait_until(lambda: not self.running or self.is_ready(), timeout_s=self.start_timeout_s, what=self.name)
        except TimeoutError as error:
            self.kill()
            raise ServerError(f"{error}\n{self.log_tail()}") from error
        if not self.running:
            self._reap()
            raise ServerError(f"{self.name} ended at start\n{self.log_tail()}")

    def stop(self) -> None:
        """Ask it to end, and wait; kill it if it does not."""
        if self._process is not None and self.running:
            self._process.terminate()
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        if self._process is not None and self.running:
            self._process.kill()
        self._reap()

    def log_tail(self, lines: int = 60) -> str:
        """The last lines of the log."""
        if not self.log_file.exists():
            return f"{self.name}: no log"
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(timeout=20)
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None
