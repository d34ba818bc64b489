"""The agent's commands: `run`, `check`, `plan`, `import-history`."""

import argparse
import json
import logging
import signal
import sys
import threading
from pathlib import Path

from msgspec import to_builtins

from ringmain_program.config import EXIT_CONFIG, ConfigError

EXTRA = "agent"
PLOT_EXTRA = "plot"
CONFIG = Path("/etc/ringmain/agent.toml")


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `ringmain-agent`; returns the exit status (78: the configuration must be mended)."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    try:
        return _command(options)
    except ModuleNotFoundError as error:
        extra = PLOT_EXTRA if error.name == "matplotlib" else EXTRA
        print(f"{error.name} is not installed: pip install 'ringmain[{extra}]'", file=sys.stderr)
        return 1
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG


def _command(options: argparse.Namespace) -> int:
    if options.command == "plan":
        return _plan(options)
    from ringmain_agent.config.agent import load_config  # noqa: PLC0415  needs the extra

    loaded = load_config(options.config)
    if options.command == "check":
        from ringmain_agent.commands.check import report  # noqa: PLC0415

        return _print(report(loaded), options.json)
    if options.command == "import-history":
        from ringmain_agent.commands.import_history import import_history  # noqa: PLC0415

        return _print({"imported_steps": import_history(options.file, loaded)}, options.json)
    from ringmain_agent.agent import Agent  # noqa: PLC0415

    threading.excepthook = _end_on_error
    agent = Agent(loaded, simulated=options.clock == "simulation")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: agent.stop())
    agent.run()
    return 0


def _plan(options: argparse.Namespace) -> int:
    """Solve, draw, say."""
    from ringmain_agent.commands.plan import explained  # noqa: PLC0415

    explanation, snapshot, site = explained(options.config, options.snapshot)
    if options.plot is not None:
        from ringmain_agent.commands.plot import draw  # noqa: PLC0415

        draw(explanation, snapshot, site, options.plot)
    if options.json is not None:
        return _print(to_builtins(explanation), options.json)
    from ringmain_agent.commands.explain import as_text  # noqa: PLC0415

    print(as_text(explanation))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ringmain-agent", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="forecast, dispatch and hold the limits of one site")
    run.add_argument("--clock", choices=("real", "simulation"), default="real")
    check = commands.add_parser("check", help="say what is wrong with a configuration, and what to do")
    history = commands.add_parser("import-history", help="take step values from a CSV file into a new site")
    history.add_argument("file", type=Path)
    plan = commands.add_parser("plan", help="solve one situation of a site and explain the schedule")
    plan.add_argument("--snapshot", type=Path, required=True, metavar="FILE", help="the situation, as JSON")
    plan.add_argument("--plot", type=Path, metavar="FILE", help="a picture of the schedule, as PNG, SVG or PDF")
    plan.add_argument("--site", dest="config", type=Path, default=CONFIG, metavar="FILE", help="the agent's configuration")
    for command in (run, check, history):
        command.add_argument("--config", type=Path, default=CONFIG)
    for command in (run, check, history, plan):
        command.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    for command in (check, history, plan):
        command.add_argument("--json", nargs="?", const="-", metavar="FILE")
    return parser


def _print(result: dict[str, object], destination: str | None) -> int:
    if destination is None:
        for name, value in result.items():
            print(f"{name}: {value}")
    elif destination == "-":
        print(json.dumps(result))
    else:
        Path(destination).write_text(json.dumps(result) + "\n", encoding="utf-8")
    return 0


def _end_on_error(failure: threading.ExceptHookArgs) -> None:
    """An unknown error in a thread ends the process: systemd restarts it, the will tells the world, setpoints expire."""
    sys.__excepthook__(failure.exc_type, failure.exc_value or failure.exc_type(), failure.exc_traceback)
    signal.raise_signal(signal.SIGABRT)


if __name__ == "__main__":
    sys.exit(main())
