"""Where `now` comes from: the machine's clock, or the lockstep clock of a simulation.

Both give cycles; a cycle is an instant and the feed messages that came before it. Nothing else in the agent asks the time
of day. Durations on real things (keep-alive, back-off, polling) are monotonic seconds.
"""

import ipaddress
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from msgspec import Struct

from ringmain_agent.gateway.mqtt import Arrived, BrokerConnection
from ringmain_program.config import ConfigError
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Answer, Tick, decode, encode

_POLL_S: Final = 0.25
_TICKS_KNOWN: Final = 16


class Cycle(Struct, frozen=True, kw_only=True):
    """One control cycle: its instant, what arrived, and the tick to answer if a simulation asked for it."""

    now_ms: int
    arrived: list[Arrived]
    tick: int | None = None
    now_s: float = 0.0

    def received_ms(self, message: Arrived) -> int:
        """When a message came, by this clock; in a simulation everything comes at its tick."""
        return self.now_ms if self.tick is not None else self.now_ms - round(1000 * (self.now_s - message.received_s))


class Clock(Protocol):
    """Gives cycles until stopped; `done` follows each cycle when all its work is committed."""

    def cycles(self) -> Iterator[Cycle | None]:
        """Cycles in order, None while time stands still and only upstream needs attention; ends after `stop`."""

    def done(self, cycle: Cycle, *, setpoints: int) -> None:
        """The cycle is committed, and so many setpoint messages were sent in it."""

    def stop(self) -> None:
        """End the cycles; may be called from a signal handler."""


class MachineClock:
    """A cycle every `cycle_s` by the monotonic clock; a late cycle does not make the next ones hurry."""

    def __init__(self, local: BrokerConnection, *, cycle_s: float) -> None:
        """Cycles with what arrives on the local connection."""
        self._local = local
        self._cycle_s = cycle_s
        self._stopped = False

    def cycles(self) -> Iterator[Cycle | None]:
        """Cycles in order; ends after `stop`."""
        first = self._local.wait(self._cycle_s)  # the first cycle comes with the first feed, if there is one soon
        due_s = time.monotonic()
        while not self._stopped:
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                time.sleep(min(wait_s, _POLL_S))
                continue
            due_s = max(due_s + self._cycle_s, time.monotonic() + 0.5 * self._cycle_s)
            arrived, first = first + self._local.received(), []
            yield Cycle(now_ms=time.time_ns() // 1_000_000, arrived=arrived, now_s=time.monotonic())

    def done(self, cycle: Cycle, *, setpoints: int) -> None:
        """Nothing to tell."""

    def stop(self) -> None:
        """End the cycles."""
        self._stopped = True


class SimulationClock:
    """A cycle for each tick of the simulation, as soon as all its feed messages are there.

    The order between topics is not relied on: a tick may come before its feed messages, and one that was sent twice among
    the feed messages of the next. A feed message is known by topic and payload, which holds its time; those of the last
    ticks are recognized when they come again. A tick that comes again is answered again when it is done, but after a
    restart not before its feed messages are here: until the answer, the simulation sends no others.
    """

    def __init__(self, local: BrokerConnection, site: str, *, feed_topics: frozenset[str], last_tick: int) -> None:
        """Wait for ticks on the local connection; only messages of `feed_topics` count for a tick.

        Raises:
            ConfigError: If the broker is not on loopback: simulated time must never drive real equipment.
        """
        _require_loopback(local.host)
        self._local = local
        self._site = site
        self._feed_topics = feed_topics
        self._last = self._before_restart = last_tick
        self._tick: Tick | None = None
        self._feeds: dict[tuple[str, bytes], Arrived] = {}
        self._others: list[Arrived] = []
        self._known: deque[frozenset[tuple[str, bytes]]] = deque(maxlen=_TICKS_KNOWN)
        self._stopped = False

    def cycles(self) -> Iterator[Cycle | None]:
        """Cycles in order, None between ticks; ends after `stop`."""
        while not self._stopped:
            messages = self._local.wait(_POLL_S)
            for message in messages:
                self._take(message)
            if not messages:
                yield None
            tick = self._tick
            if tick is not None and len(self._feeds) >= tick.messages.get(self._site, 0):
                feeds, self._feeds, self._tick = self._feeds, {}, None
                self._known.append(frozenset(feeds))
                if tick.tick <= self._last:
                    self._before_restart = -1
                    self._answer(tick.tick, 0)
                    continue
                arrived, self._others = [*self._others, *feeds.values()], []
                yield Cycle(now_ms=tick.now_ms, arrived=arrived, tick=tick.tick)

    def done(self, cycle: Cycle, *, setpoints: int) -> None:
        """Answer the tick."""
        if cycle.tick is not None:
            self._last = cycle.tick
            self._before_restart = -1
            self._answer(cycle.tick, setpoints)

    def stop(self) -> None:
        """End the cycles."""
        self._stopped = True

    def _take(self, message: Arrived) -> None:
        if message.topic != topics.SIMULATION_CLOCK:
            key = (message.topic, message.payload)
            if message.topic not in self._feed_topics:
                self._others.append(message)
            elif not any(key in feeds for feeds in self._known):
                self._feeds[key] = message
            return
        try:
            tick = decode(message.payload, Tick)
        except MessageError:
            return  # the simulation sends it again
        if tick.tick > self._last or tick.tick == self._before_restart:
            self._tick = tick
        else:
            self._answer(tick.tick, 0)

    def _answer(self, tick: int, setpoints: int) -> None:
        self._local.publish(topics.simulation_answer(self._site), encode(Answer(tick=tick, setpoints=setpoints)))


def _require_loopback(host: str) -> None:
    addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise ConfigError(f"--clock simulation is for a broker on loopback only, and {host} is not on it")
