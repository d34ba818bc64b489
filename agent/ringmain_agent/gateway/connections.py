"""The two MQTT connections of an agent: subscriptions, client id and will of each."""

from collections.abc import Iterable

from ringmain_agent.config.agent import LoadedConfig
from ringmain_agent.gateway.mqtt import BrokerConnection, Will
from ringmain_program.brokers import with_absolute_files
from ringmain_protocol import topics
from ringmain_protocol.messages import Online, encode


def local_client_id(loaded: LoadedConfig) -> str:
    """Client id of the local connection; those of the wills begin with it."""
    return loaded.config.mqtt.local.client_id or f"ringmain-agent-{loaded.config.site}-local"


def local_connection(loaded: LoadedConfig, feed_topics: Iterable[str], *, simulated: bool) -> BrokerConnection:
    """Connection to the broker of feeds and setpoints."""
    config = loaded.config
    subscriptions = [*feed_topics, *([config.switch.topic] if config.switch else [])]
    if simulated:
        subscriptions.append(topics.SIMULATION_CLOCK)
    return BrokerConnection(
        "local",
        with_absolute_files(config.mqtt.local, loaded.folder),
        client_id=local_client_id(loaded),
        subscriptions=subscriptions,
    )


def upstream_connection(loaded: LoadedConfig) -> BrokerConnection:
    """Connection to the broker of everything else; its will reports that the agent is offline."""
    config = loaded.config
    return BrokerConnection(
        "upstream",
        with_absolute_files(config.mqtt.upstream, loaded.folder),
        client_id=config.mqtt.upstream.client_id or f"ringmain-agent-{config.site}",
        subscriptions=[
            topics.topic(config.site, topics.RECEIPT),
            topics.topic(config.site, topics.ENVELOPE),
            topics.all_envelopes(config.site),
            topics.topic(config.site, topics.MODEL),
            topics.all_series(config.site),
        ],
        persistent=True,
        will=Will(topics.topic(config.site, topics.ONLINE), encode(Online(online=False, since_ms=0))),
    )
