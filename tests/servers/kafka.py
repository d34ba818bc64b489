"""Apache Kafka in KRaft mode, one node, from the jars that `make servers` puts into the cache folder."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from servers.base import Server, ServerError, ServerMissingError, free_port, wait_until

JARS: Final = Path(__file__).parents[2] / ".cache" / "kafka"
_CLUSTER: Final = "ringmain-test-cluster0"
"""Kafka wants 22 characters of base64."""
_TALKATIVE: Final = (
    "kafka.server.KafkaConfig",
    "org.apache.kafka.common.config",
    "org.apache.kafka.raft",
    "org.apache.kafka.controller",
    "org.apache.kafka.image",
    "org.apache.kafka.metadata",
)
"""Loggers that print whole configurations or every metadata record."""


class Kafka(Server):
    """A Kafka broker.

    `properties` takes further lines of server.properties, `protocol` is what its listener for clients speaks, and `client`
    is what a client needs to know beside the address.

    Attributes:
        bootstrap_servers: Address for clients.
    """

    name = "kafka"
    start_timeout_s = 120.0

    def __init__(
        self, folder: Path, properties: str = "", *, protocol: str = "PLAINTEXT", client: dict[str, str] | None = None
    ) -> None:
        super().__init__(folder)
        self._further, self._protocol, self._client = properties, protocol, client or {}
        self._controller_port = free_port()
        self.bootstrap_servers = f"{self.host}:{self.port}"

    def command(self) -> list[str]:
        """The broker; formats its data folder the first time."""
        java = shutil.which("java")
        if java is None:
            raise ServerMissingError("java is not installed: `make servers` installs it")
        if not any(JARS.glob("kafka_2.13-*.jar")):
            raise ServerMissingError("Kafka's jars are not in .cache/kafka: `make servers` puts them there")
        properties = self.folder / "server.properties"
        if not properties.exists():
            properties.write_text(self._properties())
            self._format(java, properties)
        return [*self._java(java), "-Xms128m", "-Xmx512m", "kafka.Kafka", str(properties)]

    def is_ready(self) -> bool:
        """Whether it answers a metadata request."""
        try:
            self.admin().list_topics(timeout=1)
        except KafkaException:
            return False
        return True

    def admin(self) -> AdminClient:
        """A new administration client; its complaints about a broker that is not there yet are not shown."""
        return AdminClient(
            {"bootstrap.servers": self.bootstrap_servers, "log_level": 0, "socket.timeout.ms": 10_000, **self._client}
        )

    def topics(self) -> list[str]:
        """Names of the topics that are not Kafka's own."""
        return sorted(name for name in self.admin().list_topics(timeout=10).topics if not name.startswith("__"))

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic and wait for it."""
        admin = self.admin()  # held until the answer is there: its end cancels what it was asked
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result(timeout=30)

    def delete_topics(self) -> None:
        """Delete every topic that is not Kafka's own, and wait until none is left."""
        names = self.topics()
        if not names:
            return
        admin = self.admin()
        for future in admin.delete_topics(names, operation_timeout=20).values():
            future.result(timeout=30)
        wait_until(lambda: not self.topics(), what="deleted topics are gone")

    def _java(self, java: str) -> list[str]:
        # the serial collector and the first compiler only: half the time to start, two thirds of the memory
        quiet = [f"-Dorg.slf4j.simpleLogger.log.{name}=warn" for name in _TALKATIVE]
        return [java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *quiet, "-cp", f"{JARS}/*"]

    def _format(self, java: str, properties: Path) -> None:
        command = [*self._java(java), "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(properties)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            properties.unlink()
            raise ServerError(f"kafka: format failed\n{done.stdout}\n{done.stderr}")

    def _properties(self) -> str:
        return "\n".join(
            (
                "process.roles=broker,controller",
                "node.id=1",
                f"controller.quorum.voters=1@{self.host}:{self._controller_port}",
                f"listeners=CLIENTS://{self.host}:{self.port},CONTROLLER://{self.host}:{self._controller_port}",
                f"advertised.listeners=CLIENTS://{self.host}:{self.port}",
                f"listener.security.protocol.map=CLIENTS:{self._protocol},CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name=CLIENTS",
                "controller.listener.names=CONTROLLER",
                f"log.dirs={self.folder / 'data'}",
                "auto.create.topics.enable=false",
                "offsets.topic.replication.factor=1",
                "offsets.topic.num.partitions=1",
                "transaction.state.log.replication.factor=1",
                "transaction.state.log.min.isr=1",
                "transaction.state.log.num.partitions=1",
                "share.coordinator.state.topic.replication.factor=1",
                "share.coordinator.state.topic.min.isr=1",
                "group.initial.rebalance.delay.ms=0",
                "log.segment.delete.delay.ms=1000",
                "broker.session.timeout.ms=5000",  # so long a killed broker counts as alive and keeps its successor waiting
                "broker.heartbeat.interval.ms=1000",
                self._further,
                "",
            )
        )
