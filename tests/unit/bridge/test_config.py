"""What contradicts itself in the configuration is refused, and files are relative to it."""

from pathlib import Path

import pytest

from ringmain_bridge import config as configuration
from ringmain_bridge.config import BridgeConfig
from ringmain_program.config import ConfigError, loads
from ringmain_program.secrets import read_secret


@pytest.mark.parametrize(
    "text",
    [
        "replica = 2\nreplicas = 2",
        '[mqtt]\ncertificate_file = "a"',
        '[mqtt]\npassword_file = "a"',
        '[kafka]\nkey_file = "a"',
        '[kafka]\nsecurity_protocol = "sasl_ssl"',
        '[kafka]\ncompression = "rar"',
        "[limits]\nreceipt_interval_s = nan",
        "[limits]\nwindow = 0",
    ],
)
def test_contradictions_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        loads(text, BridgeConfig)


def test_files_are_relative_to_the_configuration_and_all_missing_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text('[mqtt]\nusername = "u"\npassword_file = "secret"\nca_file = "ca.pem"\n')
    with pytest.raises(ConfigError) as caught:
        configuration.load(path)
    assert len(str(caught.value).splitlines()) == 2
    for name in ("secret", "ca.pem"):
        (tmp_path / name).write_text("x")
    assert configuration.load(path).mqtt.password_file == str(tmp_path / "secret")


def test_a_secret_is_the_text_of_its_file_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(" word \n")
    assert read_secret(secret) == "word"
    secret.write_text("\n")
    path = tmp_path / "bridge.toml"
    path.write_text('[mqtt]\nusername = "u"\npassword_file = "secret"\n')
    with pytest.raises(ConfigError, match=r"mqtt.password_file: .* is empty"):
        configuration.load(path)


def test_the_client_id_is_that_of_the_replica_whatever_their_number() -> None:
    assert BridgeConfig().client_id == "ringmain-bridge-0"
    assert (
        BridgeConfig(replica=1, replicas=4).client_id == BridgeConfig(replica=1, replicas=2).client_id == "ringmain-bridge-1"
    )
