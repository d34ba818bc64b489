"""The whole ring on real servers and real data: 80 days of history, then 14 days of closed loop, and each part killed once.

One run serves all claims of this file; it takes some minutes. Every program is a process of its own; the trainer knows
Kafka's address and an empty folder, and nothing else.
"""

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from ringmain_protocol.messages import Mode, Status
from ringmain_simulation.configs import write_agent_config, write_bridge_config, write_trainer_config
from ringmain_simulation.count import Comparison, compare_readings, compare_steps, read_table
from ringmain_simulation.data import load_excerpt
from ringmain_simulation.lockstep import Lockstep, SiteCounts, TickResult
from ringmain_simulation.programs import Program, Programs, wait_for_http
from ringmain_simulation.scenario import LONG
from ringmain_simulation.sites import simulated_sites
from ringmain_simulation.summary import Score, forecast_scores
from servers.base import Server, ServerMissingError, free_port, wait_until
from servers.kafka import Kafka
from servers.mosquitto import Mosquitto
from servers.prometheus import Prometheus

SITES = ("liander-287", "liander-307", "liander-435", "liander-438")
KILLED_SITE = "liander-307"
UNSEEN_DAYS = 14


class Outcome(Struct, kw_only=True):
    """What the run left behind."""

    readings: dict[str, Comparison]
    steps: dict[str, Comparison]
    scores: dict[str, Score]
    counts: dict[str, SiteCounts]
    statuses: dict[str, Status]
    before_kill: Status
    after_kill: Status
    outages: dict[str, int]
    prometheus: dict[str, dict[str, float]]
    published: dict[str, Any]
    bridge_metrics: str
    history: Path


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Run the ring once."""
    with ExitStack() as stack:
        yield _run(stack, tmp_path_factory.mktemp("ring"))


def _started(stack: ExitStack, server: Server) -> None:
    stack.callback(server.stop)
    try:
        server.start()
    except ServerMissingError as error:
        pytest.skip(str(error))


def _run(stack: ExitStack, folder: Path) -> Outcome:  # noqa: C901, PLR0915  the story of the test, told in order
    excerpt, scenario = load_excerpt(), LONG
    sites = simulated_sites(scenario, excerpt)
    http_port, files_port = free_port(), free_port()
    mosquitto, kafka = Mosquitto(folder / "mosquitto"), Kafka(folder / "kafka")
    prometheus = Prometheus(folder / "prometheus", [f"127.0.0.1:{http_port}"])
    for server in (mosquitto, kafka, prometheus):
        _started(stack, server)
    mqtt = (mosquitto.host, mosquitto.port)

    trainer_folder = folder / "trainer"
    trainer_config = write_trainer_config(trainer_folder, kafka=kafka.bootstrap_servers, scenario=scenario)
    trainer = _trainer(folder / "logs", trainer_config)
    trainer("repository", "init")

    programs = stack.enter_context(Programs(folder))
    programs.start(
        "files", "http.server", str(files_port), "--bind", "127.0.0.1", "--directory", trainer_folder / "repository"
    )
    bridge_config = write_bridge_config(folder / "bridge", mqtt=mqtt, kafka=kafka.bootstrap_servers, http_port=http_port)
    bridge = programs.start("bridge", "ringmain_bridge", "run", "--config", bridge_config)
    wait_for_http(f"http://127.0.0.1:{http_port}/metrics", 30, bridge)
    for name, site in sites.items():
        config = write_agent_config(
            folder / "agents" / name,
            site.design,
            scenario,
            local=mqtt,
            repository=f"http://127.0.0.1:{files_port}",
            root=trainer_folder / "repository" / "metadata" / "1.root.json",
        )
        programs.start(name, "ringmain_agent", "run", "--config", config, "--clock", "simulation")

    lockstep = stack.enter_context(
        Lockstep(sites, scenario, excerpt, host=mosquitto.host, port=mosquitto.port, answer_timeout_s=60)
    )
    lockstep.switch(Mode.OBSERVE)
    outages = dict.fromkeys(("bridge", "mosquitto", "agent"), 0)
    for number, _ in enumerate(lockstep.history()):
        if number == 60:
            _kill(bridge)
            outages["bridge"] += 1
        elif number == 90:
            bridge.start()
        elif number == 140:
            _kill(programs[KILLED_SITE])
            programs[KILLED_SITE].start()
            outages["agent"] += 1
        elif number in {200, 260}:
            mosquitto.kill()
            mosquitto.start()
            outages["mosquitto"] += 1
    _drain(lockstep, programs)

    trainer("ingest", "--once")
    assert json.loads(trainer("train", "--json"))
    published = json.loads(trainer("publish", "--announce", f"{mosquitto.host}:{mosquitto.port}", "--json"))
    _wait(lockstep, lambda: all(_releases(lockstep, site) == {"load_kw": 1, "pv_kw": 1} for site in SITES), "activation")

    lockstep.switch(Mode.CONTROL)
    middle_ms = scenario.control_ms + 5 * 86_400_000
    _consume(lockstep.control(until_ms=middle_ms))
    before_kill = _fresh_status(lockstep, KILLED_SITE)
    _kill(programs[KILLED_SITE])
    programs[KILLED_SITE].start()
    outages["agent"] += 1
    _consume(lockstep.control(until_ms=middle_ms + 3_600_000))
    after_kill = _fresh_status(lockstep, KILLED_SITE)
    for number, _ in enumerate(lockstep.control()):
        if number == 500:
            _kill(bridge)
            bridge.start()
            outages["bridge"] += 1
        elif number == 1500:
            mosquitto.kill()
            mosquitto.start()
            outages["mosquitto"] += 1
    _drain(lockstep, programs)

    queries = {
        "online": "ringmain_site_online",
        "last_seen": "time() - ringmain_site_last_seen_timestamp_seconds",
        "release": 'ringmain_site_model_release{signal="load_kw"}',
        "error": 'ringmain_site_forecast_error_watts{signal="load_kw"}',
    }
    wait_until(lambda: len(prometheus.values(queries["error"], "site")) == len(SITES), what="prometheus has every site")
    answers = {name: prometheus.values(query, "site") for name, query in queries.items()}
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/metrics", timeout=5) as response:
        metrics = response.read().decode()
    trainer("ingest", "--once")
    history = trainer_folder / "history"
    return Outcome(
        readings=compare_readings(history, lockstep.sent),
        steps=compare_steps(history, lockstep.sent, until_ms=lockstep.now_ms),
        scores=forecast_scores(history, lockstep.sent, signal="load_kw", from_ms=scenario.control_ms, to_ms=scenario.end_ms),
        counts={site: lockstep.counts(site) for site in SITES},
        statuses={site: _fresh_status(lockstep, site) for site in SITES},
        before_kill=before_kill,
        after_kill=after_kill,
        outages=outages,
        prometheus=answers,
        published=published,
        bridge_metrics=metrics,
        history=history,
    )


def _trainer(logs: Path, config: Path) -> Callable[..., str]:
    """Runs a command of the trainer with nothing of this environment but what a process needs; returns what it printed."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

    def run(*arguments: str) -> str:
        log = logs / f"trainer-{arguments[0]}.log"
        command = (*arguments[:1], *arguments[1:], "--config", str(config))
        output = logs / "trainer.json"
        if "--json" in command:
            command = (*(a for a in command if a != "--json"), "--json", str(output))
        Program("trainer", "ringmain_trainer", *command, log=log, environment=environment).start().wait(300)
        return output.read_text(encoding="utf-8") if "--json" in command else ""

    return run


