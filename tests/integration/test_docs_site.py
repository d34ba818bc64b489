"""The pages build as a site without a warning: a link that leads nowhere, or a page that nobody finds, is an error."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
READERS: Final = ["field_engineer", "ml_team", "operations", "energy_analyst", "business_analyst", "devops", "developer"]
FOREIGN: Final = re.compile(
    r"""<(?:link|script|img|iframe)[^>]*(?:src|href)=["']?(?:https?:)?//[^"' >]+|url\(["']?https?://|@import"""
)


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=source, env=environment, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_reader_has_an_entry_in_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    assert [name for name in READERS if f'href="docs/readers/{name}.html"' not in home] == []


def test_the_reference_shows_every_message_of_the_protocol(site: Path) -> None:
    page = (site / "docs" / "reference" / "protocol.html").read_text(encoding="utf-8")
    assert {"ringmain_protocol.messages.Setpoint", "ringmain_protocol.topics.topic"} <= set(
        re.findall(r'id="([\w.]+)"', page)
    )


def test_the_site_loads_nothing_from_another_host(site: Path) -> None:
    """A control room has no way out, and a reader's address is nobody's business."""
    files = [path for path in site.rglob("*") if path.suffix in {".html", ".css"}]
    assert len(files) > 50
    assert {path.name: found for path in files if (found := FOREIGN.findall(path.read_text(encoding="utf-8")))} == {}


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "ringmain"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "demo", "tests", "benchmarks", "__pycache__"))
    (source / "tests" / "chaos").mkdir(parents=True)
    (source / "tests" / "chaos" / "README.md").write_text("# Faults\n", encoding="utf-8")
    page = source / "agent" / "README.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n[nowhere](../docs/nowhere.md)\n", encoding="utf-8")
    done = build(source, tmp_path / "site")
    assert done.returncode != 0
    assert "'agent/README.md' contains a link '../docs/nowhere.md'" in done.stderr
