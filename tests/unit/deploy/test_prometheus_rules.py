"""Rules, runbooks and metrics belong together: no alert without its page, no rule on a metric that nobody exports."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringmain_bridge.fleet.bridge_metrics import render
from ringmain_bridge.fleet.page import CLOCK_OFF_S, OUTBOX_FILLING, SILENT_AFTER_S, TRANSFORMER_NEAR_LIMIT
from ringmain_bridge.fleet.site_metrics import SiteMetrics
from support.fleets import SIGNALS, bridge_state, sick_sites

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
ALERTS = (PROMETHEUS / "ringmain-alerts.yml").read_text()
RECORDING = (PROMETHEUS / "ringmain-recording.yml").read_text()
UNIT_TESTS = "".join(path.read_text() for path in sorted((PROMETHEUS / "tests").glob("*.yml")))
NAMES = re.findall(r"- alert: (\w+)", ALERTS)
RECORDED = set(re.findall(r"- record: (\S+)", RECORDING))
HEADINGS = ["## Look at", "## Do", "## No problem when"]


def rule(alert: str) -> str:
    """The text of one alert rule."""
    return ALERTS.partition(f"- alert: {alert}\n")[2].partition("- alert: ")[0]


def exported() -> set[str]:
    now_s = 1_800_000_000.0
    sites = SiteMetrics(series_max=10_000, signals=SIGNALS).render(sick_sites(now_s=now_s))
    text = render(sites, bridge_state()).decode()
    with_samples = set(re.findall(r"^(\w+)[{ ]", text, re.MULTILINE))
    assert with_samples == set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)), "the fixture does not show every metric"
    return with_samples


def named(text: str) -> Iterator[str]:
    """Metrics of ours that a text names: recorded ones as a whole, others by their name."""
    yield from re.findall(r"(?<![\w./-])(?:\w+:ringmain_\w+:\w+|ringmain_(?:bridge|site)_\w+)(?![\w.*+])", text)


def test_alerts_have_unique_names_and_all_that_a_person_needs() -> None:
    assert len(NAMES) == len(set(NAMES)) > 15
    for name in NAMES:
        text = rule(name)
        assert re.search(r"severity: (critical|warning)\n", text), name
        assert all(f"{key}: " in text for key in ("summary", "description")), name
        assert f"runbook_url: docs/runbooks/{name}.md\n" in text


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    pages = {path.stem: path.read_text() for path in RUNBOOKS.glob("Ringmain*.md")}
    assert sorted(pages) == sorted(NAMES)
    for name, text in pages.items():
        assert text.startswith(f"# {name}: ")
        assert [line for line in text.splitlines() if line.startswith("## ")] == HEADINGS
    index = (RUNBOOKS / "README.md").read_text()
    assert re.findall(r"\| \[(\w+)\]\(\1\.md\) \| .+ \|", index) == sorted(NAMES)


def test_every_alert_is_seen_to_fire_and_not_to_fire_in_a_unit_test() -> None:
    fires = {*re.findall(r'alertname="(\w+)"', UNIT_TESTS), *re.findall(r"alertname: (\w+)", UNIT_TESTS)}
    assert fires == set(NAMES)


@pytest.mark.parametrize(
    "text",
    [ALERTS, RECORDING, UNIT_TESTS, (PROMETHEUS / "README.md").read_text(), *(p.read_text() for p in RUNBOOKS.glob("*.md"))],
)
def test_every_metric_that_is_named_is_exported_or_recorded(text: str) -> None:
    assert set(named(text)) - exported() - RECORDED == set()


def test_the_readme_of_the_bridge_names_every_metric() -> None:
    readme = (ROOT / "bridge" / "README.md").read_text()
    table = readme.partition("## Metrics")[2].partition("\n## ")[0]
    documented = set()
    for cell in re.findall(r"^\| (.+?) \|", table, re.MULTILINE):
        first, *more = re.findall(r"`(\w+)`", cell) or [""]
        prefix = re.match(r"ringmain_(?:bridge|site)", first)
        documented |= {first, *((prefix[0] if prefix else "") + name for name in more)}
    assert exported() - documented == set()


def test_the_page_and_the_alerts_call_the_same_things_trouble() -> None:
    assert f"> {SILENT_AFTER_S} " in rule("RingmainSiteSilent")
    assert f"> {OUTBOX_FILLING}\n" in rule("RingmainOutboxFilling")
    assert f"> {CLOCK_OFF_S}\n" in rule("RingmainClockOff")
    assert f"loading_ratio > {TRANSFORMER_NEAR_LIMIT} " in rule("RingmainTransformerNearLimit")


def test_the_sample_configuration_loads_the_rules_and_names_the_job_that_they_ask_for() -> None:
    sample = (PROMETHEUS / "prometheus.yml").read_text()
    rule_files = re.findall(r"^  - (\S+\.yml)$", sample, re.MULTILINE)
    assert sorted(rule_files) == sorted(path.name for path in PROMETHEUS.glob("ringmain-*.yml"))
    assert set(re.findall(r'job="(.+?)"', ALERTS + RECORDING)) == set(re.findall(r"job_name: (\S+)", sample))
