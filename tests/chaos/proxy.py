"""A TCP proxy before the broker that can cut connections, and hold back what flows, in either direction.

It knows of MQTT only as much as the checks need: when the broker has granted a client's subscriptions.
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterable
from random import Random
from threading import Thread
from types import TracebackType
from typing import Final, Self

from servers.base import HOST

TO_BROKER: Final = "to_broker"
TO_CLIENT: Final = "to_client"
DIRECTIONS: Final = (TO_BROKER, TO_CLIENT)

_CHUNK: Final = 65536
_SUBACK: Final = 9
_RESET: Final = struct.pack("ii", 1, 0)


class _Link:
    """One client's connection: two sockets, a gate in each direction."""

    def __init__(self, client: asyncio.StreamWriter, broker: asyncio.StreamWriter) -> None:
        self.writers = (client, broker)
        self.open_from_s = dict.fromkeys(DIRECTIONS, 0.0)

    async def opens(self, direction: str) -> None:
        """Wait while the direction is held; that may be prolonged meanwhile."""
        while True:
            wait_s = self.open_from_s[direction] - time.monotonic()
            if wait_s <= 0:
                return
            await asyncio.sleep(wait_s)

    def close(self, *, reset: bool) -> None:
        for writer in self.writers:
            opened = writer.get_extra_info("socket")
            if reset and opened is not None:
                with contextlib.suppress(OSError):
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
            else:
                writer.close()


class Proxy:
    """Forwards every connection to the broker's port. A context manager; its loop runs in a thread of its own.

    Attributes:
        port: Where the clients connect.
        subscribed_s: When the broker granted subscriptions, on the monotonic clock.
    """

    def __init__(self, broker_port: int) -> None:
        self.port = 0
        self.subscribed_s: list[float] = []
        self._broker_port = broker_port
        self._links: list[_Link] = []
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cut(reset=True)
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._links)

    def cut(self, *, reset: bool, share: float = 1.0, random: Random | None = None) -> None:
        """End connections, all or a share chosen by chance: with RST, what is under way is gone; else with FIN."""

        def close() -> None:
            for link in self._chosen(share, random):
                link.close(reset=reset)

        self._do(close)

    def stall(self, directions: Iterable[str], seconds: float) -> None:
        """Forward nothing on the present connections for so long; the sender notices when the buffers are full."""
        until_s, held = time.monotonic() + seconds, tuple(directions)

        def hold() -> None:
            for link in self._links:
                for direction in held:
                    link.open_from_s[direction] = max(link.open_from_s[direction], until_s)

        self._do(hold)

    def _chosen(self, share: float, random: Random | None) -> list[_Link]:
        return [link for link in self._links if random is None or random.random() < share]

    def _do(self, action: Callable[[], object]) -> None:
        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_broker, to_broker = await asyncio.open_connection(HOST, self._broker_port)
        except OSError:  # the broker is down
            writer.transport.abort()
            return
        link = _Link(writer, to_broker)
        self._links.append(link)
        for end in link.writers:
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.gather(
                self._forward(link, TO_BROKER, reader, to_broker),
                self._forward(link, TO_CLIENT, from_broker, writer),
            )
        finally:
            self._links.remove(link)
            link.close(reset=False)

    async def _forward(
        self, link: _Link, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        packets = _Packets() if direction == TO_CLIENT else None
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if packets is not None and packets.brings_suback(data):
                    self.subscribed_s.append(time.monotonic())
                    packets = None
                await link.opens(direction)
                writer.write(data)
                await writer.drain()
        link.close(reset=False)


class _Packets:
    """Finds the first SUBACK in the broker's packets."""

    def __init__(self) -> None:
        self._buffer = b""

    def brings_suback(self, data: bytes) -> bool:
        self._buffer += data
        while (end := _end_of_packet(self._buffer)) is not None:
            kind = self._buffer[0] >> 4
            self._buffer = self._buffer[end:]
            if kind == _SUBACK:
                return True
        return False


def _end_of_packet(buffer: bytes) -> int | None:
    """Where the first packet ends; None if it is not all there."""
    length = 0
    for at, byte in enumerate(buffer[1:5]):
        length |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:
            end = 2 + at + length
            return end if len(buffer) >= end else None
    return None
