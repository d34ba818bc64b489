"""The rules in deploy/prometheus: promtool's unit tests, and a real Prometheus in which every one is seen to fire."""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from ringmain_bridge.fleet.bridge_metrics import BridgeState, render
from ringmain_bridge.fleet.page import fleet_page
from ringmain_bridge.fleet.site_metrics import SiteMetrics
from ringmain_bridge.fleet.state import SiteState
from ringmain_bridge.fleet.web import WebServer
from servers.base import HOST, free_port, wait_until
from servers.prometheus import Prometheus
from support.fleets import SIGNALS, bridge_state, counted, sick_sites, site

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = sorted(FOLDER.glob("ringmain-*.yml"))
ALERTS = set(re.findall(r"- alert: (\w+)", (FOLDER / "ringmain-alerts.yml").read_text()))
RECORDED = set(re.findall(r"- record: (\S+)", (FOLDER / "ringmain-recording.yml").read_text()))
MASS_OFFLINE = "RingmainFleetMassOffline"
SINGLE_SITES = {"RingmainSiteOffline", "RingmainSiteSilent"}


def promtool(*arguments: object) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: `make servers` installs it")
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_sample_configuration_are_valid() -> None:
    promtool("check", "rules", *RULES)
    promtool("check", "config", FOLDER / "prometheus.yml")


