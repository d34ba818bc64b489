"""Command line of the bridge: `run` and `check`."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ringmain_bridge import config as configuration
from ringmain_protocol import topics
from ringmain_toml import EXIT_CONFIG, ConfigError

ROUND_TRIP_MS = 2.0
"""Round trip to Kafka that `check` reckons with."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    try:
        config = configuration.load(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    if options.command == "check":
        _print(check(config), options.json)
        return 0
    try:
        from ringmain_bridge.run import run  # noqa: PLC0415  only this command needs the extra
    except ImportError as error:
        print(f"{error.name or error} is missing: pip install 'ringmain[bridge]'", file=sys.stderr)
        return 1
    return run(config)


def check(config: configuration.BridgeConfig) -> dict[str, Any]:
    """What a bridge with this configuration will do. Connects to nothing."""
    filters = topics.bridge_filters(config.replica, config.replicas)
    return {
        "client_id": config.client_id,
        "mqtt": f"{config.mqtt.host}:{config.mqtt.port}",
        "kafka": config.kafka.bootstrap_servers,
        "listen": f"{config.http.listen}:{config.http.port}",
        "replica": config.replica,
        "replicas": config.replicas,
        "subscriptions": len(filters),
        "kafka_topics": [*topics.KAFKA_TOPICS.values(), topics.DEADLETTER],
        "window": config.limits.window,
        "messages_per_s_max": round(config.limits.window / (config.kafka.linger_ms + ROUND_TRIP_MS) * 1000),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ringmain-bridge", description="MQTT to Kafka and to Prometheus.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("run", "forward until SIGTERM or SIGINT"), ("check", "check the configuration, say what it means")):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="bridge.toml")
        if name == "check":
            command.add_argument(
                "--json", nargs="?", const="-", metavar="FILE", help="result as JSON, to FILE or standard output"
            )
    return parser


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
