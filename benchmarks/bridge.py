"""Speed of the bridge compared with the broker's own limit, the stock paho loop and Telegraf. Prints one JSON object.

Real Mosquitto, real Kafka with acks=all, genuine `readings` of about 200 bytes at QoS 1 from many sites; publisher, broker,
bridge and Kafka share the machine. The bridge is the program as it is installed, with everything switched on. In `drain`
its session exists and the broker holds the backlog before it starts; in `live` one publisher sends as fast as it is
acknowledged. A run ends when Kafka's end offsets show every message; the broker's own limit is `mosquitto_sub` to
/dev/null. Telegraf takes part when it is on PATH. Figures are medians.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import psutil
from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from benchmarks.publisher import WINDOW, make_session, write_packets
from ringmain_protocol import messages, topics

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.base import free_port
from servers.kafka import Kafka
from servers.mosquitto import Mosquitto

SITES: Final = 500
SIGNALS: Final = ("load_kw", "pv_kw", "pcc_kw")
BATCH: Final = 20
BEGIN_MS: Final = 1_790_000_000_000
READINGS: Final = topics.KAFKA_TOPICS[topics.READINGS]
RUN_TIMEOUT_S: Final = 600.0
LOOK_EVERY_S: Final = 0.04
BROKER: Final = "max_inflight_messages 1000\nmax_queued_messages 0\nset_tcp_nodelay false\n"
TELEGRAF: Final = """\
[agent]
  interval = "1s"
  flush_interval = "1s"
  metric_batch_size = 5000
  metric_buffer_limit = 200000
  omit_hostname = true
  quiet = true

