"""The configuration is refused as a whole, with every problem named, and the sample file is complete."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from ringmain_bridge import config as configuration
from ringmain_bridge.__main__ import main
from ringmain_bridge.config import CLIENT_ID, BridgeConfig
from ringmain_program.config import ConfigError, loads
from ringmain_program.secrets import read_secret

SAMPLE = Path(__file__).parents[3] / "deploy" / "config" / "bridge.toml"


def test_the_sample_decodes_as_it_stands_to_the_defaults() -> None:
    assert loads(SAMPLE.read_text(), BridgeConfig) == BridgeConfig()


def test_the_sample_with_every_default_uncommented_is_the_defaults() -> None:
    text = re.sub(r"^# (?=\w+ = )", "", SAMPLE.read_text(), flags=re.MULTILINE)
    config = loads(text, BridgeConfig)
    assert config.mqtt.client_id == CLIENT_ID
    assert msgspec.structs.replace(config, mqtt=msgspec.structs.replace(config.mqtt, client_id=None)) == BridgeConfig()


def test_the_sample_names_every_key_and_its_examples_are_valid() -> None:
    text = re.sub(r"^## example: |^# (?=\w+ = )", "", SAMPLE.read_text(), flags=re.MULTILINE)
    text = text.replace("signals = []\n", "").replace('"plaintext"', '"sasl_ssl"')
    config = msgspec.to_builtins(loads(text, BridgeConfig))
    assert [f"{part}.{key}" for part in ("mqtt", "kafka") for key, value in config[part].items() if value is None] == []
    named = set(re.findall(r"^(\w+) = ", text, re.MULTILINE))
    tables = [config, *(value for value in config.values() if isinstance(value, dict))]
    assert {key for table in tables for key, value in table.items() if not isinstance(value, dict)} <= named | {"signals"}


def test_all_problems_are_reported_at_once_and_the_exit_status_is_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text('replicas = 0\n[mqtt]\nhots = "x"\nport = 70000\n[kafka]\nlinger_ms = -1\n')
    for command in ("run", "check"):
        assert main([command, "--config", str(path)]) == 78
        printed = capsys.readouterr()
        assert printed.out == ""
        for problem in ("replicas: ", "mqtt.hots: unknown key; did you mean `host`?", "mqtt.port: ", "kafka.linger_ms: "):
            assert problem in printed.err


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


def test_check_offline_prints_what_the_bridge_will_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--offline", "--config", str(SAMPLE), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["client_id"], printed["mqtt"], printed["subscriptions"]) == ("ringmain-bridge-0", "127.0.0.1:1883", 8)
    target = tmp_path / "result.json"
    assert main(["check", "--offline", "--config", str(SAMPLE), "--json", str(target)]) == 0
    assert json.loads(target.read_text()) == printed
    assert main(["check", "--offline", "--config", str(SAMPLE)]) == 0
    assert "client_id: ringmain-bridge-0" in capsys.readouterr().out
