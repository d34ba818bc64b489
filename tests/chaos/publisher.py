"""Some sites in one process, each with the agent's own state file, outbox and connection; started by `publishers`.

A site commits running numbers as readings, without end. What happened is said on standard output, one line an event:
`@ accepted|refused <site> <first> <last> <time>`, `@ resent <site> <number> <time>`, `@ outbox <site> <messages>`.
SIGTERM ends the numbers; receipts and what is still to be sent go on until SIGKILL.
"""

import argparse
import json
import logging
import random
import signal
import sys
import time
from pathlib import Path
from threading import Event
from typing import Final

from chaos.restarted import SAYING
from ringmain_agent.config.agent import Broker
from ringmain_agent.config.outbox import OutboxLimits
from ringmain_agent.gateway.mqtt import BrokerConnection
from ringmain_agent.gateway.outbox import Outbox
from ringmain_agent.gateway.state_file import StateFile
from ringmain_protocol import topics
from ringmain_protocol.messages import Readings, Receipt, decode
from servers.base import HOST

SIGNAL: Final = "load_kw"
READING_EVERY_MS: Final = 50
COMMIT_EVERY_S: Final = 0.25
NUMBERS_A_COMMIT: Final = 5
TICK_S: Final = 0.05
LIMITS: Final = OutboxLimits(messages_max=1_000_000, backlog_per_s=1000.0, backlog_delay_max_s=0.5, gap_grace_s=2.0)


class PublishingSite:
    """One site: numbers into the outbox, the outbox to the broker, receipts into the outbox."""

    def __init__(self, name: str, *, folder: Path, port: int, first: int, epoch_ms: int) -> None:
        self._name = name
        self._epoch_ms = epoch_ms
        self._state = StateFile(folder / f"{name}.sqlite3", outbox_messages_max=LIMITS.messages_max)
        self._outbox = Outbox(self._state, LIMITS)
        self._next = max(first, int(self._state.fact("number") or 0) + 1)
        self._sent = self._state.last_sequence  # what was there at the start goes again
        self._commit_at_s = time.monotonic() + random.random() * COMMIT_EVERY_S
        self._connects = 0
        self._connection = BrokerConnection(
            "upstream",
            Broker(host=HOST, port=port, keepalive_s=5),
            client_id=f"ringmain-agent-{name}",
            subscriptions=[topics.topic(name, topics.RECEIPT)],
            persistent=True,
        )
        self._connection.start()

    def commit(self, now_s: float) -> None:
        """Commit the next numbers when it is time."""
        if now_s < self._commit_at_s:
            return
        self._commit_at_s = max(self._commit_at_s + COMMIT_EVERY_S, now_s)
        first, last = self._next, self._next + NUMBERS_A_COMMIT - 1
        for number in range(first, last + 1):
            self._outbox.add(
                topics.READINGS,
                Readings,
                signals=[SIGNAL],
                at_ms=[self._epoch_ms + number * READING_EVERY_MS],
                values=[float(number)],
                quality=[0],
            )
        self._state.set_fact("number", last)
        accepted = self._outbox.commit()
        self._next = last + 1
        _say("accepted" if accepted else "refused", self._name, first, last, f"{time.monotonic():.6f}")

    def exchange(self) -> None:
        """What the agent does with upstream in every cycle."""
        now_s = time.monotonic()
        if self._connection.connects != self._connects:
            self._connects = self._connection.connects
            self._outbox.reconnected(now_s=now_s, jitter=random.random())
        for message in self._connection.received():
            if message.payload:
                self._outbox.receive(decode(message.payload, Receipt), now_s=now_s)
        for sequence, kind, payload in self._outbox.due(now_s=now_s, room=self._connection.room):
            at_s = time.monotonic()
            published = self._connection.publish(topics.topic(self._name, kind), payload)
            if sequence <= self._sent and published:
                number = int(decode(payload, Readings).values[0] or 0)
                _say("resent", self._name, number, f"{at_s:.6f}")
            self._sent = max(self._sent, sequence)

    def report(self) -> None:
        """Say how full the outbox is."""
        _say("outbox", self._name, self._state.outbox_messages)


def _say(*words: object) -> None:
    sys.stdout.write(SAYING + " ".join(map(str, words)) + "\n")


def main() -> int:
    """Publish until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--epoch-ms", type=int, required=True)
    parser.add_argument("--sites", type=json.loads, required=True, help="JSON: first number by site")
    parser.add_argument("--draining", action="store_true", help="no new numbers")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    draining = Event()
    signal.signal(signal.SIGTERM, lambda *_: draining.set())
    if options.draining:
        draining.set()
    sites = [
        PublishingSite(name, folder=options.folder, port=options.port, first=first, epoch_ms=options.epoch_ms)
        for name, first in options.sites.items()
    ]
    report_at_s = 0.0
    while True:
        now_s = time.monotonic()
        for site in sites:
            if not draining.is_set():
                site.commit(now_s)
            site.exchange()
        if now_s >= report_at_s:
            report_at_s = now_s + 0.5
            for site in sites:
                site.report()
        sys.stdout.flush()
        time.sleep(TICK_S)


if __name__ == "__main__":
    sys.exit(main())
