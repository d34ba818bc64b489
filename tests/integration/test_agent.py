"""The agent as a process beside a real Mosquitto: what leaves it, and what it survives."""

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ringmain_agent.commands.import_history import import_history
from ringmain_agent.config.agent import load_config
from ringmain_agent.config.outbox import OutboxLimits
from ringmain_agent.gateway.outbox import Outbox
from ringmain_agent.gateway.state_file import StateFile
from ringmain_protocol import topics
from ringmain_protocol.messages import (
    Envelope,
    EnvelopeAnswer,
    Fallback,
    Mode,
    Online,
    Readings,
    ReasonCode,
    Receipt,
    Schedule,
    Setpoint,
    Status,
    decode,
    encode,
)
from ringmain_simulation.programs import Program
from servers.base import wait_until
from servers.mosquitto import Mosquitto

CONFIG = """
site = "site-1"
time_zone = "Europe/Amsterdam"
mode = "{mode}"
cycle_s = 0.2
commit_interval_s = 0.2
status_interval_s = 1
state_folder = "state"

[mqtt.local]
host = "127.0.0.1"
port = {port}
[mqtt.upstream]
host = "127.0.0.1"
port = {port}

[switch]
topic = "plant/switch"
retained = true

[feeds.load_kw]
topic = "plant/load"
unit = "kW"
[feeds.pcc_kw]
topic = "plant/pcc"
unit = "kW"
[feeds.battery_kw]
topic = "plant/battery"
unit = "kW"
positive_direction = "export"
[feeds.battery_soc_kwh]
topic = "plant/soc"
unit = "kWh"

[grid_connection]
import_limit_kw = 100
export_limit_kw = 100
margin_kw = 5

[battery.battery]
capacity_kwh = 200
charge_max_kw = 50
discharge_max_kw = 50
[battery.battery.output]
topic = "plant/setpoint"
valid_for_s = 5
repeat_s = 1
confirm_after_s = 1

[regulator]
stale_after_s = 3

[outbox]
backlog_per_s = 1000
backlog_delay_max_s = 0
gap_grace_s = 1
"""


class Station:
    """The equipment and the upstream of one site on a real broker: publishes feeds, notes what the agent sends."""

    def __init__(self, broker: Mosquitto) -> None:
        """Connect."""
        self.setpoints: list[dict[str, Any]] = []
        self.messages: list[tuple[str, bytes]] = []
        self.statuses: list[Status] = []
        self.stuck_kw: float | None = None
        """Where the battery stays whatever it is told."""
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="station")
        self._client.on_connect = lambda client, *_: client.subscribe([("plant/setpoint", 1), ("ringmain/#", 1)])
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes | str | float, *, retain: bool = False) -> None:
        """One message at QoS 1."""
        self._client.publish(topic, payload, qos=1, retain=retain)

    def speak(self, *, load_kw: float, soc_kwh: float = 100.0) -> None:
        """One round of all sensors; the battery follows its newest setpoint."""
        battery_kw = self.setpoints[-1].get("power_kw", 0.0) if self.setpoints else 0.0
        battery_kw = battery_kw if self.stuck_kw is None else self.stuck_kw
        self.publish("plant/load", load_kw)
        self.publish("plant/battery", -battery_kw)
        self.publish("plant/soc", soc_kwh)
        self.publish("plant/pcc", load_kw + battery_kw)

    def speak_until(self, condition: Callable[[], object], *, load_kw: float = 80.0, timeout_s: float = 20.0) -> None:
        """Sensors every 0.1 s until the condition holds."""

        def holds() -> bool:
            self.speak(load_kw=load_kw)
            time.sleep(0.1)
            return bool(condition())

        wait_until(holds, timeout_s=timeout_s, what="agent")

    def of_kind(self, kind: str) -> list[bytes]:
        """Payloads of one kind, in order of arrival."""
        return [payload for topic, payload in self.messages if topic.endswith(f"/{kind}")]

    @property
    def status(self) -> Status | None:
        """The newest status."""
        return self.statuses[-1] if self.statuses else None

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if message.topic == "plant/setpoint":
            assert (message.qos, message.retain) == (0, False)  # nobody keeps a setpoint for later
            self.setpoints.append(json.loads(message.payload))
        else:
            self.messages.append((message.topic, bytes(message.payload)))
            if message.topic.endswith("/status"):
                self.statuses.append(decode(message.payload, Status))


@contextmanager
def running_agent(
    folder: Path, broker: Mosquitto, mode: str = "control", config: str = CONFIG, notify: str = ""
) -> Iterator[Program]:
    """An agent process; stopped in the end, and its end must be a clean one unless it was killed."""
    path = folder / "agent.toml"
    path.write_text(config.format(mode=mode, port=broker.port), encoding="utf-8")
    agent = Program(
        "agent",
        "ringmain_agent",
        "run",
        "--config",
        path,
        log=folder / "agent.log",
        environment=os.environ | {"NOTIFY_SOCKET": notify},
    ).start()
    try:
        yield agent
        agent.require_running()
        agent.interrupt()
        agent.wait(20)
    finally:
        agent.kill()


