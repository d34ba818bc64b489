"""`ringmain-agent plan`: plan of one snapshot by the agent's own planner, with an explanation."""

import argparse
import os
import sys
import time
from pathlib import Path

from msgspec.structs import replace

from ringmain_agent.commands.explain import Explanation, as_text, explain
from ringmain_agent.commands.snapshot_file import read_snapshot
from ringmain_agent.config.agent import load_config
from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot
from ringmain_program.command import Outcome


def run(options: argparse.Namespace) -> Outcome:
    """Solve and explain a snapshot; with `--plot` also draw it.

    Raises:
        ConfigError: With every problem of the first invalid file.
    """
    explanation, snapshot, site = explain_snapshot(options.config, options.snapshot)
    if options.plot is not None:
        from ringmain_agent.commands.plot import draw  # noqa: PLC0415  only this needs the extra `plot`

        draw(explanation, snapshot, site, options.plot)
    return Outcome(explanation, text=as_text)


def explain_snapshot(site_file: Path, snapshot_file: Path) -> tuple[Explanation, Snapshot, Site]:
    """The explained plan for a snapshot of a site, with snapshot and site.

    Raises:
        ConfigError: With every problem of the first invalid file.
    """
    site = load_config(site_file).site
    snapshot = read_snapshot(snapshot_file, site)
    sys.stdout.flush()
    answers = os.dup(1)
    os.dup2(2, 1)  # the solver prints to standard output
    try:
        begin_s = time.perf_counter()
        schedule = plan(snapshot, site, Forecaster(site), Dispatcher(site))
        plan_ms = 1000 * (time.perf_counter() - begin_s)
    finally:
        os.dup2(answers, 1)
        os.close(answers)
    return explain(replace(schedule, plan_ms=plan_ms), snapshot, site), snapshot, site
