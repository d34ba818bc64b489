"""Pages out of templates: every text escaped, numbers as people read them."""

from datetime import UTC, datetime

import jinja2
import pytest

from ringmain_trainer.config.trainer import ReportConfig
from ringmain_trainer.report.fleet_page import fleet_page
from ringmain_trainer.report.rendering import energy, percent, render, signed, with_unit
from ringmain_trainer.report.site_page import bad_site_page
from ringmain_trainer.report.site_summary import ModelSummary, SiteSummary

HOSTILE = "<script>alert(\"1\")</script> & '2'"
NOW = datetime(2021, 2, 1, 12, tzinfo=UTC)


def test_every_text_is_escaped_wherever_it_stands() -> None:
    """Names, units and reasons come from messages and files of others."""
    model = ModelSummary(signal=HOSTILE, state=HOSTILE, reason=HOSTILE, drift=HOSTILE)
    sites = [
        SiteSummary(site=HOSTILE, page=HOSTILE, good_share=0.5, errors=1, models=[model]),
        SiteSummary(site=HOSTILE, page=HOSTILE, reason=HOSTILE),
    ]
    for page in (fleet_page(ReportConfig(), sites, now=NOW), bad_site_page(HOSTILE, HOSTILE, now=NOW)):
        text = page.decode()
        assert text.count("&lt;script&gt;") >= 3
        assert "<script" not in text
        assert '"1"' not in text


def test_a_name_that_a_template_does_not_get_is_an_error_and_no_hole_in_the_page() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'reason' is undefined"):
        render("site_without_report.html", site="a", now=NOW)


def test_surrogates_from_damaged_texts_do_not_stop_a_page() -> None:
    assert b"no report of this site: ?" in bad_site_page("a", "\ud800", now=NOW)


@pytest.mark.parametrize(
    ("value", "text"),
    [(-14893.4, "\N{MINUS SIGN}14,893"), (11470.0, "11,470"), (999.97, "1,000"), (12.345, "12.35"), (float("nan"), "none")],
)
def test_numbers_have_no_exponent(value: float, text: str) -> None:
    assert signed(value) == text
    assert with_unit(value, "kW") == f"{text}\N{NO-BREAK SPACE}kW"


def test_shares_and_energy_keep_few_digits() -> None:
    assert percent(0.0001) == "< 0.1\N{NO-BREAK SPACE}%"
    assert percent(0.254, 0) == "25\N{NO-BREAK SPACE}%"
    assert energy(9_999, "kW") == "9,999\N{NO-BREAK SPACE}kWh"
    assert energy(-757_900, "kW") == "\N{MINUS SIGN}757.9\N{NO-BREAK SPACE}MWh"
    assert energy(2.5e7, "kW") == "25\N{NO-BREAK SPACE}GWh"