@pytest.mark.parametrize("path", sorted((FOLDER / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_every_alert_fires_when_it_should_and_only_then(path: Path) -> None:
    promtool("test", "rules", path)


def test_of_a_large_fleet_25_sites_are_one_page_and_24_are_24(tmp_path: Path) -> None:
    """A share alone would let two hundred of a thousand sites page one by one."""
    tests = []
    for offline, expected in ((24, ("RingmainSiteOffline", 24)), (25, (MASS_OFFLINE, 1))):
        series = [{"series": 'up{job="ringmain-bridge"}', "values": "1x20"}]
        series += [
            {"series": f'ringmain_site_online{{site="s{i}"}}', "values": f"{int(i >= offline)}x20"} for i in range(200)
        ]
        samples = [{"labels": f'{{alertname="{expected[0]}"}}', "value": expected[1]}]
        test = {"expr": 'sum by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "10m", "exp_samples": samples}
        tests.append({"interval": "1m", "input_series": series, "promql_expr_test": [test]})
    order = ["ringmain_fleet", "ringmain_sites"]
    path = tmp_path / "large.yml"
    path.write_text(json.dumps({"rule_files": list(map(str, RULES)), "group_eval_order": order, "tests": tests}))
    promtool("test", "rules", path)


def test_every_query_in_the_documents_is_valid(tmp_path: Path) -> None:
    queries = [
        line.strip()
        for page in sorted((FOLDER.parents[1] / "docs" / "runbooks").glob("*.md"))
        for line in re.findall(r"^ {4}(\S.*)$", page.read_text(), re.MULTILINE)
    ]
    assert len(queries) > 2 * len(ALERTS)
    pages = [page.read_text() for page in (FOLDER.parents[1] / "docs").rglob("*.md")]
    fenced = [
        line
        for page in pages
        for block in re.findall(r"```promql\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines()
    ]
    assert fenced
    queries += fenced
    queries += re.findall(r"^\| [^|]+ \| `(.+)` \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", path)


class Pages:
    """The pages of one bridge, from a state that is made anew for each scrape; `scrapes` counts them."""

    def __init__(self, make: Callable[[int], tuple[list[SiteState], BridgeState]]) -> None:
        self._make = make
        self._sites = SiteMetrics(series_max=100_000, signals=SIGNALS)
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self.scrapes = 0
        self._server = WebServer(HOST, 0, metrics=self._metrics, health=lambda: (True, "ok"), fleet=self._page)
        self._server.start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{HOST}:{self._server.port}"

    def stop(self) -> None:
        """No more scrapes."""
        self._server.stop()

    def _metrics(self) -> bytes:
        self.scrapes += 1
        sites, bridge = self._make(self.scrapes)
        return render(self._sites.render(sites), bridge) + generate_latest(self._process)

    def _page(self) -> bytes:
        sites, bridge = self._make(self.scrapes)
        return fleet_page(sites, bridge, replica=(0, 1), series_dropped=0, now_s=time.time())


def stuck(_scrape: int) -> tuple[list[SiteState], BridgeState]:
    """A bridge on which nothing moves; a status of one site names more than is shown."""
    now_s = time.time()
    counts = counted(
        received=9, delivered=3, dead_lettered={}, dropped={}, in_flight=6, oldest_unacknowledged_s=now_s - 4000
    )
    sites = [site("uw-201-many", now_s=now_s, soc_pu={f"battery_{number}": 0.5 for number in range(50)})]
    return sites, bridge_state(counts, mqtt_connected=False, kafka_ready=False, client_id_contested=True)


class Fleet:
    """A busy bridge whose counters of trouble rise, with a site for each thing that can be wrong with one."""

    all_offline = False

    def __call__(self, scrape: int) -> tuple[list[SiteState], BridgeState]:
        """The state at the scrape of that number."""
        now_s = time.time()
        sites = [
            *sick_sites(now_s=now_s),
            site(
                "uw-113-full",
                now_s=now_s,
                dropped={"outbox_full_readings": scrape},
                rejected={"receipt_refused": scrape},
                stage_failures={"plan": scrape},
            ),
        ]
        if self.all_offline:
            for state in sites:
                state.online = False
        counts = counted(
            received=10 * scrape, delivered=9 * scrape, dead_lettered={"invalid": scrape}, dropped={}, in_flight=0,
            oldest_unacknowledged_s=None,
        )  # fmt: skip
        return sites, bridge_state(counts, reconnects={"connection_lost": 10 * scrape}, sites_expired=scrape)


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[int], tuple[list[SiteState], BridgeState]]], Pages]]:
    """Serves the pages of bridges until the test ends."""
    started: list[Pages] = []

    def start(make: Callable[[int], tuple[list[SiteState], BridgeState]]) -> Pages:
        started.append(Pages(make))
        return started[-1]

    yield start
    for pages in started:
        pages.stop()


def shortened(folder: Path) -> list[Path]:
    """The rules with every duration as short as a test wants it; nothing else is changed."""
    paths = []
    for path in RULES:
        text = path.read_text()
        text = re.sub(r"\b(for|interval): \w+$", r"\1: 1s", text, flags=re.MULTILINE)
        text = re.sub(r"\[\d+[mhd](:\d+[mhd])?\]", lambda match: "[4s:1s]" if match[1] else "[4s]", text)
        text = re.sub(r"\boffset \d+[mhd]\b", "offset 4s", text)
        paths.append(folder / path.name)
        paths[-1].write_text(text)
    return paths


def firing(prometheus: Prometheus) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://{prometheus.host}:{prometheus.port}/api/v1/alerts", timeout=5) as answer:
        alerts: list[dict[str, Any]] = json.load(answer)["data"]["alerts"]
    return [alert for alert in alerts if alert["state"] == "firing"]


def test_a_real_prometheus_sees_every_alert_fire_and_every_rule_record(
    new_prometheus: Callable[..., Prometheus], serve: Callable[..., Pages], tmp_path: Path
) -> None:
    fleet = Fleet()
    targets = [serve(fleet).address, serve(stuck).address, f"{HOST}:{free_port()}"]
    prometheus = new_prometheus(*targets, rules=shortened(tmp_path))
    seen: dict[str, dict[str, Any]] = {}

    def all_but_mass_offline() -> bool:
        seen.update({alert["labels"]["alertname"]: alert for alert in firing(prometheus)})
        return seen.keys() >= ALERTS - {MASS_OFFLINE}

    try:
        wait_until(all_but_mass_offline, timeout_s=60, what="every alert of a bridge and of a single site fires")
    except TimeoutError:
        assert ALERTS - {MASS_OFFLINE} - seen.keys() == set()
    assert MASS_OFFLINE not in seen
    wait_until(lambda: all(prometheus.query(name) for name in RECORDED), timeout_s=30, what="every rule records")
    assert prometheus.values("fleet:ringmain_sites_unreachable:count", "") == {"": 2}
    assert prometheus.values("site_signal:ringmain_site_signal:avg1d{signal='load_kw'}", "site")["uw-101"] == 812_500

    fleet.all_offline = True
    wait_until(lambda: MASS_OFFLINE in {a["labels"]["alertname"] for a in firing(prometheus)}, what="mass offline fires")
    alerts = firing(prometheus)
    assert {alert["labels"]["alertname"] for alert in alerts} & SINGLE_SITES == set(), "one page, not a thousand"
    seen.update({alert["labels"]["alertname"]: alert for alert in alerts})

    assert seen.keys() == ALERTS
    assert seen["RingmainSiteOffline"]["labels"]["site"] == "uw-103-offline"
    for alert in seen.values():
        texts = " ".join(alert["annotations"].values())
        assert "<" not in texts, f"a template that cannot be filled: {texts}"
        assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{alert['labels']['alertname']}.md"
        assert alert["labels"]["severity"] in {"critical", "warning"}


def test_the_pages_of_a_bridge_are_served_and_let_no_script_in(serve: Callable[..., Pages]) -> None:
    address = serve(Fleet()).address
    for path, kind, words in (("/", "text/html", b"uw-103-offline"), ("/metrics", "text/plain", b"ringmain_site_online")):
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith(kind)
            assert answer.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
            assert words in answer.read()
