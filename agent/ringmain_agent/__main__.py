"""The agent's commands: `run`, `check`, `import-history`."""

import argparse
import json
import logging
import signal
import sys
import threading
from pathlib import Path

from ringmain_toml import EXIT_CONFIG, ConfigError

EXTRA = "agent"


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `ringmain-agent`; returns the exit status (78: the configuration must be mended)."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    try:
        return _command(options)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed: pip install 'ringmain[{EXTRA}]'", file=sys.stderr)
        return 1
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG


def _command(options: argparse.Namespace) -> int:
    from ringmain_agent.config import load_config  # noqa: PLC0415  needs the extra

    loaded = load_config(options.config)
    if options.command == "check":
        from ringmain_agent.check import report  # noqa: PLC0415

        return _print(report(loaded), options.json)
    if options.command == "import-history":
        from ringmain_agent.import_history import import_history  # noqa: PLC0415

        return _print({"imported_steps": import_history(options.file, loaded)}, options.json)
    from ringmain_agent.run import Agent  # noqa: PLC0415

    threading.excepthook = _end_on_error
    agent = Agent(loaded, simulated=options.clock == "simulation")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: agent.stop())
    agent.run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ringmain-agent", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="forecast, dispatch and hold the limits of one site")
    run.add_argument("--clock", choices=("real", "simulation"), default="real")
    check = commands.add_parser("check", help="say what is wrong with a configuration, and what to do")
    history = commands.add_parser("import-history", help="take step values from a CSV file into a new site")
    history.add_argument("file", type=Path)
    for command in (run, check, history):
        command.add_argument("--config", type=Path, default=Path("/etc/ringmain/agent.toml"))
        command.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    for command in (check, history):
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
