"""The text of /metrics: the bridge's own families, and below them the sites (see site_metrics.py).

prometheus_client renders the own twenty families. The sites are rendered as text: a collector takes many times as long
(benchmarks/fleet_metrics.py). No sample has a timestamp: a series that is no longer rendered turns stale at the next
scrape.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ringmain_bridge.fleet.site_metrics import SiteText
from ringmain_bridge.forwarding.ack_window import OVERFLOW, Counts
from ringmain_bridge.forwarding.forward import REASONS

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
STOPPING: Final = "stopping"
DROP_REASONS: Final = (OVERFLOW, STOPPING)


class BridgeState(NamedTuple):
    """State and counters of the bridge at one scrape."""

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


class _Scrape(NamedTuple):
    bridge: BridgeState
    sites: SiteText

    @property
    def counts(self) -> Counts:
        return self.bridge.counts


class _Row(NamedTuple):
    """One family with its value, or its values by one label; a family without a value is absent."""

    family: type[CounterMetricFamily | GaugeMetricFamily]
    name: str
    text: str
    value: Callable[[_Scrape], float | Mapping[str, float] | None]
    label: str = ""


COUNTER: Final = CounterMetricFamily
GAUGE: Final = GaugeMetricFamily
FAMILIES: Final = (
    _Row(
        COUNTER, "messages_received_total",
        "MQTT messages received for Kafka; always the sum of delivered, dead_lettered, dropped and in_flight.",
        lambda scrape: scrape.counts.received,
    ),
    _Row(
        COUNTER, "delivered_total", "Messages that Kafka has confirmed in their topic.",
        lambda scrape: scrape.counts.delivered,
    ),
    _Row(
        COUNTER, "dead_lettered_total", "Messages that Kafka has confirmed in the dead-letter topic.",
        lambda scrape: dict.fromkeys(REASONS, 0) | scrape.counts.dead_lettered, "reason",
    ),
    _Row(
        COUNTER, "dropped_total", "Messages of QoS 0 that the bridge did not forward.",
        lambda scrape: dict.fromkeys(DROP_REASONS, 0) | scrape.counts.dropped, "reason",
    ),
    _Row(GAUGE, "in_flight", "Messages that Kafka has not confirmed yet.", lambda scrape: scrape.counts.in_flight),
    _Row(
        GAUGE, "unacknowledged", "Messages of this connection not acknowledged to the broker yet.",
        lambda scrape: scrape.counts.unacknowledged,
    ),
    _Row(
        GAUGE, "oldest_unacknowledged_timestamp_seconds",
        "Time of receipt of the oldest unacknowledged message; absent while there is none.",
        lambda scrape: scrape.counts.oldest_unacknowledged_s,
    ),
    _Row(
        COUNTER, "fleet_messages_total", "Messages about the state of a site only, which do not go to Kafka.",
        lambda scrape: scrape.counts.consumed,
    ),
    _Row(
        COUNTER, "reattached_total", "Redelivered messages with a record under way already; not counted in received.",
        lambda scrape: scrape.counts.reattached,
    ),
    _Row(
        COUNTER, "reconnects_total", "Connections to the broker that ended or failed.",
        lambda scrape: scrape.bridge.reconnects, "reason",
    ),
    _Row(
        COUNTER, "session_lost_total", "Connections on which the broker had forgotten the session.",
        lambda scrape: scrape.counts.sessions_lost,
    ),
    _Row(
        GAUGE, "client_id_contested", "1 while another process uses the same client id.",
        lambda scrape: scrape.bridge.client_id_contested,
    ),
    _Row(GAUGE, "mqtt_connected", "1 while connected to the broker.", lambda scrape: scrape.bridge.mqtt_connected),
    _Row(GAUGE, "kafka_ready", "1 once Kafka has all topics.", lambda scrape: scrape.bridge.kafka_ready),
    _Row(
        COUNTER, "kafka_delivery_errors_total", "Delivery reports of Kafka with an error.",
        lambda scrape: scrape.bridge.delivery_errors, "code",
    ),
    _Row(
        COUNTER, "receipts_published_total", "Receipts handed to the broker.",
        lambda scrape: scrape.bridge.receipts_published,
    ),
    _Row(
        COUNTER, "sites_expired_total", "Sites forgotten after site_expiry_s without a message.",
        lambda scrape: scrape.bridge.sites_expired,
    ),
    _Row(
        COUNTER, "fleet_refused_total", "Messages of sites beyond sites_max: forwarded to Kafka, not shown here.",
        lambda scrape: scrape.bridge.fleet_refused,
    ),
    _Row(
        GAUGE, "reader_info", "Read loop in use: fast, or stock if configured or if paho-mqtt lacks names.",
        lambda scrape: {scrape.bridge.reader: 1}, "reader",
    ),
    _Row(GAUGE, "build_info", "Version of the bridge.", lambda scrape: {scrape.bridge.version: 1}, "version"),
    _Row(GAUGE, "series", "Series of sites on this page.", lambda scrape: scrape.sites.series),
    _Row(
        GAUGE, "series_dropped", "Series of sites left out beyond series_max or the limit of labels.",
        lambda scrape: scrape.sites.dropped, "family",
    ),
)  # fmt: skip
"""The bridge's own families, without their prefix `ringmain_bridge_`."""


def render(sites: SiteText, bridge: BridgeState) -> bytes:
    """The page for Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(_Scrape(bridge, sites)))
    return b"".join([generate_latest(registry), *(text.encode(errors="replace") for text in sites.families)])


class _Families(Collector):
    def __init__(self, scrape: _Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for row in FAMILIES:
            value = row.value(self._scrape)
            family = row.family(f"ringmain_bridge_{row.name}", row.text, labels=[row.label] if row.label else None)
            samples = value if isinstance(value, Mapping) else {} if value is None else {"": value}
            for label, number in sorted(samples.items()):
                family.add_metric([label] if row.label else [], number)
            yield family
