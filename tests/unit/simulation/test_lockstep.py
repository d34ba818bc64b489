"""The lockstep driver against an agent that only answers."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ringmain_protocol import topics
from ringmain_protocol.messages import Answer, Mode, Series, Tick, decode, encode
from ringmain_simulation import plant
from ringmain_simulation.data import SITES, Excerpt, load_excerpt
from ringmain_simulation.embedded import EmbeddedServer, start_mqtt
from ringmain_simulation.lockstep import Lockstep, LockstepError
from ringmain_simulation.run import RunBroker, RunConfig, run
from ringmain_simulation.scenario import DEMO
from ringmain_simulation.site import SIGNALS, SimulatedSite
from ringmain_simulation.sites import simulated_sites

DAY_MS = 86_400_000
SCENARIO = msgspec.structs.replace(
    DEMO, start_at=DEMO.control_at.replace(day=3), control_days=0.5, shown_days=0.5, excess_steps=5
)


class AnsweringAgent:
    """Counts the feed messages of a tick and answers; deaf to the first `deaf` ticks, and sends `setpoints` each time."""

    def __init__(self, site: str, port: int, *, deaf: int = 0, setpoints: int = 2, announced: int = 2) -> None:
        self.ticks: list[int] = []
        self.now_ms = 0
        self.switches: list[bytes] = []
        self.series: dict[str, Series] = {}
        self._site = site
        self._deaf = deaf
        self._setpoints = setpoints
        self._announced = announced
        self._feeds: set[tuple[str, bytes]] = set()
        self._tick: Tick | None = None
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"agent-{site}")
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._ready.set()
        filters = [topics.SIMULATION_CLOCK, plant.switch(site), topics.all_series(site)]
        filters += [plant.feed(site, signal) for signal in SIGNALS]
        self._client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in filters])
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        """Say goodbye."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        if message.topic == topics.SIMULATION_CLOCK:
            self._tick = decode(message.payload, Tick)
        elif message.topic == plant.switch(self._site):
            self.switches.append(bytes(message.payload))
            return
        elif message.topic.startswith(topics.PREFIX):
            self.series[message.topic.rsplit("/", 1)[1]] = decode(message.payload, Series)
            return
        else:
            self._feeds.add((message.topic, bytes(message.payload)))
        tick = self._tick
        if tick is not None and len(self._feeds) >= tick.messages[self._site]:
            self._tick, self._feeds = None, set()
            self._answer(tick)

    def _answer(self, tick: Tick) -> None:
        self.ticks.append(tick.tick)
        self.now_ms = tick.now_ms
        if self._deaf > 0:
            self._deaf -= 1
            return
        for equipment in plant.EQUIPMENT[: self._setpoints]:
            setpoint = {"power_kw": -100.0, "sequence": tick.tick, "issued_at_ms": tick.now_ms, "valid_for_s": 600}
            self._client.publish(plant.setpoint(self._site, equipment), msgspec.json.encode(setpoint), qos=1)
        answer = Answer(tick=tick.tick, setpoints=self._announced)
        self._client.publish(topics.simulation_answer(self._site), encode(answer), qos=1)


@pytest.fixture(scope="module")
def excerpt() -> Excerpt:
    return load_excerpt()


@pytest.fixture
def broker() -> Iterator[EmbeddedServer]:
    server = start_mqtt()
    yield server
    server.stop()


def _sites(excerpt: Excerpt, *names: str) -> dict[str, SimulatedSite]:
    return {name: site for name, site in simulated_sites(SCENARIO, excerpt).items() if name in names}


def _lockstep(sites: dict[str, SimulatedSite], excerpt: Excerpt, server: EmbeddedServer, timeout_s: float = 30) -> Lockstep:
    return Lockstep(
        sites, SCENARIO, excerpt, host=server.host, port=server.port, answer_timeout_s=timeout_s, resend_after_s=0.2
    )


def test_time_goes_on_when_every_site_has_answered_and_all_that_was_sent_is_noted(
    excerpt: Excerpt, broker: EmbeddedServer
) -> None:
    agents = [AnsweringAgent(site, broker.port) for site in SITES]
    sites = _sites(excerpt, *SITES)
    with _lockstep(sites, excerpt, broker) as lockstep:
        lockstep.switch(Mode.OBSERVE)
        history = list(lockstep.history())
        assert 24 * 3600 // SCENARIO.history_tick_s + 5 == len(history)
        assert SCENARIO.control_ms == lockstep.now_ms == history[-1].now_ms
        assert lockstep.sent.count() == 4 * 6 * (95 + 5)
        lockstep.switch(Mode.CONTROL)
        control = list(lockstep.control(SCENARIO.control_ms + 3_600_000))
    for agent in agents:
        agent.stop()
        assert list(range(1, len(history) + len(control) + 1)) == agent.ticks
        assert agent.switches[-1] == b"control"
    assert len(control) == 20
    assert [result.setpoints for result in control] == [8] * 20
    counts = lockstep.counts(SITES[0])
    assert counts.readings_published == 6 * (95 + 5 + 20)
    assert 2 * (len(history) + 20) == counts.setpoints_received
    assert counts.setpoints_missing == 0
    assert sites[SITES[0]].newest["battery_kw"] == -100.0