def give_history(folder: Path) -> None:
    """Two days of 80 kW, so that there is something to forecast from."""
    path = folder / "agent.toml"
    path.write_text(CONFIG.format(mode="control", port=1883), encoding="utf-8")
    end_s = int(time.time()) // 900 * 900
    rows = [f"{datetime.fromtimestamp(end_s - 900 * (192 - i), UTC).isoformat()},80" for i in range(192)]
    (folder / "history.csv").write_text("\n".join(["time,load_kw", *rows]), encoding="utf-8")
    assert import_history(folder / "history.csv", load_config(path)) == 192


def _planner(agent: Program) -> psutil.Process:
    children = psutil.Process(agent.pid).children(recursive=True)
    return next(child for child in children if "planning.process" in " ".join(child.cmdline()))


@pytest.fixture
def station(mosquitto: Mosquitto) -> Iterator[Station]:
    """A station on a running broker."""
    made = Station(mosquitto)
    yield made
    made.close()


def test_in_control_the_battery_takes_what_exceeds_the_limit(tmp_path: Path, mosquitto: Mosquitto, station: Station) -> None:
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto):
        station.speak_until(lambda: any(-50 <= s.get("power_kw", 0) <= -34.9 for s in station.setpoints), load_kw=130)
        setpoint = station.setpoints[-1]
        assert setpoint["valid_for_s"] == 5
        assert setpoint["sequence"] > 0
        station.speak_until(lambda: _reported_mode(station) is Mode.CONTROL, load_kw=130)


def _reported_mode(station: Station) -> Mode | None:
    reports = station.of_kind(topics.SETPOINT)
    return decode(reports[-1], Setpoint).mode if reports else None


def test_setpoints_say_how_long_they_hold_and_on_which_rung_they_stand(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    give_history(tmp_path)
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto) as agent:
        station.speak_until(lambda: any(s.get("fallback") == "optimal" for s in station.setpoints))
        assert "agent fallback site=site-1 fallback=optimal" in agent.end_of_log(100)
    first = next(s for s in station.setpoints if "power_kw" in s)
    assert first.keys() == {"power_kw", "sequence", "issued_at_ms", "valid_for_s", "fallback", "reason"}


def test_battery_that_does_not_follow_is_noticed_planned_around_and_can_come_back(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    """At 130 kW it is told to give 35; it stays at 20 kW of charging."""
    give_history(tmp_path)
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto) as agent:
        station.speak_until(lambda: any(s.get("power_kw", 0) < -30 for s in station.setpoints), load_kw=130)
        station.stuck_kw = 20.0
        station.speak_until(lambda: station.status is not None and station.status.not_followed == ["battery"], load_kw=130)
        stays = "battery does not follow its setpoint: 20.0 kW is assumed"
        station.speak_until(lambda: station.status is not None and stays in station.status.reason, load_kw=130)
        station.speak_until(lambda: _planned_kw(station)[1:8] == pytest.approx([20.0] * 7), load_kw=130)
        station.setpoints.clear()
        station.speak_until(lambda: len(station.setpoints) > 1, load_kw=130)
        assert all(setpoint["power_kw"] < -30 for setpoint in station.setpoints)
        station.stuck_kw = None
        station.speak_until(lambda: station.status is not None and station.status.not_followed == [], load_kw=130)
        assert agent.end_of_log(1000).count("battery does not follow") == 1


LOADS = """
[feeds.pcc_kvar]
topic = "plant/kvar"
unit = "kvar"
[feeds.charger_kw]
topic = "plant/charger"
unit = "kW"
[feeds.charger_energy_kwh]
topic = "plant/charger/energy"
unit = "kWh"
[feeds.mill_kw]
topic = "plant/mill"
unit = "kW"
[feeds.bank_position]
topic = "plant/bank"
unit = "1"

[charging_station.charger]
power_max_kw = 22
power_min_kw = 4
[charging_station.charger.output]
topic = "plant/charger/setpoint"
[on_off_load.mill]
power_kw = 10
run_h = 24
[on_off_load.mill.output]
topic = "plant/mill/setpoint"
payload = '{{"on": $on, "why": "$reason"}}'
[capacitor_bank.bank]
step_kvar = 20
steps = 3
operations_per_day = 5
[capacitor_bank.bank.output]
topic = "plant/bank/setpoint"
[transformer.t1]
rated_power_kva = 100
"""


