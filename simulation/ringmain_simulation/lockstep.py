"""The clock of simulated time: sensors publish, the clock ticks, agents answer, and only then does time go on.

For each tick the sites simulate the time since the last one and publish their readings; then the clock publishes `Tick`.
Each agent computes, sends its setpoints and answers. The tick ends when all answers and all announced setpoints have
arrived. No part sleeps: results are the same on a busy machine. An unanswered tick, because an agent, a bridge or the
broker was killed, is sent again until its answer comes.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, Self

import msgspec
from msgspec import Struct

from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Answer, Mode, Status, Tick, decode, encode
from ringmain_protocol.steps import Reading
from ringmain_simulation import plant
from ringmain_simulation.data import Excerpt
from ringmain_simulation.mqtt import Connection
from ringmain_simulation.scenario import Scenario
from ringmain_simulation.sent import SentReadings
from ringmain_simulation.series import KnownAhead
from ringmain_simulation.site import STEP_MS, SimulatedSite

ANSWER_TIMEOUT_S: Final = 120.0
RESEND_AFTER_S: Final = 1.5
_RESENDS_FOR_SETPOINTS: Final = 3
_IDLE_CYCLE_S: Final = 0.1
_STEP_S: Final = STEP_MS // 1000

_log = logging.getLogger("ringmain_simulation")


class LockstepError(Exception):
    """Agents did not answer in time: their processes have ended or are stuck, see their logs."""


class TickResult(Struct, frozen=True, kw_only=True):
    """One finished tick: number of repetitions and of setpoints."""

    tick: int
    now_ms: int
    resent: int
    setpoints: int
    duration_s: float


class SiteCounts(Struct, frozen=True, kw_only=True):
    """Counts of the simulation at one site; violations of the control phase only."""

    readings_published: int
    setpoints_received: int
    setpoints_missing: int
    setpoints_refused: int
    violations: int
    violations_without_control: int
    import_max_kw: float
    import_max_without_control_kw: float


class _Awaited(Struct):
    """Messages of one site for this tick, and its answer and setpoints so far."""

    messages: list[tuple[str, bytes]]
    announced: int | None = None
    setpoints: set[tuple[str, int]] = msgspec.field(default_factory=set)

    @property
    def answered(self) -> bool:
        return self.announced is not None

    @property
    def missing(self) -> int:
        return max((self.announced or 0) - len(self.setpoints), 0)


class Lockstep:
    """Drives simulated sites against agents in `--clock simulation`, over one MQTT connection, in the caller's thread.

    Raises:
        ValueError: If the broker is not on loopback.
        TimeoutError: If there is no broker.
    """

    def __init__(  # noqa: PLR0913  keyword-only after three
        self,
        sites: Mapping[str, SimulatedSite],
        scenario: Scenario,
        excerpt: Excerpt,
        *,
        host: str,
        port: int,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        resend_after_s: float = RESEND_AFTER_S,
    ) -> None:
        self.sites = dict(sites)
        self.scenario = scenario
        self.sent = SentReadings()
        self.now_ms = scenario.start_ms
        self._times_s = (answer_timeout_s, resend_after_s)
        self._tick = 0
        self._mode = Mode.OBSERVE
        self._series = KnownAhead(excerpt, time_zone=scenario.time_zone, ahead_s=scenario.series_ahead_s)
        self._issued: list[tuple[str, bytes]] = []
        self._issue_ms = scenario.start_ms
        self._statuses: dict[str, bytes] = {}
        self._newest_setpoint: dict[tuple[str, str], tuple[int, int]] = {}
        self._setpoints = dict.fromkeys(self.sites, 0)
        self._missing = dict.fromkeys(self.sites, 0)
        self._answers = {topics.simulation_answer(site): site for site in self.sites}
        self._outputs = {plant.setpoint(s, e): (s, e) for s in self.sites for e in plant.EQUIPMENT}
        self._status_topics = {topics.topic(site, topics.STATUS): site for site in self.sites}
        subscribed = [*self._answers, *self._outputs, *self._status_topics]
        self._connection = Connection(host, port, client_id="ringmain-simulation", topics=subscribed)

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def switch(self, mode: Mode) -> None:
        """Turn the local switch of every site."""
        self._mode = mode
        self._publish_switch()

    def history(self, until_ms: int | None = None) -> Iterator[TickResult]:
        """Ticks of `history_tick_s` with one reading of each signal a quarter-hour, to the end of the history.

        The last quarter-hour of the history runs in cycles: control then begins with fresh measurements.
        """
        until_ms = until_ms or self.scenario.control_ms
        coarse_ms = min(until_ms, self.scenario.control_ms - STEP_MS)
        yield from self._ticks(coarse_ms, self.scenario.history_tick_s, _STEP_S)
        yield from self._ticks(until_ms, self.scenario.cycle_s, self.scenario.cycle_s)

    def control(self, until_ms: int | None = None) -> Iterator[TickResult]:
        """Ticks of `cycle_s`, several a step, to the end of the scenario; call again to go on."""
        yield from self._ticks(until_ms or self.scenario.end_ms, self.scenario.cycle_s, self.scenario.cycle_s)

    def idle(self, duration_s: float) -> None:
        """Let real time pass, but not simulated time; agents continue their cycles: they send, fetch, activate."""
        until = time.monotonic() + duration_s
        while (left_s := until - time.monotonic()) > 0:
            self.tick(self.now_ms, _STEP_S)
            if not self._connection.pump(min(left_s, _IDLE_CYCLE_S)):
                self._connect()
            self._take_all({})

    def status(self, site: str) -> Status | None:
        """The newest status of a site; None without a readable one."""
        payload = self._statuses.get(site)
        if payload is None:
            return None
        try:
            return decode(payload, Status)
        except MessageError:
            return None

    def counts(self, site: str, *, from_ms: int | None = None, to_ms: int | None = None) -> SiteCounts:
        """Counts at a site, with its violations between two instants (default: the control phase so far)."""
        simulated = self.sites[site]
        from_ms = self.scenario.control_ms if from_ms is None else from_ms
        to_ms = self.now_ms if to_ms is None else to_ms
        shown = [e for e in simulated.exchanges if from_ms <= e.start_ms < to_ms]
        violations, without = simulated.violations(from_ms, to_ms)
        return SiteCounts(
            readings_published=self.sent.count(site),
            setpoints_received=self._setpoints[site],
            setpoints_missing=self._missing[site],
            setpoints_refused=simulated.refused,
            violations=violations,
            violations_without_control=without,
            import_max_kw=max((e.pcc_kw for e in shown), default=0.0),
            import_max_without_control_kw=max((e.uncontrolled_kw for e in shown), default=0.0),
        )

    def tick(self, until_ms: int, interval_s: int) -> TickResult:
        """Simulate to an instant, publish, and wait for every agent.

        Raises:
            LockstepError: If an agent does not answer within the time, in spite of repetitions.
        """
        began = time.monotonic()
        self._tick += 1
        self._issue_series()
        self.now_ms = until_ms
        awaited = {}
        for name, site in self.sites.items():
            readings = site.advance(until_ms, interval_s)
            self.sent.add(name, readings)
            awaited[name] = _Awaited([_feed(name, reading) for reading in readings])
        resent = self._until_answered(awaited)
        return TickResult(
            tick=self._tick,
            now_ms=until_ms,
            resent=resent,
            setpoints=sum(len(a.setpoints) for a in awaited.values()),
            duration_s=time.monotonic() - began,
        )

    def _ticks(self, until_ms: int, tick_s: int, interval_s: int) -> Iterator[TickResult]:
        while self.now_ms < until_ms:
            yield self.tick(min(self.now_ms + 1000 * tick_s, until_ms), interval_s)

    def _until_answered(self, awaited: dict[str, _Awaited]) -> int:
        timeout_s, resend_after_s = self._times_s
        resent, resent_for_setpoints = -1, 0
        give_up, send_at = time.monotonic() + timeout_s, 0.0
        while True:
            silent = [name for name, a in awaited.items() if not a.answered]
            lacking = [name for name, a in awaited.items() if a.missing]
            if not silent and (not lacking or resent_for_setpoints > _RESENDS_FOR_SETPOINTS):
                break
            now = time.monotonic()
            if now >= give_up:
                raise LockstepError(
                    f"tick {self._tick}: no answer from {', '.join(silent)} within {timeout_s:g} s; see their logs"
                )
            if now >= send_at:
                resent += 1
                resent_for_setpoints += not silent
                self._send(awaited, silent)
                send_at = time.monotonic() + resend_after_s
            if not self._connection.pump(max(send_at - time.monotonic(), 0.0)):
                self._connect()
                send_at = 0.0
            self._take_all(awaited)
        for name, a in awaited.items():
            self._setpoints[name] += len(a.setpoints)
            self._missing[name] += a.missing
        return resent

    def _send(self, awaited: dict[str, _Awaited], silent: list[str]) -> None:
        for name in silent:
            for topic, payload in awaited[name].messages:
                self._connection.publish(topic, payload)
        messages = {name: len(a.messages) for name, a in awaited.items()}
        tick = Tick(tick=self._tick, now_ms=self.now_ms, messages=messages)
        self._connection.publish(topics.SIMULATION_CLOCK, encode(tick))

    def _take_all(self, awaited: dict[str, _Awaited]) -> None:
        received = self._connection.received
        while received:
            topic, payload = received.popleft()
            if topic in self._status_topics:
                self._statuses[self._status_topics[topic]] = payload
            elif topic in self._answers:
                answer = decode(payload, Answer)
                owing = awaited.get(self._answers[topic])
                if owing is not None and answer.tick == self._tick:
                    owing.announced = max(owing.announced or 0, answer.setpoints)
            elif topic in self._outputs:
                self._take_setpoint(*self._outputs[topic], payload, awaited)

    def _take_setpoint(self, site: str, equipment: str, payload: bytes, awaited: dict[str, _Awaited]) -> None:
        """Give a setpoint to its equipment, unless it is repeated or older than the newest."""
        try:
            setpoint = msgspec.json.decode(payload, type=plant.SetpointPayload)
        except msgspec.MsgspecError as error:
            _log.warning("setpoint is malformed site=%s equipment=%s reason=%s", site, equipment, error)
            return
        owing = awaited.get(site)
        if owing is not None and setpoint.issued_at_ms == self.now_ms:
            owing.setpoints.add((equipment, setpoint.sequence))
        order = (setpoint.issued_at_ms, setpoint.sequence)
        if order > self._newest_setpoint.get((site, equipment), (-1, -1)):
            self._newest_setpoint[site, equipment] = order
            self.sites[site].receive(equipment, setpoint.power_kw, setpoint.valid_for_s)

    def _connect(self) -> None:
        """Connect, and republish the retained messages, which a killed broker has lost."""
        self._connection.connect(self._times_s[0])
        self._publish_switch()
        for topic, payload in self._issued:
            self._connection.publish(topic, payload, retain=True)

    def _publish_switch(self) -> None:
        for site in self.sites:
            self._connection.publish(plant.switch(site), self._mode.value.encode(), retain=True)

    def _issue_series(self) -> None:
        """Publish the due series before the tick: the agents know them at their issue time."""
        if self.now_ms < self._issue_ms:
            return
        self._issue_ms = self.now_ms - (self.now_ms - self.scenario.start_ms) % (1000 * self.scenario.series_every_s)
        self._issue_ms += 1000 * self.scenario.series_every_s
        encoded = [(name, encode(series)) for name, series in self._series.issued(self.now_ms)]
        self._issued = [(topics.topic(site, topics.SERIES, name), data) for site in self.sites for name, data in encoded]
        for topic, payload in self._issued:
            self._connection.publish(topic, payload, retain=True)


def _feed(site: str, reading: Reading) -> tuple[str, bytes]:
    at = datetime.fromtimestamp(reading.at_ms / 1000, UTC)
    return plant.feed(site, reading.signal), f'{{"value":{reading.value!r},"time":"{at:%Y-%m-%dT%H:%M:%SZ}"}}'.encode()
