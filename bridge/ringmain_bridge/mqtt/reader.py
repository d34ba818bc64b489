"""The seam between the bridge and its MQTT client: what a reader does, and what it calls."""

from collections.abc import Sequence
from typing import Final, Protocol

from ringmain_bridge.forwarding.forward import MqttMessage

CONNECTION_LOST: Final = "connection_lost"
REFUSED: Final = "refused"
UNREACHABLE: Final = "unreachable"
WINDOW_FULL: Final = "window_full"
TAKEN_OVER: Final = "taken_over"
RECONNECT_REASONS: Final = (CONNECTION_LOST, REFUSED, UNREACHABLE, WINDOW_FULL, TAKEN_OVER)
"""Why a connection ended or did not come about."""


class MqttHandler(Protocol):
    """Calls of a reader from its network thread. None of them may block."""

    def connected(self, *, session_present: bool) -> None:
        """The broker has accepted; nothing was received on this connection yet."""

    def disconnected(self) -> None:
        """The connection is dead; called before the next one is tried."""

    def received(self, messages: Sequence[MqttMessage]) -> None:
        """Messages came, in this order. They are acknowledged only by `MqttReader.acknowledge`."""

    def may_read(self) -> bool:
        """Whether there is room for more; a reader need not ask."""

    def may_connect(self) -> bool:
        """Whether there is room for what a new connection would bring."""


class MqttReader(Protocol):
    """A persistent session with QoS 1 and manual acknowledgments, which reconnects by itself until it is stopped."""

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
        """Number of connections that ended or did not come about, by reason."""

    @property
    def is_contested(self) -> bool:
        """Whether another process takes this client id again and again."""

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