def test_loads_are_told_in_their_own_words_and_give_way_at_the_limit(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    """45 kW leave room for a vehicle and the mill; with 140 kW the battery gives its 50, and both of them way."""
    told: dict[str, list[dict[str, Any]]] = {"charger": [], "mill": []}
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="loads")
    client.on_connect = lambda client, *_: client.subscribe([(f"plant/{name}/setpoint", 1) for name in told])
    client.on_message = lambda _client, _data, message: told[message.topic.split("/")[1]].append(json.loads(message.payload))
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()

    def heard(load_kw: float, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            drawn_kw = told["charger"][-1].get("power_kw", 0.0) if told["charger"] else 0.0
            station.publish("plant/charger", drawn_kw)
            station.publish("plant/charger/energy", 30)
            station.publish("plant/mill", 10 if told["mill"] and told["mill"][-1].get("on") else 0)
            station.publish("plant/bank", 1)
            station.publish("plant/kvar", 30)
            return bool(condition())

        station.speak_until(holds, load_kw=load_kw)

    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto, config=CONFIG + LOADS):
        heard(45, lambda: bool(told["charger"]) and told["charger"][-1].get("power_kw") == 22)
        heard(45, lambda: bool(told["mill"]) and told["mill"][-1]["on"] is True)
        heard(140, lambda: told["charger"][-1].get("power_kw") == 0 and told["mill"][-1]["on"] is False)
        heard(140, lambda: station.status is not None and station.status.transformer_loading_pu.get("t1", 0) > 0)
        assert station.status is not None
        assert station.status.transformer_hot_spot_degc["t1"] > 20
    client.disconnect()
    client.loop_stop()


def _planned_kw(station: Station) -> list[float]:
    schedules = station.of_kind(topics.SCHEDULE)
    return decode(schedules[-1], Schedule).power_kw.get("battery", []) if schedules else []


def test_systemd_hears_only_of_completed_cycles(tmp_path: Path, mosquitto: Mosquitto, station: Station) -> None:
    heard = _Listener(tmp_path / "notify")
    with running_agent(tmp_path, mosquitto, notify=heard.address):
        station.speak_until(lambda: heard.states().count("WATCHDOG=1") >= 3)
    assert heard.states()[0] == "READY=1"
    heard.close()


def test_control_that_fails_is_said_once_and_never_tells_systemd_that_all_is_well(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    """The other stages go on: readings leave, the status has the defect; systemd restarts what it does not hear from."""
    heard = _Listener(tmp_path / "notify")
    program = """if True:
        import pathlib, sys
        from ringmain_agent import agent as run
        from ringmain_agent.config.agent import load_config
        def raising(*_, **__):
            raise ZeroDivisionError("a defect that nobody foresaw")
        run.limit_setpoints = raising
        run.Agent(load_config(pathlib.Path(sys.argv[1])), simulated=False).run()"""
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG.format(mode="observe", port=mosquitto.port), encoding="utf-8")
    environment = os.environ | {"NOTIFY_SOCKET": heard.address}
    with (tmp_path / "agent.log").open("wb") as log:
        agent = subprocess.Popen([sys.executable, "-c", program, str(path)], env=environment, stderr=log)
    try:
        failing = "control failed: ZeroDivisionError: a defect that nobody foresaw"
        station.speak_until(lambda: station.status is not None and failing in station.status.reason)
        station.speak_until(lambda: station.status is not None and station.status.stage_failures.get("control", 0) > 5)
        station.speak_until(lambda: station.of_kind(topics.READINGS))
        assert agent.poll() is None
    finally:
        agent.kill()
        agent.wait()
    assert (tmp_path / "agent.log").read_text(encoding="utf-8").count("ZeroDivisionError: a defect") == 1
    assert heard.states() == ["READY=1"]
    heard.close()


def test_socket_of_systemd_that_is_gone_stops_no_setpoint(tmp_path: Path, mosquitto: Mosquitto, station: Station) -> None:
    heard = _Listener(tmp_path / "notify")
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto, notify=heard.address) as agent:
        station.speak_until(lambda: "WATCHDOG=1" in heard.states())
        heard.close()
        (tmp_path / "notify").unlink()
        station.speak_until(lambda: station.status is not None and "systemd is not notified" in station.status.reason)
        station.setpoints.clear()
        station.speak_until(lambda: any(s.get("power_kw", 0) < -30 for s in station.setpoints), load_kw=130)
        assert agent.end_of_log(1000).count("systemd is not notified") == 1


class _Listener:
    """What systemd would hear, on a real socket."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)
        self._states: list[str] = []

    def states(self) -> list[str]:
        """Everything heard so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._states.append(self._socket.recv(100).decode())
        return self._states

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


def test_in_observe_nothing_leaves_at_all(tmp_path: Path, mosquitto: Mosquitto, station: Station) -> None:
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto, mode="observe"):
        station.speak_until(lambda: len(station.of_kind(topics.SETPOINT)) > 0 and len(station.statuses) > 2, load_kw=130)
    assert station.setpoints == []
    assert station.statuses[-1].mode is Mode.OBSERVE
    assert decode(station.of_kind(topics.SETPOINT)[-1], Setpoint).mode is Mode.OBSERVE


