"""`ringmain-agent check`: summary of a valid configuration, with advice."""

import argparse
from collections.abc import Iterator

from ringmain_agent.config.agent import LoadedConfig, load_config
from ringmain_agent.config.leaving import leaving_problems
from ringmain_agent.equipment.registry import equipment_by_kind
from ringmain_agent.site.site import LOAD, PCC, REACTIVE, Site
from ringmain_program.command import Outcome
from ringmain_protocol.messages import Mode


def run(options: argparse.Namespace) -> Outcome:
    """Check a configuration.

    Raises:
        ConfigError: With every problem in it.
    """
    return Outcome(report(load_config(options.config)))


def report(loaded: LoadedConfig) -> dict[str, object]:
    """Summary of the configuration, and advice for the field engineer."""
    config = loaded.config
    return {
        "site": config.site,
        "mode": config.mode.value,
        "feeds": len(config.feeds),
        "outputs": list(config.outputs),
        "local_broker": f"{config.mqtt.local.host}:{config.mqtt.local.port}",
        "upstream_broker": f"{config.mqtt.upstream.host}:{config.mqtt.upstream.port}",
        "config_sha256": loaded.sha256,
        "advice": [*_advice(loaded), *_equipment_advice(loaded.site, set(config.feeds))],
    }


def _advice(loaded: LoadedConfig) -> Iterator[str]:
    config = loaded.config
    if PCC not in config.feeds:
        yield "feeds.pcc_kw is missing: limits are held on the sum of load and equipment, not on the meter"
    yield from _meter_advice(loaded)
    if config.mode is not Mode.CONTROL:
        yield from (f"control will be refused: {problem}" for problem in leaving_problems(config.outputs, loaded.site))
    if config.models is None:
        yield "[models] is missing: forecasts are seasonal persistence"
    elif not loaded.path(config.models.root).is_file():
        yield f"models.root {loaded.path(config.models.root)} does not exist: no model can be verified"
    if config.mqtt.upstream.ca_file is None and config.mqtt.upstream.host not in ("127.0.0.1", "localhost", "::1"):
        yield "mqtt.upstream has no ca_file: the connection is not encrypted"


def _meter_advice(loaded: LoadedConfig) -> Iterator[str]:
    """Settings at which a meter that works counts as lost, or a lost one as present."""
    config, lost_after_s = loaded.config, loaded.config.grid_connection.meter_lost_after_s
    meter = PCC if PCC in config.feeds else LOAD
    feed = config.feeds.get(meter)
    stale_after_s = config.regulator.stale_after_s if feed is None or feed.stale_after_s is None else feed.stale_after_s
    if lost_after_s < 2 * config.cycle_s:
        yield (
            f"grid_connection.meter_lost_after_s {lost_after_s:g} is below two cycles of {config.cycle_s:g} s: "
            "a value that comes one cycle late leads to the fail-safe"
        )
    if stale_after_s < lost_after_s:
        yield (
            f"feeds.{meter} is stale after {stale_after_s:g} s, before grid_connection.meter_lost_after_s {lost_after_s:g}: "
            "the shorter one counts; it must be at least twice the time between two values of the meter"
        )


def _equipment_advice(site: Site, feeds: set[str]) -> Iterator[str]:
    """Valid settings that are probably mistakes."""
    if (site.transformers or site.capacitor_banks) and REACTIVE not in feeds:
        yield "feeds.pcc_kvar is missing: reactive power of the load is assumed to be 0 kvar"
    yield from _voltage_advice(site, feeds)
    for kind, equipment in equipment_by_kind(site):
        yield from kind.advice(equipment, feeds)


def _voltage_advice(site: Site, feeds: set[str]) -> Iterator[str]:
    if site.busbar is None:
        return
    if site.busbar.pu_per_kw and PCC not in feeds:
        yield "feeds.pcc_kw is missing: no equipment is switched for the voltage"
    if not site.switched:
        yield "[busbar] has neither a capacitor bank nor a tap changer: its voltage is only monitored"
    if not site.busbar.pu_per_kvar:
        names = ", ".join(bank.name for bank in site.capacitor_banks)
        yield from [f"busbar.pu_per_kvar is 0: no position of {names} changes the voltage"] if names else []
