"""A bare MQTT publisher for benchmarks: ready-made packets of QoS 1 from a file, as fast as they are acknowledged.

A client library would be the limit of what is measured. Run as `python -m benchmarks.publisher PORT FILE WINDOW`: it
says `ready`, and sends once it reads a line. The file is made by `write_packets`.
"""

import mmap
import socket
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

WINDOW: Final = 20
"""Packets that may be unacknowledged: as many as paho and Mosquitto's own clients allow themselves."""

PUBACK_BYTES: Final = 4


def write_packets(file: Path, messages: Iterable[tuple[str, bytes]]) -> int:
    """Write PUBLISH packets of QoS 1, each after its length; returns how many."""
    count = 0
    with file.open("wb") as out:
        for topic, payload in messages:
            mid = count % 65_535 + 1
            name = topic.encode()
            body = struct.pack("!H", len(name)) + name + struct.pack("!H", mid) + payload
            packet = b"\x32" + _length(len(body)) + body
            out.write(struct.pack("!I", len(packet)) + packet)
            count += 1
    return count


def connect(port: int, client_id: str, *, clean: bool) -> socket.socket:
    """A connection to the broker on the loopback that the broker has accepted."""
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = client_id.encode()
    body = b"\x00\x04MQTT\x04" + bytes([2 if clean else 0]) + b"\x00\x00" + struct.pack("!H", len(name)) + name
    link.sendall(b"\x10" + _length(len(body)) + body)
    answer = _receive(link, 4)
    if answer[0] != 0x20 or answer[3] != 0:
        raise ConnectionError(f"the broker refuses: {answer.hex()}")
    return link


def make_session(port: int, client_id: str, filters: Iterable[str]) -> None:
    """Leave a session of QoS 1 with these subscriptions at the broker."""
    with connect(port, client_id, clean=False) as link:
        wanted = b"".join(struct.pack("!H", len(text)) + text.encode() + b"\x01" for text in filters)
        body = b"\x00\x01" + wanted
        link.sendall(b"\x82" + _length(len(body)) + body)
        head = _receive(link, 2)
        _receive(link, head[1])
        link.sendall(b"\xe0\x00")
        link.recv(1)  # until the broker has closed it


def publish(port: int, file: Path, window: int) -> None:
    """Send every packet of the file, at most `window` unacknowledged; return once the broker has acknowledged them all."""
    with file.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as packets:
        ends, data = _unframed(packets)
    view = memoryview(data)
    total = len(ends) - 1
    with connect(port, "benchmark-publisher", clean=True) as link:
        print("ready", flush=True)
        sys.stdin.readline()
        sent = acknowledged_bytes = 0
        while True:
            limit = min(acknowledged_bytes // PUBACK_BYTES + window, total)
            if limit > sent:
                link.sendall(view[ends[sent] : ends[limit]])
                sent = limit
            if acknowledged_bytes == total * PUBACK_BYTES:
                break
            acknowledged_bytes += len(_some(link))
        link.sendall(b"\xe0\x00")


def _unframed(packets: mmap.mmap) -> tuple[list[int], bytes]:
    ends, parts, at = [0], [], 0
    while at < len(packets):
        (size,) = struct.unpack_from("!I", packets, at)
        parts.append(packets[at + 4 : at + 4 + size])
        ends.append(ends[-1] + size)
        at += 4 + size
    return ends, b"".join(parts)


def _length(value: int) -> bytes:
    """A remaining length of MQTT."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _receive(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += _some(link, count - len(data))
    return data


def _some(link: socket.socket, most: int = 65_536) -> bytes:
    data = link.recv(most)
    if not data:
        raise ConnectionError("the broker has closed the connection")
    return data


if __name__ == "__main__":
    publish(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
