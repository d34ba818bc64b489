"""Reads from the MQTT broker: connection, session, subscriptions, acknowledgments. Decides nothing.

`MqttReader` is the seam: `PahoReader` is the stock paho loop, and a faster one can take its place.
"""

import logging
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final, Protocol

from paho.mqtt.client import (
    MQTT_ERR_SUCCESS,
    PUBACK,
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
    MQTTMessageInfo,
)
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ringmain_bridge.backoff import BackOff
from ringmain_bridge.config import Mqtt
from ringmain_bridge.forward import MqttMessage

CONNECTION_LOST: Final = "connection_lost"
REFUSED: Final = "refused"
UNREACHABLE: Final = "unreachable"
WINDOW_FULL: Final = "window_full"
RECONNECT_REASONS: Final = (CONNECTION_LOST, REFUSED, UNREACHABLE, WINDOW_FULL)
"""Why a connection ended or did not come about."""

CONNECT_TIMEOUT_S: Final = 5.0
MAX_UNCONFIRMED: Final = 1000
"""Own messages that the broker has not confirmed; paho itself would queue without end."""

LOG = logging.getLogger("ringmain_bridge.mqtt")


class MqttHandler(Protocol):
    """What a reader calls, from its network thread. None of it may block."""

    def connected(self, *, session_present: bool) -> None:
        """The broker has accepted; nothing was received on this connection yet."""

    def disconnected(self) -> None:
        """The connection is dead; called before the next one is tried."""

    def received(self, message: MqttMessage) -> None:
        """A message came. It is acknowledged only by `MqttReader.acknowledge`."""

    def may_connect(self) -> bool:
        """Whether there is room for what a new connection would bring."""


class MqttReader(Protocol):
    """A persistent session with QoS 1 and manual acknowledgments, which reconnects by itself until it is stopped."""

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted the connection and it has not ended."""

    @property
    def unconfirmed(self) -> int:
        """How many own messages the broker has not confirmed."""

    @property
    def reconnects(self) -> dict[str, int]:
        """How often a connection ended or did not come about, by reason."""

    def start(self, handler: MqttHandler) -> None:
        """Connect, and stay connected; returns at once."""

    def acknowledge(self, mids: list[int]) -> None:
        """Send PUBACKs in this order as one write. From any thread, for messages of the present connection only."""

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish retained with QoS 1. False if that is not possible now. From one thread only."""

    def pause(self) -> None:
        """Disconnect, and connect again once `MqttHandler.may_connect`; the broker keeps the session."""

    def stop(self, timeout_s: float) -> None:
        """Disconnect after what is queued has been written."""


