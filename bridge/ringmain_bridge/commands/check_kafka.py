"""Examines Kafka with the connection of the bridge. Writes nothing."""

import logging
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclOperation,
    AdminClient,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from ringmain_bridge.commands.findings import Finding, encrypted, error, ok, own_certificate, reachable, warning
from ringmain_bridge.config import Kafka
from ringmain_bridge.forwarding.kafka_writer import MAX_RECORD_BYTES, REQUEST_TIMEOUT_S, settings
from ringmain_program.tls import tls_context
from ringmain_protocol import topics

RESULT_TIMEOUT_S: Final = 2 * REQUEST_TIMEOUT_S
ATTEMPTS: Final = 5
ATTEMPT_S: Final = 2.0
_BAD_LOGIN: Final = frozenset((KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED))  # noqa: SLF001
_HOPELESS: Final = _BAD_LOGIN | {KafkaError._SSL}  # noqa: SLF001
LOG = logging.getLogger("ringmain_bridge.kafka")


def check_kafka(config: Kafka, *, window: int, now: datetime) -> Iterator[Finding]:
    """Findings about Kafka, up to the first error after which the others are pointless."""
    servers = [split(server) for server in config.bootstrap_servers.split(",")]
    findings = [finding for host, port in servers for finding in reachable("kafka", host, port)]
    yield from findings
    if all(finding.status == "error" for finding in findings):
        return
    if config.security_protocol in {"ssl", "sasl_ssl"}:
        host, port = next(s for s, f in zip(servers, findings, strict=True) if f.status == "ok")
        yield from _tls(config, host, port, now)
    yield from _Visit(config).findings(window)


def split(server: str) -> tuple[str, int]:
    """Host and port of one bootstrap server. Pure."""
    host, _, port = server.strip().rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdecimal() and host else (server.strip(), 9092)


def _tls(config: Kafka, host: str, port: int, now: datetime) -> Iterator[Finding]:
    try:
        tls = tls_context(config)
    except OSError as problem:
        yield error("kafka tls", f"unusable file: {problem}", "correct ca_file, certificate_file and key_file (PEM)")
        return
    if config.certificate_file is not None:
        yield from own_certificate("kafka tls", config.certificate_file, now=now)
    yield from encrypted("kafka tls", host, port, tls, now=now)


def _text(problem: KafkaException | TimeoutError) -> str:
    return str(problem.args[0].str()) if isinstance(problem, KafkaException) else "no answer"


def _who(config: Kafka) -> str:
    if config.security_protocol.startswith("sasl"):
        return f"as {config.sasl_username}"
    return "with our certificate" if config.certificate_file else "without login"


