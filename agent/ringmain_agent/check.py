"""What `ringmain-agent check` tells of a configuration that is valid."""

from ringmain_agent.config import LoadedConfig


def report(loaded: LoadedConfig) -> dict[str, object]:
    """What the agent would do with this configuration, and what a field engineer should look at again."""
    config = loaded.config
    advice = []
    if "pcc_kw" not in config.feeds:
        advice.append("feeds.pcc_kw is missing: limits are held on the sum of load and equipment, not on the meter")
    if config.models is None:
        advice.append("[models] is missing: forecasts are seasonal persistence")
    elif not loaded.path(config.models.root).is_file():
        advice.append(f"models.root {loaded.path(config.models.root)} is not there: no model can be verified")
    if config.mqtt.upstream.ca_file is None and config.mqtt.upstream.host not in ("127.0.0.1", "localhost", "::1"):
        advice.append("mqtt.upstream has no ca_file: the connection is not encrypted")
    return {
        "site": config.site,
        "mode": config.mode.value,
        "feeds": len(config.feeds),
        "outputs": list(config.outputs),
        "local_broker": f"{config.mqtt.local.host}:{config.mqtt.local.port}",
        "upstream_broker": f"{config.mqtt.upstream.host}:{config.mqtt.upstream.port}",
        "config_sha256": loaded.sha256,
        "advice": advice,
    }
