"""MQTT to Kafka and to Prometheus: `run`, `check`, `replay`."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ringmain_bridge import config as configuration
from ringmain_bridge.config import BridgeConfig
from ringmain_program.command import Clock, Outcome, add_json, finish, load, new_parser, run_program

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run": "ringmain_bridge.program:run",
        "check": "ringmain_bridge.commands.check:run",
        "replay": "ringmain_bridge.commands.replay:run",
    }
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `ringmain-bridge`; returns the exit status (78: a person must correct the configuration)."""
    return run_program(lambda: _run(arguments), extra="bridge")


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    config = configuration.load(options.config)
    command: Callable[[BridgeConfig, argparse.Namespace, Clock], Outcome] = load(COMMANDS[options.command])
    return finish(command(config, options, _now), getattr(options, "json", None))


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("ringmain-bridge", "MQTT to Kafka and to Prometheus.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "forward until SIGTERM or SIGINT"),
        ("check", "examine configuration, broker and Kafka; list each problem with its remedy"),
        ("replay", "put dead letters that pass the present rules into their proper topics"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="bridge.toml")
        if name == "run":
            continue
        add_json(command)
        if name == "check":
            command.add_argument(
                "--offline", action="store_true", help="connect to nothing; print the effect of the configuration"
            )
        else:
            command.add_argument("--reason", help="only dead letters with this reason")
            command.add_argument("--site", help="only dead letters of this site")
            command.add_argument(
                "--since",
                type=_instant,
                metavar="TIME",
                help="only dead letters received since this time, for example 2026-03-01T12:00Z",
            )
            command.add_argument("--dry-run", action="store_true", help="count only; write no record and no progress")
    return parser


def _instant(text: str) -> datetime:
    """An instant of ISO 8601; without a zone it is UTC."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251


if __name__ == "__main__":
    sys.exit(main())
