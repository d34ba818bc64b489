"""A broker and a Kafka without any installation, for the demo and for fast tests; both listen on 127.0.0.1 only.

`python -m ringmain_simulation.embedded mqtt|kafka` serves until Ctrl-C or SIGTERM. If standard input is a pipe, it also ends
when the pipe is closed, for example by the death of the parent process. The first line on standard output is the address,
the first on standard error the way to end the server. Both servers keep no data beyond their end. Production and the
end-to-end test use Mosquitto and Apache Kafka; `KNOWN_DIFFERENCES` lists the differences to these.
"""

import argparse
import ctypes
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Final, NamedTuple

from ringmain_protocol import topics
from ringmain_protocol.messages import MAX_MESSAGE_BYTES

HOST: Final = "127.0.0.1"
PARTITIONS: Final = 12

KNOWN_DIFFERENCES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "mqtt": MappingProxyType(
            {
                "no_mqtt_5": "speaks MQTT 3.1.1 only",
                "no_dup": "redelivers unacknowledged messages with DUP = 0 and new packet ids",
                "no_receive_maximum": "sends at most 100 unacknowledged messages, regardless of the client",
                "subscription_qos": "delivers with the QoS of the subscription, also messages published with QoS 0",
                "no_order_between_topics": "keeps the order within a topic, not between two topics",
                "no_disk": "sessions and retained messages end with the process",
                "no_keepalive_0": "refuses a keep-alive of 0",
            }
        ),
        "kafka": MappingProxyType(
            {
                "no_create_topics": "AdminClient.create_topics times out; the topics exist already, with 12 partitions",
                "no_offsets_for_times": "answers -1",
                "no_transactions": "aborted records are visible to read_committed",
                "no_retention_settings": "keeps 5 MiB or 100,000 batches a partition and drops the oldest",
                "no_disk": "records end with the process",
            }
        ),
    }
)

_START_TIMEOUT_S: Final = 15.0


class EmbeddedServer(NamedTuple):
    """A server in a child process; it ends with `stop` or with this process."""

    host: str
    port: int
    process: "subprocess.Popen[str]"

    @property
    def address(self) -> str:
        """Host and port as one text."""
        return f"{self.host}:{self.port}"

    def stop(self) -> None:
        """End the server."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(2.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start_mqtt(*, port: int = 0, log: Path | None = None) -> EmbeddedServer:
    """An MQTT broker in a child process; port 0 takes a free one.

    Raises:
        RuntimeError: If it does not start; see its log.
    """
    return _start(["mqtt", "--port", str(port)], log)


def start_kafka(*, log: Path | None = None) -> EmbeddedServer:
    """A Kafka in a child process, on a free port, with the topics of Ringmain.

    Raises:
        RuntimeError: If it does not start; see its log.
    """
    return _start(["kafka"], log)


def free_port() -> int:
    """A TCP port on loopback that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _start(arguments: list[str], log: Path | None) -> EmbeddedServer:
    with (log or Path(os.devnull)).open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "ringmain_simulation.embedded", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C goes to the parent, which stops this server last
        )
    timer = threading.Timer(_START_TIMEOUT_S, process.kill)
    timer.start()
    line = process.stdout.readline().strip() if process.stdout is not None else ""
    timer.cancel()
    host, _, port = line.rpartition(":")
    server = EmbeddedServer(host, int(port or 0), process)
    if not host:
        server.stop()
        raise RuntimeError(
            f"the embedded {arguments[0]} server did not start within {_START_TIMEOUT_S:g} s; log: {log or 'none'}"
        )
    return server


def serve_mqtt(port: int) -> None:
    """Serve MQTT until the process ends."""
    from iotcore.iotcore import IotCoreBroker  # noqa: PLC0415  the demo's extra

    # The broker writes an error record for every packet.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    port = port or free_port()
    broker = IotCoreBroker(
        listen=HOST, port=port, max_connections=1000, max_payload_size=MAX_MESSAGE_BYTES + 4096, max_inflight_count=100
    )
    threading.Thread(target=broker.run_forever, daemon=True).start()
    _wait_for_port(port)
    _send_without_delay(port)
    _announce_and_wait(f"{HOST}:{port}")


