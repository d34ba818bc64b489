"""The fleet's page: how well each site forecasts, where data are bad, and why models are missing. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np
from markupsafe import Markup
from msgspec import Struct

from ringmain_trainer.config.trainer import ReportConfig
from ringmain_trainer.report import fleet_plots
from ringmain_trainer.report.rendering import render
from ringmain_trainer.report.site_summary import ModelSummary, SiteSummary

_RANKED_MAX: Final = 40
"""Sites in the picture of the ranking; of more, the best and the worst half of this number."""

_LISTED_MAX: Final = 15
_GOOD_ENOUGH: Final = 0.98


class Row(Struct, frozen=True):
    """A site with one of its models, or without any."""

    site: SiteSummary
    model: ModelSummary | None


class FleetPage(Struct, frozen=True, kw_only=True):
    """Everything on the fleet's page. `rows` has the worst first; lists are cut, and `*_count` says how many there are."""

    made_at: datetime
    sites: Sequence[SiteSummary]
    rows: list[Row]
    row_count: int
    scored_count: int
    unscored_count: int
    lost_count: int
    ranking: Markup | None
    ranked_count: int
    ranked_half: int
    bad_data: list[SiteSummary]
    bad_data_count: int
    drifted: list[Row]
    drifted_count: int
    days: Markup | None
    days_count: int
    days_max: int
    good_enough: float = _GOOD_ENOUGH


def fleet_page(config: ReportConfig, sites: Sequence[SiteSummary], *, now: datetime) -> bytes:
    """The page: totals, ranking, all sites with the worst forecasts first, typical days."""
    rows = sorted((row for site in sites for row in _rows_of(site)), key=_rank)
    models = [row.model for row in rows if row.model is not None]
    scored = [model for model in models if model.skill is not None]
    bad_data = sorted((one for one in sites if _has_bad_data(one)), key=_data_rank)
    drifted = [row for row in rows if row.model is not None and row.model.drift]
    profiles = {site.site: np.array(site.profile) for site in sites if site.profile}
    shown = dict(list(profiles.items())[: config.multiples_max])
    page = FleetPage(
        made_at=now,
        sites=sites,
        rows=rows[: config.rows_max],
        row_count=len(rows),
        scored_count=len(scored),
        unscored_count=len(models) - len(scored),
        lost_count=sum(model.skill is not None and model.skill < 0 for model in models),
        ranking=_ranking(rows),
        ranked_count=len(scored),
        ranked_half=_RANKED_MAX // 2,
        bad_data=bad_data[:_LISTED_MAX],
        bad_data_count=len(bad_data),
        drifted=drifted[:_LISTED_MAX],
        drifted_count=len(drifted),
        days=fleet_plots.small_multiples(shown) if shown else None,
        days_count=len(profiles),
        days_max=config.multiples_max,
    )
    return render("fleet.html", fleet=page)


def _rows_of(site: SiteSummary) -> list[Row]:
    """A row for each model; a site without any model has one row."""
    return [Row(site, model) for model in site.models] or [Row(site, None)]


def _rank(row: Row) -> tuple[int, float, str, str]:
    """No report first, then no scores, then by skill, the worst first."""
    signal = "" if row.model is None else row.model.signal
    if row.site.reason:
        return 0, 0.0, row.site.site, signal
    if row.model is None or row.model.skill is None:
        return 1, 0.0, row.site.site, signal
    return 2, row.model.skill, row.site.site, signal


def _has_bad_data(site: SiteSummary) -> bool:
    return site.good_share is not None and bool(site.errors or site.warnings or site.good_share < _GOOD_ENOUGH)


def _data_rank(site: SiteSummary) -> tuple[int, float, int, str]:
    return -site.errors, site.good_share or 0.0, -site.warnings, site.site


def _ranking(rows: Sequence[Row]) -> Markup | None:
    """Models by what they save against persistence, the best on top; None if no model could be scored."""
    ranked = [(row.site.site, model) for row in reversed(rows) if (model := row.model) and model.skill is not None]
    if not ranked:
        return None
    several = len({model.signal for _, model in ranked}) > 1
    if len(ranked) > _RANKED_MAX:
        half = _RANKED_MAX // 2
        ranked = [*ranked[:half], *ranked[-half:]]
    labels = [f"{site}, {model.signal}" if several else site for site, model in ranked]
    return fleet_plots.skill_ranking(labels, [float(model.skill or 0) for _, model in ranked])
