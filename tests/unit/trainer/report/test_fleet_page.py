"""The fleet's page: the worst first, and lists that say what they leave out."""

import re
from datetime import UTC, datetime

from ringmain_trainer.config.trainer import ReportConfig
from ringmain_trainer.report.fleet_page import fleet_page
from ringmain_trainer.report.site_summary import ModelSummary, SiteSummary

NOW = datetime(2021, 2, 1, 12, tzinfo=UTC)


def test_the_fleet_is_ranked_by_forecasts_data_and_drift() -> None:
    sites = [
        SiteSummary(
            site=f"site-{i:02d}",
            page=f"site-{i:02d}.html",
            good_share=1 - i / 100,
            errors=i % 3,
            models=[
                ModelSummary(
                    signal="load_kw", state="release 3", mae=5.0, skill=0.4 - i / 100, drift="load_kw: psi" if i > 40 else ""
                )
            ],
        )
        for i in range(50)
    ]
    page = fleet_page(ReportConfig(rows_max=10), sites, now=NOW).decode()
    assert "Of 50 models the best 20 and the worst 20." in page
    assert "40 more rows are left out" in page
    assert re.findall(r"site-\d\d(?=</a></th><td class=\"n\">2<)", page)[:3] == ["site-47", "site-44", "site-41"]
    assert page.count("load_kw: psi</td>") == 9
    table = page[page.index('id="sites"') :]
    assert re.findall(r">(site-\d\d)</a>", table)[:3] == ["site-49", "site-48", "site-47"]  # the worst forecast first