def serve_kafka() -> None:
    """Serve Kafka until the process ends."""
    cluster = MockCluster()
    for topic in (*topics.KAFKA_TOPICS.values(), topics.DEADLETTER):
        cluster.create_topic(topic, PARTITIONS)
    _announce_and_wait(cluster.bootstrap_servers)


class MockCluster:
    """librdkafka's mock cluster with one broker, in this process, from the library inside confluent-kafka."""

    def __init__(self) -> None:
        import confluent_kafka  # noqa: PLC0415  the demo's extra

        libraries = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
        self._library = ctypes.CDLL(str(next(libraries.glob("librdkafka-*.so*"))))
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        self._declare("conf_new", pointer)
        self._declare("conf_set", number, pointer, text, text, pointer, ctypes.c_size_t)
        self._declare("new", pointer, number, pointer, text, ctypes.c_size_t)
        self._declare("mock_cluster_new", pointer, pointer, number)
        self._declare("mock_cluster_bootstraps", text, pointer)
        self._declare("mock_topic_create", number, pointer, text, number, number)
        self._declare("mock_group_initial_rebalance_delay_ms", None, pointer, ctypes.c_int32)
        error = ctypes.create_string_buffer(512)
        settings = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(settings, b"log_level", b"3", error, len(error))
        producer = 0
        self._handle = self._library.rd_kafka_new(producer, settings, error, len(error))
        if not self._handle:
            raise RuntimeError(error.value.decode())
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, 1)
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)  # 3 s by default

    @property
    def bootstrap_servers(self) -> str:
        """Address for clients in any process."""
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic.

        Raises:
            RuntimeError: If the cluster refuses.
        """
        if code := self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1):
            raise RuntimeError(f"topic {name}: error {code}")

    def _declare(self, name: str, result: type | None, *arguments: type) -> None:
        function = getattr(self._library, "rd_kafka_" + name)
        function.restype, function.argtypes = result, arguments


def _wait_for_port(port: int) -> None:
    waiting = threading.Event()
    while True:
        try:
            socket.create_connection((HOST, port), timeout=0.2).close()
        except OSError:
            waiting.wait(0.02)
        else:
            return


def _send_without_delay(port: int) -> None:
    """Make the broker send small packets at once; it has no such setting, and each packet would wait 40 ms for the last.

    Connections inherit the option from the listening socket, which belongs to this process.
    """
    for path in Path("/proc/self/fd").iterdir():
        try:
            duplicate = os.dup(int(path.name))
        except OSError:
            continue  # closed meanwhile
        if not stat.S_ISSOCK(os.fstat(duplicate).st_mode):
            os.close(duplicate)
            continue
        with socket.socket(fileno=duplicate) as listener:
            listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if listens and listener.family == socket.AF_INET and listener.getsockname()[1] == port:
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _announce_and_wait(address: str) -> None:
    """Print the address of the server, then wait for the end of a pipe or for a signal."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    piped = stat.S_ISFIFO(os.fstat(0).st_mode)
    end = "the pipe on standard input is closed" if piped else "Ctrl-C or SIGTERM"
    sys.stderr.write(f"serves at {address} until {end}\n")
    sys.stdout.write(address + "\n")
    sys.stdout.flush()
    if piped:
        sys.stdin.buffer.read()
        _end()
    while True:
        signal.pause()


def _end(_number: int = 0, _frame: FrameType | None = None) -> None:
    os._exit(0)  # neither server has an orderly shutdown, or data to lose


def main() -> None:
    """Serve until the process ends."""
    parser = argparse.ArgumentParser(prog="python -m ringmain_simulation.embedded", description=__doc__.split("\n", 1)[0])
    parser.add_argument("server", choices=["mqtt", "kafka"])
    parser.add_argument("--port", type=int, default=0, help="port of the MQTT broker; default: a free one")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    if arguments.server == "mqtt":
        serve_mqtt(arguments.port)
    else:
        serve_kafka()


if __name__ == "__main__":
    main()
