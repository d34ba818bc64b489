"""Asks the bridge for /metrics ten times a second, and checks its books at every answer."""

import http.client
import re
from threading import Event, Thread
from typing import Final

from servers.base import HOST

EVERY_S: Final = 0.1
RECEIVED: Final = "messages_received_total"
PARTS: Final = ("delivered_total", "dead_lettered_total", "dropped_total", "in_flight")

_SAMPLE: Final = re.compile(rf"^ringmain_bridge_({'|'.join((RECEIVED, *PARTS))})(?:\{{[^}}]*\}})? (\S+)$", re.MULTILINE)


class Scraper:
    """A thread of its own; a bridge that is down is waited for.

    Attributes:
        scrapes: Answers.
        violations: The books of every answer in which received was not the sum of the rest.
    """

    def __init__(self, port: int) -> None:
        self.scrapes = 0
        self.violations: list[dict[str, float]] = []
        self._port = port
        self._stopping = Event()
        self._thread = Thread(target=self._scrape, name="scraper", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """End asking."""
        self._stopping.set()
        self._thread.join(10)

    def _scrape(self) -> None:
        while not self._stopping.wait(EVERY_S):
            text = page(self._port, "/metrics")
            if text is None:
                continue
            self.scrapes += 1
            found = books(text)
            if set(found) != {RECEIVED, *PARTS} or found[RECEIVED] != sum(found[part] for part in PARTS):
                self.violations.append(found)


def page(port: int, path: str) -> str | None:
    """A page of the bridge; None while it does not answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def books(text: str) -> dict[str, float]:
    """The terms of the invariant, each summed over its labels."""
    found: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        found[name] = found.get(name, 0.0) + float(value)
    return found