[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:{mqtt_port}"]
  topics = ["#"]
  qos = 1
  persistent_session = true
  client_id = "telegraf"
  max_undelivered_messages = 10000
  data_format = "value"
  data_type = "string"

[[outputs.kafka]]
  brokers = ["{bootstrap_servers}"]
  topic = "telegraf"
  routing_tag = "topic"
  required_acks = -1
  data_format = "influx"
"""
"""Its best safe settings: without a persistent session it acknowledges at receipt, and loses on a crash."""


class Run(NamedTuple):
    """Figures of one run; `cpu_us` is per message."""

    messages_s: float
    cpu_us: float
    rss_mb: float


class Client(NamedTuple):
    """One program to measure.

    Attributes:
        name: As in the result.
        client_id: Of its session.
        filters: Its subscriptions.
        topic: Where it writes in Kafka; None for the one that writes nowhere.
    """

    name: str
    client_id: str
    filters: list[str]
    topic: str | None


SUBSCRIBER: Final = Client("broker", "subscriber", ["#"], None)
STOCK: Final = Client("stock", "ringmain-bridge-0", topics.bridge_filters(), READINGS)
RINGMAIN: Final = Client("ringmain", "ringmain-bridge-0", topics.bridge_filters(), READINGS)
PEER: Final = Client("telegraf", "telegraf", ["#"], "telegraf")


class Bench:
    """A folder, a Kafka, and the packets to send."""

    def __init__(self, folder: Path, kafka: Kafka) -> None:
        self.folder = folder
        self.kafka = kafka
        self._admin = kafka.admin()
        self._number = 0

    def packets(self, count: int, *, readings: int = len(SIGNALS), first: int = 1) -> Path:
        """A file of that many messages, over all sites in turn."""
        file = self.folder / f"packets-{readings}-{first}"
        if not file.exists():
            write_packets(file, _messages(count, readings, first))
        return file

    def drain(self, client: Client, packets: Path, count: int) -> Run:
        """The backlog waits in the broker, then the client starts."""
        with self._broker() as broker:
            make_session(broker.port, client.client_id, client.filters)
            with _publisher(broker, packets, 1000) as publisher:
                _send(publisher)
                publisher.wait()
            before = self._in_kafka(client)
            with self._client(client, broker, count) as process:
                _await_connection(process.pid, broker.port)
                return self._measure(client, process, count, before)

    def live(self, client: Client, packets: Path, count: int) -> Run:
        """One publisher sends as fast as it is acknowledged."""
        with self._broker() as broker, self._client(client, broker, count) as process:
            _await_connection(process.pid, broker.port)
            time.sleep(1)  # it subscribes
            before = self._in_kafka(client)
            with _publisher(broker, packets) as publisher:
                _send(publisher)
                return self._measure(client, process, count, before)

    def soak(self, count: int, each: int) -> dict[str, object]:
        """Live rounds at one bridge, and its memory after each."""
        memory = []
        with self._broker() as broker, self._client(RINGMAIN, broker, count) as process:
            _await_connection(process.pid, broker.port)
            time.sleep(1)
            for first in range(1, count // SITES + 1, each // SITES):
                packets = self.packets(each, first=first)
                before = self._in_kafka(RINGMAIN)
                with _publisher(broker, packets) as publisher:
                    _send(publisher)
                    run = self._measure(RINGMAIN, process, each, before)
                packets.unlink()
                memory.append(round(psutil.Process(process.pid).memory_info().rss / 1e6, 1))
                total = first * SITES + each
                _say(f"soak: {total:,} messages, {run.messages_s:,.0f}/s, {memory[-1]} MB, peak {run.rss_mb:.1f} MB")
            return {"messages": count, "rss_mb": memory, "rss_mb_max": round(run.rss_mb, 1)}

    def _measure(self, client: Client, process: "subprocess.Popen[bytes]", count: int, before: int) -> Run:
        begin_s, begin_cpu_s = time.perf_counter(), _cpu_s(process.pid)
        end_s = begin_s + RUN_TIMEOUT_S
        cpu_s = begin_cpu_s
        rss_mb = 0.0
        while time.perf_counter() < end_s:
            if client.topic is None:
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                took_s = time.perf_counter() - begin_s
                return Run(count / took_s, 0.0, 0.0)
            arrived = self._in_kafka(client) - before
            if arrived >= count:
                took_s = time.perf_counter() - begin_s
                cpu_s, rss_mb = _cpu_s(process.pid) - begin_cpu_s, _peak_mb(process.pid)
                time.sleep(0.3)
                arrived = self._in_kafka(client) - before
                if arrived != count:
                    _say(f"{client.name}: {arrived - count} of {count} came twice")
                return Run(count / took_s, cpu_s / count * 1e6, rss_mb)
            time.sleep(LOOK_EVERY_S)
        raise TimeoutError(f"{client.name}: {arrived} of {count} messages after {RUN_TIMEOUT_S:.0f} s")

    def _in_kafka(self, client: Client) -> int:
        """Sum of the end offsets of the client's topic."""
        if client.topic is None:
            return 0
        wanted = {TopicPartition(client.topic, p): OffsetSpec.latest() for p in range(12)}  # type: ignore[no-untyped-call]
        return sum(found.result().offset for found in self._admin.list_offsets(wanted).values())

    @contextmanager
    def _broker(self) -> Iterator[Mosquitto]:
        self._number += 1
        broker = Mosquitto(self.folder / f"mosquitto-{self._number}", BROKER)
        broker.start()
        try:
            yield broker
        finally:
            broker.kill()
            shutil.rmtree(broker.folder)

    @contextmanager
    def _client(self, client: Client, broker: Mosquitto, count: int) -> "Iterator[subprocess.Popen[bytes]]":
        log = self.folder / f"{client.name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(self._command(client, broker, count), stdout=subprocess.DEVNULL, stderr=out)
            try:
                yield process
            except BaseException:
                _say(log.read_text(errors="replace")[-2000:])
                raise
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()

    def _command(self, client: Client, broker: Mosquitto, count: int) -> list[str]:
        if client is SUBSCRIBER:
            return [
                "mosquitto_sub",
                "-p",
                str(broker.port),
                "-i",
                client.client_id,
                "-c",
                "-q",
                "1",
                "-t",
                "#",
                "-C",
                str(count),
            ]
        if client is PEER:
            config = self.folder / "telegraf.conf"
            config.write_text(TELEGRAF.format(mqtt_port=broker.port, bootstrap_servers=self.kafka.bootstrap_servers))
            return ["telegraf", "--config", str(config)]
        config = self.folder / "bridge.toml"
        reader = "stock" if client is STOCK else "fast"
        config.write_text(
            f'[mqtt]\nport = {broker.port}\nreader = "{reader}"\n[http]\nport = {free_port()}\n'
            f"[kafka]\nbootstrap_servers = {json.dumps(self.kafka.bootstrap_servers)}\n"
        )
        return [sys.executable, "-m", "ringmain_bridge", "run", "--config", str(config)]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge", description=__doc__)
    parser.add_argument("--messages", type=int, default=300_000, metavar="N")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--only", metavar="NAMES", help="comma-separated: broker, stock, ringmain, telegraf")
    parser.add_argument("--soak", type=int, metavar="N", help="only run N messages through one bridge and watch its memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        kafka = stack.enter_context(Kafka(Path(name) / "kafka"))
        for topic in (*topics.KAFKA_TOPICS.values(), topics.DEADLETTER, "telegraf"):
            kafka.create_topic(topic, 12)
        bench = Bench(Path(name), kafka)
        result = bench.soak(options.soak, options.messages) if options.soak else compare(bench, options)
        print(json.dumps(result))


def compare(bench: Bench, options: argparse.Namespace) -> dict[str, object]:
    """Every client in both phases, in turn, as often as asked."""
    clients = [SUBSCRIBER, STOCK, RINGMAIN] + ([PEER] if shutil.which("telegraf") else [])
    if options.only:
        clients = [client for client in clients if client.name in options.only.split(",")]
    count = options.messages
    packets = bench.packets(count)
    batches = bench.packets(count // 4, readings=BATCH)
    runs: dict[tuple[str, str], list[Run]] = defaultdict(list)

    def note(phase: str, name: str, run: Run) -> None:
        runs[phase, name].append(run)
        _say(f"{phase} {name}: {run.messages_s:,.0f} messages/s, {run.cpu_us:.1f} us of CPU each, {run.rss_mb:.0f} MB")

    for _ in range(options.repeats):
        for client in clients:
            note("drain", client.name, bench.drain(client, packets, count))
            note("live", client.name, bench.live(client, packets, count))
        if RINGMAIN in clients:
            note("batched", RINGMAIN.name, bench.drain(RINGMAIN, batches, count // 4))

    def median(phase: str, name: str, of: Callable[[Run], float]) -> float | None:
        found = runs.get((phase, name))
        return None if not found else statistics.median(of(run) for run in found)

    def ratio(over: float | None, under: float | None) -> float | None:
        return None if over is None or under is None else round(over / under, 3)

    rate = {(p, n): median(p, n, lambda run: run.messages_s) for p in ("drain", "live") for n in _NAMES}
    cpu = {(p, n): median(p, n, lambda run: run.cpu_us) for p in ("drain", "live") for n in _NAMES}
    phases = {
        phase: {f"{name}_msg_s": _rounded(rate[phase, name], 0) for name in _NAMES}
        | {f"{name}_cpu_us": _rounded(cpu[phase, name], 1) for name in ("ringmain", "telegraf")}
        for phase in ("drain", "live")
    }
    batched = median("batched", "ringmain", lambda run: run.messages_s * BATCH)
    return {
        **phases,
        "drain_ratio_to_broker": ratio(rate["drain", "ringmain"], rate["drain", "broker"]),
        "drain_ratio_to_stock": ratio(rate["drain", "ringmain"], rate["drain", "stock"]),
        "drain_ratio_to_telegraf": ratio(rate["drain", "ringmain"], rate["drain", "telegraf"]),
        "live_ratio_to_broker": ratio(rate["live", "ringmain"], rate["live", "broker"]),
        "cpu_ratio_to_telegraf": ratio(cpu["drain", "ringmain"], cpu["drain", "telegraf"]),
        "readings_s_batched_20": _rounded(batched, 0),
        "rss_mb_max": _rounded(
            max((run.rss_mb for (_, n), rs in runs.items() if n == "ringmain" for run in rs), default=None), 1
        ),
    }


_NAMES: Final = ("broker", "stock", "ringmain", "telegraf")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) if digits else round(value)


def _messages(count: int, readings: int, first: int) -> Iterator[tuple[str, bytes]]:
    """Batches as agents send them, each with a sequence of its own, of all sites in turn."""
    sites = [f"site-{number:03d}" for number in range(SITES)]
    named = [(topics.topic(site, topics.READINGS), f"{number:032x}") for number, site in enumerate(sites)]
    for number in range(count):
        topic, stream = named[number % SITES]
        sequence = first + number // SITES
        at_ms = BEGIN_MS + sequence * 1000
        batch = messages.Readings(
            stream=stream,
            sequence=sequence,
            signals=[SIGNALS[k % len(SIGNALS)] for k in range(readings)],
            at_ms=[at_ms + k for k in range(readings)],
            values=[round(100 + 37.7 * ((number + k) % 17), 2) for k in range(readings)],
            quality=[messages.Quality.GOOD] * readings,
        )
        yield topic, messages.encode(batch)


@contextmanager
def _publisher(broker: Mosquitto, packets: Path, window: int = WINDOW) -> "Iterator[subprocess.Popen[bytes]]":
    """A publisher that is connected and has its packets in memory."""
    command = [sys.executable, "-m", "benchmarks.publisher", str(broker.port), str(packets), str(window)]
    root = Path(__file__).parents[1]
    process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise ConnectionError("the publisher has not come up")
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _send(publisher: "subprocess.Popen[bytes]") -> None:
    if publisher.stdin is not None:
        publisher.stdin.write(b"go\n")
        publisher.stdin.flush()


def _await_connection(pid: int, port: int) -> None:
    """Return as soon as a process has a connection to this port."""
    process, end_s = psutil.Process(pid), time.perf_counter() + 60
    while time.perf_counter() < end_s:
        connections = process.net_connections("tcp")
        if any(c.raddr and c.raddr.port == port and c.status == psutil.CONN_ESTABLISHED for c in connections):
            return
        time.sleep(0.001)
    raise TimeoutError("the client has not connected")


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _peak_mb(pid: int) -> float:
    """The most memory that it has held so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
