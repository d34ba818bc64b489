"""One site under test: real agent process, real Mosquitto for each side, simulated plant and operator, lockstep time."""

import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from signal import Signals
from typing import Any, Final, NamedTuple, Self

import msgspec
import psutil

from benchmarks.failsafe.hostile_models import newest_timestamp, publish, repository_toml
from benchmarks.failsafe.plant import Manner, Plant, Second
from benchmarks.failsafe.referee import CONTRADICTION_PU, Referee, Seen
from benchmarks.failsafe.site import (
    BATTERY,
    CHARGERS,
    ENERGY_STALE_S,
    EQUIPMENT,
    LIANDER,
    METER_LOST_AFTER_S,
    PV,
    STALE_AFTER_S,
    SWITCH_STALE_S,
    WINDOW_STEPS,
    Pair,
    SiteDesign,
    Window,
    agent_toml,
    history_csv,
)
from ringmain_protocol import topics
from ringmain_protocol.messages import Answer, Receipt, Tick, decode, encode
from ringmain_simulation.data import STEP_S, Excerpt
from ringmain_simulation.mqtt import Connection
from ringmain_simulation.programs import Program
from ringmain_simulation.replay import replay
from servers.mosquitto import Mosquitto

ANSWER_TIMEOUT_S: Final = 30.0
RESEND_AFTER_S: Final = 1.5
STATUS_TIMEOUT_S: Final = 10.0
HEARTBEAT_S: Final = 5.0
ISSUE_EVERY_S: Final = 5
GRACE_S: Final = 2
"""Seconds that an agent needs to hear a new limit, or to miss one."""
STEP_MS: Final = 1000 * STEP_S

Distortion = Callable[[list[tuple[int, float]]], tuple[int, float] | None]
"""From all true readings of a signal so far, the one that is delivered now."""


class ControlLostError(Exception):
    """The agent ended, does not answer, or does not come back."""


class Message(NamedTuple):
    """A message of the agent: its topic, its payload, and the simulated instant."""

    topic: str
    payload: dict[str, Any]
    at_ms: int


class Operator:
    """The network operator: issues limits with a heartbeat, and knows which limits are owed."""

    def __init__(self, design: SiteDesign, now_ms: int) -> None:
        self.design = design
        self.issues = True
        self.heartbeat = True
        self.extra: list[tuple[int, int, Pair]] = []
        """Further limits that are owed, each from one instant to another."""
        self.issued_ms = now_ms
        self.ripple_from_ms: int | None = None
        """Since when the ripple-control contact is unheard or unknown."""

    def envelope(self, now_ms: int, **changes: object) -> bytes:
        """An issue as the operator's system sends it."""
        pair, fallback = self.design.envelope, self.design.fallback
        fields: dict[str, object] = {
            "issued_at_ms": now_ms,
            "expires_at_ms": now_ms + 3_600_000,
            "priority": 5,
            "start_ms": now_ms - now_ms % STEP_MS,
            "step_s": STEP_S,
            "import_limit_kw": [pair.import_kw] * 8,
            "export_limit_kw": [pair.export_kw] * 8,
        }
        if self.heartbeat:
            fields |= {
                "heartbeat_s": HEARTBEAT_S,
                "failsafe_import_kw": fallback.import_kw,
                "failsafe_export_kw": fallback.export_kw,
            }
        else:
            fields["valid_for_s"] = 20.0
        return msgspec.json.encode(fields | changes)

    def owed(self, now_ms: int) -> Pair:
        """The limits that must hold now."""
        silence_s = (now_ms - self.issued_ms) / 1000
        lost = silence_s > (2 * HEARTBEAT_S if self.heartbeat else 20.0) + GRACE_S
        pairs = [self.design.limits, self.design.fallback if lost else self.design.envelope]
        pairs += [pair for begin_ms, end_ms, pair in self.extra if begin_ms <= now_ms < end_ms]
        if self.ripple_from_ms is not None and now_ms - self.ripple_from_ms > 1000 * (STALE_AFTER_S + GRACE_S):
            pairs.append(self.design.ripple)
        return Pair(min(pair.import_kw for pair in pairs), min(pair.export_kw for pair in pairs))


