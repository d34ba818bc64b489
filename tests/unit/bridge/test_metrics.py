"""The text of /metrics, read back with the parser of prometheus_client."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ringmain_bridge.fleet import SiteState
from ringmain_bridge.metrics import MAX_LABELS, BridgeState, render
from ringmain_bridge.window import Counts
from ringmain_protocol.messages import Fallback, Mode, Status

COUNTS = Counts(
    received=10, delivered=6, dead_lettered={"invalid": 1}, dropped={"overflow": 1}, in_flight=2, consumed=4,
    reattached=5, unacknowledged=3, oldest_unacknowledged_s=1234.5, sessions_lost=1,
)  # fmt: skip


def status(**changes: Any) -> Status:
    fields: dict[str, Any] = {
        "at_ms": 1, "time_zone": "Europe/Amsterdam", "agent_version": '0.1"\\\n',
        "config_sha256": "ab", "stream": "01234567",
        "mode": Mode.CONTROL, "mode_source": "config", "fallback": Fallback.SHIFTED, "releases": {"load_kw": 7},
        "forecast_error_kw": {"load_kw": 1.5}, "persistence_error_kw": {"load_kw": 2.5}, "soc_pu": {"battery": 0.4},
        "outbox_messages": 12, "dropped": {"full": 3}, "clock_offset_s": -0.25,
    }  # fmt: skip
    return Status(**(fields | changes))


def state_of_bridge(counts: Counts = COUNTS) -> BridgeState:
    return BridgeState(
        counts=counts, reconnects={"connection_lost": 2, "refused": 0}, mqtt_connected=True, kafka_ready=True,
        delivery_errors={"_MSG_TIMED_OUT": 1}, receipts_published=9, sites_expired=1, fleet_refused=0, version="0.1.0",
    )  # fmt: skip


def samples(*sites: SiteState, counts: Counts = COUNTS) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = render(sites, state_of_bridge(counts)).decode()
    found = [s for family in text_string_to_metric_families(text) for s in family.samples]
    named = {(s.name, frozenset(s.labels.items())): s.value for s in found}
    assert len(named) == len(found)
    assert all(s.timestamp is None for s in found)
    return named


def at(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_a_status_is_shown_in_base_units() -> None:
    site = SiteState(
        site="s",
        touched_s=0,
        last_seen_ms=1500,
        online=True,
        status=status(),
        signals={"load_kw": 2.0, "t_degc": 20.0, "x": 1.0},
    )
    found = samples(site)
    assert {key: value for key, value in found.items() if key[0].startswith("ringmain_site_")} == {
        at("ringmain_site_online", site="s"): 1,
        at("ringmain_site_last_seen_timestamp_seconds", site="s"): 1.5,
        at("ringmain_site_info", site="s", agent_version='0.1"\\\n', config_sha256="ab", mode="control"): 1,
        at("ringmain_site_model_release", site="s", signal="load_kw"): 7,
        at("ringmain_site_forecast_error_watts", site="s", signal="load_kw"): 1500,
        at("ringmain_site_persistence_error_watts", site="s", signal="load_kw"): 2500,
        at("ringmain_site_fallback_level", site="s"): 2,
        at("ringmain_site_battery_energy_ratio", site="s", equipment="battery"): 0.4,
        at("ringmain_site_outbox_messages", site="s"): 12,
        at("ringmain_site_dropped_total", site="s", reason="full"): 3,
        at("ringmain_site_clock_offset_seconds", site="s"): -0.25,
        at("ringmain_site_signal", site="s", signal="load_kw", unit="watts"): 2000,
        at("ringmain_site_signal", site="s", signal="t_degc", unit="celsius"): 20,
        at("ringmain_site_signal", site="s", signal="x", unit=""): 1,
    }


def test_what_is_not_known_has_no_series() -> None:
    found = samples(SiteState(site="s", touched_s=0))
    assert [key for key in found if key[0].startswith("ringmain_site_")] == []


def test_one_status_cannot_flood_prometheus() -> None:
    site = SiteState(site="s", touched_s=0, status=status(releases={f"signal_{i}": i for i in range(1000)}))
    assert sum(key[0] == "ringmain_site_model_release" for key in samples(site)) == MAX_LABELS


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
    assert at("ringmain_bridge_oldest_unacknowledged_timestamp_seconds") not in samples(
        counts=COUNTS._replace(oldest_unacknowledged_s=None)
    )
