"""The whole ring on one machine: real programs as processes, an embedded broker and Kafka, four simulated substations.

The history comes first, in observe mode and at full speed. The trainer then learns from it and publishes; the agents fetch,
verify and activate the models. The switches then turn to control for some days. Everything runs in lockstep.
"""

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from ringmain_protocol.messages import Mode
from ringmain_simulation import embedded
from ringmain_simulation.configs import write_agent_config, write_bridge_config, write_trainer_config
from ringmain_simulation.count import count_rows
from ringmain_simulation.data import load_excerpt
from ringmain_simulation.lockstep import Lockstep
from ringmain_simulation.programs import Program, ProgramError, Programs, wait_for_http
from ringmain_simulation.scenario import DEMO, Scenario
from ringmain_simulation.sites import simulated_sites
from ringmain_simulation.summary import DAY_MS, Summary, summarize

MARKER: Final = ".ringmain-demo"
PROGRAM_TIMEOUT_S: Final = 180.0
ARRIVE_TIMEOUT_S: Final = 60.0
ACTIVATE_TIMEOUT_S: Final = 60.0
SHOW_EVERY_S: Final = 0.25
FINISH_S: Final = 10.0
"""Part of the budget for the last ingest and the summary."""

Show = Callable[[Lockstep, str], None]


class DemoError(Exception):
    """The demo cannot go on; the text has the cause and the log to read."""


