"""The text of /metrics: the bridge's own counters, and below them the sites (see site_metrics.py).

Rendered directly: a collector of prometheus_client takes many times as long (benchmarks/fleet_metrics.py). No sample has
a timestamp, so that what is no longer rendered turns stale at the next scrape.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from ringmain_bridge.fleet.site_metrics import SiteText, escape, heading
from ringmain_bridge.forwarding.ack_window import OVERFLOW, Counts
from ringmain_bridge.forwarding.forward import REASONS

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
STOPPING: Final = "stopping"
DROP_REASONS: Final = (OVERFLOW, STOPPING)


class BridgeState(NamedTuple):
    """What the bridge says of itself at one scrape."""

    counts: Counts
    reconnects: Mapping[str, int]
    client_id_contested: bool
    mqtt_connected: bool
    kafka_ready: bool
    delivery_errors: Mapping[str, int]
    receipts_published: int
    sites_expired: int
    fleet_refused: int
    version: str
    reader: str = "fast"


def render(sites: SiteText, bridge: BridgeState) -> bytes:
    """Everything, as Prometheus reads it."""
    parts = ("".join([*_bridge_lines(bridge), *_series_lines(sites)]), *sites.families)
    return b"".join([part.encode(errors="replace") for part in parts])


def _bridge_lines(bridge: BridgeState) -> Iterable[str]:
    counts, name = bridge.counts, "ringmain_bridge_"
    yield from _family(
        name + "messages_received_total", "counter",
        "PUBLISHes for Kafka. Always the sum of delivered, dead_lettered, dropped and in_flight.",
        [("", counts.received)],
    )  # fmt: skip
    yield from _family(name + "delivered_total", "counter", "Messages that Kafka has.", [("", counts.delivered)])
    yield from _family(
        name + "dead_lettered_total", "counter", "Messages that are in the dead-letter topic.",
        _by("reason", dict.fromkeys(REASONS, 0) | counts.dead_lettered),
    )  # fmt: skip
    yield from _family(
        name + "dropped_total", "counter", "Messages of QoS 0 that were not forwarded.",
        _by("reason", dict.fromkeys(DROP_REASONS, 0) | counts.dropped),
    )  # fmt: skip
    yield from _family(name + "in_flight", "gauge", "Messages that Kafka has not confirmed.", [("", counts.in_flight)])
    yield from _family(
        name + "unacknowledged", "gauge", "Messages of this connection that were not acknowledged to the broker.",
        [("", counts.unacknowledged)],
    )  # fmt: skip
    oldest_s = counts.oldest_unacknowledged_s
    yield from _family(
        name + "oldest_unacknowledged_timestamp_seconds", "gauge",
        "When the oldest unacknowledged message was received; absent while there is none.",
        [] if oldest_s is None else [("", oldest_s)],
    )  # fmt: skip
    yield from _family(
        name + "fleet_messages_total", "counter", "Messages that only tell the state of a site; Kafka does not get them.",
        [("", counts.consumed)],
    )  # fmt: skip
    yield from _family(
        name + "reattached_total", "counter", "Redelivered messages that joined their record under way; not in received.",
        [("", counts.reattached)],
    )  # fmt: skip
    yield from _family(
        name + "reconnects_total", "counter", "Connections to the broker that ended or did not come about.",
        _by("reason", bridge.reconnects),
    )  # fmt: skip
    yield from _family(
        name + "session_lost_total", "counter", "Connections on which the broker had forgotten the session.",
        [("", counts.sessions_lost)],
    )  # fmt: skip
    yield from _family(
        name + "client_id_contested", "gauge", "1 while another process uses the same client id.",
        [("", int(bridge.client_id_contested))],
    )  # fmt: skip
    yield from _family(name + "mqtt_connected", "gauge", "1 while connected.", [("", int(bridge.mqtt_connected))])
    yield from _family(name + "kafka_ready", "gauge", "1 once all topics are there.", [("", int(bridge.kafka_ready))])
    yield from _family(
        name + "kafka_delivery_errors_total", "counter", "Delivery reports with an error.",
        _by("code", bridge.delivery_errors),
    )  # fmt: skip
    yield from _family(
        name + "receipts_published_total", "counter", "Receipts handed to the broker.", [("", bridge.receipts_published)]
    )
    yield from _family(
        name + "sites_expired_total", "counter", "Sites forgotten after their silence.", [("", bridge.sites_expired)]
    )
    yield from _family(
        name + "fleet_refused_total", "counter", "Messages of sites beyond sites_max: forwarded, not shown.",
        [("", bridge.fleet_refused)],
    )  # fmt: skip
    yield from _family(
        name + "reader_info", "gauge", "The read loop in use: fast, or stock if configured or if paho is not as expected.",
        [(f'{{reader="{escape(bridge.reader)}"}}', 1)],
    )  # fmt: skip
    yield from _family(
        name + "build_info", "gauge", "Version of the bridge.", [(f'{{version="{escape(bridge.version)}"}}', 1)]
    )


def _series_lines(sites: SiteText) -> Iterable[str]:
    name = "ringmain_bridge_"
    yield from _family(name + "series", "gauge", "Series of sites on this page.", [("", sites.series)])
    yield from _family(
        name + "series_dropped", "gauge", "Series of sites that are left out, because there are too many.",
        _by("family", sites.dropped),
    )  # fmt: skip


def _by(label: str, values: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """Samples of one family that differ in one label."""
    for value, number in sorted(values.items()):
        yield f'{{{label}="{escape(value)}"}}', number


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> Iterable[str]:
    yield heading(name, kind, text)
    for labels, value in samples:
        yield f"{name}{labels} {value!r}\n"
