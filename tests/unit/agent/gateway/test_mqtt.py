"""A connection whose files cannot be used stops the agent with a text that names broker and file."""

from pathlib import Path

import pytest

from ringmain_agent.config.agent import Broker
from ringmain_agent.gateway.mqtt import BrokerConnection
from ringmain_program.config import ConfigError


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_a_password_file_that_holds_no_password_is_refused(tmp_path: Path, content: bytes | None) -> None:
    password = tmp_path / "password"
    if content is not None:
        password.write_bytes(content)
    broker = Broker(host="mqtt.example.net", username="site", password_file=str(password))
    with pytest.raises(ConfigError, match=r"login at mqtt\.example\.net: .*; check password_file"):
        BrokerConnection("upstream", broker, client_id="c", subscriptions=[])


def test_a_ca_file_that_holds_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    broker = Broker(host="mqtt.example.net", ca_file=str(tmp_path / "ca.pem"))
    with pytest.raises(ConfigError, match=r"login at mqtt\.example\.net: .*ca_file"):
        BrokerConnection("upstream", broker, client_id="c", subscriptions=[])
