"""A connection of its own for the will of each output: MQTT has one will per connection.

The broker publishes the will when the agent dies, hangs or loses its gateway. They are open in control only.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from ringmain_agent.config.agent import LoadedConfig
from ringmain_agent.gateway.mqtt import NOT_YET, BrokerConnection, Will
from ringmain_program.brokers import with_absolute_files

CLOSE_MAX_S: Final = 5.0

Message = tuple[str, bytes]
"""Topic and payload."""


class WillConnections:
    """Connections to the local broker, one for each equipment; each ends cleanly after the last message went out by it."""

    def __init__(self, loaded: LoadedConfig, *, client_id: str) -> None:
        """Closed; their client ids begin with `client_id`."""
        self._broker = with_absolute_files(loaded.config.mqtt.local, loaded.folder)
        self._client_id = client_id
        self._connections: dict[str, BrokerConnection] = {}
        self._seen: dict[str, tuple[int, bool]] = {}
        self._closing: threading.Thread | None = None

    @property
    def is_open(self) -> bool:
        """True in control."""
        return bool(self._connections)

    def open(self, wills: Mapping[str, Message]) -> None:
        """Connect, with the will of each equipment; later if the connections before are still being closed."""
        if self._closing is not None and self._closing.is_alive():
            return
        for name, (topic, payload) in wills.items():
            self._connections[name] = BrokerConnection(
                f"will of {name}",
                self._broker,
                client_id=f"{self._client_id}-{name}",
                subscriptions=(),
                will=Will(topic, payload, qos=0, retain=False),
            )
            self._connections[name].start()

    def close(self, messages: Mapping[str, Message], otherwise: Callable[[str, bytes], bool]) -> list[str]:
        """Send the last messages, by another connection where one is not connected, and disconnect without a will.

        Returns:
            Equipment whose message no connection took.
        """
        connections, self._connections = self._connections, {}
        self._seen.clear()
        unsent = []
        for name, (topic, payload) in messages.items():
            connection = connections.get(name)
            if not (connection is not None and connection.publish_setpoint(topic, payload)) and not otherwise(
                topic, payload
            ):
                unsent.append(name)
        self._closing = threading.Thread(target=_stop, args=(list(connections.values()),), daemon=True)
        self._closing.start()
        return unsent

    def finish(self) -> None:
        """Wait until the connections have ended, at most a few seconds."""
        if self._closing is not None:
            self._closing.join(CLOSE_MAX_S)

    def lost(self) -> bool:
        """True once after each loss or return of a connection: the broker may have published its will."""
        before, now = self._seen, {name: (one.connects, one.connected) for name, one in self._connections.items()}
        self._seen = now
        return any(name in before and before[name] != seen and before[name][0] > 0 for name, seen in now.items())

    @property
    def troubles(self) -> Iterator[tuple[str, str]]:
        """Equipment whose will the broker does not have, and why."""
        for name, connection in self._connections.items():
            if connection.trouble not in {"", NOT_YET}:
                yield name, connection.trouble


def _stop(connections: Sequence[BrokerConnection]) -> None:
    """Disconnect each, after the messages before; slow where a broker does not answer."""
    for connection in connections:
        connection.stop()
