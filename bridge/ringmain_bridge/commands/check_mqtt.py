"""Examines the broker with the connection of the bridge, but its own client id and a session that leaves no trace."""

import secrets
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ringmain_bridge.commands.findings import Finding, encrypted, error, ok, own_certificate, reachable
from ringmain_bridge.config import Mqtt
from ringmain_bridge.mqtt.client import CONNECT_TIMEOUT_S, end_loop, new_client
from ringmain_program.tls import tls_context

CREDENTIALS = "correct username and password_file, or the client certificate; see the broker's log"


def check_mqtt(config: Mqtt, filters: Sequence[str], *, now: datetime) -> Iterator[Finding]:
    """Findings about the broker, up to the first error after which the others are pointless."""
    for finding in reachable("mqtt", config.host, config.port):
        yield finding
        if finding.status == "error":
            return
    if config.uses_tls:
        try:
            tls = tls_context(config)
        except OSError as problem:
            yield error("mqtt tls", f"unusable file: {problem}", "correct ca_file, certificate_file and key_file (PEM)")
            return
        if config.certificate_file is not None:
            yield from own_certificate("mqtt tls", config.certificate_file, now=now)
        for finding in encrypted("mqtt tls", config.host, config.port, tls, now=now):
            yield finding
            if finding.status == "error":
                return
    yield from _Visit(config, filters).findings()


def _who(config: Mqtt) -> str:
    return (
        f"as {config.username}"
        if config.username
        else "with our certificate"
        if config.certificate_file
        else "without login"
    )


class _Visit:
    """One short connection."""

    def __init__(self, config: Mqtt, filters: Sequence[str]) -> None:
        self._config = config
        self._filters = filters
        self._answered = threading.Event()
        self._subscribed = threading.Event()
        self._refusal = ""
        self._granted: list[ReasonCode] = []

    def findings(self) -> Iterator[Finding]:
        config, name = self._config, f"ringmain-bridge-check-{secrets.token_hex(6)}"
        try:
            client = new_client(config, name, clean_session=True)
            client.on_connect, client.on_disconnect, client.on_subscribe = (
                self._on_connect,
                self._on_disconnect,
                self._on_subscribe,
            )
            client.connect(config.host, config.port, keepalive=config.keepalive_s)
        except (OSError, ValueError) as problem:
            yield error("mqtt login", f"no connection: {problem}", CREDENTIALS)
            return
        client.loop_start()
        try:
            yield from self._login(client, name)
        finally:
            client.disconnect()
            end_loop(client)

    def _login(self, client: Client, name: str) -> Iterator[Finding]:
        if not self._answered.wait(CONNECT_TIMEOUT_S):
            yield error(
                "mqtt login",
                "no answer to CONNECT",
                "check that this is an MQTT broker, and the right port for TLS or for plain text",
            )
            return
        if self._refusal:
            yield error("mqtt login", self._refusal, CREDENTIALS)
            return
        yield ok("mqtt login", f"accepted {_who(self._config)}, with client id {name}")
        client.subscribe([(topic, 1) for topic in self._filters])
        if not self._subscribed.wait(CONNECT_TIMEOUT_S):
            yield error("mqtt subscriptions", self._refusal or "no answer to SUBSCRIBE", "see the broker's log")
            return
        refused = [topic for topic, code in zip(self._filters, self._granted, strict=False) if code.is_failure]
        if refused:
            text = f"{len(refused)} of {len(self._filters)} refused, the first is {refused[0]}"
            yield error("mqtt subscriptions", text, "let the bridge read ringmain/1/# in the broker's ACL")
        else:
            yield ok("mqtt subscriptions", f"{len(self._filters)} granted (some brokers refuse only when a message arrives)")

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._refusal = f"the broker refuses the connection: {code}"
        self._answered.set()

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: DisconnectFlags, _code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._refusal = (
            self._refusal or "the broker closed the connection: it may require TLS, or another client certificate"
        )
        self._answered.set()
        self._subscribed.set()

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._granted = codes
        self._subscribed.set()
