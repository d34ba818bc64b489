"""Size and speed of the agent: memory, cold start, one plan, one regulator cycle. Prints one JSON object.

A gateway as it is in service: model fetched through TUF and active, a week of history restored, feeds every 0.1 s. The
broker is the embedded one, on loopback. Limits to compare with: `limits` in the output (from the requirements).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import paho.mqtt.client as paho
import polars as pl
import psutil
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.answers import answers
from ringmain_agent.agent import Agent
from ringmain_agent.config.agent import LoadedConfig, load_config
from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import RegulatorState, regulate, remember
from ringmain_agent.gateway.clock import Cycle
from ringmain_agent.outputs.setpoint_payload import setpoint_payload
from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.snapshot import Measured, Measurements, Plan
from ringmain_protocol import topics
from ringmain_protocol.messages import Fallback, Series, encode
from ringmain_simulation import plant
from ringmain_simulation.configs import write_agent_config, write_trainer_config
from ringmain_simulation.data import Excerpt, load_excerpt
from ringmain_simulation.embedded import EmbeddedServer, start_mqtt
from ringmain_simulation.replay import MINUTES, replay
from ringmain_simulation.scenario import DEMO
from ringmain_simulation.series import KnownAhead
from ringmain_simulation.site import SimulatedSite
from ringmain_simulation.sites import simulated_sites
from ringmain_trainer.history.delta import append, open_table
from ringmain_trainer.history.tables import TABLES, bucket

SITE: Final = "liander-307"
STARTS: Final = 5
PLANS: Final = 60
CYCLES: Final = 2000
LIMITS: Final = {"pss_mb": 100, "cold_start_s": 2, "plan_ms_median": 20, "cycle_ms_median": 1}
STEP_MS: Final = 900_000


def main() -> None:
    """Prepare a gateway, measure, print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    broker = start_mqtt()
    try:
        with tempfile.TemporaryDirectory() as name, answers() as stream:
            print(json.dumps(measure(Path(name), broker)), file=stream)
    finally:
        broker.stop()


def measure(folder: Path, broker: EmbeddedServer) -> dict[str, object]:
    """All figures of one gateway in a folder."""
    excerpt = load_excerpt()
    site = simulated_sites(DEMO, excerpt)[SITE]
    publish_model(folder, excerpt, site)
    config = write_agent_config(
        folder / "agent",
        site.design,
        DEMO,
        local=(broker.host, broker.port),
        repository=str(folder / "repository"),
        root=folder / "repository" / "metadata" / "1.root.json",
    )
    import_week(folder, config, excerpt, site)
    station = Station(broker, excerpt)
    station.start()
    starts, pss_mb = run_agent(config, station)
    station.stop()
    loaded = load_config(config)
    plans, newest = time_plans(loaded)
    return {
        "pss_mb": round(pss_mb, 1),
        "cold_start_s": round(statistics.median(starts), 3),
        "cold_start_s_all": [round(s, 3) for s in starts],
        "plan_ms_median": round(statistics.median(plans), 2),
        "plan_ms_p95": round(float(np.quantile(plans, 0.95)), 2),
        "cycle_ms_median": round(statistics.median(time_cycles(loaded, newest)), 4),
        "limits": LIMITS,
    }


def publish_model(folder: Path, excerpt: Excerpt, site: SimulatedSite) -> None:
    """A history of 35 days straight into the tables, then train and publish as the central team does."""
    record = replay(
        excerpt,
        SITE,
        pv_rated_power_kw=site.design.pv_rated_power_kw,
        since_ms=DEMO.start_ms,
        until_ms=DEMO.control_ms,
        seed=DEMO.seed,
    )
    values = {
        "load_kw": record.load_kw.reshape(-1, MINUTES).mean(axis=1),
        "pv_kw": record.pv_available_kw.reshape(-1, MINUTES).mean(axis=1),
        "temperature_degc": record.temperature_degc[MINUTES - 1 :: MINUTES],
    }
    starts = [DEMO.start_ms + STEP_MS * i for i in range(len(values["load_kw"]))]
    rows = [
        {"signal": signal, "start_at": at(start), "value": float(value), "quality": 0}
        for signal, column in values.items()
        for start, value in zip(starts, column, strict=True)
    ]
    store(folder, topics.STEPS, rows, "start_at", stream="ab" * 16, sequence=1, step_s=900)
    ahead = KnownAhead(excerpt, time_zone=DEMO.time_zone, ahead_s=DEMO.series_ahead_s)
    rows = [
        {
            "name": name,
            "issued_at": at(series.issued_at_ms),
            "valid_at": at(series.start_ms + STEP_MS * i),
            "step_s": 900,
            "unit": series.unit,
            "value": value,
        }
        for issued_ms in range(DEMO.start_ms, DEMO.control_ms, 1000 * DEMO.series_every_s)
        for name, series in ahead.issued(issued_ms)
        for i, value in enumerate(series.values)
    ]
    store(folder, topics.SERIES, rows, "issued_at")
    config = write_trainer_config(folder, kafka="127.0.0.1:9", scenario=DEMO)
    for command in (["repository", "init"], ["train"], ["publish"]):
        run("ringmain_trainer", *command, "--config", str(config))


