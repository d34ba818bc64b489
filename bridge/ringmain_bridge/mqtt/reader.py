"""The seam between the bridge and its MQTT client: the methods of a reader, and of its handler."""

from collections.abc import Sequence
from typing import Final, Protocol

from ringmain_bridge.forwarding.forward import MqttMessage

CONNECTION_LOST: Final = "connection_lost"
REFUSED: Final = "refused"
UNREACHABLE: Final = "unreachable"
WINDOW_FULL: Final = "window_full"
TAKEN_OVER: Final = "taken_over"
RECONNECT_REASONS: Final = (CONNECTION_LOST, REFUSED, UNREACHABLE, WINDOW_FULL, TAKEN_OVER)
"""Reasons of an ended or failed connection."""


class MqttHandler(Protocol):
    """Calls of a reader, in its network thread. None of them may block."""

    def connected(self, *, session_present: bool) -> None:
        """The broker has accepted the connection; called before its first message."""

    def disconnected(self) -> None:
        """The connection is dead; called before the next attempt."""

    def received(self, messages: Sequence[MqttMessage]) -> None:
        """Messages arrived, in this order. Only `MqttReader.acknowledge` acknowledges them."""

    def may_read(self) -> bool:
        """Whether there is room for more messages; a reader may ignore it."""

    def may_connect(self) -> bool:
        """Whether there is room for the messages of a new connection."""


class MqttReader(Protocol):
    """A persistent session with QoS 1 and manual acknowledgments; it reconnects by itself until `stop`."""

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted the connection and it has not ended."""

    @property
    def kind(self) -> str:
        """`fast` or `stock`."""

    @property
    def unconfirmed(self) -> int:
        """Number of own messages that the broker has not confirmed."""

    @property
    def reconnects(self) -> dict[str, int]:
        """Number of ended or failed connections, by reason."""

    @property
    def is_contested(self) -> bool:
        """Whether another process uses this client id."""

    def start(self, handler: MqttHandler) -> None:
        """Connect, and stay connected; returns at once."""

    def acknowledge(self, mids: list[int]) -> None:
        """Send PUBACKs in this order as one write. From any thread, for messages of the present connection only."""

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish retained with QoS 1. False if it is not possible now. From one thread only."""

    def pause(self) -> None:
        """Disconnect, and connect again once `MqttHandler.may_connect` is true; the broker keeps the session."""

    def stop(self, timeout_s: float) -> None:
        """Disconnect after the queued packets have been written."""
