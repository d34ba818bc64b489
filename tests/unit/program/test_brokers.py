"""Broker tables: one set of rules, files below the configuration, and problems that name key, file and reason."""

from pathlib import Path

import pytest
from msgspec import Struct

from ringmain_program.brokers import (
    KafkaBroker,
    MqttBroker,
    file_problems,
    private_files,
    with_absolute_files,
)
from ringmain_program.config import ConfigError, loads


class Brokers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A configuration with both tables."""

    mqtt: MqttBroker = MqttBroker(host="127.0.0.1")
    kafka: KafkaBroker = KafkaBroker()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[mqtt]\nport = 1884", "mqtt.host: missing"),
        ('[mqtt]\nhost = "h"\nkey_file = "k"', "certificate_file and key_file go together"),
        ('[mqtt]\nhost = "h"\npassword_file = "p"', "password_file needs username"),
        ('[mqtt]\nhost = "h"\nkeepalive_s = 4', "mqtt.keepalive_s: "),
        ('[kafka]\ncertificate_file = "c"', "certificate_file and key_file go together"),
        (
            '[kafka]\nsecurity_protocol = "sasl_ssl"\nsasl_mechanism = "PLAIN"',
            "sasl needs sasl_mechanism, sasl_username and",
        ),
        ('[kafka]\nca_file = ""', "kafka.ca_file: "),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        loads(text, Brokers)


def test_relative_files_are_below_the_folder_and_links_stay_links(tmp_path: Path) -> None:
    """An exchanged secret is a link that points elsewhere: the link must be followed when the secret is used."""
    (tmp_path / "first").write_text("old")
    (tmp_path / "password").symlink_to("first")
    table = with_absolute_files(MqttBroker(host="h", username="u", password_file="password", ca_file="/ca.pem"), tmp_path)  # noqa: S106  a path
    assert (table.password_file, table.ca_file) == (str(tmp_path / "password"), "/ca.pem")
    (tmp_path / "second").write_text("new")
    (tmp_path / "password").unlink()
    (tmp_path / "password").symlink_to("second")
    assert table.password() == "new"


def test_every_file_that_cannot_be_used_is_named_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("\n")
    (tmp_path / "ca.pem").write_text("x")
    table = KafkaBroker(
        security_protocol="sasl_ssl",
        sasl_mechanism="PLAIN",
        sasl_username="u",
        sasl_password_file="password",  # noqa: S106  a path
        ca_file="ca.pem",
        certificate_file="c.pem",
        key_file="k.pem",
    )
    absolute = with_absolute_files(table, tmp_path)
    problems = list(file_problems(absolute))
    assert [problem.split(":")[0] for problem in problems] == ["certificate_file", "key_file", "sasl_password_file"]
    assert f"{tmp_path / 'c.pem'} cannot be read: No such file or directory" in problems[0]
    assert f"{tmp_path / 'password'} is empty" in problems[2]
    assert set(private_files(absolute)) == {"key_file", "sasl_password_file"}


def test_the_settings_for_kafka_hold_the_password_and_nothing_that_is_not_set(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("word\n")
    assert KafkaBroker().connection_settings() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "plaintext",
    }
    table = KafkaBroker(
        security_protocol="sasl_plaintext",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="u",
        sasl_password_file=str(tmp_path / "password"),
    )
    assert table.connection_settings()["sasl.password"] == "word"
