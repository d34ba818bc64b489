"""Metrics of the bridge itself, read back with the parser of prometheus_client."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ringmain_bridge.fleet.bridge_metrics import render
from ringmain_bridge.fleet.site_metrics import SiteMetrics
from ringmain_bridge.fleet.state import SiteState
from ringmain_bridge.forwarding.ack_window import Counts
from support.fleets import bridge_state, counted

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def new_metrics(**changes: Any) -> SiteMetrics:
    fields: dict[str, Any] = {"series_max": 1000, "signals": ["load_kw", "t_degc", "x"]}
    return SiteMetrics(**(fields | changes))


def samples(*sites: SiteState, metrics: SiteMetrics | None = None, counts: Counts | None = None) -> Samples:
    text = render((metrics or new_metrics()).render(sites), bridge_state(counts)).decode()
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    found = [s for family in families for s in family.samples]
    named = {(s.name, frozenset(s.labels.items())): s.value for s in found}
    assert len(named) == len(found)
    assert all(s.timestamp is None for s in found)
    return named


def at(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_the_counters_of_the_bridge_add_up() -> None:
    found = samples()
    total: dict[str, float] = {}
    for (name, _), value in found.items():
        total[name.removeprefix("ringmain_bridge_")] = total.get(name.removeprefix("ringmain_bridge_"), 0) + value
    parts = ("delivered_total", "dead_lettered_total", "dropped_total", "in_flight")
    assert total["messages_received_total"] == sum(total[part] for part in parts) == 10
    assert found[at("ringmain_bridge_dead_lettered_total", reason="too_large")] == 0
    assert found[at("ringmain_bridge_dropped_total", reason="overflow")] == 1
    assert found[at("ringmain_bridge_oldest_unacknowledged_timestamp_seconds")] == 1234.5
    assert found[at("ringmain_bridge_reconnects_total", reason="connection_lost")] == 2
    assert found[at("ringmain_bridge_session_lost_total")] == 1
    assert found[at("ringmain_bridge_build_info", version="0.1.0")] == 1


def test_an_empty_window_has_no_oldest_message() -> None:
    found = samples(counts=counted(oldest_unacknowledged_s=None))
    assert at("ringmain_bridge_oldest_unacknowledged_timestamp_seconds") not in found