def store(folder: Path, kind: str, rows: list[dict[str, object]], time_column: str, **head: object) -> None:
    """Append rows of the site to a history table."""
    table = TABLES[kind]
    common = {"site": SITE, "received_at": at(DEMO.control_ms), "bucket": bucket(SITE)} | head
    frame = pl.DataFrame(rows, infer_schema_length=None).with_columns(
        *(pl.lit(value).alias(name) for name, value in common.items()),
        pl.col(time_column).dt.strftime("%Y-%m").alias("month"),
    )
    append(open_table(str(folder / "history"), table), frame.select(list(table.columns)).cast(pl.Schema(table.columns)), {})


def import_week(folder: Path, config: Path, excerpt: Excerpt, site: SimulatedSite) -> None:
    """The eight days before now, by the agent's own command: the record, shifted by whole weeks."""
    now_ms = time.time_ns() // 1_000_000
    end_ms = now_ms - now_ms % STEP_MS
    first = excerpt.step_at(shifted_ms(end_ms)) - 768
    lines = ["time,load_kw,pv_kw,temperature_degc"]
    lines += [
        f"{at(end_ms - STEP_MS * (768 - i)).isoformat()},{load},0,{temperature}"
        for i, (load, temperature) in enumerate(
            zip(excerpt.load_kw[SITE][first:], excerpt.temperature_degc[first:], strict=True)
        )
        if i < 768 and np.isfinite(load)
    ]
    path = folder / "week.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run("ringmain_agent", "import-history", str(path), "--config", str(config))
    del site


class Station(threading.Thread):
    """Sensors every 0.1 s, series and switch; notes when a battery setpoint arrives."""

    def __init__(self, broker: EmbeddedServer, excerpt: Excerpt) -> None:
        """Connect to the broker."""
        super().__init__(daemon=True)
        self.setpoint = threading.Event()
        self._ended = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="station")
        self._client.on_message = self._on_message
        self._client.connect(broker.host, broker.port)
        self._client.subscribe(plant.setpoint(SITE, "battery"))
        self._client.loop_start()
        self._client.publish(plant.switch(SITE), b"control", qos=1, retain=True)
        now_ms = time.time_ns() // 1_000_000
        start_ms = now_ms - now_ms % STEP_MS
        for name, series in KnownAhead(excerpt, time_zone=DEMO.time_zone, ahead_s=54 * 3600).issued(shifted_ms(start_ms)):
            moved = Series(issued_at_ms=now_ms, start_ms=start_ms, step_s=900, unit=series.unit, values=series.values)
            self._client.publish(topics.topic(SITE, topics.SERIES, name), encode(moved), qos=1, retain=True)

    def run(self) -> None:
        """Speak until stopped."""
        values = {
            "load_kw": 5000,
            "pv_kw": 0,
            "battery_kw": 0,
            "battery_soc_kwh": 9000,
            "pcc_kw": 5000,
            "temperature_degc": 8,
        }
        while not self._ended.wait(0.1):
            now = datetime.fromtimestamp(time.time(), UTC).isoformat()
            for signal, value in values.items():
                self._client.publish(plant.feed(SITE, signal), f'{{"value": {value}, "time": "{now}"}}'.encode(), qos=1)

    def stop(self) -> None:
        """Stop speaking."""
        self._ended.set()
        self.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if b"power_kw" in message.payload:
            self.setpoint.set()


