"""`ringmain-bridge check`: each problem with its remedy. Disturbs no running bridge with the same configuration."""

import argparse
import logging
import socket
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from ringmain_bridge.commands.findings import Finding, error, ok, warning
from ringmain_bridge.config import BridgeConfig, secret_files
from ringmain_program.command import EXIT_DONE, EXIT_FAILED, STANDARD_OUTPUT, Clock, Outcome
from ringmain_protocol import topics

HEALTH_TIMEOUT_S: Final = 2.0


def run(config: BridgeConfig, options: argparse.Namespace, clock: Clock) -> Outcome:
    """Print each finding as it comes; with `--offline` only the effect of the configuration."""
    if options.offline:
        return Outcome(meaning(config))
    findings = []
    logging.disable(logging.CRITICAL)  # every problem is a finding
    for finding in check(config, now=clock()):
        findings.append(finding)
        if options.json != STANDARD_OUTPUT:
            print(finding.line(), flush=True)
    result = None if options.json is None else as_json(config, findings)
    return Outcome(result, EXIT_FAILED if worst(findings) == "error" else EXIT_DONE)


def meaning(config: BridgeConfig) -> dict[str, Any]:
    """Behavior of a bridge with this configuration, without any secret. Pure."""
    return {
        "client_id": config.client_id,
        "mqtt": f"{config.mqtt.host}:{config.mqtt.port}",
        "kafka": config.kafka.bootstrap_servers,
        "listen": f"{config.http.listen}:{config.http.port}",
        "replica": config.replica,
        "replicas": config.replicas,
        "subscriptions": len(topics.bridge_filters(config.replica, config.replicas)),
        "kafka_topics": [*topics.KAFKA_TOPICS.values(), topics.DEADLETTER],
        "window": config.limits.window,
    }


def check(config: BridgeConfig, *, now: datetime) -> Iterator[Finding]:
    """Findings about configuration, broker, Kafka and HTTP, one after the other."""
    from ringmain_bridge.commands.check_kafka import check_kafka  # noqa: PLC0415  only this needs the extra
    from ringmain_bridge.commands.check_mqtt import check_mqtt  # noqa: PLC0415

    shards = len({name.split("/")[2] for name in topics.bridge_filters(config.replica, config.replicas)})
    shards_text = "all shards" if config.replicas == 1 else f"{shards} of {topics.SHARDS} shards"
    yield ok("configuration", f"replica {config.replica} of {config.replicas}, {shards_text}, client id {config.client_id}")
    yield from _secrets(config)
    yield from check_mqtt(config.mqtt, topics.bridge_filters(config.replica, config.replicas), now=now)
    yield from check_kafka(config.kafka, window=config.limits.window, now=now)
    yield _http(config)


def _secrets(config: BridgeConfig) -> Iterator[Finding]:
    for key, name in secret_files(config).items():
        if Path(name).stat().st_mode & stat.S_IROTH:
            yield warning("configuration", f"{key}: {name} is readable by everyone", f"chmod 640 {name}")


def _http(config: BridgeConfig) -> Finding:
    listen, port = config.http.listen, config.http.port
    where = f"{listen}:{port}"
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError as problem:
            if _is_bridge(listen, port):
                return ok("http", f"{where} is in use by a running bridge")
            return error(
                "http", f"{where} cannot be used: {problem.strerror}", "choose another port, or stop the program on it"
            )
    return ok("http", f"{where} is free")


def _is_bridge(listen: str, port: int) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(listen, f"[{listen}]" if ":" in listen else listen)  # noqa: S104
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=HEALTH_TIMEOUT_S) as page:
            return b"heartbeat_age_s" in page.read(200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def as_json(config: BridgeConfig, findings: list[Finding]) -> dict[str, Any]:
    """The result for programs. Pure."""
    return {
        **meaning(config),
        "status": worst(findings),
        "findings": msgspec.to_builtins(findings),
    }


def worst(findings: list[Finding]) -> str:
    """The gravest status. Pure."""
    statuses = {finding.status for finding in findings}
    return next(status for status in ("error", "warning", "ok") if status in statuses or status == "ok")