class Rig:
    """The site with everything around it; faults reach into its parts."""

    def __init__(self, folder: Path, design: SiteDesign, excerpt: Excerpt, window: Window, *, random: Random) -> None:
        self.folder, self.design, self.random = folder, design, random
        since_ms = excerpt.start_ms + STEP_MS * window.first_step
        record = replay(
            excerpt,
            LIANDER,
            pv_rated_power_kw=1000 / 0.9,
            since_ms=since_ms,
            until_ms=since_ms + WINDOW_STEPS * STEP_MS,
            seed=1,
        )
        self.plant = Plant(design, record, load_scale=window.load_scale, sun_scale=window.sun_share)
        self.end_ms = since_ms + WINDOW_STEPS * STEP_MS
        self.operator = Operator(design, since_ms)
        self.local = Mosquitto(folder / "local")
        self.upstream = Mosquitto(folder / "upstream")
        self.distortions: dict[str, Distortion] = {}
        self.position = 100.0
        self.switch: str | None = "control"
        self.clock_offset_ms = 0
        self.referee: Referee | None = None
        self.second_agent: Program | None = None
        self.agents = 1
        self.status: dict[str, Any] = {}
        self.heard: list[Message] = []
        self.unsafe: list[str] = []
        self.betrayed: set[str] = set()
        """Signals whose loss or lie could be known since the fault began."""
        self.releases = 0
        self._file_limit: int | None = None
        self.commanded = True
        self._turned_ms = since_ms
        self._in_observe: set[str] = set()
        self._true: dict[str, list[tuple[int, float]]] = {signal: [] for signal in design.signals}
        self._seen: dict[str, tuple[int, float]] = {}
        self._tick = 0
        self._history = history_csv(design, excerpt, window)
        self._stack = contextlib.ExitStack()

    # Life

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        self._stack.enter_context(self.local)
        self._stack.enter_context(self.upstream)
        site = self.folder / "site"
        site.mkdir(exist_ok=True)
        self.config = site / "site.toml"
        models = repository_toml(self.folder / "center")
        self.config.write_text(
            agent_toml(self.design, local_port=self.local.port, upstream_port=self.upstream.port, models=models)
        )
        self.state = site / "state"
        week = site / "week.csv"
        week.write_text(self._history)
        command = ["-m", "ringmain_agent", "import-history", str(week), "--config", str(self.config)]
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        self.notified = self._notify_socket()
        self.agent = self.program("agent", self.config)
        self._stack.callback(self._end)
        outputs = [f"plant/setpoint/{name}" for name in EQUIPMENT]
        self._field = Connection(
            "127.0.0.1",
            self.local.port,
            client_id="plant",
            topics=[topics.simulation_answer(self.design.site), *outputs],
        )
        prefix = topics.topic(self.design.site, topics.STATUS).removesuffix(topics.STATUS)
        self._center = Connection(
            "127.0.0.1",
            self.upstream.port,
            client_id="operator",
            topics=[prefix + kind for kind in ("status", "online", "answer/+", "limit", "steps", "readings", "setpoint")],
        )
        self._field.connect(10.0)
        self._center.connect(10.0)
        self.agent.start()
        for _ in range(20):
            self.second()
        self.fresh_status()

    def _end(self) -> None:
        for program in (self.second_agent, self.agent):
            if program is not None:
                program.kill()

    def program(self, name: str, config: Path) -> Program:
        """An agent process of this site, not started."""
        environment = os.environ | {"NOTIFY_SOCKET": str(self.notify_path), "OMP_NUM_THREADS": "1"}
        log = self.folder / "logs" / f"{name}.log"
        return Program(
            name, "ringmain_agent", "run", "--clock", "simulation", "--config", config, log=log, environment=environment
        )

    @property
    def notify_path(self) -> Path:
        """The socket of systemd's watchdog."""
        return self.folder / "notify"

    def _notify_socket(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(str(self.notify_path))
        listener.setblocking(False)
        self._stack.callback(listener.close)
        return listener

    def listen_again(self) -> None:
        """The socket of the watchdog is there again."""
        self.notify_path.unlink(missing_ok=True)
        self.notified = self._notify_socket()

    @property
    def now_ms(self) -> int:
        """The true instant."""
        return self.plant.now_ms

    # Time

    def second(self) -> None:
        """One simulated second with the agent: plant, operator, sensors, tick, setpoints, referee."""
        truth = self._advance()
        self._issue()
        messages = self._readings(truth)
        self._tick_until_answered(messages)
        self._referee(truth)
        self._drain_watchdog()

    def second_alone(self) -> None:
        """One simulated second in which the agent hears nothing and says nothing: its process or its broker is away."""
        truth = self._advance()
        self._issue()
        self._readings(truth)
        self._referee(truth)

    def _advance(self) -> Second:
        heard_ms, _ = self._seen.get("battery_soc_kwh", (self.now_ms, 0.0))
        self.plant.energy_known = self.now_ms - heard_ms <= 1000 * ENERGY_STALE_S
        return self.plant.advance()

    def _referee(self, truth: Second) -> None:
        if self.referee is None:
            return
        ages_s = {signal: (truth.at_ms - at_ms) / 1000 for signal, (at_ms, _) in self._seen.items()}
        values = {signal: value for signal, (_, value) in self._seen.items()}
        seen = Seen(values, ages_s)
        self.betrayed |= {
            signal for signal in self.distortions if self.referee.betrays(signal, self._true[signal][-1][1], seen)
        }
        self.betrayed |= {name for name, kw in truth.powers_kw.items() if self._disobeys(name, kw)}
        self.referee.second(truth, self.operator.owed(truth.at_ms), seen, commanded=self.commanded)

    def _disobeys(self, name: str, power_kw: float) -> bool:
        """Whether its measured power shows that an equipment does not follow its setpoint."""
        command = self.plant.commands.get(name)
        if self.plant.manner[name] is Manner.FOLLOWS or command is None or command.power_kw is None:
            return False
        ratings_kw = {BATTERY: self.design.battery_kw, PV: self.design.pv_kw}
        beyond_kw = CONTRADICTION_PU * ratings_kw.get(name, self.design.charger_kw)
        error_kw = power_kw - command.power_kw
        return {BATTERY: abs(error_kw), PV: -error_kw}.get(name, error_kw) > beyond_kw

    def _issue(self) -> None:
        operator, now_ms = self.operator, self.now_ms
        if operator.issues and (now_ms // 1000) % ISSUE_EVERY_S == 0:
            self.send_upstream(
                topics.topic(self.design.site, topics.ENVELOPE, "dso"), operator.envelope(now_ms), retain=True
            )
            operator.issued_ms = now_ms

    def send_upstream(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """A message at the upstream broker, by anybody."""
        if self.upstream.running:
            self._center.publish(topic, payload, retain=retain)
            self._center.pump(0.0)
            self._take_upstream()

    def send_local(self, topic: str, payload: bytes) -> None:
        """A message at the local broker, by anybody."""
        self._field.publish(topic, payload)

    def _readings(self, truth: Second) -> list[tuple[str, bytes]]:
        values = {"pcc_kw": truth.pcc_kw, "load_kw": truth.load_kw, "battery_soc_kwh": self.plant.soc_kwh}
        values |= {f"{name}_kw": power_kw for name, power_kw in truth.powers_kw.items()}
        values |= {f"{name}_energy_kwh": wanted for name, wanted in self.plant.wanted_kwh.items()}
        values["ripple_position"] = self.position
        messages = []
        for signal in self.design.signals:
            readings = self._true[signal]
            readings.append((truth.at_ms, values[signal]))
            del readings[:-120]
            distort = self.distortions.get(signal)
            delivered = readings[-1] if distort is None else distort(readings)
            if delivered is None:
                continue
            at_ms, value = delivered
            self._seen[signal] = (truth.at_ms, value)
            at = datetime.fromtimestamp(at_ms / 1000, UTC)
            payload = f'{{"value":{value:.4f},"time":"{at:%Y-%m-%dT%H:%M:%SZ}","number":{self._tick}}}'
            messages.append((f"plant/feed/{signal}", payload.encode()))
        return messages

    def _tick_until_answered(self, messages: list[tuple[str, bytes]]) -> None:
        self._tick += 1
        if self.switch is not None and self._tick % 5 == 1:
            self._field.publish("plant/switch", self.switch.encode())
        self._answers, self._announced, self._arrived = 0, 0, 0
        began, send_at = time.monotonic(), 0.0
        while self._answers < self.agents or self._arrived < self._announced:
            now = time.monotonic()
            if self._answers >= self.agents and now - began > 1.0:
                break  # a setpoint of QoS 0 was lost with a connection
            if now - began > ANSWER_TIMEOUT_S or not self.agent.running:
                raise ControlLostError(f"no answer to tick {self._tick}: {self.agent.end_of_log(4)}")
            if now >= send_at:
                for topic, payload in messages:
                    self._field.publish(topic, payload)
                tick = Tick(
                    tick=self._tick,
                    now_ms=self.now_ms + self.clock_offset_ms,
                    messages={self.design.site: len(messages)},
                    monotonic_ms=self.now_ms,
                    synchronized=not self.clock_offset_ms,
                )
                self._field.publish(topics.SIMULATION_CLOCK, encode(tick))
                send_at = now + RESEND_AFTER_S
            if not self._field.pump(max(min(send_at - now, 0.2), 0.0)):
                self._field.connect(ANSWER_TIMEOUT_S)
                send_at = 0.0
            self._take_local()

    def _take_local(self) -> None:
        while self._field.received:
            topic, payload = self._field.received.popleft()
            if topic.startswith("plant/setpoint/"):
                self._arrived += 1
                self._setpoint(topic.rsplit("/", 1)[1], payload)
                continue
            with contextlib.suppress(Exception):
                answer = decode(payload, Answer)
                if answer.tick == self._tick:
                    self._answers += 1
                    self._announced += answer.setpoints

    def _setpoint(self, name: str, payload: bytes) -> None:
        setpoint = json.loads(payload)
        power_kw = setpoint.get("power_kw")
        if self._must_observe and name in self._in_observe:
            self.unsafe.append(f"{name} commanded in observe")
        if self._must_observe:
            self._in_observe.add(name)
        self._check(name, power_kw)
        self.plant.receive(name, power_kw, float(setpoint.get("valid_for_s", 1e9)))

    @property
    def _must_observe(self) -> bool:
        """Whether the switch has long said observe, or nothing for longer than it may."""
        silent_s = (self.now_ms - self._turned_ms) / 1000 - GRACE_S
        return self.switch != "control" and silent_s > (SWITCH_STALE_S if self.switch is None else 0)

    def _check(self, name: str, power_kw: float | None) -> None:
        """Note a setpoint that no agent should have sent."""
        design = self.design
        least_kw, most_kw = {
            BATTERY: (-design.battery_kw, design.battery_kw),
            PV: (-design.pv_kw, 0.0),
        }.get(name, (0.0, design.charger_kw))
        if power_kw is None:
            opens = name in CHARGERS if design.imports else name == PV
            heard_ms, _ = self._seen.get("pcc_kw", (0, 0.0))
            unmeasured = self.now_ms - heard_ms > 1000 * (METER_LOST_AFTER_S + GRACE_S)
            if opens and (unmeasured or self._must_observe):
                self.unsafe.append(f"{name} released " + ("without a meter" if unmeasured else "by a leaving agent"))
        elif not least_kw - 0.1 <= power_kw <= most_kw + 0.1:
            self.unsafe.append(f"{name} at {power_kw:g} kW, outside its nameplate")

    def _take_upstream(self) -> None:
        while self._center.received:
            topic, payload = self._center.received.popleft()
            with contextlib.suppress(ValueError):
                message = Message(topic, json.loads(payload), self.now_ms)
                self.heard.append(message)
                if topic.endswith("/status"):
                    self.status = message.payload

    def fresh_status(self) -> dict[str, Any]:
        """The status of this instant, for which real time passes and simulated time does not; empty if there is none."""
        if not self.upstream.running:
            return {}
        before, until = len(self.heard), time.monotonic() + STATUS_TIMEOUT_S
        while time.monotonic() < until:
            if not self._center.pump(0.1):
                self._center.connect(10.0)
            self._take_upstream()
            if any(message.topic.endswith("/status") for message in self.heard[before:]):
                return self.status
        return {}

    def note_status(self) -> None:
        """The status of this instant among what was heard; or the silence, which the bridge's last-seen time shows."""
        if not self.fresh_status():
            self.heard.append(Message("ringmain/1/-/-/silence", {"last": "silent"}, self.now_ms))

    def reconnect(self) -> None:
        """Connect again to brokers that were away."""
        if self.local.running:
            self._field.connect(10.0)
        if self.upstream.running:
            self._center.connect(10.0)

    # What faults reach for

    @property
    def state_file(self) -> Path:
        """The agent's SQLite file."""
        return self.state / "agent.sqlite3"

    def turn(self, position: str | None) -> None:
        """Turn the switch; without a position its sender falls silent."""
        self.switch = position
        self._turned_ms, self._in_observe = self.now_ms, set()
        if position is not None:
            self.send_local("plant/switch", position.encode())

    def kill_agent(self) -> None:
        """Cut the agent's power; its planner ends with it."""
        self.agent.kill()

    def restart_agent(self, *, alone_s: int) -> None:
        """The supervisor starts the agent again after a time."""
        for _ in range(alone_s):
            self.second_alone()
        self.agent.start()
        self.limit_files(self._file_limit)

    def limit_files(self, size: int | None) -> None:
        """No file of the agent may grow beyond this: what a full disk is to it; None ends it."""
        self._file_limit = size
        _, hard = resource.prlimit(self.agent.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.agent.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

    def signal_planner(self, number: Signals) -> None:
        """A signal to the planner process of the agent."""
        for child in psutil.Process(self.agent.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ringmain_agent.planning.process" in child.cmdline():
                    child.send_signal(number)

    def start_second_agent(self) -> None:
        """Another agent of the same site, with a state of its own, as from a cloned card."""
        folder = self.folder / "second"
        folder.mkdir(exist_ok=True)
        shutil.copy(self.config, folder / "site.toml")
        self.second_agent = self.program("second", folder / "site.toml").start()
        for _ in range(3):
            self.second()

    def end_second_agent(self) -> None:
        """The second agent is switched off."""
        if self.second_agent is not None:
            self.second_agent.kill()
            self.second_agent = None

    def send_receipt(self, ranges: list[tuple[int, int]]) -> None:
        """A receipt for the stream of the newest status."""
        receipt = Receipt(stream=self.status["stream"], ranges=ranges)
        self.send_upstream(topics.topic(self.design.site, topics.RECEIPT), encode(receipt), retain=True)

    def send_receipt_of_all(self) -> None:
        """A genuine receipt, as the bridge sends it."""
        stream = self.status["stream"]
        sequences = [
            m.payload["sequence"] for m in self.heard if m.payload.get("stream") == stream and "sequence" in m.payload
        ]
        if sequences:
            self.send_receipt([(min(sequences), max(sequences))])

    def publish_model(self, how: str) -> None:
        """A release whose model is hostile, signed as a genuine one."""
        self.releases += 1
        publish(self.folder / "center", self.design.site, how, self.releases)
        self.send_upstream(
            topics.topic(self.design.site, topics.MODEL), newest_timestamp(self.folder / "center"), retain=True
        )

    def _drain_watchdog(self) -> None:
        with contextlib.suppress(OSError):
            while self.notified.recv(64):
                pass


@contextlib.contextmanager
def rig_in(folder: Path, design: SiteDesign, excerpt: Excerpt, window: Window, random: Random) -> Iterator[Rig]:
    """A running site in a folder of its own, which is removed at the end."""
    folder.mkdir(parents=True)
    try:
        with Rig(folder, design, excerpt, window, random=random) as rig:
            yield rig
    finally:
        if not os.environ.get("RINGMAIN_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
