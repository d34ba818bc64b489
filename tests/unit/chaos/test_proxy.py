"""The proxy forwards both ways, holds either direction, cuts, and notes when a broker grants subscriptions."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from chaos.proxy import TO_BROKER, TO_CLIENT, Proxy
from servers.base import HOST, wait_until

CONNACK, SUBACK = b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x01"


class Ends:
    """Both ends of one connection through a proxy."""

    def __init__(self, proxy: Proxy, listener: socket.socket) -> None:
        self.client = socket.create_connection((HOST, proxy.port), timeout=5)
        self.broker, _ = listener.accept()
        self.broker.settimeout(5)
        wait_until(lambda: proxy.connections == 1, what="the proxy has both ends")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(5)
        yield server


@pytest.fixture
def proxy(listener: socket.socket) -> Iterator[Proxy]:
    with Proxy(listener.getsockname()[1]) as running:
        yield running


@pytest.fixture
def ends(proxy: Proxy, listener: socket.socket) -> Iterator[Ends]:
    ends = Ends(proxy, listener)
    with closing(ends.client), closing(ends.broker):
        yield ends


def test_bytes_go_both_ways(ends: Ends) -> None:
    ends.client.sendall(b"to the broker")
    assert ends.broker.recv(100) == b"to the broker"
    ends.broker.sendall(b"to the client")
    assert ends.client.recv(100) == b"to the client"


def test_a_stall_holds_one_direction_until_it_is_over(proxy: Proxy, ends: Ends) -> None:
    begin_s = time.monotonic()
    proxy.stall([TO_BROKER], 0.5)
    ends.client.sendall(b"later")
    ends.broker.sendall(b"now")
    assert ends.client.recv(100) == b"now"
    assert ends.broker.recv(100) == b"later"
    assert time.monotonic() - begin_s >= 0.5  # not before the stall was over; nothing says how long after


def test_a_cut_ends_the_connection_on_both_sides(proxy: Proxy, ends: Ends) -> None:
    proxy.cut(reset=True)
    with pytest.raises(ConnectionResetError):
        ends.client.recv(100)
    with pytest.raises(ConnectionResetError):
        ends.broker.recv(100)
    wait_until(lambda: proxy.connections == 0, what="the proxy has forgotten the connection")


def test_an_orderly_cut_is_the_end_of_the_stream(proxy: Proxy, ends: Ends) -> None:
    proxy.cut(reset=False)
    assert (ends.client.recv(100), ends.broker.recv(100)) == (b"", b"")


def test_a_broker_that_is_down_ends_the_connection(listener: socket.socket, proxy: Proxy) -> None:
    listener.close()
    with closing(socket.create_connection((HOST, proxy.port), timeout=5)) as client:
        assert client.recv(100) == b""


def test_subscriptions_are_granted_by_the_suback_however_the_bytes_are_cut(proxy: Proxy, ends: Ends) -> None:
    retained = b"\x31\x82\x01" + bytes(130)
    for byte in CONNACK + retained + SUBACK[:-1]:
        ends.broker.sendall(bytes([byte]))
    assert len(_receive(ends.client, len(CONNACK + retained + SUBACK) - 1)) > 0
    assert proxy.subscribed_s == []
    proxy.stall([TO_CLIENT], 0.0)
    ends.broker.sendall(SUBACK[-1:])
    assert ends.client.recv(1) == SUBACK[-1:]
    assert len(proxy.subscribed_s) == 1


def _receive(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += end.recv(size - len(data))
    return data
