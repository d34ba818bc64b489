"""One MQTT connection without its own thread: it works only in `pump`, in the thread of the caller.

In lockstep no message arrives between two ticks; a network thread would only cost its hand-overs. The keep-alive is an hour
for the same reason: the caller may be busy with training and need not pump meanwhile.
"""

import ipaddress
import select
import socket
import time
from collections import deque
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

KEEPALIVE_S: Final = 3600
UNACKNOWLEDGED_MAX: Final = 60
"""Limit of the client's table, which it searches at every acknowledgment."""
_RETRY_S: Final = 0.1


class Connection:
    """A connection to a broker on loopback; `epoch` counts its subscriptions, one after each connect."""

    def __init__(self, host: str, port: int, *, client_id: str, topics: list[str]) -> None:
        require_loopback(host)
        self.epoch = 0
        self.received: deque[tuple[str, bytes]] = deque()
        self._address = (host, port)
        self._topics = topics
        self._unacknowledged = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
        self._client.max_inflight_messages_set(UNACKNOWLEDGED_MAX)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_socket_open = _without_delay

    def connect(self, timeout_s: float) -> None:
        """Connect and subscribe, with attempts until the time is over.

        Raises:
            TimeoutError: If no broker answers within the time; start one and run again.
        """
        epoch, until = self.epoch, time.monotonic() + timeout_s
        while self.epoch == epoch:
            try:
                self._client.connect(*self._address, keepalive=KEEPALIVE_S)
                while self.epoch == epoch and self._turn(_RETRY_S) and time.monotonic() < until:
                    pass
            except OSError:
                pass  # not up yet, or down again
            if self.epoch == epoch:
                if time.monotonic() >= until:
                    raise TimeoutError(f"no MQTT broker at {self._address[0]}:{self._address[1]} within {timeout_s:g} s")
                time.sleep(_RETRY_S)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish with QoS 1. Without a connection the message waits for the next one."""
        self._unacknowledged += 1
        self._client.publish(topic, payload, qos=1, retain=retain)
        if self._unacknowledged >= UNACKNOWLEDGED_MAX:
            while self._unacknowledged >= UNACKNOWLEDGED_MAX // 2 and self._turn(_RETRY_S):
                pass

    def pump(self, timeout_s: float) -> bool:
        """Send and receive until something has arrived or the time is over; False if the connection is lost."""
        until = time.monotonic() + timeout_s
        while not self.received:
            left_s = until - time.monotonic()
            if not self._turn(max(left_s, 0.0)):
                return False
            if left_s <= 0:
                break
        return True

    def close(self) -> None:
        """Disconnect after the published messages have been sent."""
        until = time.monotonic() + 1.0
        while self._unacknowledged and time.monotonic() < until and self._turn(_RETRY_S):
            pass
        self._client.disconnect()
        self._client.loop_misc()

    def _turn(self, timeout_s: float) -> bool:
        """One round of the network; False if the connection is lost."""
        connection = self._client.socket()
        if not isinstance(connection, socket.socket):
            return False  # paho may return a web socket; this connection is plain
        writing = [connection] if self._client.want_write() else []
        # The embedded broker holds small packets until the TCP acknowledgment of the last one, which the kernel delays by
        # 40 ms unless this option is set each time.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        readable, writable, _ = select.select([connection], writing, [], timeout_s)
        if readable and self._client.loop_read():
            return False
        if writable and self._client.loop_write():
            return False
        return not self._client.loop_misc()

    def _on_connect(self, client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401
        if not reason.is_failure:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(self, *_: Any) -> None:  # noqa: ANN401
        self.epoch += 1

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:  # noqa: ANN401
        self.received.append((message.topic, bytes(message.payload)))

    def _on_publish(self, *_: Any) -> None:  # noqa: ANN401
        self._unacknowledged -= 1


def _without_delay(_client: paho.Client, _userdata: Any, opened: Any) -> None:  # noqa: ANN401
    """Send small packets at once: otherwise the kernel delays each tick by 40 ms."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def require_loopback(host: str) -> None:
    """Refuse a broker that is not on this machine: simulated time must never reach real equipment.

    Raises:
        ValueError: If an address of the host is not a loopback address.
    """
    addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise ValueError(f"broker host {host} is not on loopback; simulated time needs one that is")
