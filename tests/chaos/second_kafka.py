"""A second Kafka broker that is there only until the topics are.

Kafka 4 does not ask for more replicas in sync than a topic has: on topics of one replica, `min.insync.replicas` = 2
changes nothing. So the topics are made with two, and the second broker leaves; from then on the first is alone in sync.
"""

from pathlib import Path

from servers.kafka import Kafka


class SecondKafka(Kafka):
    """Joins the cluster of the first; `stop` takes it out in an orderly way."""

    name = "second-kafka"

    def __init__(self, folder: Path, first: Kafka) -> None:
        super().__init__(folder)
        self._first = first

    def _properties(self) -> str:
        theirs = (self._first.folder / "server.properties").read_text(encoding="utf-8").splitlines()
        voters = next(line for line in theirs if line.startswith("controller.quorum.voters="))
        own = {
            "process.roles": "process.roles=broker",
            "node.id": "node.id=2",
            "controller.quorum.voters": voters,
        }
        lines = [own.get(line.partition("=")[0], line) for line in super()._properties().splitlines()]
        return "\n".join([line.partition(",CONTROLLER://")[0] for line in lines] + [""])
