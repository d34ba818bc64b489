"""Simulated sites on given brokers, for agents, bridge and trainer that the user starts."""

import argparse
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ringmain_program.command import EXIT_FAILED, Outcome
from ringmain_program.config import load
from ringmain_protocol.messages import Mode
from ringmain_simulation.configs import write_agent_config
from ringmain_simulation.data import load_excerpt
from ringmain_simulation.lockstep import Lockstep, LockstepError, SiteCounts
from ringmain_simulation.scenario import DEMO, LONG
from ringmain_simulation.sites import simulated_sites


class RunBroker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker on loopback that sensors, equipment and agents share."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883


class RunConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of `ringmain-simulate run`.

    `agents` is a folder: the run writes a `site.toml` for each site there before it waits for the agents.
    `answer_timeout_s` is the longest wait for the answer of an agent.
    """

    mqtt: RunBroker = RunBroker()
    scenario: Literal["demo", "long"] = "demo"
    history_days: Annotated[float, Meta(ge=0)] | None = None
    control_days: Annotated[float, Meta(ge=0)] | None = None
    answer_timeout_s: Annotated[float, Meta(gt=0, le=86400)] = 600.0
    agents: str | None = None


class RunResult(Struct, frozen=True, kw_only=True):
    """Counts of the simulation."""

    ticks: int
    now_ms: int
    per_site: dict[str, SiteCounts]


def load_run_config(path: Path) -> RunConfig:
    """The configuration in a file; `agents` is relative to that file.

    Raises:
        ConfigError: With every problem in it.
    """
    config = load(path, RunConfig)
    if config.agents is None:
        return config
    return msgspec.structs.replace(config, agents=str(path.resolve().parent / config.agents))


def run_command(options: argparse.Namespace) -> Outcome:
    """`ringmain-simulate run`."""
    try:
        return Outcome(run(load_run_config(options.config)))
    except (LockstepError, TimeoutError) as error:
        print(error, file=sys.stderr)  # noqa: T201  for the person at the terminal
        return Outcome(status=EXIT_FAILED)


def run(config: RunConfig) -> RunResult:
    """Drive the sites through the history in observe, then in control, against agents that the user starts."""
    scenario = DEMO if config.scenario == "demo" else LONG
    excerpt = load_excerpt()
    sites = simulated_sites(scenario, excerpt)
    if config.agents is not None:
        for name, site in sites.items():
            path = write_agent_config(
                Path(config.agents) / name, site.design, scenario, local=(config.mqtt.host, config.mqtt.port)
            )
            sys.stderr.write(f"start: ringmain-agent run --clock simulation --config {path}\n")
    sys.stderr.write(
        f"waiting for the broker at {config.mqtt.host}:{config.mqtt.port}, then for the agents of {', '.join(sites)}"
        f" (each at most {config.answer_timeout_s:g} s)\n"
    )
    ticks = 0
    with Lockstep(
        sites, scenario, excerpt, host=config.mqtt.host, port=config.mqtt.port, answer_timeout_s=config.answer_timeout_s
    ) as lockstep:
        lockstep.switch(Mode.OBSERVE)
        for _ in lockstep.history(_until(scenario.start_ms, config.history_days, scenario.control_ms)):
            ticks += 1
        lockstep.switch(Mode.CONTROL)
        for _ in lockstep.control(_until(lockstep.now_ms, config.control_days, scenario.end_ms)):
            ticks += 1
        return RunResult(ticks=ticks, now_ms=lockstep.now_ms, per_site={site: lockstep.counts(site) for site in sites})


def _until(from_ms: int, days: float | None, end_ms: int) -> int:
    return end_ms if days is None else min(from_ms + round(days * 96) * 900_000, end_ms)
