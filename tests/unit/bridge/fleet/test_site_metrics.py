"""The text of /metrics, read back with the parser of prometheus_client."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ringmain_bridge.fleet.bridge_metrics import render
from ringmain_bridge.fleet.site_metrics import MAX_LABELS, NAMES, SIGNAL, SiteMetrics
from ringmain_bridge.fleet.state import SiteState
from ringmain_bridge.forwarding.ack_window import Counts
from ringmain_protocol.messages import ActiveFailsafe, Fallback, Limit, ReasonCode
from support.fleets import bridge_state, site, status

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
NOW_S = 1_800_000_000.5


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


def of_sites(found: Samples) -> Samples:
    return {key: value for key, value in found.items() if key[0].startswith("ringmain_site_")}


def test_a_status_is_shown_in_base_units() -> None:
    shown = site(
        "s", now_s=1.5, agent_version='0.1"\\\n', config_sha256="ab", fallback=Fallback.SHIFTED, releases={"load_kw": 7},
        forecast_error_kw={"load_kw": 1.5}, persistence_error_kw={"load_kw": 2.5}, dropped={"full": 3}, rejected={"unit": 2},
        limits=[
            Limit(name="export_kw", value=0.5, source="fail-safe of envelope dso", since_ms=0),
            Limit(name="export_kw", value=2.0, source="connection", since_ms=0),
            Limit(name="import_kw", value=3.0, source="connection", since_ms=0),
        ],
        not_followed=["battery"], models_put_aside={"pv_kw": "release 3"},
        clock_offset_s=-0.25, clock_trusted=False, balance_residual_kw=-1.5,
        reason_codes=[ReasonCode.BALANCE_RESIDUAL, ReasonCode.METER_LOST, ReasonCode.SECOND_AGENT],
        failsafe=ActiveFailsafe(why="pcc_kw is missing", since_ms=1500),
        signals={"load_kw": 2.0, "t_degc": 20.0, "x": 1.0, "other_kw": 1.0},
    )  # fmt: skip
    assert of_sites(samples(shown)) == {
        at("ringmain_site_online", site="s"): 1,
        at("ringmain_site_last_seen_timestamp_seconds", site="s"): 1.5,
        at("ringmain_site_info", site="s", agent_version='0.1"\\\n', config_sha256="ab", mode="control"): 1,
        at("ringmain_site_model_release", site="s", signal="load_kw"): 7,
        at("ringmain_site_forecast_error_watts", site="s", signal="load_kw"): 1500,
        at("ringmain_site_persistence_error_watts", site="s", signal="load_kw"): 2500,
        at("ringmain_site_fallback_level", site="s"): 2,
        at("ringmain_site_failsafe_since_timestamp_seconds", site="s"): 1.5,
        at("ringmain_site_meter_lost", site="s"): 1,
        at("ringmain_site_battery_energy_ratio", site="s", equipment="battery"): 0.4,
        at("ringmain_site_transformer_loading_ratio", site="s", transformer="t1"): 0.5,
        at("ringmain_site_transformer_hot_spot_celsius", site="s", transformer="t1"): 71.5,
        at("ringmain_site_equipment_not_followed", site="s", equipment="battery"): 1,
        at("ringmain_site_model_put_aside", site="s", signal="pv_kw"): 1,
        at("ringmain_site_outbox_messages", site="s"): 12,
        at("ringmain_site_outbox_capacity_messages", site="s"): 200_000,
        at("ringmain_site_dropped_total", site="s", reason="full"): 3,
        at("ringmain_site_rejected_total", site="s", reason="unit"): 2,
        at("ringmain_site_clock_offset_seconds", site="s"): -0.25,
        at("ringmain_site_clock_trusted", site="s"): 0,
        at("ringmain_site_second_agent", site="s"): 1,
        at("ringmain_site_limit_watts", site="s", limit="export"): 500,
        at("ringmain_site_limit_watts", site="s", limit="import"): 3000,
        at("ringmain_site_limit_assumed", site="s", source="fail-safe of envelope dso"): 1,
        at("ringmain_site_balance_residual_watts", site="s"): -1500,
        at("ringmain_site_balance_contradicted", site="s"): 1,
        at("ringmain_site_signal", site="s", signal="load_kw", unit="watts"): 2000,
        at("ringmain_site_signal", site="s", signal="t_degc", unit="celsius"): 20,
        at("ringmain_site_signal", site="s", signal="x", unit=""): 1,
    }


def test_what_is_not_known_has_no_series() -> None:
    assert of_sites(samples(SiteState(site="s", touched_s=0))) == {}


def test_a_new_status_replaces_the_text_of_the_old_one_and_a_vanished_site_leaves_nothing() -> None:
    metrics = new_metrics()
    first = site("s", now_s=NOW_S, releases={"load_kw": 7})
    assert samples(first, metrics=metrics)[at("ringmain_site_model_release", site="s", signal="load_kw")] == 7
    second = site("s", now_s=NOW_S, releases={"load_kw": 8})
    assert samples(second, metrics=metrics)[at("ringmain_site_model_release", site="s", signal="load_kw")] == 8
    other = samples(site("t", now_s=NOW_S), metrics=metrics)
    assert {labels for _, labels in of_sites(other) if ("site", "s") in labels} == set()
    assert of_sites(samples(metrics=metrics)) == {}


def test_what_changes_with_every_message_is_rendered_anew_although_the_status_is_the_same() -> None:
    metrics, same = new_metrics(), status()
    samples(site("s", now_s=1, status=same), metrics=metrics)
    found = samples(site("s", now_s=2, status=same, online=False, signals={"load_kw": 1.0}), metrics=metrics)
    assert found[at("ringmain_site_last_seen_timestamp_seconds", site="s")] == 2
    assert found[at("ringmain_site_online", site="s")] == 0
    assert found[at("ringmain_site_signal", site="s", signal="load_kw", unit="watts")] == 1000


def test_one_status_cannot_flood_prometheus_and_what_is_cut_is_counted() -> None:
    found = samples(site("s", now_s=NOW_S, releases={f"signal_{i}": i for i in range(1000)}))
    assert sum(key[0] == "ringmain_site_model_release" for key in found) == MAX_LABELS
    dropped = found[at("ringmain_bridge_series_dropped", family="ringmain_site_model_release")]
    assert dropped == 1000 - MAX_LABELS


def test_with_too_many_series_the_last_listed_signal_goes_first_for_every_site() -> None:
    sites = [site(f"s{i}", now_s=NOW_S, signals={"load_kw": 1.0, "x": 2.0}) for i in range(10)]
    everything = samples(*sites)
    total = everything[at("ringmain_bridge_series")]
    assert total == len(of_sites(everything))
    found = samples(*sites, metrics=new_metrics(series_max=int(total) - 1))
    assert {dict(labels)["signal"] for name, labels in found if name == SIGNAL} == {"load_kw"}
    assert found[at("ringmain_bridge_series_dropped", family=SIGNAL)] == 10
    assert found[at("ringmain_bridge_series")] == total - 10
    assert set(of_sites(everything)) - set(of_sites(found)) == {
        at(SIGNAL, site=state.site, signal="x", unit="") for state in sites
    }


def test_then_whole_families_go_and_that_a_site_is_there_is_said_longest() -> None:
    sites = [site(f"s{i}", now_s=NOW_S, signals={"load_kw": 1.0}, rejected={"unit": 1}) for i in range(10)]
    total = int(samples(*sites)[at("ringmain_bridge_series")])
    without_signals = samples(*sites, metrics=new_metrics(series_max=total - 11))
    assert {name for name, _ in of_sites(without_signals)}.isdisjoint({SIGNAL, "ringmain_site_rejected_total"})
    least = samples(*sites, metrics=new_metrics(series_max=15))
    assert {name for name, _ in of_sites(least)} == {"ringmain_site_online"}
    counted_out = sum(value for (name, _), value in least.items() if name == "ringmain_bridge_series_dropped")
    assert counted_out + least[at("ringmain_bridge_series")] == total


def test_every_family_says_that_nothing_is_left_out() -> None:
    found = samples(site("s", now_s=NOW_S))
    assert {dict(labels)["family"]: value for (name, labels), value in found.items() if name.endswith("series_dropped")} == (
        dict.fromkeys(NAMES, 0)
    )
