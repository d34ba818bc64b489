"""Forecast, dispatch and limits of one site: `run`, `check`, `plan`, `import-history`."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ringmain_program.command import Outcome, add_json, finish, load, new_parser, run_program

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run": "ringmain_agent.commands.run:run",
        "check": "ringmain_agent.commands.check:run",
        "import-history": "ringmain_agent.commands.import_history:run",
        "plan": "ringmain_agent.commands.plan:run",
    }
)
AT_USE: Final = ("urllib.request",)
"""paho imports it, with the mail package behind it, for proxies and web sockets; the agent has neither."""
CONFIG: Final = Path("/etc/ringmain/agent.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `ringmain-agent`; returns the exit status (78: the configuration must be corrected)."""
    return run_program(lambda: _run(arguments), extra="agent", other_extras={"matplotlib": "plot"})


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    command: Callable[[argparse.Namespace], Outcome] = load(COMMANDS[options.command], at_use=AT_USE)
    return finish(command(options), getattr(options, "json", None))


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("ringmain-agent", "Forecast, dispatch and limits of one site.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="forecast, dispatch and hold the limits of one site")
    run.add_argument("--clock", choices=("real", "simulation"), default="real")
    check = commands.add_parser("check", help="list every problem of a configuration, with advice")
    history = commands.add_parser("import-history", help="import step values from a CSV file into a new site")
    history.add_argument("file", type=Path)
    plan = commands.add_parser("plan", help="solve one snapshot of a site and explain the schedule")
    plan.add_argument("--snapshot", type=Path, required=True, metavar="FILE", help="the snapshot, as JSON")
    plan.add_argument("--plot", type=Path, metavar="FILE", help="a picture of the schedule, as PNG, SVG or PDF")
    plan.add_argument("--site", dest="config", type=Path, default=CONFIG, metavar="FILE", help="the agent's configuration")
    for command in (run, check, history):
        command.add_argument("--config", type=Path, default=CONFIG)
    for command in (run, check, history, plan):
        command.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    for command in (check, history, plan):
        add_json(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
