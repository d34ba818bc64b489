"""`ringmain-agent plan`: one situation through the agent's own planner, explained."""

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
    """Solve, and draw if asked to.

    Raises:
        ConfigError: With every problem of the first file that has any.
    """
    explanation, snapshot, site = explained(options.config, options.snapshot)
    if options.plot is not None:
        from ringmain_agent.commands.plot import draw  # noqa: PLC0415  only this needs the extra `plot`

        draw(explanation, snapshot, site, options.plot)
    return Outcome(explanation, text=as_text)


def explained(site_file: Path, snapshot_file: Path) -> tuple[Explanation, Snapshot, Site]:
    """The plan for a situation of a site, with both.

    Raises:
        ConfigError: With every problem of the first file that has any.
    """
    site = load_config(site_file).site
    snapshot = read_snapshot(snapshot_file, site)
    sys.stdout.flush()
    answers = os.dup(1)
    os.dup2(2, 1)  # the solver greets on standard output
    try:
        begin_s = time.perf_counter()
        schedule = plan(snapshot, site, Forecaster(site), Dispatcher(site))
        plan_ms = 1000 * (time.perf_counter() - begin_s)
    finally:
        os.dup2(answers, 1)
        os.close(answers)
    return explain(replace(schedule, plan_ms=plan_ms), snapshot, site), snapshot, site
