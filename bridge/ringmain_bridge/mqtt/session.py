"""Reads from the MQTT broker: connection, session, subscriptions, acknowledgments. Decides nothing."""

import logging
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Final

from paho.mqtt.client import (
    MQTT_ERR_SUCCESS,
    PUBACK,
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
    MQTTMessageInfo,
)
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ringmain_bridge.config import Mqtt
from ringmain_bridge.forwarding.forward import MqttMessage
from ringmain_bridge.mqtt.client import BriefConnection, end_loop, new_client
from ringmain_bridge.mqtt.client_id_conflict import OVER_S, ClientIdConflict, wait_s
from ringmain_bridge.mqtt.fast_reader import INVALID_TOPIC, FastClient, choose
from ringmain_bridge.mqtt.reader import (
    CONNECTION_LOST,
    RECONNECT_REASONS,
    REFUSED,
    TAKEN_OVER,
    UNREACHABLE,
    WINDOW_FULL,
    MqttHandler,
)
from ringmain_program.backoff import BackOff

WITNESS_S: Final = 0.5
"""Time after the end of our own connection at which the witness must still live."""
FILTERS_PER_PACKET: Final = 64
MAX_UNCONFIRMED: Final = 1000
"""Limit of own messages that the broker has not confirmed; paho itself would queue without limit."""

LOG = logging.getLogger("ringmain_bridge.mqtt")