def run_agent(config: Path, station: Station) -> tuple[list[float], float]:
    """Seconds from exec to the first setpoint for each start, and the memory of the last one with model and plan."""
    command = [sys.executable, "-m", "ringmain_agent", "run", "--config", str(config)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    starts, pss_mb = [], 0.0
    for number in range(STARTS + 1):
        log = config.parent / f"run-{number}.log"
        station.setpoint.clear()
        with log.open("wb") as output:
            begin = time.monotonic()
            agent = subprocess.Popen(command, stderr=output, stdout=output, env=environment)
            station.setpoint.wait(60)
            starts.append(time.monotonic() - begin)
        try:
            wait_for(partial(says, log, "agent plan" if number else "load_kw:1"), 90)
            if number == STARTS:
                time.sleep(8)  # a look for models has come and gone
                process = psutil.Process(agent.pid)
                pss_mb = sum(pss(p.pid) for p in (process, *process.children(recursive=True))) / 1e6
                assert says(log, "load_kw:1"), "the model is not in use"
        finally:
            agent.terminate()
            agent.wait(20)
    return starts[1:], pss_mb  # the first start had no model yet, and perhaps no bytecode


def time_plans(loaded: LoadedConfig) -> tuple[list[float], Plan]:
    """Milliseconds of each plan of a row of steps, and the last plan."""
    agent = Agent(loaded, simulated=False)
    forecaster, dispatcher = Forecaster(loaded.site), Dispatcher(loaded.site)
    now_ms, times = time.time_ns() // 1_000_000, []
    agent._take_inputs(Cycle(now_ms=now_ms, now_s=time.monotonic(), arrived=[]))  # noqa: SLF001
    snapshot = agent.snapshot()
    result = plan(snapshot, loaded.site, forecaster, dispatcher)
    for _ in range(PLANS):
        begin = time.perf_counter()
        result = plan(snapshot, loaded.site, forecaster, dispatcher)
        times.append(1e3 * (time.perf_counter() - begin))
    assert result.fallback is Fallback.OPTIMAL, result.reason
    assert all(forecast.release == 1 for forecast in result.forecasts), result.reason
    return times, result


def time_cycles(loaded: LoadedConfig, newest: Plan) -> list[float]:
    """Milliseconds of regulator, limits and payloads for a load that moves around the limit."""
    site, state, times = loaded.site, RegulatorState(), []
    limit_kw = site.grid_connection.import_limit_kw
    for i in range(CYCLES):
        now_ms = newest.issued_at_ms + 100 * i
        load_kw = limit_kw * (0.9 + 0.2 * ((i * 7919) % 100) / 100)
        values = {"load_kw": load_kw, "pv_kw": -100.0, "battery_kw": 0.0, "battery_soc_kwh": 9000.0, "pcc_kw": load_kw - 100}
        begin = time.perf_counter()
        measurements = Measurements(
            now_ms=now_ms,
            stale_after_s=site.regulator.stale_after_s,
            newest={signal: Measured(value, now_ms) for signal, value in values.items()},
            import_limit_kw=limit_kw,
            export_limit_kw=site.grid_connection.export_limit_kw,
        )
        regulation, state = regulate(measurements, newest, state, site)
        limited = limit_setpoints(regulation.setpoints, site=site, measurements=measurements, previous=state.sent)
        for name, output in loaded.config.outputs.items():
            setpoint_payload(output, limited.power_kw[name], sequence=i, now_ms=now_ms)
        state = remember(state, limited.power_kw, now_ms)
        times.append(1e3 * (time.perf_counter() - begin))
    return times


def pss(pid: int) -> int:
    """Proportional memory of a process in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"no Pss of process {pid}")


def says(log: Path, text: str) -> bool:
    """Whether a log holds a text."""
    return text in log.read_text(encoding="utf-8")


def wait_for(condition: Callable[[], bool], timeout_s: float) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s:g} s")
        time.sleep(0.05)


def run(module: str, *arguments: str) -> None:
    """One command of a program; its log goes to standard error only if it fails."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise SystemExit(f"{module} {' '.join(arguments)} ended with status {done.returncode}")


def at(ms: int) -> datetime:
    """An instant."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def shifted_ms(now_ms: int) -> int:
    """The instant of the record that stands for now: the same time of the week, in its last weeks."""
    week_ms = round(1000 * timedelta(days=7).total_seconds())
    return now_ms - week_ms * -(-(now_ms - DEMO.control_ms) // week_ms)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