def _kill(program: Program) -> None:
    os.kill(program.pid, signal.SIGKILL)
    program.kill()


def _consume(ticks: Iterator[TickResult]) -> None:
    for _ in ticks:
        pass


def _wait(lockstep: Lockstep, condition: Callable[[], bool], what: str) -> None:
    """Let real time pass, and simulated time not, until the condition holds."""

    def holds() -> bool:
        lockstep.idle(0.2)
        return condition()

    wait_until(holds, timeout_s=90, what=what)


def _drain(lockstep: Lockstep, programs: Programs) -> None:
    """Let real time pass until receipts have emptied every outbox."""
    programs.require_running("bridge", *SITES)
    lockstep.idle(1.5)
    _wait(lockstep, lambda: all(_outbox_messages(lockstep, site) == 0 for site in SITES), "outboxes are empty")


def _outbox_messages(lockstep: Lockstep, site: str) -> int:
    status = lockstep.status(site)
    return 1 if status is None else status.outbox_messages


def _releases(lockstep: Lockstep, site: str) -> dict[str, int]:
    status = lockstep.status(site)
    return {} if status is None else dict(status.releases)


def _fresh_status(lockstep: Lockstep, site: str) -> Status:
    lockstep.idle(1.2)
    status = lockstep.status(site)
    assert status is not None
    return status


