"""The configuration of the bridge: one TOML file, checked as a whole at start; every default is here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from ringmain_program.config import ConfigError
from ringmain_program.config import load as load_config
from ringmain_protocol import topics

REPLICA: Final = "{replica}"
CLIENT_ID: Final = f"ringmain-bridge-{REPLICA}"
"""The client id; what stands in braces is replaced."""

Text = Annotated[str, Meta(min_length=1, max_length=4000)]


class Mqtt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker to read from. Files are paths, relative to the configuration file."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    client_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    username: Text | None = None
    password_file: Text | None = None
    ca_file: Text | None = None
    certificate_file: Text | None = None
    key_file: Text | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    reader: Literal["fast", "stock"] = "fast"

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs a username")


class Kafka(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Kafka to write to, and how missing topics are created."""

    bootstrap_servers: Text = "127.0.0.1:9092"
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: Text | None = None
    sasl_password_file: Text | None = None
    ca_file: Text | None = None
    certificate_file: Text | None = None
    key_file: Text | None = None
    linger_ms: Annotated[int, Meta(ge=0, le=1000)] = 5
    compression: Literal["none", "gzip", "lz4", "snappy", "zstd"] = "lz4"
    message_timeout_s: Annotated[int, Meta(ge=2, le=86400)] = 3600
    partitions: Annotated[int, Meta(ge=1, le=1000)] = 12
    replication_factor: Annotated[int, Meta(ge=1, le=10)] = 1
    retention_days: Annotated[int, Meta(ge=1, le=36500)] = 30

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        sasl = (self.sasl_mechanism, self.sasl_username, self.sasl_password_file)
        if self.security_protocol.startswith("sasl") and None in sasl:
            raise ValueError("sasl needs sasl_mechanism, sasl_username and sasl_password_file")


class Http(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where /metrics and /healthz are served; port 0 takes a free one, which the log names."""

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
    """What of the sites' readings is shown in Prometheus, besides their status."""

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
        """The MQTT client id: the same for a replica, whatever their number."""
        return self._client_id_of(self.replica)

    @property
    def leftover_client_ids(self) -> list[str]:
        """Whose sessions this replica ends, in case that there once were more replicas: each ends every n-th.

        Nobody's if the client id does not tell the replica.
        """
        if REPLICA not in self._client_id:
            return []
        return [self._client_id_of(k) for k in range(self.replica + self.replicas, topics.SHARDS, self.replicas)]

    @property
    def _client_id(self) -> str:
        return self.mqtt.client_id or CLIENT_ID

    def _client_id_of(self, replica: int) -> str:
        return self._client_id.replace(REPLICA, str(replica))


Table = TypeVar("Table", Mqtt, Kafka)


def load(path: Path) -> BridgeConfig:
    """The configuration in a TOML file, with every file it names as an absolute path.

    Raises:
        ConfigError: With every problem in it, unreadable files included.
    """
    config = load_config(path, BridgeConfig)
    problems = [f"{path}: {problem}" for problem in _unreadable(config, path.parent)]
    if problems:
        raise ConfigError("\n".join(problems))
    folder = path.parent.resolve()
    return msgspec.structs.replace(config, mqtt=_absolute(config.mqtt, folder), kafka=_absolute(config.kafka, folder))


def read_secret(path: str) -> str:
    """The secret in a file, without white space around it. Read when it is used, so that it can be exchanged; never logged.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If there is nothing in it, or what is in it is no text.
    """
    secret = Path(path).read_text("utf-8").strip()
    if not secret:
        raise ValueError(f"{path} is empty")
    return secret


def _files(table: Mqtt | Kafka) -> dict[str, str]:
    named = ((field, getattr(table, field)) for field in table.__struct_fields__ if field.endswith("_file"))
    return {field: name for field, name in named if name is not None}


def secret_files(config: BridgeConfig) -> dict[str, str]:
    """The files that nobody else should read, by their keys in the configuration."""
    return {
        f"{key}.{field}": name
        for key, table in (("mqtt", config.mqtt), ("kafka", config.kafka))
        for field, name in _files(table).items()
        if field.endswith(("password_file", "key_file"))
    }


def _unreadable(config: BridgeConfig, folder: Path) -> Iterator[str]:
    for key, table in (("mqtt", config.mqtt), ("kafka", config.kafka)):
        for field, name in _files(table).items():
            try:
                if field.endswith("password_file"):
                    read_secret(str(folder / name))
                else:
                    with (folder / name).open("rb"):
                        pass
            except OSError as error:
                yield f"{key}.{field}: {name} cannot be read: {error.strerror}"
            except UnicodeDecodeError:
                yield f"{key}.{field}: {name} is not UTF-8 text"
            except ValueError as error:
                yield f"{key}.{field}: {error}"


def _absolute(table: Table, folder: Path) -> Table:
    return msgspec.structs.replace(table, **{field: str(folder / name) for field, name in _files(table).items()})