class PahoReader:
    """One supervising thread that connects, and for each connection one network thread of paho, stock or fast.

    Every connection has its own client object: packets queued for a dead connection cannot leave on another. paho's own
    reconnecting is off: its delays have no jitter, and it cannot wait until the window has drained.
    """

    def __init__(  # noqa: PLR0913  by name only
        self,
        config: Mqtt,
        *,
        client_id: str,
        filters: Sequence[str],
        random: Random,
        foreign: Sequence[str] = (),
        quiet: bool = False,
    ) -> None:
        """`foreign` are filters to unsubscribe from, which an older session may hold; `quiet` logs at DEBUG."""
        self._config = config
        self._client_type = choose(config.reader)
        self._client_id = client_id
        self._filters = filters
        self._foreign = foreign
        self._random = random
        self._quiet = quiet
        self._backoff = BackOff(random)
        self._conflict = ClientIdConflict()
        self._witness: BriefConnection | None = None
        self._client: Client | None = None
        self._handler: MqttHandler
        self._connected = False
        self._connected_at_s: float | None = None
        self.session_present: bool | None = None
        self._subscribed = False
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
    def kind(self) -> str:
        """`fast` or `stock`."""
        return "stock" if self._client_type is Client else "fast"

    @property
    def unconfirmed(self) -> int:
        """Number of own messages that the broker has not confirmed; for the publishing thread only."""
        unconfirmed = self._unconfirmed
        while unconfirmed and unconfirmed[0].is_published():
            unconfirmed.popleft()
        return len(unconfirmed)

    @property
    def reconnects(self) -> dict[str, int]:
        """Number of ended or failed connections, by reason."""
        return dict(self._reconnects)

    @property
    def is_contested(self) -> bool:
        """Whether another process uses this client id."""
        return self._conflict.contested

    def start(self, handler: MqttHandler) -> None:
        """Connect, and stay connected; returns at once."""
        self._handler = handler
        self._thread.start()

    def acknowledge(self, mids: list[int]) -> None:
        """Send PUBACKs in this order, as one packet if paho has its private queue."""
        client = self._client
        if client is None:
            return
        queue = getattr(client, "_packet_queue", None)
        if queue is not None:
            queue(PUBACK, struct.pack(f">{len(mids)}I", *[0x40020000 | mid for mid in mids]), 0, 1)
        else:
            for mid in mids:
                client.ack(mid, 1)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish retained with QoS 1. False if it is not possible now."""
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
        """Disconnect after the queued packets have been written."""
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
            text = self._one_connection()
            if self._stopping.is_set():
                break
            up_for_s = 0.0 if self._connected_at_s is None else time.monotonic() - self._connected_at_s
            delay_s = self._judge(up_for_s)
            self._reconnects[self._reason] += 1
            if self._reason != TAKEN_OVER:
                LOG.log(
                    logging.DEBUG if text == failure or self._quiet else logging.WARNING,
                    "mqtt not connected host=%s port=%d reason=%r retry_in_s=%.1f",
                    self._config.host, self._config.port, text, delay_s,
                )  # fmt: skip
            failure = "" if self._connected_at_s is not None else text
            self._stopping.wait(delay_s)
        self._dismiss_witness()

    def _one_connection(self) -> str:
        """One connection from beginning to end; returns the reason of its end, for the log."""
        try:
            self._connect_once()
        except (OSError, ValueError) as error:  # refused, no route, TLS, unreadable file or an unusable value in one
            self._reason = UNREACHABLE
            self._client = None
            return f"{UNREACHABLE}: {error}"
        if self._reason == CONNECTION_LOST and self._connected_at_s is None:
            self._reason = REFUSED
            return f"{REFUSED}: the broker closed the connection before it answered; check TLS and client certificate"
        if self._reason == CONNECTION_LOST and self._filters and not self._subscribed:
            self._reason = REFUSED
            return f"{REFUSED}: the broker closed the connection at the subscriptions; allow them in its ACL"
        return self._reason

    def _judge(self, up_for_s: float) -> float:
        """Delay before the next connection. Detects another process with our client id."""
        if self._reason == WINDOW_FULL:
            self._conflict.interrupted()
            return 0.0
        if self._reason != CONNECTION_LOST:
            self._conflict.interrupted()
            return self._backoff.next_s(stable_for_s=up_for_s)
        lives = None
        if self._witness is not None:
            self._stopping.wait(WITNESS_S)
            lives = self._witness.is_alive
            self._dismiss_witness()
        if self._conflict.ended(up_for_s=up_for_s, witness_lives=lives):
            self._reason = TAKEN_OVER
            delay_s = wait_s(self._random)
            LOG.error(
                "mqtt another process uses client_id=%s: next attempt in %.0f s. Stop it, or give each bridge its own "
                "`replica`; the broker's log names its address",
                self._client_id, delay_s,
            )  # fmt: skip
            return delay_s
        return self._backoff.next_s(stable_for_s=up_for_s)

    def _connect_once(self) -> None:
        """One connection from beginning to end.

        Raises:
            OSError: If the connection fails; try again later.
        """
        self._ended.clear()
        self._connected_at_s = None
        self._subscribed = False
        self._reason = CONNECTION_LOST
        self._unconfirmed = deque()
        self._call_witness()
        client = self._new_client()
        client.connect(self._config.host, self._config.port, keepalive=self._config.keepalive_s)
        self._client = client
        client.loop_start()
        if self._stopping.is_set():
            client.disconnect()
        if self._conflict.wants_witness and not self._ended.wait(OVER_S):
            self._conflict.holds()
            self._dismiss_witness()
        self._ended.wait()
        self._client = None
        end_loop(client)

    def _call_witness(self) -> None:
        self._dismiss_witness()
        if self._conflict.wants_witness:
            witness = BriefConnection(self._config)
            if witness.open():
                self._witness = witness
            else:
                witness.close()

    def _dismiss_witness(self) -> None:
        witness, self._witness = self._witness, None
        if witness is not None:
            witness.close()

    def _new_client(self) -> Client:
        client = new_client(self._config, self._client_id, clean_session=False, client_type=self._client_type)
        client.max_inflight_messages_set(100)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        if isinstance(client, FastClient):
            client.on_messages = self._handler.received
            client.may_read = self._handler.may_read
        return client

    def _on_connect(
        self, client: Client, _userdata: object, flags: ConnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._reason = REFUSED
            LOG.error("mqtt broker refuses the connection client_id=%s reason=%r", self._client_id, str(code))
            return
        self._connected_at_s = time.monotonic()
        self.session_present = flags.session_present
        self._handler.connected(session_present=flags.session_present)
        if self._filters:
            client.subscribe([(name, 1) for name in self._filters])
        if flags.session_present:  # after the subscriptions, so that no message is missed between
            for i in range(0, len(self._foreign), FILTERS_PER_PACKET):
                client.unsubscribe(list(self._foreign[i : i + FILTERS_PER_PACKET]))
        self._connected = True
        LOG.log(
            logging.DEBUG if self._quiet else logging.INFO,
            "mqtt connected client_id=%s session_present=%s", self._client_id, flags.session_present,
        )  # fmt: skip

    def _on_disconnect(
        self, _client: Client, _userdata: object, _flags: DisconnectFlags, _code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._connected = False
        self._handler.disconnected()
        self._ended.set()

    def _on_subscribe(
        self, _client: Client, _userdata: object, _mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._subscribed = True
        refused = [name for name, code in zip(self._filters, codes, strict=False) if code.is_failure]
        if refused:
            LOG.error("mqtt broker refuses subscriptions client_id=%s filters=%s", self._client_id, ",".join(refused))
            self._end(REFUSED)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = INVALID_TOPIC
        self._handler.received(
            [
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
            ]
        )
