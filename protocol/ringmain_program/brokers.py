"""The tables `[mqtt]` and `[kafka]` of a configuration: one set of keys, one set of rules, in every program."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from ringmain_program.secrets import read_secret
from ringmain_program.tls import Text, TlsFiles

_FILE: Final = "_file"
_PASSWORD: Final = "password_file"  # noqa: S105  the ending of a key
_PRIVATE: Final = (_PASSWORD, "key_file")


class MqttBroker(TlsFiles, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An MQTT broker and the login of a program there."""

    host: Annotated[str, Meta(min_length=1, max_length=253)]
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    client_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    username: Text | None = None
    password_file: Text | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs username")

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted: with a `ca_file` or a certificate."""
        return self.ca_file is not None or self.certificate_file is not None

    def password(self) -> str | None:
        """The password of the login, read now.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If the file holds no usable secret.
        """
        return None if self.password_file is None else read_secret(self.password_file)


class KafkaBroker(TlsFiles, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Kafka cluster and the login of a program there."""

    bootstrap_servers: Text = "127.0.0.1:9092"
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: Text | None = None
    sasl_password_file: Text | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        sasl = (self.sasl_mechanism, self.sasl_username, self.sasl_password_file)
        if self.security_protocol.startswith("sasl") and None in sasl:
            raise ValueError("sasl needs sasl_mechanism, sasl_username and sasl_password_file")

    def connection_settings(self) -> dict[str, str]:
        """Settings of librdkafka for the connection, with the password read now.

        Raises:
            OSError: If the password file cannot be read.
            ValueError: If the password file holds no usable secret.
        """
        settings = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.certificate_file,
            "ssl.key.location": self.key_file,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password_file and read_secret(self.sasl_password_file),
        }
        return {name: value for name, value in settings.items() if value is not None}


Table = TypeVar("Table", bound=TlsFiles)


def files(table: TlsFiles) -> dict[str, str]:
    """Files of a table, by key."""
    named = ((key, getattr(table, key)) for key in table.__struct_fields__ if key.endswith(_FILE))
    return {key: name for key, name in named if name is not None}


def private_files(table: TlsFiles) -> dict[str, str]:
    """Files with passwords and private keys, by key."""
    return {key: name for key, name in files(table).items() if key.endswith(_PRIVATE)}


def with_absolute_files(table: Table, folder: Path) -> Table:
    """The table with every file as an absolute path; a relative one is below `folder`. Symbolic links stay links."""
    absolute = {key: str(folder.absolute() / name) for key, name in files(table).items()}
    return msgspec.structs.replace(table, **absolute)


def file_problems(table: TlsFiles) -> Iterator[str]:
    """Each unusable file: key, file and reason."""
    for key, name in files(table).items():
        try:
            if key.endswith(_PASSWORD):
                read_secret(name)
            else:
                with Path(name).open("rb"):
                    pass
        except OSError as error:
            yield f"{key}: {name} cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            yield f"{key}: {name} is not UTF-8 text"
        except ValueError as error:
            yield f"{key}: {error}"
