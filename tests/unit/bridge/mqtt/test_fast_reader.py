"""The fast reader beside what the differential property test shows: when it is used, and when it does not read."""

import logging
import socket
import struct

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from ringmain_bridge.forwarding.forward import MqttMessage
from ringmain_bridge.mqtt import fast_reader
from ringmain_bridge.mqtt.fast_reader import FastClient, choose, missing_names


class RenamedClient(Client):
    """A paho of some day, in which a private name is gone."""

    _packet_handle = None  # type: ignore[assignment]


class RewrittenClient(Client):
    """A paho of some day, whose loop reads by another way."""

    def _loop(self, timeout: float = 1.0) -> object:  # type: ignore[override]
        return timeout


def connected() -> tuple[FastClient, list[MqttMessage], socket.socket, socket.socket]:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    client = FastClient(CallbackAPIVersion.VERSION2)
    got: list[MqttMessage] = []
    client.on_messages = got.extend
    client._sock = ours  # noqa: SLF001
    return client, got, ours, peer


def publish(mid: int) -> bytes:
    return b"\x32\x06\x00\x01a" + struct.pack("!H", mid) + b"x"


def test_the_installed_paho_has_every_name_that_is_needed() -> None:
    assert missing_names() == []
    assert choose("fast") is FastClient
    assert choose("stock") is Client


@pytest.mark.parametrize(
    ("client_type", "missing"), [(RenamedClient, "_packet_handle"), (RewrittenClient, "_loop calling loop_read")]
)
def test_another_paho_is_read_by_its_own_loop_and_the_log_says_so(
    client_type: type[Client], missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose("fast", client_type) is client_type
    assert missing in caplog.text
    assert "slow loop" in caplog.text


def test_one_read_hands_on_all_its_messages_together() -> None:
    client, _, ours, peer = connected()
    batches: list[list[MqttMessage]] = []
    client.on_messages = batches.append
    peer.sendall(b"".join(publish(mid) for mid in range(1, 101)) + publish(101)[:3])
    client.loop_read()
    peer.sendall(publish(101)[3:])
    client.loop_read()
    assert [[message.mid for message in batch] for batch in batches] == [list(range(1, 101)), [101]]
    ours.close()
    peer.close()


def test_without_room_the_data_stay_in_the_socket_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_reader, "PAUSE_S", 0.0)
    monkeypatch.setattr(fast_reader, "HOLD_S", 3600.0)
    client, got, ours, peer = connected()
    room = [True]
    client.may_read = lambda: room[0]
    peer.sendall(publish(1))
    client.loop_read()
    room[0] = False
    peer.sendall(publish(2))
    client.loop_read()
    assert [message.mid for message in got] == [1]
    room[0] = True
    client.loop_read()
    assert [message.mid for message in got] == [1, 2]

    room[0] = False
    peer.sendall(publish(3))
    monkeypatch.setattr(fast_reader, "HOLD_S", 0.0)  # over: a PINGRESP must come through, or the keep-alive ends all
    client.loop_read()
    assert [message.mid for message in got] == [1, 2, 3]
    ours.close()
    peer.close()


def test_a_new_connection_begins_with_a_new_packet() -> None:
    client, got, ours, peer = connected()
    peer.sendall(publish(1)[:4])
    client.loop_read()
    with pytest.raises(ValueError, match="host"):
        client.reconnect()  # there is no host, but what the old connection has left is gone
    client._sock = ours  # noqa: SLF001
    peer.sendall(publish(2))
    client.loop_read()
    assert [message.mid for message in got] == [2]
    ours.close()
    peer.close()
