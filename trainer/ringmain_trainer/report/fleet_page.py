"""The fleet's page: who forecasts how well, whose data are bad, where models are missing and why. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np

from ringmain_trainer.config.trainer import ReportConfig
from ringmain_trainer.report import html as report_page
from ringmain_trainer.report import plots
from ringmain_trainer.report.html import Cell, Html
from ringmain_trainer.report.site_page import ModelSummary, SiteSummary
from ringmain_trainer.units import unit_of

_RANKED_MAX: Final = 40
"""Sites in the picture of the ranking; of more, the best and the worst half of so many."""

_LISTED_MAX: Final = 15
_GOOD_ENOUGH: Final = 0.98


def fleet_page(config: ReportConfig, sites: Sequence[SiteSummary], *, now: datetime) -> bytes:
    """The page: totals, ranking, all sites with the worst forecasts first, typical days."""
    rows = sorted(_rows(sites), key=_rank)
    models = [model for _, model in rows if model is not None]
    scored = [model for model in models if model.skill is not None]
    lost = sum(model.skill is not None and model.skill < 0 for model in models)
    links = [("Ranking", "#ranking"), ("Data and drift", "#data"), ("Sites", "#sites"), ("Typical days", "#days")]
    parts = [
        report_page.header(
            "Ringmain fleet", [f"Made {now:%d %b %Y %H:%M} UTC. Errors are those of each site's report."], links
        ),
        report_page.tiles(
            [
                ("sites", f"{len(sites):,}"),
                ("models scored", f"{len(scored):,}"),
                ("models missing or not scored", f"{len(models) - len(scored):,}"),
                ("worse than persistence", f"{lost:,}"),
                ("sites without a report", f"{sum(bool(one.reason) for one in sites):,}"),
                ("sites with errors in their data", f"{sum(one.errors > 0 for one in sites):,}"),
            ]
        ),
    ]
    if not sites:
        parts.append(report_page.paragraph("The history holds no site.", kind="trouble"))
    parts.append(report_page.section("Ranking", _ranking(rows), anchor="ranking"))
    parts.append(report_page.section("Data and drift", [_data(sites), _drift(rows)], anchor="data"))
    parts.append(report_page.section("Sites", [_table(config, rows)], anchor="sites", new_page=True))
    parts.append(report_page.section("Typical days", _days(config, sites), anchor="days", new_page=True))
    return report_page.page("Ringmain fleet report", parts)


Row = tuple[SiteSummary, ModelSummary | None]


def _rows(sites: Sequence[SiteSummary]) -> list[Row]:
    """A row for each site and model; a site without any model has one row."""
    found: list[Row] = []
    for site in sites:
        found += [(site, model) for model in site.models] or [(site, None)]
    return found


def _rank(row: Row) -> tuple[int, float, str, str]:
    """No report first, then no scores, then by skill, the worst first."""
    site, model = row
    signal = "" if model is None else model.signal
    if site.reason:
        return 0, 0.0, site.site, signal
    if model is None or model.skill is None:
        return 1, 0.0, site.site, signal
    return 2, model.skill, site.site, signal


def _ranking(rows: Sequence[Row]) -> list[Html]:
    ranked = [(site, model) for site, model in reversed(rows) if model is not None and model.skill is not None]
    if not ranked:
        return [report_page.paragraph("No model could be scored.", kind="note")]
    several = len({model.signal for _, model in ranked}) > 1
    words = "Held-out days, see each site's page."
    if len(ranked) > _RANKED_MAX:
        half = _RANKED_MAX // 2
        words += f" Of {len(ranked)} models the best {half} and the worst {half}."
        ranked = [*ranked[:half], *ranked[-half:]]
    labels = [f"{site.site}, {model.signal}" if several else site.site for site, model in ranked]
    return [report_page.figure(plots.skill_ranking(labels, [float(model.skill or 0) for _, model in ranked]), words)]


def _data(sites: Sequence[SiteSummary]) -> Html:
    """The sites whose data are worst."""
    bad = [
        one for one in sites if one.good_share is not None and (one.errors or one.warnings or one.good_share < _GOOD_ENOUGH)
    ]
    if not bad:
        return report_page.paragraph("The data of no site need a look.")
    bad.sort(key=lambda one: (-one.errors, one.good_share or 0.0, -one.warnings, one.site))
    rows = [
        [
            report_page.link(one.site, one.page),
            f"{one.errors}",
            f"{one.warnings}",
            f"{100 * (one.good_share or 0.0):.1f}\N{NO-BREAK SPACE}%",
        ]
        for one in bad[:_LISTED_MAX]
    ]
    more = f", of {len(bad):,} sites with findings" if len(bad) > len(rows) else ""
    return report_page.table(f"Worst data first{more}", ["site", "errors", "warnings", "good steps"], rows)


def _drift(rows: Sequence[Row]) -> Html:
    """Models whose inputs are not those of their training."""
    found = [(site, model) for site, model in rows if model is not None and model.drift]
    if not found:
        return report_page.paragraph("No input has drifted since its model was trained, as far as there are new days.")
    listed = [[report_page.link(site.site, site.page), model.signal, model.drift] for site, model in found[:_LISTED_MAX]]
    more = f", {_LISTED_MAX} of {len(found):,}" if len(found) > _LISTED_MAX else ""
    return report_page.table(
        f"Inputs that have drifted since the training{more}", ["site", "signal", "what"], listed, numbers=()
    )


def _table(config: ReportConfig, rows: Sequence[Row]) -> Html:
    head = [
        "site",
        "signal",
        "error",
        "persistence",
        "saved",
        "rCRPS",
        "coverage",
        "good data",
        "days",
        "state",
        "to look at",
    ]
    shown = [_cells(site, model) for site, model in rows[: config.rows_max]]
    caption = (
        "Sites without a report or a model first, then the worst forecasts. Error: mean absolute; persistence: the better "
        "of yesterday and last week; saved: by how much the error is smaller; rCRPS: share of P99 \N{MINUS SIGN} P1."
    )
    left = len(rows) - len(shown)
    if left > 0:
        caption += f" {left} more rows are left out (report.rows_max); their sites have pages."
    return report_page.table(caption, head, shown, numbers=range(2, 9))


def _cells(site: SiteSummary, model: ModelSummary | None) -> list[Cell]:
    name = report_page.link(site.site, site.page)
    if site.reason:
        return [name, *[""] * 9, _looks([("no report: " + site.reason, "bad")])]
    quality = "" if site.good_share is None else f"{100 * site.good_share:.1f}\N{NO-BREAK SPACE}%"
    if model is None:
        return [name, *[""] * 6, quality, f"{site.days:.0f}", "", _looks(_troubles(site, None))]
    unit = unit_of(model.signal)
    return [
        name,
        model.signal,
        "" if model.mae is None else f"{_number(model.mae)}\N{NO-BREAK SPACE}{unit}",
        "" if model.mae_persistence is None else f"{_number(model.mae_persistence)}\N{NO-BREAK SPACE}{unit}",
        "" if model.skill is None else f"{100 * model.skill:.1f}\N{NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}"),
        "" if model.rcrps is None else f"{model.rcrps:.4f}",
        "" if model.coverage is None else f"{100 * model.coverage:.0f}\N{NO-BREAK SPACE}%",
        quality,
        f"{site.days:.0f}",
        model.state.replace("release ", "release\N{NO-BREAK SPACE}"),
        _looks(_troubles(site, model)),
    ]


def _troubles(site: SiteSummary, model: ModelSummary | None) -> list[tuple[str, str]]:
    found = []
    if model is None:
        found.append(("no model is configured", "warn"))
    elif model.reason:
        found.append((model.reason, "bad"))
    elif model.state == "rejected":
        found.append(("only a rejected model", "bad"))
    elif model.skill is not None and model.skill < 0:
        found.append(("worse than persistence", "bad"))
    if model is not None and model.in_sample:
        found.append(("scored in sample", "warn"))
    if model is not None and model.drift:
        found.append((f"drift: {model.drift}", "warn"))
    if site.errors:
        found.append((f"{site.errors} error{'s' if site.errors > 1 else ''} in the data", "bad"))
    if site.good_share is not None and site.good_share < _GOOD_ENOUGH:
        found.append((f"{100 * (1 - site.good_share):.0f} % of the data missing or marked", "warn"))
    return found


def _looks(troubles: Sequence[tuple[str, str]]) -> Html:
    return Html("<br>".join(f'<span class="{kind}">{report_page.text(words)}</span>' for words, kind in troubles))


def _days(config: ReportConfig, sites: Sequence[SiteSummary]) -> list[Html]:
    shown = {site.site: np.array(site.profile) for site in sites if site.profile}
    if not shown:
        return [report_page.paragraph("No site has a workday.", kind="note")]
    words = "Median workday of each site's first signal of power, as a share of its largest size, by the local hour."
    if len(shown) > config.multiples_max:
        words += f" The first {config.multiples_max} of {len(shown)} sites by name."
        shown = dict(list(shown.items())[: config.multiples_max])
    return [report_page.figure(plots.small_multiples(shown), words)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
