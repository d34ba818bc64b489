"""The fleet at a glance: one HTML page without script, for a person without Prometheus. Pure."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, NamedTuple

from ringmain_bridge.fleet.bridge_metrics import BridgeState
from ringmain_bridge.fleet.state import SiteState
from ringmain_protocol.messages import Fallback, Mode, ReasonCode, Status

CONTENT_TYPE: Final = "text/html; charset=utf-8"
REFRESH_S: Final = 10
ROWS_MAX: Final = 1000
SILENT_AFTER_S: Final = 300
OUTBOX_FILLING: Final = 0.5
CLOCK_OFF_S: Final = 30
TRANSFORMER_NEAR_LIMIT: Final = 0.95
TEXT_MAX: Final = 160


class _Row(NamedTuple):
    """A site with its problems; `rank` puts the worst first."""

    rank: int
    site: str
    presence: str
    state: SiteState
    troubles: list[str]


def fleet_page(
    states: Sequence[SiteState], bridge: BridgeState, *, replica: tuple[int, int], series_dropped: int, now_s: float
) -> bytes:
    """The page: totals on top, then the sites, those with problems first."""
    number, replicas = replica
    rows = sorted((_row(state, now_s) for state in states), key=lambda row: row[:2])
    left_out = len(rows) - ROWS_MAX
    parts = [
        _HEAD,
        f"<header><h1>Ringmain fleet</h1><p>Bridge {escape(bridge.version)}, replica {number} of {replicas}"
        + (", with the sites of its shards only" if replicas > 1 else "")
        + f" · <a href=metrics>metrics</a> · renewed every {REFRESH_S} s</p></header><main>",
        *_totals(rows),
        *_bridge(bridge, series_dropped, now_s),
        _TABLE_HEAD,
        *(_table_row(row, now_s) for row in rows[:ROWS_MAX]),
        "</tbody></table>",
        f"<p>{left_out} more sites are not shown here; Prometheus has all.</p>" if left_out > 0 else "",
        "" if rows else "<p class=none>No message of any site yet.</p>",
        "</main></html>\n",
    ]
    return "".join(parts).encode(errors="replace")


def _row(state: SiteState, now_s: float) -> _Row:
    silent = state.last_seen_ms is not None and now_s - state.last_seen_ms / 1000 > SILENT_AFTER_S
    presence = (
        "offline" if state.online is False else "silent" if silent else "unknown" if state.online is None else "online"
    )
    troubles = [] if state.status is None else [*_control_troubles(state.status), *_data_troubles(state, state.status)]
    rank = {"offline": 0, "silent": 1}.get(presence, 2 if troubles else 3)
    return _Row(rank, state.site, presence, state, troubles)


def _control_troubles(status: Status) -> Iterable[str]:
    for limit in status.limits:
        if limit.is_assumed:
            yield f"{limit.name.removesuffix('_kw').replace('_', ' ')} limit {limit.value:g} kW by {limit.source}"
    if status.not_followed:
        yield "does not follow: " + ", ".join(status.not_followed)
    if ReasonCode.BALANCE_RESIDUAL in status.reason_codes:
        yield f"balance off by {abs(status.balance_residual_kw or 0.0):.0f} kW"
    for name, loading in status.transformer_loading_pu.items():
        if loading > TRANSFORMER_NEAR_LIMIT:
            yield f"{name} loaded {loading:.0%}"
    if status.fallback in {Fallback.RULE, Fallback.RELEASE, Fallback.FAILSAFE} and status.mode is Mode.CONTROL:
        yield status.reason or "no plan"


def _data_troubles(state: SiteState, status: Status) -> Iterable[str]:
    for signal in status.models_put_aside:
        yield f"{signal}: model put aside"
    for signal, error in status.forecast_error_kw.items():
        if status.releases.get(signal) and error > status.persistence_error_kw.get(signal, float("inf")):
            yield f"{signal}: worse than persistence"
    share = _outbox_share(status)
    if share is not None and share > OUTBOX_FILLING:
        yield "outbox is filling"
    if dropped := sum(status.dropped.values()):
        yield f"dropped {dropped} messages"
    if state.clock_offset_s is not None and abs(state.clock_offset_s) > CLOCK_OFF_S:
        yield f"clock off by {_duration(abs(state.clock_offset_s))}"
    if status.clock_trusted is False:
        yield "clock in doubt"
    for name, trouble in status.connections.items():
        if trouble:
            yield f"{name}: {trouble}"


def _totals(rows: Sequence[_Row]) -> Iterable[str]:
    presences = [row.presence for row in rows]
    statuses = [row.state.status for row in rows if row.state.status is not None]
    tiles = [
        ("sites", len(rows), ""),
        ("online", presences.count("online"), "good"),
        ("offline", presences.count("offline"), "bad"),
        ("silent", presences.count("silent"), "bad"),
        ("in control", sum(status.mode is Mode.CONTROL for status in statuses), ""),
        ("optimal plan", sum(status.fallback is Fallback.OPTIMAL for status in statuses), ""),
        ("lack a model", sum(not all(status.releases.values()) for status in statuses), "warn"),
        ("to look at", sum(row.rank == 2 for row in rows), "warn"),
    ]
    yield "<ul class=tiles>"
    for name, count, kind in tiles:
        yield f"<li class={kind if count and kind else 'plain'}><b>{count}</b> {name}"
    yield "</ul>"


def _bridge(bridge: BridgeState, series_dropped: int, now_s: float) -> Iterable[str]:
    counts = bridge.counts
    oldest_s = counts.oldest_unacknowledged_s
    facts = [
        ("MQTT", "connected" if bridge.mqtt_connected else "not connected", not bridge.mqtt_connected),
        ("Kafka", "ready" if bridge.kafka_ready else "not ready", not bridge.kafka_ready),
        ("received", f"{counts.received:,}", False),
        ("delivered", f"{counts.delivered:,}", False),
        ("dead letters", f"{sum(counts.dead_lettered.values()):,}", bool(counts.dead_lettered)),
        ("dropped", f"{sum(counts.dropped.values()):,}", bool(sum(counts.dropped.values()))),
        ("in flight", f"{counts.in_flight:,}", False),
        ("oldest unacknowledged", "none" if oldest_s is None else _duration(now_s - oldest_s), _old(oldest_s, now_s)),
        ("series left out", f"{series_dropped:,}", bool(series_dropped)),
    ]
    yield "<dl>"
    for name, value, trouble in facts:
        yield f"<div><dt>{name}<dd{' class=trouble' if trouble else ''}>{value}</div>"
    yield "</dl>"


def _old(oldest_s: float | None, now_s: float) -> bool:
    return oldest_s is not None and now_s - oldest_s > SILENT_AFTER_S


def _table_row(row: _Row, now_s: float) -> str:
    state, status = row.state, row.state.status
    seen = "not yet" if state.last_seen_ms is None else f"{_duration(max(0.0, now_s - state.last_seen_ms / 1000))} ago"
    cells = [f"<th scope=row>{escape(row.site)}", f"<td><span class={row.presence}>{row.presence}</span>", f"<td>{seen}"]
    if status is None:
        cells.append("<td colspan=6 class=none>no status yet")
    else:
        releases = [f"{_short(signal)} {release or 'none'}" for signal, release in status.releases.items()]
        by_switch = " <small>by switch</small>" if status.mode_source == "switch" and status.mode is Mode.OBSERVE else ""
        cells += [
            f"<td>{status.mode}{by_switch}",
            f"<td><span class={'plain' if status.fallback is Fallback.OPTIMAL else 'step'}>{status.fallback}</span>",
            f"<td class=number>{_lines(releases)}",
            f"<td class=number>{_errors(status)}",
            f"<td class=number>{_outbox(status)}",
            f"<td>{escape(status.agent_version)}",
        ]
    cells.append(f"<td class=look>{_lines(row.troubles)}")
    return "<tr>" + "".join(cells) + "\n"


def _lines(texts: Iterable[str]) -> str:
    return "<br>".join(escape(text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…") for text in texts)


def _errors(status: Status) -> str:
    lines = []
    for signal, error_kw in status.forecast_error_kw.items():
        persistence_kw = status.persistence_error_kw.get(signal)
        text = f"{escape(_short(signal))} {error_kw:.4g}"
        if persistence_kw is not None:
            text += f" <small>of {persistence_kw:.4g}</small>"
        if persistence_kw:
            change = f"{error_kw / persistence_kw - 1:+.0%}".replace("-", "\N{MINUS SIGN}")
            text += f" <small{' class=step' if error_kw > persistence_kw else ''}>{change}</small>"
        lines.append(text)
    return "<br>".join(lines)


def _short(signal: str) -> str:
    return signal.removesuffix("_kw")


def _outbox_share(status: Status) -> float | None:
    return status.outbox_messages / status.outbox_capacity_messages if status.outbox_capacity_messages else None


def _outbox(status: Status) -> str:
    share = _outbox_share(status)
    meter = "" if share is None else f" <meter min=0 max=1 high={OUTBOX_FILLING} value={min(share, 1):.3f}></meter>"
    return f"{status.outbox_messages:,}{meter}"


def _duration(seconds: float) -> str:
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"


_TABLE_HEAD: Final = (
    "<table><thead><tr><th>Site<th>State<th>Last seen<th>Mode<th>Plan<th>Model"
    "<th>Forecast error, kW <small>of persistence</small><th>Outbox<th>Agent<th>To look at</thead><tbody>"
)
_HEAD: Final = f"""<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<meta http-equiv=refresh content={REFRESH_S}><title>Ringmain fleet</title>
<style>
:root {{ color-scheme: light dark; --line: #8883; --soft: #8881; --good: #1a7f4b; --bad: #c62f2f; --warn: #a86200 }}
@media (prefers-color-scheme: dark) {{ :root {{ --good: #55c98a; --bad: #ff7b72; --warn: #f0b557 }} }}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1500px; padding: 1.2rem 1.5rem 3rem }}
header {{ display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 1.2rem }}
h1 {{ font-size: 1.5rem; margin: 0 }} header p, small, .none {{ opacity: .7 }} small {{ font-weight: normal }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .7rem; padding: 0 }}
.tiles li {{ list-style: none; background: var(--soft) }}
.tiles li {{ border-radius: .5rem; padding: .6rem .9rem; border-left: .25rem solid var(--line) }}
.tiles b {{ display: block; font-size: 1.7rem; line-height: 1.2 }}
.tiles .good {{ border-color: var(--good) }} .tiles .bad {{ border-color: var(--bad); color: var(--bad) }}
.tiles .warn {{ border-color: var(--warn); color: var(--warn) }}
dl {{ display: flex; flex-wrap: wrap; gap: .4rem 2rem; margin: 0 0 1.2rem }} dl div {{ display: flex; gap: .5rem }}
dt {{ opacity: .7 }} dd {{ margin: 0; font-variant-numeric: tabular-nums }}
dd.trouble {{ color: var(--bad); font-weight: 600 }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }}
th, td {{ text-align: left; vertical-align: top; padding: .45rem .8rem .45rem 0; border-bottom: 1px solid var(--line) }}
thead th {{ position: sticky; top: 0; background: Canvas; font-size: .85rem }} tbody tr:hover {{ background: var(--soft) }}
td span {{ border-radius: 1rem; padding: .05rem .6rem; border: 1px solid; font-size: .85rem; white-space: nowrap }}
td span.plain {{ border: 0; padding: 0; font-size: inherit }} .step, .look {{ color: var(--warn) }}
.online {{ color: var(--good) }} .offline, .silent {{ color: var(--bad) }}
.number, td:nth-child(3) {{ white-space: nowrap }}
.look {{ max-width: 24rem }} meter {{ width: 4rem; vertical-align: middle }}
</style>
"""
