"""The two MQTT connections of an agent: subscriptions, client id and will of each."""

from collections.abc import Iterable

from ringmain_agent.config.agent import LoadedConfig
from ringmain_agent.gateway.instance import Instance
from ringmain_agent.gateway.mqtt import BrokerConnection, Will
from ringmain_program.brokers import with_absolute_files
from ringmain_protocol import topics
from ringmain_protocol.messages import Online, encode


def online_topic(site: str) -> str:
    """Topic of birth and will of the agents of a site, at both brokers."""
    return topics.topic(site, topics.ONLINE)


def local_client_id(loaded: LoadedConfig, instance: Instance) -> str:
    """Client id of the local connection; those of the wills begin with it. By default no other agent has it."""
    return loaded.config.mqtt.local.client_id or f"ringmain-agent-{loaded.config.site}-local-{instance.id}"


def upstream_client_id(loaded: LoadedConfig) -> str:
    """Client id of the upstream connection: that of its persistent session."""
    return loaded.config.mqtt.upstream.client_id or f"ringmain-agent-{loaded.config.site}"


def shares_broker(loaded: LoadedConfig) -> bool:
    """True if both connections name one broker."""
    mqtt = loaded.config.mqtt
    return (mqtt.local.host, mqtt.local.port) == (mqtt.upstream.host, mqtt.upstream.port)


def local_connection(
    loaded: LoadedConfig, feed_topics: Iterable[str], *, instance: Instance, simulated: bool
) -> BrokerConnection:
    """Connection to the broker of feeds and setpoints; another agent is heard before the switch."""
    config = loaded.config
    subscriptions = [online_topic(config.site), *feed_topics, *([config.switch.topic] if config.switch else [])]
    if simulated:
        subscriptions.append(topics.SIMULATION_CLOCK)
    return BrokerConnection(
        "local",
        with_absolute_files(config.mqtt.local, loaded.folder),
        client_id=local_client_id(loaded, instance),
        subscriptions=subscriptions,
    )


def upstream_connection(loaded: LoadedConfig, instance: Instance, *, stream: str) -> BrokerConnection:
    """Connection to the broker of everything else; its will reports that the agent is offline."""
    config = loaded.config
    will = Online(online=False, since_ms=0, stream=stream, instance=instance.id, started_ms=instance.started_ms)
    return BrokerConnection(
        "upstream",
        with_absolute_files(config.mqtt.upstream, loaded.folder),
        client_id=upstream_client_id(loaded),
        subscriptions=[
            online_topic(config.site),
            topics.topic(config.site, topics.RECEIPT),
            topics.topic(config.site, topics.ENVELOPE),
            topics.all_envelopes(config.site),
            topics.topic(config.site, topics.MODEL),
            topics.all_series(config.site),
        ],
        persistent=True,
        will=Will(online_topic(config.site), encode(will)),
    )
