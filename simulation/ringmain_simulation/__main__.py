"""Simulated substations: `demo` runs the whole ring, `run` connects simulated sites to given brokers."""

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Final

from ringmain_program.command import STANDARD_OUTPUT, Outcome, add_json, finish, load, new_parser, run_program

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {"demo": "ringmain_simulation.demo_console:run", "run": "ringmain_simulation.run:run_command"}
)
EXIT_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `ringmain-simulate`; returns the exit status (78: a person must correct the configuration)."""
    return run_program(lambda: _run(arguments), extra="demo")


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        command: Callable[[argparse.Namespace], Outcome] = load(COMMANDS[options.command])
        return finish(command(options), options.json)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("ringmain-simulate", "Simulated substations: the whole ring, or sites on given brokers.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="the whole ring on this machine; needs no other installation")
    demo.add_argument("--duration", type=float, metavar="S", help="wall-clock seconds of the whole run; at least 90")
    demo.add_argument("--folder", type=Path, default=Path("demo"), help="work folder, emptied at the start (default: demo)")
    demo.add_argument("--http-port", type=int, default=9464, help="port of the bridge's /metrics (default: 9464)")
    run = commands.add_parser("run", help="simulated sites in lockstep on given brokers; start the programs yourself")
    run.add_argument("--config", type=Path, required=True)
    for command in (demo, run):
        add_json(command)
    run.set_defaults(json=STANDARD_OUTPUT)
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