def test_the_local_switch_forces_observe_at_any_time_and_silence_means_observe(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    with running_agent(tmp_path, mosquitto):
        station.speak_until(lambda: len(station.statuses) > 2, load_kw=130)
        assert station.setpoints == []
        station.publish("plant/switch", "control")
        station.speak_until(lambda: station.setpoints, load_kw=130)
        station.publish("plant/switch", "observe")
        station.speak_until(lambda: station.statuses[-1].mode is Mode.OBSERVE, load_kw=130)
        station.speak_until(lambda: "release" in station.setpoints[-1], load_kw=130)
        count = len(station.setpoints)
        seen = len(station.statuses)
        station.speak_until(lambda: len(station.statuses) > seen + 2, load_kw=130)
        assert len(station.setpoints) == count
        assert ["release" in setpoint for setpoint in station.setpoints].count(True) == 1  # `on_leave`, once


FAILSAFE = CONFIG.replace("repeat_s = 1", 'repeat_s = 1\non_leave = "failsafe"')


def test_equipment_is_told_once_when_control_ends_by_the_switch_by_a_stop_or_by_death(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    def last_orders() -> list[dict[str, Any]]:
        return [setpoint for setpoint in station.setpoints if setpoint.get("fallback") == "failsafe"]

    def controlled() -> None:
        station.setpoints.clear()
        station.publish("plant/switch", "control", retain=True)
        station.speak_until(lambda: any(s.get("power_kw", 0) < -30 for s in station.setpoints), load_kw=130)

    with running_agent(tmp_path, mosquitto, config=FAILSAFE) as agent:
        controlled()
        station.publish("plant/switch", "observe")
        station.speak_until(last_orders, load_kw=130)
        controlled()  # the will's connection comes back, too
        seen = len(station.statuses)
        station.speak_until(lambda: len(station.statuses) > seen + 1, load_kw=130)
        assert last_orders() == []
        assert station.statuses[-1].reason_codes.count(ReasonCode.WILL_MISSING) == 0
        agent.kill()
        wait_until(lambda: bool(last_orders()), what="the will")
        assert station.setpoints[-1] == last_orders()[0]
        assert {name: last_orders()[0][name] for name in ("power_kw", "sequence", "valid_for_s", "reason")} == {
            "power_kw": 0.0,
            "sequence": 0,
            "valid_for_s": 86400,
            "reason": "the agent is gone",
        }
        agent.start()
        controlled()
    wait_until(lambda: bool(last_orders()), what="the last setpoint")
    assert [(order["power_kw"], order["reason"]) for order in last_orders()] == [(0.0, "stop")]
    assert station.setpoints[-1] == last_orders()[0]


def test_after_the_return_of_the_local_broker_every_setpoint_goes_out_again(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    config = FAILSAFE.replace("repeat_s = 1", "repeat_s = 599").replace("valid_for_s = 5", "valid_for_s = 600")
    with running_agent(tmp_path, mosquitto, config=config):
        station.publish("plant/switch", "control", retain=True)
        station.speak_until(lambda: any(s.get("power_kw", 0) < -30 for s in station.setpoints), load_kw=130)
        mosquitto.stop()
        mosquitto.start()
        station.setpoints.clear()
        station.speak_until(lambda: any(s.get("power_kw", 0) < -30 for s in station.setpoints), load_kw=130)


def test_after_a_restart_nothing_leaves_until_the_switch_is_heard_and_its_retained_value_does_not_count(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    """Somebody isolates the site while the agent is off: its power-up drives nothing."""
    config = CONFIG.replace("retained = true", "stale_after_s = 2")
    with running_agent(tmp_path, mosquitto, config=config):

        def controlled() -> bool:
            station.publish("plant/switch", "control")
            return bool(station.setpoints)

        station.speak_until(lambda: controlled() and station.statuses[-1].mode is Mode.CONTROL, load_kw=130)
        unknown = [ReasonCode.SWITCH_UNKNOWN]
        station.speak_until(lambda: station.statuses[-1].mode is Mode.OBSERVE, load_kw=130)  # nobody repeats it
        station.speak_until(lambda: set(unknown) <= set(station.statuses[-1].reason_codes), load_kw=130)
        assert "last heard more than stale_after_s 2 s ago" in station.statuses[-1].reason
        station.speak_until(lambda: controlled() and station.statuses[-1].mode is Mode.CONTROL, load_kw=130)
    station.publish("plant/switch", "control", retain=True)
    station.setpoints.clear()
    seen = len(station.statuses)
    with running_agent(tmp_path, mosquitto, config=config):
        station.speak_until(lambda: len(station.statuses) > seen + 2, load_kw=130)
        assert station.statuses[-1].mode is Mode.OBSERVE
        assert "its retained value does not count" in station.statuses[-1].reason
    assert station.setpoints == []


@pytest.mark.parametrize("second_id", ["", 'client_id = "another"\n'], ids=["one client id", "two client ids"])
def test_of_two_agents_of_a_site_the_later_start_observes_and_neither_takes_turns(
    tmp_path: Path, mosquitto: Mosquitto, station: Station, second_id: str
) -> None:
    """The second one would mark its setpoints by another validity. With one id, each connect ends the other's at first."""
    later = CONFIG.replace("[mqtt.upstream]\n", "[mqtt.upstream]\n" + second_id).replace(
        "valid_for_s = 5", "valid_for_s = 4"
    )
    station.publish("plant/switch", "control", retain=True)

    def seen(reason: str) -> bool:
        return any(reason in status.reason for status in station.statuses[-20:])

    with running_agent(tmp_path, mosquitto):
        station.speak_until(lambda: any(s.get("power_kw", 0) < -30 for s in station.setpoints), load_kw=130)
        other = tmp_path / "other"
        other.mkdir()
        with running_agent(other, mosquitto, config=later) as second:
            station.speak_until(lambda: seen("started earlier: observe"), load_kw=130, timeout_s=40)
            station.speak_until(lambda: seen("started later: it observes"), load_kw=130, timeout_s=40)
            assert "agent gives way site=site-1" in second.end_of_log(1000)
            count = len(station.setpoints)
            station.speak_until(lambda: len(station.setpoints) > count + 2, load_kw=130)
            assert {setpoint["valid_for_s"] for setpoint in station.setpoints if "power_kw" in setpoint} == {5}
        online = decode(station.of_kind(topics.ONLINE)[-1], Online)
        station.speak_until(lambda: decode(station.of_kind(topics.ONLINE)[-1], Online).online, load_kw=130)
        assert online.instance is not None


def test_bad_messages_are_counted_by_reason_and_nothing_else_is_lost(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto):
        station.speak_until(lambda: station.status is not None)
        for payload in ("abc", "nan", b"\xff\xfe", b"", b"9" * 70_000):
            station.publish("plant/load", payload)
        for topic in (topics.RECEIPT, topics.ENVELOPE, topics.SERIES):
            name = "price_eur_per_mwh" if topic == topics.SERIES else None
            station.publish(topics.topic("site-1", topic, name), b"{broken")
        station.publish("plant/switch", b"\x00\xff")
        station.publish("plant/switch", "control")
        station.speak_until(lambda: station.status is not None and sum(station.status.rejected.values()) >= 8, load_kw=130)
        assert station.status is not None
        assert station.status.rejected.keys() >= {"undecodable", "not_finite", "too_large"}
        station.speak_until(lambda: station.setpoints and station.setpoints[-1].get("power_kw", 0) < -30, load_kw=130)


GIANT = b"9" * 40_000_000


def test_giant_messages_are_refused_before_they_are_held_and_never_come_again(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    """Live, retained, and kept by the persistent session: each is counted, and none costs memory or the connection."""
    station.publish("plant/switch", "control", retain=True)
    series = topics.topic("site-1", topics.SERIES, "price_eur_per_mwh")

    def refused() -> int:
        return station.status.rejected.get("too_large", 0) if station.status else 0

    with running_agent(tmp_path, mosquitto) as agent:
        station.speak_until(lambda: station.setpoints, load_kw=130)
        before_kb = _highest_kb(agent)
        station.publish("plant/load", GIANT)
        station.publish(series, GIANT, retain=True)
        station.speak_until(lambda: refused() == 2, load_kw=130)
        station.setpoints.clear()
        station.speak_until(lambda: any(s.get("power_kw", 0) < -30 for s in station.setpoints), load_kw=130)
        assert _highest_kb(agent) - before_kb < 20_000
        assert station.status is not None
        assert station.status.connections == {"local": "", "upstream": ""}
        assert "message rejected reason=too_large message on " in agent.end_of_log(100)
    station.statuses.clear()
    station.publish(topics.topic("site-1", topics.ENVELOPE), GIANT)
    with running_agent(tmp_path, mosquitto) as agent:
        station.speak_until(lambda: refused() == 2)  # the retained one, and the one that the session kept
        seen = len(station.statuses)
        station.speak_until(lambda: len(station.statuses) > seen + 3)
        assert refused() == 2
    station.publish(series, b"", retain=True)


def _highest_kb(agent: Program) -> int:
    """Largest resident memory of the process so far."""
    status = Path(f"/proc/{agent.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def test_a_retained_value_without_its_time_is_no_measurement(tmp_path: Path, mosquitto: Mosquitto, station: Station) -> None:
    station.publish("plant/load", 500, retain=True)
    with running_agent(tmp_path, mosquitto):
        wait_until(lambda: station.status is not None and station.status.rejected.get("retained", 0) == 1, what="the reject")
        assert station.of_kind(topics.READINGS) == []


def test_without_a_meter_the_equipment_goes_to_its_failsafe_power(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto):
        station.speak_until(lambda: any("power_kw" in s for s in station.setpoints))
        wait_until(lambda: station.status is not None and station.status.failsafe is not None, what="status says so")
        status = station.status
        assert status is not None
        assert status.fallback is Fallback.FAILSAFE
        assert status.failsafe is not None
        assert "pcc_kw" in status.failsafe.why
        wait_until(lambda: station.setpoints[-1].get("power_kw") == 0, what="fail-safe power")


def test_a_planner_that_is_killed_does_not_stop_the_regulator(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto) as agent:
        station.speak_until(lambda: any("power_kw" in s for s in station.setpoints))
        _planner(agent).kill()
        station.setpoints.clear()
        station.speak_until(lambda: any(s.get("power_kw", 0) < -30 for s in station.setpoints), load_kw=130)


def test_a_planner_that_hangs_is_killed_and_the_ladder_answers_meanwhile(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto) as agent:
        station.speak_until(lambda: any("power_kw" in s for s in station.setpoints))
        planner = _planner(agent)
        planner.suspend()
        station.setpoints.clear()
        station.speak_until(lambda: any(s.get("power_kw", 0) < -30 for s in station.setpoints), load_kw=130)
        planner.kill()


def test_a_disk_that_is_full_stops_no_setpoint_and_drops_are_counted(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto) as agent:
        station.speak_until(lambda: any("power_kw" in s for s in station.setpoints))
        unlimited = resource.prlimit(agent.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (4096, unlimited[1]))
        station.speak_until(lambda: station.status is not None and station.status.dropped.get("disk_full", 0) > 0)
        station.setpoints.clear()
        station.speak_until(lambda: any(s.get("power_kw", 0) < -30 for s in station.setpoints), load_kw=130)
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, unlimited)
        assert station.status is not None
        dropped = station.status.dropped["disk_full"]
        seen = len(station.of_kind(topics.READINGS))
        station.speak_until(lambda: len(station.of_kind(topics.READINGS)) > seen + 3)
        assert station.status.dropped["disk_full"] - dropped < 20  # it writes again


def test_an_agent_waits_for_brokers_that_are_not_there_and_connects_when_they_come(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    mosquitto.stop()
    with running_agent(tmp_path, mosquitto) as agent:
        wait_until(lambda: "is not reachable" in agent.end_of_log(), what="the log says that the broker is missing")
        agent.require_running()
        mosquitto.start()
        station = Station(mosquitto)
        connected = {"local": "", "upstream": ""}  # not yet in the first status, if one of them came first
        station.speak_until(lambda: station.status is not None and station.status.connections == connected, timeout_s=40)
        station.close()


def test_birth_and_will_tell_whether_the_agent_is_there(tmp_path: Path, mosquitto: Mosquitto, station: Station) -> None:
    with running_agent(tmp_path, mosquitto) as agent:
        station.speak_until(lambda: station.of_kind(topics.ONLINE))
        assert decode(station.of_kind(topics.ONLINE)[-1], Online).online
        agent.kill()
        wait_until(lambda: not decode(station.of_kind(topics.ONLINE)[-1], Online).online, what="the will")
        agent.start()
        station.speak_until(lambda: decode(station.of_kind(topics.ONLINE)[-1], Online).online)
    wait_until(lambda: not decode(station.of_kind(topics.ONLINE)[-1], Online).online, what="goodbye")


def test_only_a_receipt_empties_the_outbox_and_a_gap_is_sent_again(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    with running_agent(tmp_path, mosquitto):
        station.speak_until(lambda: len(station.of_kind(topics.READINGS)) >= 5)
        readings = [decode(payload, Readings) for payload in station.of_kind(topics.READINGS)]
        stream, missing = readings[0].stream, readings[2].sequence
        topic = topics.topic("site-1", topics.RECEIPT)
        last = readings[-1].sequence

        def again() -> bool:
            ranges = [(1, missing - 1), (missing + 1, last)]
            station.publish(topic, encode(Receipt(stream=stream, ranges=ranges)), retain=True)
            return [decode(p, Readings).sequence for p in station.of_kind(topics.READINGS)].count(missing) == 2

        station.speak_until(again)
        first = [p for p in station.of_kind(topics.READINGS) if decode(p, Readings).sequence == missing]
        assert first[0] == first[1]  # the same bytes under the same identity


def test_readings_that_came_just_before_a_stop_are_sent_after_the_next_start(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    seldom = CONFIG.replace("commit_interval_s = 0.2", "commit_interval_s = 60")
    with running_agent(tmp_path, mosquitto, config=seldom):
        station.speak_until(lambda: len(station.statuses) > 1)
        for number in range(20):
            station.publish("plant/load", 1000 + number)
            time.sleep(0.05)
        count = len(station.statuses)
        wait_until(lambda: len(station.statuses) > count + 1, what="some more cycles")
    with running_agent(tmp_path, mosquitto):
        station.speak_until(lambda: len(_loads(station) & set(range(1000, 1020))) == 20)


def _loads(station: Station) -> set[float | None]:
    readings = [decode(payload, Readings) for payload in station.of_kind(topics.READINGS)]
    return {v for r in readings for s, v in zip(r.signals, r.values, strict=True) if s == "load_kw"}


def test_lockstep_is_refused_off_loopback(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    text = CONFIG.format(mode="observe", port=1883).replace('host = "127.0.0.1"', 'host = "192.0.2.1"')
    config.write_text(text, encoding="utf-8")
    agent = Program(
        "agent", "ringmain_agent", "run", "--clock", "simulation", "--config", config, log=tmp_path / "agent.log"
    ).start()
    wait_until(lambda: not agent.running, what="the agent ends")
    assert agent.status == 78
    assert "loopback" in agent.end_of_log()


LOCAL_LIMIT = """
[feeds.ripple_position]
topic = "plant/ripple"
unit = "1"
[local_limit.ripple]
feed = "ripple_position"
positions = { "0" = { import_kw = 20.0 }, "100" = {} }
silent = { import_kw = 70.0 }
"""


def test_limits_of_the_operator_are_answered_and_hold_over_a_restart(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    """None is retained by the broker here: after the restart the agent has its own file only."""
    now_ms = time.time_ns() // 1_000_000
    config = CONFIG + LOCAL_LIMIT.replace("{", "{{").replace("}", "}}")

    def issue(issued_at_ms: int, import_kw: float) -> None:
        envelope = Envelope(
            issued_at_ms=issued_at_ms, expires_at_ms=now_ms + 3_600_000, priority=1, start_ms=now_ms - 1000, step_s=7200,
            import_limit_kw=[import_kw], export_limit_kw=[],
        )  # fmt: skip
        station.publish(topics.topic("site-1", topics.ENVELOPE, "dso"), encode(envelope))

    def answers() -> list[tuple[bool, int | None]]:
        payloads = [payload for topic, payload in station.messages if topic.endswith("/answer/dso")]
        return [(answer.accepted, answer.issued_at_ms) for answer in (decode(one, EnvelopeAnswer) for one in payloads)]

    def narrowest() -> tuple[float, str] | None:
        limits = [] if station.status is None else station.status.limits
        return next(((limit.value, limit.source) for limit in limits if limit.name == "import_kw"), None)

    with running_agent(tmp_path, mosquitto, config=config):
        station.speak_until(lambda: narrowest() == (70.0, "silence of local limit ripple"))
        issue(now_ms, 50.0)
        station.speak_until(lambda: answers() == [(True, now_ms)] and narrowest() == (50.0, "envelope dso"))
        issue(now_ms - 1000, 90.0)
        station.speak_until(lambda: len(answers()) == 2)
        station.publish(topics.topic("site-1", topics.ENVELOPE, "dso"), b"")
        station.speak_until(lambda: answers() == [(True, now_ms), (False, now_ms - 1000), (False, None)])
    station.statuses.clear()
    with running_agent(tmp_path, mosquitto, config=config):
        station.speak_until(lambda: narrowest() == (50.0, "envelope dso"))

        def heard() -> bool:
            station.publish("plant/ripple", 0)
            return narrowest() == (20.0, "local limit ripple")

        station.speak_until(heard)
    assert station.status is not None
    assert "import limit 20 kW by local limit ripple" in station.status.reason
    (tmp_path / "state" / "limits.json").write_bytes(b"damaged")
    station.statuses.clear()
    with running_agent(tmp_path, mosquitto, config=config):
        station.speak_until(lambda: station.status and ReasonCode.LIMITS_LOST in station.status.reason_codes)


def _spoil(path: Path) -> None:
    """Noise in every page of the state file behind the first."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def _backlog(folder: Path, count: int) -> None:
    """An outbox of which only a part fits into the memory of SQLite."""
    state = StateFile(folder / "state" / "agent.sqlite3", outbox_messages_max=100_000)
    outbox = Outbox(state, OutboxLimits())
    for number in range(count):
        outbox.add(
            topics.READINGS, Readings, signals=["load_kw"] * 50, at_ms=[number] * 50, values=[1.0] * 50, quality=[0] * 50
        )
    assert outbox.commit()
    state.close()


def _holds_the_limit(station: Station) -> None:
    station.setpoints.clear()
    station.speak_until(lambda: any(s.get("power_kw", 0) < -30 for s in station.setpoints), load_kw=130)


def test_state_file_that_is_damaged_stops_no_setpoint_at_start_or_later(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    give_history(tmp_path)
    _spoil(tmp_path / "state" / "agent.sqlite3")
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto):
        _holds_the_limit(station)
        station.speak_until(lambda: station.status is not None and station.status.state_begun_anew)
        assert station.status is not None
        assert "agent.sqlite3.damaged" in station.status.state_begun_anew
    (tmp_path / "state" / "agent.sqlite3.damaged").unlink()
    _backlog(tmp_path, 8000)
    station.statuses.clear()
    with running_agent(tmp_path, mosquitto, config=CONFIG.replace("backlog_per_s = 1000", "backlog_per_s = 200")):
        station.speak_until(lambda: station.status is not None and not station.status.state_begun_anew)
        assert station.status is not None
        stream = station.status.stream
        _spoil(tmp_path / "state" / "agent.sqlite3")
        station.speak_until(lambda: station.status is not None and station.status.state_begun_anew)
        assert station.status.stream != stream
        _holds_the_limit(station)
        new = station.status.stream
        station.speak_until(lambda: any(decode(p, Readings).stream == new for p in station.of_kind(topics.READINGS)))


def test_state_folder_that_goes_away_stops_no_setpoint(tmp_path: Path, mosquitto: Mosquitto, station: Station) -> None:
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto):
        _holds_the_limit(station)
        (tmp_path / "state").rename(tmp_path / "away-1")
        wait_until((tmp_path / "state" / "agent.sqlite3").exists, what="the file again")
        (tmp_path / "state").rename(tmp_path / "away-2")
        (tmp_path / "state").touch()  # no folder can be made there
        station.speak_until(lambda: station.status is not None and "nothing survives" in station.status.reason)
        assert station.status is not None
        assert station.status.stage_failures["state_file"] > 0
        _holds_the_limit(station)
        (tmp_path / "state").unlink()
        station.speak_until(lambda: station.status is not None and "nothing survives" not in station.status.reason)


def test_agent_without_a_state_folder_controls(tmp_path: Path, mosquitto: Mosquitto, station: Station) -> None:
    (tmp_path / "state").touch()
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto):
        _holds_the_limit(station)
        station.speak_until(lambda: station.status is not None and "nothing survives" in station.status.reason)


def test_no_kill_gives_a_number_to_two_messages(tmp_path: Path, mosquitto: Mosquitto, station: Station) -> None:
    """Receipts for everything that has arrived, as a bridge writes them; six times the agent is killed in between."""
    station.publish("plant/switch", "control", retain=True)

    def arrived() -> dict[tuple[str, int], set[bytes]]:
        contents: dict[tuple[str, int], set[bytes]] = {}
        for payload in station.of_kind(topics.READINGS):
            message = decode(payload, Readings)
            contents.setdefault((message.stream, message.sequence), set()).add(payload)
        return contents

    with running_agent(tmp_path, mosquitto) as agent:
        for kill in range(6):
            enough = len(arrived()) + 3 + kill
            station.speak_until(partial(lambda enough: len(arrived()) >= enough, enough))
            sequences = sorted(sequence for _, sequence in arrived())
            receipt = Receipt(stream=next(iter(arrived()))[0], ranges=[(s, s) for s in sequences[-150:]])
            station.publish(topics.topic("site-1", topics.RECEIPT), encode(receipt), retain=True)
            agent.kill()
            agent.start()
        _holds_the_limit(station)
        station.speak_until(lambda: station.status is not None)
        assert station.status is not None
        assert "receipt_refused" not in station.status.rejected
        assert station.status.state_begun_anew == ""
    assert len({stream for stream, _ in arrived()}) == 1
    assert all(len(contents) == 1 for contents in arrived().values())


def test_process_without_files_to_open_controls_and_plans_again_later(
    tmp_path: Path, mosquitto: Mosquitto, station: Station
) -> None:
    """No pipe for another planner, no socket for systemd: both are tried again, at growing intervals."""
    heard = _Listener(tmp_path / "notify")
    give_history(tmp_path)
    station.publish("plant/switch", "control", retain=True)
    with running_agent(tmp_path, mosquitto, notify=heard.address) as agent:
        station.speak_until(lambda: any(s.get("fallback") == "optimal" for s in station.setpoints))
        unlimited = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (3, unlimited[1]))
        _planner(agent).kill()
        station.speak_until(lambda: station.status is not None and station.status.stage_failures.get("plan", 0) > 0)
        assert station.status is not None
        assert "systemd is not notified" in station.status.reason
        _holds_the_limit(station)
        assert station.status.stage_failures.keys() <= {"plan", "reports"}
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, unlimited)
        station.speak_until(lambda: station.status is not None and "plan failed" not in station.status.reason)
        station.setpoints.clear()
        station.speak_until(lambda: any(s.get("fallback") == "optimal" for s in station.setpoints))
    heard.close()
