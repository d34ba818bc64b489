"""Time from a meter's message to the setpoint that answers it, both at the broker, under load. Prints one JSON object.

`python -m benchmarks.reaction [--samples N] [--cycle-s S] [--messages-per-s M]`. Real agent, real Mosquitto, real time. The
load of a site at its import limit steps up and down at random instants; the answer is the first setpoint of the battery that
moves with it. Meanwhile every sensor of the site speaks several times a second, and its operator renews an envelope. Most of
the time is the wait for the next cycle: `cycle_s` is the configured one.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.answers import answers
from benchmarks.failsafe.site import SiteDesign, agent_toml, designs
from ringmain_protocol import topics
from ringmain_simulation.programs import Program
from servers.mosquitto import Mosquitto

SAMPLES: Final = 100
MESSAGES_PER_S: Final = 200.0
STEP_KW: Final = 150.0
ANSWER_KW: Final = 50.0
"""A setpoint that moves by at least this answers the step."""
TIMEOUT_S: Final = 60.0
SETTLING_CYCLES: Final = 6
"""Cycles at the start until the battery has ramped to the limit."""


class Station:
    """The sensors, the battery and the operator of a site; notes when setpoints of the battery arrive."""

    def __init__(self, broker: Mosquitto, design: SiteDesign, *, messages_per_s: float) -> None:
        self._design = design
        self._load_kw = design.load_kw
        self._battery_kw = 0.0
        self._moved = threading.Condition()
        self._moved_s = 0.0
        self._ended = threading.Event()
        self._round_s = len(design.signals) / messages_per_s
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="station")
        self._client.on_message = self._on_setpoint
        self._client.connect(broker.host, broker.port)
        self._client.subscribe("plant/setpoint/battery", 1)
        self._client.loop_start()
        self._speaker = threading.Thread(target=self._speak, daemon=True)
        self._speaker.start()

    def close(self) -> None:
        """Fall silent."""
        self._ended.set()
        self._speaker.join()
        self._client.disconnect()
        self._client.loop_stop()

    def step(self, load_kw: float) -> float:
        """The load steps; returns the milliseconds until the battery's setpoint has moved with it.

        Raises:
            TimeoutError: If it does not.
        """
        with self._moved:
            before_kw = self._battery_kw
            self._load_kw = load_kw
            began = time.monotonic()
            self._publish("pcc_kw", load_kw + before_kw)
            if self._design.measures_load:
                self._publish("load_kw", load_kw)
            if not self._moved.wait_for(lambda: abs(self._battery_kw - before_kw) >= ANSWER_KW, TIMEOUT_S):
                raise TimeoutError(f"no setpoint within {TIMEOUT_S:g} s after a step to {load_kw:g} kW")
            return 1000 * (self._moved_s - began)

    def _speak(self) -> None:
        rounds = 0
        while not self._ended.wait(self._round_s):
            values = dict.fromkeys(self._design.signals, 0.0)
            values |= {"load_kw": self._load_kw, "pcc_kw": self._load_kw + self._battery_kw, "battery_kw": self._battery_kw}
            values |= {"battery_soc_kwh": 0.6 * self._design.battery_kwh, "ripple_position": 100.0}
            for signal in self._design.signals:
                self._publish(signal, values[signal])
            if rounds % max(round(1 / self._round_s), 1) == 0:
                self._client.publish("plant/switch", b"control", qos=1)
                self._client.publish(topics.topic(self._design.site, topics.ENVELOPE, "dso"), self._envelope(), qos=1)
            rounds += 1

    def _publish(self, signal: str, value: float) -> None:
        at = datetime.fromtimestamp(time.time(), UTC).isoformat()
        self._client.publish(f"plant/feed/{signal}", f'{{"value": {value}, "time": "{at}"}}'.encode(), qos=1)

    def _envelope(self) -> bytes:
        now_ms, limits = time.time_ns() // 1_000_000, self._design.envelope
        start_ms = now_ms - now_ms % 900_000
        envelope = {"issued_at_ms": now_ms, "expires_at_ms": now_ms + 3_600_000, "priority": 5, "start_ms": start_ms}
        limits_kw = {"import_limit_kw": [limits.import_kw] * 8, "export_limit_kw": [limits.export_kw] * 8}
        return msgspec.json.encode(envelope | limits_kw | {"step_s": 900, "heartbeat_s": 5.0})

    def _on_setpoint(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        power_kw = json.loads(message.payload).get("power_kw")
        with self._moved:
            self._battery_kw, self._moved_s = power_kw or 0.0, time.monotonic()
            self._moved.notify_all()


def measure(folder: Path, *, samples: int, cycle_s: float, messages_per_s: float = MESSAGES_PER_S) -> dict[str, float]:
    """Reaction times of one agent in a folder."""
    design, random = designs()[0], Random(1)  # noqa: S311  instants of steps, not secrets
    with Mosquitto(folder / "broker") as broker:
        site = folder / "site.toml"
        site.write_text(agent_toml(design, local_port=broker.port, upstream_port=broker.port, cycle_s=cycle_s))
        station = Station(broker, design, messages_per_s=messages_per_s)
        agent = Program("agent", "ringmain_agent", "run", "--config", site, log=folder / "agent.log").start()
        try:
            station.step(design.load_kw)  # the start: not counted
            times_ms: list[float] = []
            for number in range(samples):
                threading.Event().wait((random.random() + (2 if number else SETTLING_CYCLES)) * cycle_s)
                times_ms.append(station.step(design.load_kw + (0.0 if number % 2 else STEP_KW)))
        finally:
            agent.stop()
            station.close()
    p50_ms, p99_ms = (round(float(np.quantile(times_ms, quantile)), 1) for quantile in (0.5, 0.99))
    return {"p50_ms": p50_ms, "p99_ms": p99_ms, "cycle_s": cycle_s, "samples": samples, "messages_per_s": messages_per_s}


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--cycle-s", type=float, default=1.0)
    parser.add_argument("--messages-per-s", type=float, default=MESSAGES_PER_S, help="of all sensors together")
    arguments = parser.parse_args()
    with answers() as stream, tempfile.TemporaryDirectory(prefix="ringmain-reaction-") as folder:
        result = measure(
            Path(folder),
            samples=arguments.samples,
            cycle_s=arguments.cycle_s,
            messages_per_s=arguments.messages_per_s,
        )
        print(json.dumps(result), file=stream)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
