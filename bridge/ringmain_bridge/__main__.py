"""Command line of the bridge: `run`, `check` and `replay`."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ringmain_bridge import config as configuration
from ringmain_bridge.config import BridgeConfig
from ringmain_program.config import EXIT_CONFIG, ConfigError

EXIT_FAILURE: Final = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    try:
        config = configuration.load(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    commands = {"run": _run, "check": _check, "replay": _replay}
    try:
        return commands[options.command](config, options)
    except ImportError as error:
        print(f"{error.name or error} is missing: pip install 'ringmain[bridge]'", file=sys.stderr)
        return EXIT_FAILURE


def _run(config: BridgeConfig, _options: argparse.Namespace) -> int:
    from ringmain_bridge.program import run  # noqa: PLC0415  only this command needs all of the extra

    return run(config)


def _check(config: BridgeConfig, options: argparse.Namespace) -> int:
    from ringmain_bridge.commands import check  # noqa: PLC0415

    if options.offline:
        _print(check.meaning(config), options.json)
        return 0
    findings = []
    logging.disable(logging.CRITICAL)  # every trouble is a finding
    for finding in check.check(config, now=datetime.now(UTC)):  # noqa: TID251
        findings.append(finding)
        if options.json != "-":
            print(finding.line(), flush=True)
    if options.json is not None:
        _print(check.as_json(config, findings), options.json)
    return EXIT_FAILURE if check.worst(findings) == "error" else 0


def _replay(config: BridgeConfig, options: argparse.Namespace) -> int:
    from ringmain_bridge.commands import replay  # noqa: PLC0415

    since_ms = None if options.since is None else int(options.since.timestamp() * 1000)
    choice = replay.Choice(reason=options.reason, site=options.site, since_ms=since_ms)
    try:
        result = replay.replay(config, choice, dry_run=options.dry_run)
    except replay.ReplayError as error:
        print(f"replay ended early: {error}", file=sys.stderr)
        return EXIT_FAILURE
    if options.json is None:
        _say_replayed(result)
    else:
        _print(result, options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ringmain-bridge", description="MQTT to Kafka and to Prometheus.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "forward until SIGTERM or SIGINT"),
        ("check", "look at configuration, broker and Kafka; say what is wrong and what to do"),
        ("replay", "put dead letters that pass the present rules into their proper topics"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="bridge.toml")
        if name == "run":
            continue
        command.add_argument(
            "--json", nargs="?", const="-", metavar="FILE", help="result as JSON, to FILE or standard output"
        )
        if name == "check":
            command.add_argument("--offline", action="store_true", help="connect to nothing, say what the bridge will do")
        else:
            command.add_argument("--reason", help="only dead letters with this reason")
            command.add_argument("--site", help="only those of this site")
            command.add_argument(
                "--since", type=_instant, metavar="TIME", help="only those received since, for example 2026-03-01T12:00Z"
            )
            command.add_argument("--dry-run", action="store_true", help="count only; write and remember nothing")
    return parser


def _instant(text: str) -> datetime:
    """An instant of ISO 8601; without a zone it is UTC."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _say_replayed(result: dict[str, Any]) -> None:
    print("would be replayed:" if result["dry_run"] else "replayed:", sum(result["replayed"].values()))
    for reason, number in result["replayed"].items():
        print(f"  {reason}: {number}")
    print("left:", sum(result["left"].values()))
    for reason, number in result["left"].items():
        print(f"  {reason}: {number}" + (" (their payload was cut: it cannot be replayed)" if reason == "truncated" else ""))
    print(f"not chosen: {result['not_chosen']}, replayed before: {result['already_replayed']}")


def _print(result: dict[str, Any], target: str | None) -> None:
    if target is None:
        for key, value in result.items():
            print(f"{key}: {', '.join(value) if isinstance(value, list) else value}")
    elif target == "-":
        print(json.dumps(result))
    else:
        Path(target).write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
