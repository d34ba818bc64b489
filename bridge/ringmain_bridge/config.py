"""The configuration of the bridge: one TOML file, checked as a whole at start; every default is here."""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from ringmain_program.brokers import KafkaBroker, MqttBroker, file_problems, private_files, with_absolute_files
from ringmain_program.config import ConfigError
from ringmain_program.config import load as load_config
from ringmain_protocol import topics

REPLICA: Final = "{replica}"
CLIENT_ID: Final = f"ringmain-bridge-{REPLICA}"
"""Default client id; `{replica}` is replaced by the number of the replica."""

Text = Annotated[str, Meta(min_length=1, max_length=4000)]


class Mqtt(MqttBroker, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker to read from. Files are paths, relative to the configuration file."""

    host: Text = "127.0.0.1"
    reader: Literal["fast", "stock"] = "fast"


class Kafka(KafkaBroker, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Kafka to write to, and the settings of topics that the bridge creates."""

    linger_ms: Annotated[int, Meta(ge=0, le=1000)] = 5
    compression: Literal["none", "gzip", "lz4", "snappy", "zstd"] = "lz4"
    message_timeout_s: Annotated[int, Meta(ge=2, le=86400)] = 3600
    partitions: Annotated[int, Meta(ge=1, le=1000)] = 12
    replication_factor: Annotated[int, Meta(ge=1, le=10)] = 1
    retention_days: Annotated[int, Meta(ge=1, le=36500)] = 30


class Http(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Address of the fleet page, /metrics and /healthz; port 0 takes a free one, which the log names."""

    listen: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 9464


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of memory and time."""

    window: Annotated[int, Meta(ge=1, le=30000)] = 2000
    window_bytes: Annotated[int, Meta(ge=1_000_000, le=10_000_000_000)] = 64_000_000
    receipt_interval_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    site_expiry_s: Annotated[float, Meta(gt=0, le=31_536_000)] = 86400.0
    sites_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 5000
    series_max: Annotated[int, Meta(ge=1, le=10_000_000)] = 250_000
    time_ahead_max_s: Annotated[float, Meta(ge=0, le=1e10)] = 86400.0
    time_behind_max_s: Annotated[float, Meta(ge=0, le=1e10)] = 315_576_000.0
    stop_timeout_s: Annotated[float, Meta(ge=0, le=300)] = 10.0


class Fleet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Signals with readings in Prometheus, in addition to the status of each site."""

    signals: list[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,62}$")]] = []


class BridgeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration file of one bridge, replica `replica` of `replicas`."""

    replica: Annotated[int, Meta(ge=0, lt=topics.SHARDS)] = 0
    replicas: Annotated[int, Meta(ge=1, le=topics.SHARDS)] = 1
    mqtt: Mqtt = Mqtt()
    kafka: Kafka = Kafka()
    http: Http = Http()
    limits: Limits = Limits()
    fleet: Fleet = Fleet()

    def __post_init__(self) -> None:
        if self.replica >= self.replicas:
            raise ValueError(f"replica {self.replica} of {self.replicas}: must be below replicas")

    @property
    def client_id(self) -> str:
        """The MQTT client id of this replica; it does not depend on the number of replicas."""
        return self._client_id_of(self.replica)

    @property
    def abandoned_client_ids(self) -> list[str]:
        """Client ids of sessions that this replica ends, if there once were more replicas: each replica ends every n-th.

        Empty if the client id does not contain the number of the replica.
        """
        if REPLICA not in self._client_id:
            return []
        return [self._client_id_of(k) for k in range(self.replica + self.replicas, topics.SHARDS, self.replicas)]

    @property
    def _client_id(self) -> str:
        return self.mqtt.client_id or CLIENT_ID

    def _client_id_of(self, replica: int) -> str:
        return self._client_id.replace(REPLICA, str(replica))


def load(path: Path) -> BridgeConfig:
    """The configuration in a TOML file, with every file it names as an absolute path.

    Raises:
        ConfigError: With every problem in it, unreadable files included.
    """
    config, folder = load_config(path, BridgeConfig), path.parent
    mqtt, kafka = with_absolute_files(config.mqtt, folder), with_absolute_files(config.kafka, folder)
    tables = (("mqtt", mqtt), ("kafka", kafka))
    problems = [f"{path}: {table}.{problem}" for table, broker in tables for problem in file_problems(broker)]
    if problems:
        raise ConfigError("\n".join(problems))
    return msgspec.structs.replace(config, mqtt=mqtt, kafka=kafka)


def secret_files(config: BridgeConfig) -> dict[str, str]:
    """Files with secrets, by their keys in the configuration."""
    tables = (("mqtt", config.mqtt), ("kafka", config.kafka))
    return {f"{table}.{key}": name for table, broker in tables for key, name in private_files(broker).items()}
