"""Source of the present instant: the machine's clock, or the lockstep clock of a simulation.

Both yield cycles; a cycle is an instant with the feed messages before it. No other part of the agent reads the time of day.
Durations of real processes (keep-alive, back-off, polling) are monotonic seconds.
"""

import ipaddress
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from msgspec import Struct

from ringmain_agent.gateway.inbox import Arrived
from ringmain_agent.gateway.kernel_clock import kernel_synchronized, read_clocks
from ringmain_agent.gateway.mqtt import BrokerConnection
from ringmain_program.config import ConfigError
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Answer, Tick, decode, encode

_POLL_S: Final = 0.25
_TICKS_KNOWN: Final = 16


class Cycle(Struct, frozen=True, kw_only=True):
    """One control cycle: its instant, its messages, and the tick of a simulation that expects an answer.

    `now_ms` is the wall clock, for calendars; `now_s` is the monotonic clock of the same moment, for ages and durations.
    In a simulation both are the simulated time, which counts as synchronized, unless the tick says otherwise.
    """

    now_ms: int
    arrived: list[Arrived]
    now_s: float
    tick: int | None = None
    synchronized: bool = True

    def received_s(self, message: Arrived) -> float:
        """Monotonic instant of receipt; in a simulation that of the tick."""
        return self.now_s if self.tick is not None else min(message.received_s, self.now_s)

    def received_ms(self, message: Arrived) -> int:
        """Instant of receipt by this clock; in a simulation the instant of the tick."""
        return self.now_ms - round(1000 * (self.now_s - self.received_s(message)))


class Clock(Protocol):
    """Yields cycles until stopped; `done` follows each cycle once its work is committed."""

    def cycles(self) -> Iterator[Cycle | None]:
        """Cycles in order, and None while time stands still, for the exchange with upstream; ends after `stop`."""

    def done(self, cycle: Cycle, *, setpoints: int) -> None:
        """The cycle is committed; `setpoints` is the number of its setpoint messages."""

    def stop(self) -> None:
        """End the cycles; may be called from a signal handler."""


class MachineClock:
    """A cycle every `cycle_s` by the monotonic clock; a late cycle delays the following ones."""

    def __init__(self, local: BrokerConnection, *, cycle_s: float) -> None:
        """Cycles with the messages of the local connection."""
        self._local = local
        self._cycle_s = cycle_s
        self._stopped = False

    def cycles(self) -> Iterator[Cycle | None]:
        """Cycles in order; ends after `stop`."""
        first = self._local.wait(self._cycle_s)  # the first cycle waits for the first feed, at most one cycle long
        due_s = time.monotonic()
        while not self._stopped:
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                time.sleep(min(wait_s, _POLL_S))
                continue
            due_s = max(due_s + self._cycle_s, time.monotonic() + 0.5 * self._cycle_s)
            arrived, first = first + self._local.received(), []
            now_ms, now_s = read_clocks()
            yield Cycle(now_ms=now_ms, arrived=arrived, now_s=now_s, synchronized=kernel_synchronized())

    def done(self, cycle: Cycle, *, setpoints: int) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """End the cycles."""
        self._stopped = True


class SimulationClock:
    """A cycle for each tick of the simulation, once all its feed messages have arrived.

    The order between topics is arbitrary: a tick may arrive before its feed messages, and a repeated one among those of the
    next tick. Topic and payload, which holds a time, identify a feed message, so that repetitions from the last ticks are
    recognized. A repeated tick is answered again once it is done. After a restart its feed messages must arrive first: until
    the answer, the simulation sends no others.
    """

    def __init__(self, local: BrokerConnection, site: str, *, feed_topics: frozenset[str], last_tick: int) -> None:
        """A clock on the local connection; only messages of `feed_topics` count for a tick.

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
                self._sort_in(message)
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
                now_s = (tick.now_ms if tick.monotonic_ms is None else tick.monotonic_ms) / 1000
                yield Cycle(now_ms=tick.now_ms, arrived=arrived, now_s=now_s, tick=tick.tick, synchronized=tick.synchronized)

    def done(self, cycle: Cycle, *, setpoints: int) -> None:
        """Answer the tick."""
        if cycle.tick is not None:
            self._last = cycle.tick
            self._before_restart = -1
            self._answer(cycle.tick, setpoints)

    def stop(self) -> None:
        """End the cycles."""
        self._stopped = True

    def _sort_in(self, message: Arrived) -> None:
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
            return  # the simulation repeats it
        if tick.tick > self._last or tick.tick == self._before_restart:
            self._tick = tick
        else:
            self._answer(tick.tick, 0)

    def _answer(self, tick: int, setpoints: int) -> None:
        self._local.publish(topics.simulation_answer(self._site), encode(Answer(tick=tick, setpoints=setpoints)))


def _require_loopback(host: str) -> None:
    addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise ConfigError(f"--clock simulation needs a local broker on loopback; {host} is not")
