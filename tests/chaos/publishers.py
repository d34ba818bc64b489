"""The publishing sites seen from the test: processes, and the record of what they accepted, refused and sent again."""

import json
import os
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path
from threading import Lock
from typing import IO, Final

from chaos.restarted import Restarted

TESTS: Final = Path(__file__).parents[1]


class Publishers:
    """Sites divided over worker processes.

    Everything that a worker says is written to `publishers.txt` before it counts.

    Attributes:
        workers: The processes.
        accepted: When each number was committed, by site.
        refused: Numbers that could not be committed, by site.
        resent: When each number was published again, by site.
        outbox: Messages that wait for a receipt, by site.
    """

    def __init__(self, folder: Path, *, port: int, sites: int, workers: int) -> None:
        self.names = [f"substation-{number:02d}" for number in range(1, sites + 1)]
        self.accepted: dict[str, dict[int, float]] = {name: {} for name in self.names}
        self.refused: dict[str, set[int]] = {name: set() for name in self.names}
        self.resent: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in self.names}
        self.outbox: dict[str, int] = {}
        self._folder = folder
        self._port = port
        self._epoch_ms = time.time_ns() // 1_000_000
        self._draining = False
        self._lock = Lock()
        self._record: IO[str] = (folder / "publishers.txt").open("a", encoding="utf-8", buffering=1)
        environment = dict(os.environ, PYTHONPATH=str(TESTS))
        self.workers = [
            Restarted(
                f"publishers-{number}",
                lambda names=self.names[number::workers]: self._command(names),  # type: ignore[misc]
                log=folder / "logs" / f"publishers-{number}.log",
                environment=environment,
                said=self._take,
            )
            for number in range(workers)
        ]

    def start(self) -> None:
        """Start all workers."""
        for worker in self.workers:
            worker.start()

    def drain(self) -> None:
        """No new numbers; what is in the outboxes goes on."""
        self._draining = True
        for worker in self.workers:
            worker.send(signal.SIGTERM)

    def stop(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.stop(signal.SIGKILL)
        self._record.close()

    @property
    def sent(self) -> int:
        """Accepted numbers of all sites."""
        return sum(len(numbers) for numbers in self.accepted.values())

    def _command(self, names: list[str]) -> list[str]:
        first = {name: max([0, *self.accepted[name], *self.refused[name]]) + 1 for name in names}
        return [
            *(sys.executable, "-m", "chaos.publisher", "--folder", str(self._folder / "outboxes")),
            *("--port", str(self._port), "--epoch-ms", str(self._epoch_ms), "--sites", json.dumps(first)),
            *(["--draining"] if self._draining else []),
        ]

    def _take(self, line: str) -> None:
        """One line of a worker; a line that its death cut off does not count."""
        words = line.split(" ")
        with self._lock:
            self._record.write(line + "\n")
            match words:
                case ["accepted", site, first, last, at_s]:
                    self.accepted[site].update(dict.fromkeys(range(int(first), int(last) + 1), float(at_s)))
                case ["refused", site, first, last, _]:
                    self.refused[site].update(range(int(first), int(last) + 1))
                case ["resent", site, number, at_s]:
                    self.resent[site][int(number)].append(float(at_s))
                case ["outbox", site, messages]:
                    self.outbox[site] = int(messages)