class PahoReader:
    """The stock paho loop: one supervising thread that connects, one network thread of paho for each connection.

    Every connection has its own client object, so that nothing queued for a dead connection can leave on another.
    paho's own reconnecting is off: its delays have no jitter, and it cannot wait until the window has drained.
    """

    client_type: type[Client] = Client

    def __init__(self, config: Mqtt, *, client_id: str, filters: Sequence[str], random: Random) -> None:
        self._config = config
        self._client_id = client_id
        self._filters = filters
        self._backoff = BackOff(random)
        self._client: Client | None = None
        self._handler: MqttHandler
        self._connected = False
        self._connected_at_s: float | None = None
        self._reason = CONNECTION_LOST
        self._ended = threading.Event()
        self._stopping = threading.Event()
        self._unconfirmed: deque[MQTTMessageInfo] = deque()
        self._reconnects = dict.fromkeys(RECONNECT_REASONS, 0)
        self._thread = threading.Thread(target=self._supervise, name="mqtt-supervisor", daemon=True)

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted the connection and it has not ended."""
        return self._connected

    @property
    def unconfirmed(self) -> int:
        """How many own messages the broker has not confirmed; asked by the thread that publishes."""
        unconfirmed = self._unconfirmed
        while unconfirmed and unconfirmed[0].is_published():
            unconfirmed.popleft()
        return len(unconfirmed)

    @property
    def reconnects(self) -> dict[str, int]:
        """How often a connection ended or did not come about, by reason."""
        return dict(self._reconnects)

    def start(self, handler: MqttHandler) -> None:
        """Connect, and stay connected; returns at once."""
        self._handler = handler
        self._thread.start()

    def acknowledge(self, mids: list[int]) -> None:
        """Send PUBACKs in this order, as one packet for the private queue of paho if it is there."""
        client = self._client
        if client is None:
            return
        queue = getattr(client, "_packet_queue", None)
        if queue is not None:
            queue(PUBACK, b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids]), 0, 1)
        else:
            for mid in mids:
                client.ack(mid, 1)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish retained with QoS 1. False if that is not possible now."""
        client = self._client
        if client is None or not self._connected or self.unconfirmed >= MAX_UNCONFIRMED:
            return False
        info = client.publish(topic, payload, qos=1, retain=True)
        if info.rc != MQTT_ERR_SUCCESS:
            return False
        self._unconfirmed.append(info)
        return True

    def pause(self) -> None:
        """Disconnect, and connect again once the handler may; the broker keeps the session."""
        self._end(WINDOW_FULL)

    def stop(self, timeout_s: float) -> None:
        """Disconnect after what is queued has been written."""
        self._stopping.set()
        client = self._client
        if client is not None:
            client.disconnect()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _end(self, reason: str) -> None:
        client = self._client
        if client is not None and self._connected:
            self._reason = reason
            client.disconnect()

    def _supervise(self) -> None:
        failure = ""
        while not self._stopping.is_set():
            if not self._handler.may_connect():
                self._stopping.wait(0.05)
                continue
            try:
                self._connect_once()
                text = self._reason
            except (OSError, ValueError) as error:  # refused, no route, TLS, unreadable file or an unusable value in one
                self._reason, text = UNREACHABLE, f"{UNREACHABLE}: {error}"
                self._client = None
            if self._stopping.is_set():
                return
            self._reconnects[self._reason] += 1
            up_for_s = 0.0 if self._connected_at_s is None else time.monotonic() - self._connected_at_s
            delay_s = 0.0 if self._reason == WINDOW_FULL else self._backoff.next_s(stable_for_s=up_for_s)
            LOG.log(
                logging.DEBUG if text == failure else logging.WARNING,
                "mqtt not connected host=%s port=%d reason=%r retry_in_s=%.1f",
                self._config.host, self._config.port, text, delay_s,
            )  # fmt: skip
            failure = "" if self._connected_at_s is not None else text
            self._stopping.wait(delay_s)

    def _connect_once(self) -> None:
        """One connection from beginning to end.

        Raises:
            OSError: If there is no connection; try again later.
        """
        self._ended.clear()
        self._connected_at_s = None
        self._reason = CONNECTION_LOST
        self._unconfirmed = deque()
        client = self._new_client()
        client.connect(self._config.host, self._config.port, keepalive=self._config.keepalive_s)
        self._client = client
        client.loop_start()
        if self._stopping.is_set():
            client.disconnect()
        self._ended.wait()
        self._client = None
        client.loop_stop()

    def _new_client(self) -> Client:
        config = self._config
        client = self.client_type(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        if config.ca_file is not None or config.certificate_file is not None:
            tls = ssl.create_default_context(cafile=config.ca_file)
            if config.certificate_file is not None:
                tls.load_cert_chain(config.certificate_file, config.key_file)
            client.tls_set_context(tls)
        if config.username is not None:
            password = None if config.password_file is None else Path(config.password_file).read_text("utf-8").strip()
            client.username_pw_set(config.username, password)
        client.max_inflight_messages_set(100)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, client: Client, _userdata: object, flags: ConnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._reason = REFUSED
            LOG.error("mqtt broker refuses the connection client_id=%s reason=%r", self._client_id, str(code))
            return
        self._connected_at_s = time.monotonic()
        self._handler.connected(session_present=flags.session_present)
        client.subscribe([(name, 1) for name in self._filters])
        self._connected = True
        LOG.info("mqtt connected client_id=%s session_present=%s", self._client_id, flags.session_present)

    def _on_disconnect(
        self, _client: Client, _userdata: object, _flags: DisconnectFlags, _code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._connected = False
        self._handler.disconnected()
        self._ended.set()

    def _on_subscribe(
        self, _client: Client, _userdata: object, _mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refused = [name for name, code in zip(self._filters, codes, strict=False) if code.is_failure]
        if refused:
            LOG.error("mqtt broker refuses subscriptions client_id=%s filters=%s", self._client_id, ",".join(refused))
            self._end(REFUSED)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "\ufffd"  # some brokers let it through; it matches no topic of ours
        self._handler.received(
            MqttMessage(
                topic=topic,
                payload=bytes(message.payload),
                mid=message.mid if message.qos else 0,
                qos=message.qos,
                retain=message.retain,
                dup=message.dup,
                received_ms=time.time_ns() // 1_000_000,
                received_s=time.monotonic(),
            )
        )
