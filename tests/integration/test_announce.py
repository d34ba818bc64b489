"""The hint that a release is there: the newest timestamp, retained for each site, on a real broker."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ringmain_protocol import topics
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.errors import PublishError
from ringmain_trainer.release.publish import announce
from ringmain_trainer.release.tuf_repository import create_repository
from servers.base import free_port
from servers.mosquitto import Mosquitto

SITES = ["liander-287", "liander-307"]


@pytest.fixture
def config(tmp_path: Path) -> TrainerConfig:
    config = TrainerConfig(repository=str(tmp_path / "repository"), keys=str(tmp_path / "keys"))
    create_repository(Path(config.repository), Path(config.keys), datetime(2026, 11, 24, tzinfo=UTC))
    return config


def test_every_site_of_a_release_is_given_the_newest_timestamp(config: TrainerConfig, mosquitto: Mosquitto) -> None:
    assert announce(config, SITES, host=mosquitto.host, port=mosquitto.port) == 2
    received: dict[str, bytes] = {}
    complete = threading.Event()

    def on_message(_: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
        if message.retain:
            received[message.topic] = bytes(message.payload)
        if len(received) == len(SITES):
            complete.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    client.subscribe("ringmain/1/+/+/model", qos=1)
    complete.wait(20)
    client.disconnect()
    client.loop_stop()
    timestamp = (Path(config.repository) / "metadata" / "timestamp.json").read_bytes()
    assert received == {topics.topic(site, topics.MODEL): timestamp for site in SITES}


def test_a_broker_that_is_not_there_is_an_error_by_name(config: TrainerConfig) -> None:
    with pytest.raises(PublishError, match="did not take the announcement"):
        announce(config, SITES, host="127.0.0.1", port=free_port())