def test_tick_that_is_not_answered_is_sent_again_with_its_feeds_and_counts_once(
    excerpt: Excerpt, broker: EmbeddedServer
) -> None:
    agent = AnsweringAgent(SITES[0], broker.port, deaf=2)
    with _lockstep(_sites(excerpt, SITES[0]), excerpt, broker) as lockstep:
        result = lockstep.tick(SCENARIO.start_ms + 900_000, 900)
        assert result.resent == 2
        assert lockstep.sent.count() == 6
        assert lockstep.tick(SCENARIO.start_ms + 1_800_000, 900).resent == 0
    agent.stop()
    assert agent.ticks == [1, 1, 1, 2]


def test_time_goes_on_without_a_setpoint_that_was_lost_on_the_way(excerpt: Excerpt, broker: EmbeddedServer) -> None:
    agent = AnsweringAgent(SITES[0], broker.port, setpoints=1, announced=2)
    with _lockstep(_sites(excerpt, SITES[0]), excerpt, broker) as lockstep:
        lockstep.tick(SCENARIO.start_ms + 900_000, 900)
        assert (lockstep.counts(SITES[0]).setpoints_received, lockstep.counts(SITES[0]).setpoints_missing) == (1, 1)
    agent.stop()


def test_site_that_never_answers_is_named(excerpt: Excerpt, broker: EmbeddedServer) -> None:
    agent = AnsweringAgent(SITES[1], broker.port)
    with (
        _lockstep(_sites(excerpt, SITES[1], SITES[2]), excerpt, broker, timeout_s=1) as lockstep,
        pytest.raises(LockstepError, match=f"no answer from {SITES[2]} within"),
    ):
        lockstep.tick(SCENARIO.start_ms + 900_000, 900)
    agent.stop()


def test_after_the_broker_was_killed_time_goes_on_and_retained_messages_are_there_again(excerpt: Excerpt) -> None:
    broker = start_mqtt()
    agent = AnsweringAgent(SITES[0], broker.port)
    with _lockstep(_sites(excerpt, SITES[0]), excerpt, broker) as lockstep:
        lockstep.switch(Mode.CONTROL)
        lockstep.tick(SCENARIO.start_ms + 900_000, 900)
        broker.process.kill()
        broker.stop()
        agent.stop()
        again = start_mqtt(port=broker.port)
        newcomer = AnsweringAgent(SITES[0], again.port)
        lockstep.tick(SCENARIO.start_ms + 1_800_000, 900)
        assert sorted(set(newcomer.ticks)) == [2]
        until = time.monotonic() + 10
        while (not newcomer.switches or len(newcomer.series) < 5) and time.monotonic() < until:
            time.sleep(0.01)  # there is no order between topics
        assert newcomer.switches[-1] == b"control"
        assert len(newcomer.series) == 5
        assert lockstep.sent.count() == 12
    newcomer.stop()
    again.stop()


def test_while_real_time_passes_agents_go_on_with_their_cycles_at_the_same_instant(
    excerpt: Excerpt, broker: EmbeddedServer
) -> None:
    agent = AnsweringAgent(SITES[0], broker.port, setpoints=0, announced=0)
    with _lockstep(_sites(excerpt, SITES[0]), excerpt, broker) as lockstep:
        lockstep.tick(SCENARIO.start_ms + 900_000, 900)
        lockstep.idle(0.35)
        assert SCENARIO.start_ms + 900_000 == lockstep.now_ms == agent.now_ms
        assert lockstep.sent.count() == 6
    agent.stop()
    assert len(agent.ticks) > 1


def test_sites_run_on_a_given_broker_against_agents_that_somebody_else_started(
    broker: EmbeddedServer, tmp_path: Path
) -> None:
    agents = [AnsweringAgent(site, broker.port) for site in SITES]
    mqtt = RunBroker(host=broker.host, port=broker.port)
    result = run(RunConfig(mqtt=mqtt, history_days=0.25, control_days=1 / 96, agents=str(tmp_path)))
    for agent in agents:
        agent.stop()
    assert result.ticks == 1 + 5
    assert DEMO.start_ms + DAY_MS // 4 + 900_000 == result.now_ms
    assert result.per_site[SITES[0]].readings_published == 6 * (24 + 5)
    assert set(SITES) == {path.parent.name for path in tmp_path.glob("*/site.toml")}


def test_broker_that_is_not_on_loopback_is_refused(excerpt: Excerpt) -> None:
    with pytest.raises(ValueError, match="loopback"):
        Lockstep(_sites(excerpt, SITES[0]), SCENARIO, excerpt, host="192.0.2.1", port=1883)
