"""TLS with client certificates to the broker, TLS with SASL to Kafka; what is wrong is said, and no secret with it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from ringmain_protocol import topics
from servers.base import ServerMissingError, wait_until
from servers.bridge import BridgeProcess
from servers.certificates import Authority, Identity
from servers.kafka import Kafka
from servers.mosquitto import Mosquitto
from servers.sites import sequences_in_kafka

SECRET = "correct-horse-7Q"  # noqa: S105  of this test
WRONG = "wrong-battery-9Z"
PAYLOAD = b'{"stream":"0123456789abcdef","sequence":1,"signals":[],"at_ms":[],"values":[],"quality":[]}'


class Guarded(NamedTuple):
    """Broker and Kafka that let in only whom they know."""

    authority: Authority
    broker: Mosquitto
    kafka: Kafka
    client: dict[str, str]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder / "certificates")
    server, administrator = authority.issue("server"), authority.issue("administrator")
    acl = folder / "acl"
    acl.write_text("user bridge\ntopic readwrite ringmain/1/#\nuser uw-1\ntopic readwrite ringmain/1/+/uw-1/#\n")
    broker = Mosquitto(
        folder / "mosquitto",
        f"cafile {authority.file}\ncertfile {server.certificate}\nkeyfile {server.key}\n"
        f"require_certificate true\nuse_identity_as_username true\nacl_file {acl}\n",
    )
    client = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "administrator",
        "sasl.password": SECRET,
        "ssl.ca.location": str(authority.file),
        "ssl.certificate.location": str(administrator.certificate),
        "ssl.key.location": str(administrator.key),
    }
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    users = f'user_administrator="{SECRET}" user_bridge="{SECRET}"'
    kafka = Kafka(
        folder / "kafka",
        f"ssl.keystore.type=PEM\nssl.keystore.location={server.both}\n"
        f"ssl.truststore.type=PEM\nssl.truststore.location={authority.file}\nssl.client.auth=required\n"
        "sasl.enabled.mechanisms=PLAIN\nsasl.mechanism.inter.broker.protocol=PLAIN\n"
        f'listener.name.clients.plain.sasl.jaas.config={login} username="administrator" password="{SECRET}" {users};\n',
        protocol="SASL_SSL",
        client=client,
    )
    with ExitStack() as stack:
        try:
            for guarded_server in (broker, kafka):
                stack.callback(guarded_server.stop)
                guarded_server.start()
        except ServerMissingError as error:
            pytest.skip(str(error))
        yield Guarded(authority, broker, kafka, client)


@pytest.fixture
def bridge(guarded: Guarded, tmp_path: Path) -> Iterator[BridgeProcess]:
    """Not started; with its own files for certificate and password."""
    identity = guarded.authority.issue("bridge")
    install(identity, tmp_path)
    (tmp_path / "kafka-password").write_text(SECRET + "\n")
    (tmp_path / "kafka-password").chmod(0o600)
    ca = guarded.authority.file
    process = BridgeProcess(
        tmp_path,
        f'[mqtt]\nport = {guarded.broker.port}\nca_file = "{ca}"\ncertificate_file = "own.crt"\nkey_file = "own.key"\n'
        f'[kafka]\nbootstrap_servers = "{guarded.kafka.bootstrap_servers}"\nsecurity_protocol = "sasl_ssl"\n'
        'sasl_mechanism = "PLAIN"\nsasl_username = "bridge"\nsasl_password_file = "kafka-password"\n'
        f'ca_file = "{ca}"\ncertificate_file = "kafka.crt"\nkey_file = "kafka.key"\n',
    )
    for source, target in ((identity.certificate, "kafka.crt"), (identity.key, "kafka.key")):
        (tmp_path / target).write_bytes(source.read_bytes())
    (tmp_path / "kafka.key").chmod(0o600)
    yield process
    process.end()
    assert SECRET not in process.log.read_text()
    assert WRONG not in process.log.read_text()


def install(identity: Identity, folder: Path) -> None:
    """Make it the bridge's own."""
    (folder / "own.crt").write_bytes(identity.certificate.read_bytes())
    (folder / "own.key").write_bytes(identity.key.read_bytes())
    (folder / "own.key").chmod(0o600)