class _Visit:
    """One short connection."""

    def __init__(self, config: Kafka) -> None:
        self._config = config
        self._errors: list[KafkaError] = []
        self._admin: AdminClient

    def findings(self, window: int) -> Iterator[Finding]:
        try:
            connection: dict[str, Any] = settings(self._config, client_id="ringmain-bridge-check")
            connection["error_cb"] = self._errors.append
            self._admin = AdminClient(connection, logger=LOG)
            metadata = self._metadata()
        except (OSError, ValueError) as problem:
            yield error("kafka login", str(problem), "correct sasl_password_file")
            return
        except KafkaException as problem:
            yield self._refused(problem)
            return
        yield ok("kafka login", f"accepted {_who(self._config)}, {len(metadata.brokers)} brokers")
        names = [*topics.KAFKA_TOPICS.values(), topics.DEADLETTER]
        there = [name for name in names if name in metadata.topics and metadata.topics[name].error is None]
        missing = [name for name in names if name not in there]
        if there:
            yield from self._topics({name: metadata.topics[name] for name in there})
        if missing:
            yield self._creatable(missing, len(metadata.brokers))
        yield self._rate(window)

    def _metadata(self) -> Any:  # noqa: ANN401  its class has no public name
        """Topics and brokers; asks again unless the error is one that another attempt cannot mend."""
        for _ in range(ATTEMPTS - 1):
            try:
                return self._admin.list_topics(timeout=ATTEMPT_S)
            except KafkaException:
                self._admin.poll(0)
                if any(cause.code() in _HOPELESS for cause in self._errors):
                    raise
        return self._admin.list_topics(timeout=ATTEMPT_S)

    def _refused(self, problem: KafkaException) -> Finding:
        self._admin.poll(0)
        for cause in self._errors:
            if cause.code() in _BAD_LOGIN:
                return error("kafka login", cause.str(), "correct sasl_mechanism, sasl_username and sasl_password_file")
            if cause.code() == KafkaError._SSL:  # noqa: SLF001
                return error("kafka login", cause.str(), "correct ca_file and the client certificate")
        text = self._errors[0].str() if self._errors else problem.args[0].str()
        return error("kafka login", text, "compare security_protocol with the listener of this port")

    def _topics(self, there: dict[str, Any]) -> Iterator[Finding]:
        yield ok("kafka topics", f"{len(there)} exist: {', '.join(there)}")
        replicas = min((len(p.replicas) for t in there.values() for p in t.partitions.values()), default=0)
        in_sync = min((len(p.isrs) for t in there.values() for p in t.partitions.values()), default=0)
        try:
            values = self._settings_of(list(there))
        except (KafkaException, TimeoutError) as problem:
            yield warning("kafka topics", f"settings unknown: {_text(problem)}", "allow DESCRIBE_CONFIGS in Kafka's ACL")
            return
        needed = max(int(value.get("min.insync.replicas", 1)) for value in values.values())
        text = f"replication {replicas}, in sync {in_sync}, min.insync.replicas {needed}"
        if needed > replicas:
            yield error("kafka replication", text, "Kafka refuses every record: lower min.insync.replicas or add replicas")
        elif needed > in_sync:
            yield error("kafka replication", text, "Kafka refuses every record until a broker is back")
        elif replicas < 2:
            yield warning("kafka replication", text, "a broken disk loses the records: use three replicas in production")
        elif needed < 2:
            yield warning("kafka replication", text, "one broker alone confirms a record: set min.insync.replicas to 2")
        else:
            yield ok("kafka replication", text)
        small = [
            name
            for name, value in values.items()
            if int(value.get("max.message.bytes", MAX_RECORD_BYTES)) < MAX_RECORD_BYTES
        ]
        if small:
            text = f"max.message.bytes is below {MAX_RECORD_BYTES} for {', '.join(small)}"
            yield warning("kafka topics", text, "larger messages become dead letters: raise it to this value")
        wanted = self._config.retention_days * 86_400_000
        other = [name for name, value in values.items() if int(value.get("retention.ms", wanted)) != wanted]
        if other:
            text = f"retention is not {self._config.retention_days} days for {', '.join(other)}"
            yield warning("kafka topics", text, "change it in Kafka; the bridge does not change existing topics")
        yield from self._may_write(list(there))

    def _settings_of(self, names: list[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        asked = self._admin.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S)
        results = {resource.name: future.result(timeout=RESULT_TIMEOUT_S) for resource, future in asked.items()}
        return {name: {key: entry.value for key, entry in result.items() if entry.value} for name, result in results.items()}

    def _may_write(self, names: list[str]) -> Iterator[Finding]:
        asked = self._admin.describe_topics(
            TopicCollection(names), include_authorized_operations=True, request_timeout=REQUEST_TIMEOUT_S
        )
        try:
            described = [future.result(timeout=RESULT_TIMEOUT_S) for future in asked.values()]
        except (KafkaException, TimeoutError) as problem:
            yield warning("kafka topics", f"permissions unknown: {_text(problem)}", "allow DESCRIBE in Kafka's ACL")
            return
        barred = [d.name for d in described if d.authorized_operations and AclOperation.WRITE not in d.authorized_operations]
        if barred:
            yield error("kafka topics", f"no permission to write to {', '.join(barred)}", "allow WRITE in Kafka's ACL")
        else:
            yield ok("kafka topics", "the bridge may write to them")

    def _creatable(self, missing: list[str], brokers: int) -> Finding:
        config, text = self._config, f"{len(missing)} are missing: {', '.join(missing)}"
        if config.replication_factor > brokers:
            advice = f"lower replication_factor {config.replication_factor} to at most {brokers}, the number of brokers"
            return error("kafka topics", text, advice)
        new = [NewTopic(name, config.partitions, config.replication_factor) for name in missing]
        asked = self._admin.create_topics(new, validate_only=True, request_timeout=REQUEST_TIMEOUT_S)
        try:
            for future in asked.values():
                future.result(timeout=RESULT_TIMEOUT_S)
        except (KafkaException, TimeoutError) as problem:
            advice = "create them, or allow CREATE in Kafka's ACL"
            return error("kafka topics", f"{text}; they cannot be created: {_text(problem)}", advice)
        text += f"; the bridge will create them ({config.partitions} partitions, replication {config.replication_factor})"
        return ok("kafka topics", text)

    def _rate(self, window: int) -> Finding:
        times = []
        for _ in range(3):
            before_s = time.perf_counter()
            try:
                self._admin.list_topics(topics.DEADLETTER, timeout=RESULT_TIMEOUT_S)
            except KafkaException as problem:
                return warning("rate", f"round trip unknown: {_text(problem)}", "try again")
            times.append(time.perf_counter() - before_s)
        round_trip_ms = min(times) * 1000
        bound = window / (self._config.linger_ms + round_trip_ms) * 1000
        return ok(
            "rate",
            f"at most {bound:,.0f} messages/s = window {window} / (linger {self._config.linger_ms} ms + "
            f"round trip to Kafka {round_trip_ms:.1f} ms)",
        )