@pytest.mark.parametrize("site", SITES)
def test_every_reading_is_in_the_history_exactly_once_although_each_part_was_killed(ring: Outcome, site: str) -> None:
    assert ring.outages == {"bridge": 2, "mosquitto": 3, "agent": 2}
    comparison = ring.readings[site]
    assert comparison.expected > 80 * 96 * 5 + UNSEEN_DAYS * 480 * 5
    assert comparison.exactly_once, comparison


@pytest.mark.parametrize("site", SITES)
def test_every_step_is_in_the_history_exactly_once_and_bit_equal(ring: Outcome, site: str) -> None:
    comparison = ring.steps[site]
    assert comparison.expected > 90 * 96 * 5
    assert comparison.exactly_once, comparison


@pytest.mark.parametrize("site", SITES)
def test_the_model_was_trained_on_the_history_signed_fetched_and_activated(ring: Outcome, site: str) -> None:
    assert ring.published["release"] == 1
    assert ring.statuses[site].releases == {"load_kw": 1, "pv_kw": 1}


@pytest.mark.parametrize("site", SITES)
def test_day_ahead_forecast_beats_persistence_over_unseen_days(
    ring: Outcome, site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    score = ring.scores[site]
    with capsys.disabled():
        print(f"\n{site}: day-ahead error {score.forecast_mae_kw} kW, persistence {score.persistence_mae_kw} kW", end=" ")
    assert score.forecasts >= UNSEEN_DAYS
    assert score.forecast_mae_kw < score.persistence_mae_kw


@pytest.mark.parametrize("site", SITES)
def test_the_battery_keeps_the_import_limit_under_forecast_errors(
    ring: Outcome, site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = ring.counts[site]
    with capsys.disabled():
        print(f"\n{site}: violations {counts.violations} with, {counts.violations_without_control} without", end=" ")
    assert counts.violations_without_control >= 20
    assert 100 * counts.violations <= counts.violations_without_control


@pytest.mark.parametrize("site", SITES)
def test_operations_see_every_site_in_prometheus(ring: Outcome, site: str) -> None:
    assert ring.prometheus["online"][site] == 1
    assert 0 <= ring.prometheus["last_seen"][site] < 300
    assert ring.prometheus["release"][site] == 1
    assert ring.prometheus["error"][site] > 0


def test_an_agent_killed_in_closed_loop_goes_on_with_history_battery_and_billing_peak(ring: Outcome) -> None:
    before, after = ring.before_kill, ring.after_kill
    assert after.stream == before.stream
    assert after.releases == before.releases == {"load_kw": 1, "pv_kw": 1}
    assert before.billing_peak_kw is not None
    assert after.billing_peak_kw is not None
    assert after.billing_peak_kw >= before.billing_peak_kw > 0
    assert abs(after.soc_pu["battery"] - before.soc_pu["battery"]) < 0.25
    forecasts = read_table(ring.history, "forecasts", ["site", "issued_at", "release", "signal"])
    control = forecasts.filter(
        (forecasts["site"] == KILLED_SITE) & (forecasts["issued_at"].dt.epoch("ms") > LONG.control_ms + 900_000)
    )
    assert control["release"].min() == 1  # never persistence: the window of steps was there at once


def test_the_bridge_accounts_for_every_message(ring: Outcome) -> None:
    values: dict[str, float] = {}
    for line in ring.bridge_metrics.splitlines():
        if line.startswith("ringmain_bridge_"):
            name, _, value = line.rpartition(" ")
            base = name.split("{")[0]
            values[base] = values.get(base, 0.0) + float(value)
    prefix = "ringmain_bridge_"
    parts = ("delivered_total", "dead_lettered_total", "dropped_total", "in_flight")
    assert values[f"{prefix}messages_received_total"] == sum(values[prefix + part] for part in parts)
    assert values[f"{prefix}dead_lettered_total"] == 0


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-s"]))