def publish(guarded: Guarded) -> None:
    identity = guarded.authority.issue("uw-1")
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.tls_set(str(guarded.authority.file), str(identity.certificate), str(identity.key))
    client.connect("127.0.0.1", guarded.broker.port)
    client.loop_start()
    client.publish(topics.topic("uw-1", topics.READINGS), PAYLOAD, 1).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def check(bridge: BridgeProcess) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit status of `check`, and the gravest finding of each subject with its text."""
    command = [sys.executable, "-m", "ringmain_bridge", "check", "--config", str(bridge.config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert SECRET not in done.stdout + done.stderr
    assert WRONG not in done.stdout + done.stderr
    found: dict[str, tuple[str, str]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        if found.get(finding["subject"], ("ok", ""))[0] != "error":
            found[finding["subject"]] = (finding["status"], f"{finding['text']} {finding.get('advice', '')}")
    return done.returncode, found


def test_with_certificates_and_passwords_messages_get_through_and_check_is_content(
    guarded: Guarded, bridge: BridgeProcess
) -> None:
    bridge.start()
    bridge.wait_for("mqtt_connected")
    publish(guarded)
    bridge.wait_for("delivered_total")
    assert sequences_in_kafka(guarded.kafka.bootstrap_servers, guarded.client) == {"uw-1": [1]}
    status, found = check(bridge)
    assert (status, {subject for subject, (what, _) in found.items() if what == "error"}) == (0, set())
    assert "days" in found["mqtt tls"][1]
    assert "days" in found["kafka tls"][1]
    assert "a running bridge" in found["http"][1]
    assert "messages/s" in found["rate"][1]
    samples = bridge.samples()
    assert (samples["mqtt_connected"], samples["reconnects_total"]) == (1, 0), "check disturbs nothing"


def test_a_wrong_client_certificate_is_named_waited_for_and_taken_up_when_exchanged(
    guarded: Guarded, bridge: BridgeProcess, tmp_path: Path
) -> None:
    install(Authority(tmp_path / "strangers").issue("bridge"), tmp_path)
    bridge.start()
    bridge.wait_for("reconnects_total", 2)
    assert "the broker closed the connection before it answered" in bridge.log.read_text()
    status, found = check(bridge)
    assert (status, found["mqtt login"][0]) == (1, "error")
    assert "client certificate" in found["mqtt login"][1]
    install(guarded.authority.issue("bridge"), tmp_path)
    bridge.wait_for("mqtt_connected")


def test_a_broker_with_a_certificate_of_another_authority_is_refused(bridge: BridgeProcess, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "strangers").file
    config = bridge.config.read_text().split("[http]")[0]
    mqtt_part, kafka_part = config.split("[kafka]")
    bridge.write("[kafka]".join((_with_ca(mqtt_part, stranger), kafka_part)))
    bridge.start()
    bridge.wait_for("reconnects_total{unreachable}")
    assert "certificate verify failed" in bridge.log.read_text()
    status, found = check(bridge)
    assert (status, found["mqtt tls"][0]) == (1, "error")
    assert "ca_file" in found["mqtt tls"][1]


def test_a_wrong_kafka_password_is_named_and_waited_for(bridge: BridgeProcess, tmp_path: Path) -> None:
    (tmp_path / "kafka-password").write_text(WRONG)
    bridge.start()
    wait_until(lambda: "Authentication failed" in bridge.log.read_text(), what="the log names it")
    assert bridge.samples()["kafka_ready"] == 0
    status, found = check(bridge)
    assert (status, found["kafka login"][0]) == (1, "error")
    assert "sasl_password_file" in found["kafka login"][1]


def test_a_kafka_with_a_certificate_of_another_authority_is_refused(bridge: BridgeProcess, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "strangers").file
    mqtt_part, kafka_part = bridge.config.read_text().split("[http]")[0].split("[kafka]")
    bridge.write("[kafka]".join((mqtt_part, _with_ca(kafka_part, stranger))))
    bridge.start()
    wait_until(lambda: "certificate verify failed" in bridge.log.read_text(), what="the log names it")
    assert bridge.samples()["kafka_ready"] == 0
    status, found = check(bridge)
    assert (status, found["kafka tls"][0]) == (1, "error")


def _with_ca(part: str, ca: Path) -> str:
    return "\n".join(f'ca_file = "{ca}"' if line.startswith("ca_file") else line for line in part.split("\n"))
