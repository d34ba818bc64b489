"""A connection to a broker: paho's network thread, and a bounded queue to the thread of the cycle.

Callbacks only record state and enqueue messages. Connection attempts never end; their back-off has jitter.
"""

import contextlib
import logging
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ringmain_agent.config.agent import Broker
from ringmain_agent.gateway.bounded_client import PACKET_MAX_BYTES, BoundedClient
from ringmain_agent.gateway.inbox import Arrived, Inbox
from ringmain_program.backoff import BackOff
from ringmain_program.config import ConfigError
from ringmain_program.tls import tls_context

logger = logging.getLogger("ringmain_agent")

UNACKNOWLEDGED_MAX_BYTES: Final = 8_388_608
"""Bytes that may wait for their PUBACK in memory."""
NOT_YET: Final = "not connected yet"
BACKOFF_FIRST_S: Final = 2.0
BACKOFF_MAX_S: Final = 30.0


class Will(NamedTuple):
    """A message that the broker publishes when it loses the client."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


class BrokerConnection:
    """A client of one broker; it subscribes on every connect and always reconnects.

    * `received` and `wait` return messages in the order of arrival; messages beyond the queue are dropped and counted.
    * A message of more than 1 MiB is never held: it arrives without its payload.
    * `publish` never blocks; without a connection it refuses, so that no messages accumulate in memory.
    """

    def __init__(  # noqa: PLR0913  keyword-only, one connection
        self,
        name: str,
        broker: Broker,
        *,
        client_id: str,
        subscriptions: Iterable[str],
        will: Will | None = None,
        persistent: bool = False,
        unacknowledged_max: int = 500,
    ) -> None:
        """Prepare the connection; `start` begins it. With `persistent` the broker keeps messages while the agent is offline.

        Raises:
            ConfigError: If a file of its configuration cannot be used.
        """
        self.name = name
        self.host = broker.host
        self.dropped = 0
        self.connects = 0
        self.trouble = NOT_YET
        self._address = f"{broker.host}:{broker.port}"
        self._subscriptions = [(topic, 1) for topic in subscriptions]
        self._inbox = Inbox()
        self._backoff = BackOff(random.Random(), first_s=BACKOFF_FIRST_S, longest_s=BACKOFF_MAX_S)  # noqa: S311  jitter
        self._waiting_bytes: deque[int] = deque()
        """Lengths of the messages that wait for their PUBACK."""
        self._unacknowledged_max = unacknowledged_max
        self._broker, self._will = broker, will
        self._client = self._new_client(client_id, persistent=persistent)

    def _new_client(self, client_id: str, *, persistent: bool) -> BoundedClient:
        broker, will = self._broker, self._will
        client = BoundedClient(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=not persistent)
        client.max_inflight_messages_set(100)
        client.max_queued_messages_set(10_000)
        client.reconnect_delay_set(1, round(BACKOFF_MAX_S))
        _log_in(client, broker)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=will.qos, retain=will.retain)
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.connect_async(broker.host, broker.port, broker.keepalive_s)
        return client

    def start(self) -> None:
        """Start to connect in the background."""
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect (the broker then sends no will) and end the network thread."""
        self._client.disconnect()
        with contextlib.suppress(AttributeError):  # paho's thread may reset itself while paho waits for it
            self._client.loop_stop()

    def change_client_id(self, client_id: str) -> None:
        """Leave the client id to another process: disconnect, and connect anew in a clean session."""
        old = self._client
        old.disconnect()
        threading.Thread(target=old.loop_stop, daemon=True).start()
        self._waiting_bytes.clear()
        self._client = self._new_client(client_id, persistent=False)
        self._client.loop_start()

    @property
    def connected(self) -> bool:
        """True once the broker has accepted this client."""
        return self._client.is_connected()

    @property
    def room(self) -> int:
        """Number of further messages that may wait for their PUBACK: bounded, and so are their bytes."""
        waiting = list(self._waiting_bytes)
        if not self.connected or sum(waiting) >= UNACKNOWLEDGED_MAX_BYTES:
            return 0
        fit = (UNACKNOWLEDGED_MAX_BYTES - sum(waiting)) // max([*waiting, 1])
        return max(0, min(self._unacknowledged_max - len(waiting), max(fit, 1)))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> bool:
        """Publish; False if there is no connection or no room."""
        if not self.connected:
            return False
        if qos:
            self._waiting_bytes.append(len(payload))
        if self._client.publish(topic, payload, qos=qos, retain=retain).rc == paho.MQTT_ERR_SUCCESS:
            return True
        if qos:
            with contextlib.suppress(IndexError):
                self._waiting_bytes.pop()
        return False

    def publish_setpoint(self, topic: str, payload: bytes) -> bool:
        """Publish at QoS 0 and never retained: neither this client nor a broker keeps an old setpoint for later."""
        return self.publish(topic, payload, qos=0)

    def received(self) -> list[Arrived]:
        """All messages that have arrived, without waiting."""
        return self._inbox.take()

    def wait(self, timeout_s: float) -> list[Arrived]:
        """All messages that have arrived; waits up to `timeout_s` for the first one."""
        return self._inbox.take(timeout_s)

    # Called by paho's network thread

    def _on_connect(
        self, client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._note(f"{self._address} refuses this client: {reason}")
            return
        self.connects += 1
        self._backoff.reset()
        if self._subscriptions:
            client.subscribe(self._subscriptions)
        self._note("")

    def _on_connect_fail(self, client: paho.Client, _data: object) -> None:
        self._note(f"{self._address} is not reachable")
        self._back_off(client)

    def _on_disconnect(
        self, client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._note(f"{self._address} was lost: {reason}")
            self._back_off(client)

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        refused_bytes = getattr(client, "refused_bytes", 0)
        if not refused_bytes and len(message.payload) > PACKET_MAX_BYTES:
            refused_bytes = len(message.payload)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self.dropped += 1
            return
        payload = b"" if refused_bytes else bytes(message.payload)
        if not self._inbox.put(Arrived(topic, payload, message.retain, time.monotonic(), refused_bytes)):
            self.dropped += 1

    def _on_publish(
        self, _client: paho.Client, _data: object, _mid: int, _reason: ReasonCode, _properties: Properties
    ) -> None:
        with contextlib.suppress(IndexError):  # setpoints do not wait
            self._waiting_bytes.popleft()

    def _back_off(self, client: paho.Client) -> None:
        client.reconnect_delay_set(max(1, round(self._backoff.next_s())), round(BACKOFF_MAX_S))

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            logger.log(
                logging.WARNING if trouble else logging.INFO,
                "mqtt connection=%s %s",
                self.name,
                trouble or f"connected to {self._address}",
            )


def _send_at_once(_client: paho.Client, _data: object, opened: object) -> None:
    """Send small packets at once: a setpoint must not wait 40 ms for an earlier acknowledgement."""
    if isinstance(opened, socket.socket):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _log_in(client: paho.Client, broker: Broker) -> None:
    try:
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password())
        if broker.uses_tls:
            client.tls_set_context(tls_context(broker))
    except (OSError, ValueError) as error:
        keys = "password_file, ca_file, certificate_file and key_file"
        raise ConfigError(f"login at {broker.host}: {error}; check {keys}") from error
