"""Cost of a scrape of a large fleet, and its delay of other threads. Prints one JSON object.

Two fleets, of 2,000 and of 10,000 sites with 12 series each. Between two scrapes every site has sent a new status, in
which half of the numbers have changed, and readings: the busiest that a fleet gets, with a status every 15 s. Beside the
scrapes a thread wakes every half millisecond, as a network thread does; the stall is how much too late it woke. The
same fleets are shown by a custom collector of prometheus_client, for comparison.
"""

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Self

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ringmain_bridge.fleet.bridge_metrics import BridgeState, render
from ringmain_bridge.fleet.site_metrics import SiteMetrics
from ringmain_bridge.fleet.state import SiteState
from ringmain_bridge.forwarding.ack_window import AckWindow
from ringmain_protocol.messages import Fallback, Mode, Status

SITES: Final = (2_000, 10_000)
SCRAPES: Final = 9
WAKE_S: Final = 0.0005
LIMITS: Final = {"24000": {"scrape_ms_median": 50}, "120000": {"scrape_ms_median": 500}}
BRIDGE: Final = BridgeState(
    counts=AckWindow(lambda _mids: None, limit=1, limit_bytes=1).counts(), reconnects={}, mqtt_connected=True,
    kafka_ready=True, client_id_contested=False, delivery_errors={}, receipts_published=0, sites_expired=0,
    fleet_refused=0, version="0",
)  # fmt: skip


def main() -> None:
    """Measure both fleets, each with both ways to show it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    result: dict[str, object] = {"limits": LIMITS}
    for count in SITES:
        ours, other = _measure(count, _with_ringmain()), _measure(count, _with_prometheus_client)
        result[str(12 * count)] = {"series": 12 * count, "ringmain": ours, "prometheus_client": other}
    print(json.dumps(result))


def _measure(count: int, show: Callable[[list[SiteState]], bytes]) -> dict[str, float]:
    """Scrape a fleet several times; the first scrape, which renders everything, is reported by itself."""
    durations_ms, stalls_ms, size = [], [], 0
    for scrape in range(SCRAPES + 1):
        sites = [_site(number, scrape) for number in range(count)]
        with _Waker() as waker:
            start = time.perf_counter()
            page = show(sites)
            durations_ms.append(1000 * (time.perf_counter() - start))
        stalls_ms.append(1000 * waker.longest_s)
        size = len(page)
        lines = sum(line.startswith(b"ringmain_site_") for line in page.splitlines())
        assert lines == 12 * count, lines
    with _Waker() as waker:
        time.sleep(1)
    return {
        "scrape_ms_median": round(statistics.median(durations_ms[1:]), 1),
        "scrape_ms_first": round(durations_ms[0], 1),
        "longest_stall_ms": round(max(stalls_ms), 1),
        "longest_stall_ms_median": round(statistics.median(stalls_ms), 1),
        "longest_stall_ms_without_a_scrape": round(1000 * waker.longest_s, 1),
        "page_bytes": size,
    }


def _site(number: int, scrape: int) -> SiteState:
    soc = 0.001 * ((number + scrape * (number % 2)) % 1000)
    status = Status(
        at_ms=scrape, time_zone="Europe/Amsterdam", agent_version="0.1.0", config_sha256="ab" * 32, stream="01234567",
        mode=Mode.CONTROL, mode_source="configuration", fallback=Fallback.OPTIMAL, releases={"load_kw": 7},
        forecast_error_kw={"load_kw": 41.5 + scrape * (number % 2)}, persistence_error_kw={"load_kw": 83.25},
        soc_pu={"battery": soc}, outbox_messages=number + scrape * (number % 2), outbox_capacity_messages=200_000,
    )  # fmt: skip
    return SiteState(
        site=f"substation-{number:05}", touched_s=0.0, last_seen_ms=1_800_000_000_000 + 1000 * scrape + number % 1000,
        online=True, status=status, clock_offset_s=0.001 * (number % 100), signals={"load_kw": 800.5 + scrape},
    )  # fmt: skip


class _Waker:
    """A thread that sleeps and wakes; `longest_s` is the most that it woke too late."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._end = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        time.sleep(0.01)
        self.longest_s = 0.0
        return self

    def __exit__(self, *_error: object) -> None:
        self._end = True
        self._thread.join()

    def _run(self) -> None:
        before_s = time.perf_counter()
        while not self._end:
            time.sleep(WAKE_S)
            now_s = time.perf_counter()
            self.longest_s = max(self.longest_s, now_s - before_s - WAKE_S)
            before_s = now_s


class _FleetCollector(Collector):
    """The same 12 series of a site, as prometheus_client recommends to show them."""

    def __init__(self, sites: list[SiteState]) -> None:
        self._sites = sites

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All families."""
        for family in self._of_sites(), self._of_statuses():
            yield from family

    def _of_sites(self) -> Iterator[GaugeMetricFamily]:
        for name in ("online", "last_seen_ms", "clock_offset_s"):
            family = GaugeMetricFamily(f"ringmain_site_{name}", "State.", labels=["site"])
            for state in self._sites:
                family.add_metric([state.site], getattr(state, name))
            yield family
        signal = GaugeMetricFamily("ringmain_site_signal", "Readings.", labels=["site", "signal", "unit"])
        for state in self._sites:
            for key, value in state.signals.items():
                signal.add_metric([state.site, key, "watts"], value * 1000)
        yield signal

    def _of_statuses(self) -> Iterator[GaugeMetricFamily]:
        statuses = [(state.site, state.status) for state in self._sites if state.status is not None]
        for name in ("outbox_messages", "outbox_capacity_messages"):
            family = GaugeMetricFamily(f"ringmain_site_{name}", "State.", labels=["site"])
            for site, status in statuses:
                family.add_metric([site], getattr(status, name))
            yield family
        for name in ("releases", "forecast_error_kw", "persistence_error_kw", "soc_pu"):
            family = GaugeMetricFamily(f"ringmain_site_{name}", "State.", labels=["site", "name"])
            for site, status in statuses:
                for key, value in getattr(status, name).items():
                    family.add_metric([site, key], value)
            yield family
        level = GaugeMetricFamily("ringmain_site_fallback_level", "State.", labels=["site"])
        info = GaugeMetricFamily("ringmain_site_info", "State.", labels=["site", "agent_version", "config_sha256", "mode"])
        for site, status in statuses:
            level.add_metric([site], list(Fallback).index(status.fallback))
            info.add_metric([site, status.agent_version, status.config_sha256, status.mode], 1)
        yield level
        yield info


def _with_ringmain() -> Callable[[list[SiteState]], bytes]:
    metrics = SiteMetrics(series_max=10_000_000, signals=["load_kw"])
    return lambda sites: render(metrics.render(sites), BRIDGE)


def _with_prometheus_client(sites: list[SiteState]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FleetCollector(sites))
    return generate_latest(registry)


if __name__ == "__main__":
    main()
