"""MQTT connections by the configuration: the one of the reader, and brief ones."""

import contextlib
import logging
import secrets
import threading
from typing import Final

from paho.mqtt.client import Client, ConnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ringmain_bridge.config import Mqtt
from ringmain_program.tls import tls_context

CONNECT_TIMEOUT_S: Final = 5.0

LOG = logging.getLogger("ringmain_bridge.mqtt")


def end_loop(client: Client) -> None:
    """Wait until the network thread of a client has ended."""
    with contextlib.suppress(AttributeError):  # paho's thread clears its attribute as it ends, in a race with loop_stop
        client.loop_stop()


def new_client(config: Mqtt, client_id: str, *, clean_session: bool, client_type: type[Client] = Client) -> Client:
    """A client that is not connected yet, does not reconnect by itself and acknowledges nothing by itself.

    Certificates and passwords are read afresh each time: exchanged files take effect with the next connection.

    Raises:
        OSError: If a file cannot be read or holds nothing usable.
        ValueError: If a file holds an unusable value.
    """
    client = client_type(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=clean_session,
        protocol=MQTTProtocolVersion.MQTTv311,
        manual_ack=True,
        reconnect_on_failure=False,
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    if config.uses_tls:
        client.tls_set_context(tls_context(config))
    if config.username is not None:
        client.username_pw_set(config.username, config.password())
    return client


class BriefConnection:
    """A brief connection with a clean session, in a thread of paho.

    With a random client id it is a witness: while it lives, network and broker work. With the client id of another
    session, it ends that session for good.
    """

    def __init__(self, config: Mqtt, client_id: str | None = None) -> None:
        self._config = config
        self._client_id = client_id or f"ringmain-bridge-witness-{secrets.token_hex(6)}"
        self._client: Client | None = None
        self._accepted = threading.Event()

    @property
    def is_alive(self) -> bool:
        """Whether the broker has accepted the connection and it has not ended."""
        return self._client is not None and self._client.is_connected()

    def open(self) -> bool:
        """Connect, and wait for the broker's answer; returns whether it accepts."""
        try:
            client = new_client(self._config, self._client_id, clean_session=True)
            client.on_connect = self._on_connect
            client.connect(self._config.host, self._config.port, keepalive=self._config.keepalive_s)
        except (OSError, ValueError) as error:
            LOG.debug("mqtt brief connection client_id=%s: %s", self._client_id, error)
            return False
        self._client = client
        client.loop_start()
        return self._accepted.wait(CONNECT_TIMEOUT_S) and self.is_alive

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            end_loop(client)

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if not code.is_failure:
            self._accepted.set()


def end_session(config: Mqtt, client_id: str) -> bool:
    """Make the broker forget a session; returns whether it did."""
    connection = BriefConnection(config, client_id)
    try:
        return connection.open()
    finally:
        connection.close()
