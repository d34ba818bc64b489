"""The programs under test: brokers, proxies, bridge, ingest and publishers; and how each fault is done to them."""

import glob
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from threading import Event, Lock
from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from chaos.checks import Outage
from chaos.faults import Fault, Kind
from chaos.proxy import DIRECTIONS, Proxy
from chaos.publishers import TESTS, Publishers
from chaos.restarted import Restarted
from chaos.scraper import books, page
from chaos.second_kafka import SecondKafka
from ringmain_protocol import topics
from servers.base import ServerMissingError, free_port, wait_until
from servers.kafka import Kafka
from servers.mosquitto import Mosquitto

SITES: Final = 20
WORKERS: Final = 4
DAY_S: Final = 86_400
BACKLOG_S: Final = 0.5
"""Messages of this time are in the memory of a broker that is killed."""
PAUSE_S: Final = 2.0
"""The bridge hears nothing for so long, so that nothing of it is under way in Kafka."""
REFUSED: Final = "NotEnoughReplicasException"
"""Kafka's log has this for each produce request that it refused."""
FLOW_WAIT_S: Final = 20.0
_KAFKA_TOPICS: Final = (*topics.KAFKA_TOPICS.values(), topics.DEADLETTER)


class Ring:
    """Everything that runs. A context manager: at exit all of it is ended.

    The publishers and the bridge reach the broker through a proxy each. The bridge runs under libfaketime; its clock
    follows the file `clock.txt`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mosquitto = Mosquitto(folder / "mosquitto")
        self.kafka = Kafka(folder / "kafka")
        self.history = folder / "trainer" / "history"
        self.http_port = free_port()
        self.proxies: dict[str, Proxy] = {}
        self._kills: list[tuple[frozenset[str], float]] = []
        self._broker_kills: list[float] = []
        self._busy = {kind: Lock() for kind in Kind}
        self._kafka_process = Lock()
        self._stopping = Event()
        self._clock = folder / "clock.txt"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._stack.close()

    def _start(self) -> None:
        clock_library = _libfaketime()
        second_kafka = SecondKafka(self.folder / "second-kafka", self.kafka)
        for server in (self.kafka, second_kafka, self.mosquitto):
            self._stack.callback(server.stop)
            server.start()
        for client in ("bridge", "publishers"):
            self.proxies[client] = self._stack.enter_context(Proxy(self.mosquitto.port))
        self._set_clock(0)
        self.bridge = self._program(
            "bridge",
            [*("chaos.under_faketime", "ringmain_bridge", "run", "--config"), str(self._bridge_config())],
            environment={
                "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]),
                "LD_PRELOAD": clock_library,
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            },
        )
        wait_until(lambda: bool(self.proxies["bridge"].subscribed_s), what="the bridge has its subscriptions")
        second_kafka.stop()
        self.ingest = self._program("ingest", ["ringmain_trainer", "ingest", "--config", str(self._trainer_config())])
        self.publishers = Publishers(self.folder, port=self.proxies["publishers"].port, sites=SITES, workers=WORKERS)
        self._stack.callback(self.publishers.stop)
        self.publishers.start()

    @property
    def bridge_connected(self) -> bool:
        """Whether the bridge is connected, as it says itself."""
        text = page(self.http_port, "/metrics")
        return text is not None and "ringmain_bridge_mqtt_connected 1.0\n" in text

    @property
    def produce_errors(self) -> int:
        """Produce requests that Kafka has refused."""
        return self.kafka.log_file.read_text(errors="replace").count(REFUSED)

    def outages(self) -> list[Outage]:
        """The kills so far that make sites send again."""
        everyone = frozenset(self.publishers.names)
        granted_s = self.proxies["bridge"].subscribed_s
        of_broker = [
            Outage(everyone, killed_s, next((at_s for at_s in granted_s if at_s > killed_s), float("inf")))
            for killed_s in self._broker_kills
        ]
        return of_broker + [Outage(sites, killed_s, killed_s) for sites, killed_s in self._kills]

    def trainer_command(self, *arguments: str) -> list[str]:
        """A command of the trainer with this ring's configuration."""
        return [sys.executable, "-m", "ringmain_trainer", *arguments, "--config", str(self._trainer_config())]

    def inject(self, fault: Fault) -> None:
        """Do one fault, and return when it is over; two of one kind wait for each other."""
        random = Random(fault.seed)
        actions: dict[Kind, Callable[[], None]] = {
            Kind.KILL_BRIDGE: lambda: self._kill(self.bridge, fault.seconds),
            Kind.KILL_BROKER: lambda: self._kill_broker(fault.seconds),
            Kind.KILL_KAFKA: lambda: self._kill_kafka(fault.seconds),
            Kind.HANG_KAFKA: lambda: self._hang_kafka(fault.seconds),
            Kind.KILL_INGEST: lambda: self._kill(self.ingest, fault.seconds),
            Kind.KILL_PUBLISHERS: lambda: self._kill_publishers(random, fault.seconds),
            Kind.CUT_BRIDGE: lambda: self.proxies["bridge"].cut(reset=random.random() < 0.5),
            Kind.CUT_PUBLISHERS: lambda: self.proxies["publishers"].cut(
                reset=random.random() < 0.5, share=random.choice((0.3, 1.0)), random=random
            ),
            Kind.STALL_BRIDGE: lambda: self._stall("bridge", random, fault.seconds),
            Kind.STALL_PUBLISHERS: lambda: self._stall("publishers", random, fault.seconds),
            Kind.KAFKA_ERRORS: lambda: self._kafka_errors(fault.seconds),
            Kind.FULL_OUTBOX: lambda: self._full(
                random.choice(self.publishers.workers), random.choice((0, 200_000)), fault.seconds
            ),
            Kind.FULL_HISTORY: lambda: self._full(self.ingest, random.choice((0, 4_000)), fault.seconds),
            Kind.CLOCK_JUMP: lambda: self._clock_jump(random.choice((-DAY_S, DAY_S)), fault.seconds),
        }
        with self._busy[fault.kind]:
            actions[fault.kind]()

    def _kill(self, program: Restarted, down_s: float) -> None:
        program.kill(down_s)
        time.sleep(down_s)

    def _kill_broker(self, down_s: float) -> None:
        """With messages in its memory: a bridge that keeps up leaves none that the broker could forget."""
        self._wait_for_flow()
        self.proxies["bridge"].stall(DIRECTIONS, 2 * BACKLOG_S)
        time.sleep(BACKLOG_S)
        self._broker_kills.append(time.monotonic())
        self.mosquitto.kill()
        time.sleep(down_s)
        self.mosquitto.start()

    def _kill_kafka(self, down_s: float) -> None:
        with self._kafka_process:
            self.kafka.kill()
            time.sleep(down_s)
            self.kafka.start()

    def _hang_kafka(self, seconds: float) -> None:
        """Its connections stay, and it answers nothing."""
        with self._kafka_process:
            pid = self.kafka.pid
            os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(pid, signal.SIGCONT)

    def _kill_publishers(self, random: Random, down_s: float) -> None:
        at = random.randrange(WORKERS)
        worker = self.publishers.workers[at]
        worker.kill(down_s)
        self._kills.append((frozenset(self.publishers.names[at::WORKERS]), time.monotonic()))
        time.sleep(down_s)

    def _stall(self, client: str, random: Random, seconds: float) -> None:
        self.proxies[client].stall(random.choice((DIRECTIONS, DIRECTIONS[:1], DIRECTIONS[1:])), seconds)
        time.sleep(seconds)

    def _kafka_errors(self, seconds: float) -> None:
        """The one replica that is left is one too few for acks=all; until Kafka has refused a request for it.

        A request that waits inside Kafka when the rule changes is held until its time-out, and the producer sends nothing
        beside it. So the rule changes while nothing is under way.
        """
        self._wait_for_flow()
        before, end_s = self.produce_errors, time.monotonic() + FLOW_WAIT_S
        self.proxies["bridge"].stall(DIRECTIONS, PAUSE_S)
        self._wait_for(lambda: self._books().get("in_flight") == 0, time.monotonic() + PAUSE_S / 2)
        self._set_replicas_min(2)
        time.sleep(seconds)
        self._wait_for(lambda: self.produce_errors > before, end_s)
        self._set_replicas_min(1)

    def _full(self, program: Restarted, file_bytes_max: int, seconds: float) -> None:
        program.limit_files(file_bytes_max)
        time.sleep(seconds)
        program.limit_files(None)

    def _clock_jump(self, by_s: int, seconds: float) -> None:
        self._wait_for_flow()
        self._set_clock(by_s)
        time.sleep(seconds)
        self._set_clock(0)

    def _wait_for_flow(self) -> None:
        """What passes through a bridge that is still away cannot be disturbed; goes on after a while without."""
        least = math.inf

        def flows() -> bool:
            nonlocal least
            delivered = self._books().get("delivered_total", math.inf)
            least = min(least, delivered)
            return least < delivered < math.inf

        self._wait_for(flows, time.monotonic() + FLOW_WAIT_S)

    def _wait_for(self, condition: Callable[[], bool], end_s: float) -> None:
        while not condition() and time.monotonic() < end_s and not self._stopping.is_set():
            time.sleep(0.1)

    def _books(self) -> dict[str, float]:
        return books(page(self.http_port, "/metrics") or "")

    def _set_clock(self, ahead_s: int) -> None:
        part = self._clock.with_suffix(".part")
        part.write_text(f"{ahead_s:+d}\n", encoding="utf-8")
        part.replace(self._clock)

    def _set_replicas_min(self, count: int) -> None:
        """Waits for a Kafka that is away."""
        while not self._stopping.is_set():
            admin = self.kafka.admin()
            resources = [
                ConfigResource(
                    ResourceType.TOPIC,
                    name,
                    incremental_configs=[
                        ConfigEntry("min.insync.replicas", str(count), incremental_operation=AlterConfigOpType.SET)
                    ],
                )
                for name in _KAFKA_TOPICS
            ]
            try:
                for future in admin.incremental_alter_configs(resources, request_timeout=5).values():
                    future.result(10)
                return
            except (KafkaException, TimeoutError):
                time.sleep(0.2)

    def _program(self, name: str, arguments: list[str], environment: dict[str, str] | None = None) -> Restarted:
        program = Restarted(
            name,
            lambda: [sys.executable, "-m", *arguments],
            log=self.folder / "logs" / f"{name}.log",
            environment={**os.environ, **(environment or {})},
        )
        self._stack.callback(program.stop)
        program.start()
        return program

    def _bridge_config(self) -> Path:
        return _write(
            self.folder / "bridge" / "bridge.toml",
            f"[mqtt]\nport = {self.proxies['bridge'].port}\nkeepalive_s = 5\n"
            f'[kafka]\nbootstrap_servers = "{self.kafka.bootstrap_servers}"\nreplication_factor = 2\n'
            f"[http]\nport = {self.http_port}\n"
            "[limits]\nwindow = 500\nreceipt_interval_s = 0.5\n",
        )

    def _trainer_config(self) -> Path:
        return _write(
            self.folder / "trainer" / "trainer.toml",
            f'[kafka]\nbootstrap_servers = "{self.kafka.bootstrap_servers}"\n[ingest]\ncommit_s = 2.0\n',
        )


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _libfaketime() -> str:
    for pattern in ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1"):
        for path in glob.glob(pattern):  # noqa: PTH207  an absolute pattern
            return path
    raise ServerMissingError("libfaketime is not installed: `make servers` installs it")