class Demo:
    """One run in one folder. `show` gets the running phase a few times a second."""

    def __init__(
        self, folder: Path, *, show: Show, duration_s: float | None = None, scenario: Scenario = DEMO, http_port: int = 9464
    ) -> None:
        self.folder = folder
        self.metrics_url = f"http://127.0.0.1:{http_port}/metrics"
        self._show = show
        self._scenario = scenario
        self._http_port = http_port
        self._began_s = time.monotonic()
        self._until_s = None if duration_s is None else self._began_s + duration_s
        self._shown_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Wall-clock seconds since the start."""
        return time.monotonic() - self._began_s

    def run(self) -> Summary:
        """Run from start to end; every started program is stopped again, also after an error.

        Raises:
            DemoError: If the folder holds other files, or a part of the ring does not work.
            ProgramError: If a program ended unexpectedly.
        """
        clear_folder(self.folder)
        with ExitStack() as stack:
            kafka = embedded.start_kafka(log=self.folder / "logs" / "kafka.log")
            stack.callback(kafka.stop)
            mqtt = embedded.start_mqtt(log=self.folder / "logs" / "mqtt.log")
            stack.callback(mqtt.stop)
            programs = stack.enter_context(Programs(self.folder))
            trainer = write_trainer_config(self.folder, kafka=kafka.address, scenario=self._scenario)
            programs.start("repository", "ringmain_trainer", "repository", "init", "--config", trainer)
            address = (mqtt.host, mqtt.port)
            excerpt = load_excerpt()
            sites = simulated_sites(self._scenario, excerpt)
            bridge = write_bridge_config(self.folder, mqtt=address, kafka=kafka.address, http_port=self._http_port)
            programs.start("bridge", "ringmain_bridge", "run", "--config", bridge)
            programs["repository"].wait(PROGRAM_TIMEOUT_S)
            root = first_root(self.folder / "repository")
            for name, site in sites.items():
                config = write_agent_config(
                    self.folder / "agents" / name,
                    site.design,
                    self._scenario,
                    local=address,
                    repository=str((self.folder / "repository").resolve()),
                    root=root,
                )
                programs.start(name, "ringmain_agent", "run", "--config", config, "--clock", "simulation")
            wait_for_http(self.metrics_url, PROGRAM_TIMEOUT_S, programs["bridge"])
            lockstep = stack.enter_context(Lockstep(sites, self._scenario, excerpt, host=mqtt.host, port=mqtt.port))
            return _Phases(self, lockstep, programs, trainer, mqtt.address).run()

    def show(self, lockstep: Lockstep, phase: str, *, at_once: bool = False) -> None:
        """Show the phase, at most a few times a second."""
        now = time.monotonic()
        if at_once or now - self._shown_s >= SHOW_EVERY_S:
            self._shown_s = now
            self._show(lockstep, phase)

    @property
    def left_s(self) -> float | None:
        """Wall-clock seconds left of the budget, or None without one."""
        return None if self._until_s is None else self._until_s - time.monotonic()


class _Phases:
    """The phases of a run after the start of all programs."""

    def __init__(self, demo: Demo, lockstep: Lockstep, programs: Programs, trainer: Path, broker: str) -> None:
        self._demo = demo
        self._lockstep = lockstep
        self._programs = programs
        self._trainer = trainer
        self._broker = broker
        self._history = demo.folder / "history"
        self._long_running = ("bridge", *lockstep.sites)

    def run(self) -> Summary:
        lockstep = self._lockstep
        lockstep.switch(Mode.OBSERVE)
        for _ in lockstep.history():
            self._demo.show(lockstep, "history, observe")
            self._programs.require_running(*self._long_running)
        self._ingest_all("history arrives in Kafka and Delta")
        self._trainer_run("train", "trainer learns", "train")
        self._trainer_run("publish", "trainer signs and publishes", "publish", "--announce", self._broker)
        self._wait_for_models()
        self._control()
        self._ingest_all("last readings arrive")
        return summarize(lockstep, self._history, duration_s=self._demo.elapsed_s)

    def _control(self) -> None:
        """Days in control: all of the scenario, or as many as the budget allows, but at least the shown ones."""
        lockstep, scenario = self._lockstep, self._lockstep.scenario
        lockstep.switch(Mode.CONTROL)
        lockstep.idle(0.3)  # agents receive the switch before time goes on
        began_s, ingest = time.monotonic(), None
        for result in lockstep.control():
            self._demo.show(lockstep, "control")
            self._programs.require_running(*self._long_running)
            shown_ms = result.now_ms - scenario.control_ms
            if shown_ms % DAY_MS == 0 and (ingest is None or not ingest.running):
                # The embedded Kafka keeps 5 MiB a partition.
                ingest = self._start_trainer("ingest", "ingest", "--once")
            if self._next_day_is_too_much(shown_ms, time.monotonic() - began_s):
                break
        if ingest is not None:
            self._wait_for(ingest, "control")

    def _next_day_is_too_much(self, shown_ms: int, control_s: float) -> bool:
        """Whether the next day would exceed the budget; true only at the end of a scored forecast."""
        scenario, left_s = self._lockstep.scenario, self._demo.left_s
        ends_day = (shown_ms - 900_000) % DAY_MS == 0
        if left_s is None or not ends_day or shown_ms < round(scenario.shown_days * DAY_MS):
            return False
        return left_s < FINISH_S + control_s * DAY_MS / shown_ms

    def _ingest_all(self, phase: str) -> None:
        """Ingest until the history has all sent readings.

        Raises:
            DemoError: If readings are missing after the time.
        """
        until_s = time.monotonic() + ARRIVE_TIMEOUT_S
        self._wait_for_outboxes(phase)
        while True:
            self._trainer_run("ingest", phase, "ingest", "--once")
            ingested, sent = count_rows(self._history, "readings"), self._lockstep.sent.count()
            if ingested >= sent:
                return
            if time.monotonic() > until_s:
                raise DemoError(
                    f"{ingested} of {sent} readings are in the history after {ARRIVE_TIMEOUT_S:g} s; see logs/bridge.log"
                )
            self._idle(phase)

    def _wait_for_outboxes(self, phase: str) -> None:
        until_s = time.monotonic() + ARRIVE_TIMEOUT_S
        while time.monotonic() < until_s:
            self._idle(phase)
            statuses = [self._lockstep.status(site) for site in self._lockstep.sites]
            if all(status is not None and status.outbox_messages == 0 for status in statuses):
                return

    def _wait_for_models(self) -> None:
        """Wait until the agents have fetched, verified and activated the models.

        Raises:
            DemoError: If an agent does not run the published models.
        """
        until_s = time.monotonic() + ACTIVATE_TIMEOUT_S
        while True:
            self._idle("agents verify and activate the models")
            lacking = [site for site in self._lockstep.sites if not self._has_models(site)]
            if not lacking:
                return
            if time.monotonic() > until_s:
                reasons = "; ".join(f"{site}: {self._reason(site)}" for site in lacking)
                raise DemoError(f"no model is active at {', '.join(lacking)} after {ACTIVATE_TIMEOUT_S:g} s: {reasons}")

    def _has_models(self, site: str) -> bool:
        status = self._lockstep.status(site)
        return status is not None and all(status.releases.get(signal, 0) >= 1 for signal in ("load_kw", "pv_kw"))

    def _reason(self, site: str) -> str:
        status = self._lockstep.status(site)
        return "no status" if status is None else status.reason or "no reason in its status"

    def _trainer_run(self, name: str, phase: str, *arguments: str) -> None:
        self._wait_for(self._start_trainer(name, *arguments), phase)

    def _start_trainer(self, name: str, *arguments: str) -> Program:
        return self._programs.start(name, "ringmain_trainer", *arguments, "--config", self._trainer)

    def _wait_for(self, program: Program, phase: str) -> None:
        until_s = time.monotonic() + PROGRAM_TIMEOUT_S
        while program.running and time.monotonic() < until_s:
            self._idle(phase)
        program.wait(0.0)

    def _idle(self, phase: str) -> None:
        self._lockstep.idle(0.2)
        self._demo.show(self._lockstep, phase, at_once=True)
        self._programs.require_running(*self._long_running)


def first_root(repository: Path) -> Path:
    """The first root of trust of a repository.

    Raises:
        ProgramError: If the repository has none.
    """
    root = repository / "metadata" / "1.root.json"
    if not root.is_file():
        raise ProgramError(f"{root} is missing: `ringmain-trainer repository init` failed, see logs/repository.log")
    return root


def clear_folder(folder: Path) -> None:
    """Empty the folder of an earlier demo, or make it.

    Raises:
        DemoError: If it holds files of other origin.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise DemoError(f"{folder} holds other files ({MARKER} is missing): choose another --folder")
        shutil.rmtree(folder)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
