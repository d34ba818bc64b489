"""A site's page: key figures, a section for each signal and each model, data quality. Pure."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.quantities import Quantity
from ringmain_trainer.report.figures import KeyFigures, key_figures
from ringmain_trainer.report.forecast_section import ForecastSection, forecast_section
from ringmain_trainer.report.model_scores import ModelPart
from ringmain_trainer.report.quality_section import QualitySection, quality_section
from ringmain_trainer.report.rendering import render
from ringmain_trainer.report.signal_section import SignalSection, signal_section
from ringmain_trainer.report.site_history import SiteHistory, good_values, is_power, quantity_of


class KeyFigureRow(Struct, frozen=True, kw_only=True):
    """A signal in the table of key figures; None if it has no value."""

    quantity: Quantity
    is_power: bool
    figures: KeyFigures | None


class SitePage(Struct, frozen=True, kw_only=True):
    """Everything on a site's page; instants in UTC seconds. `headline` stands in the tiles."""

    site: str
    time_zone: str
    from_s: int
    to_s: int
    step_s: int
    made_at_s: float
    headline: KeyFigureRow | None
    key_figures: list[KeyFigureRow]
    signals: list[SignalSection]
    forecasts: list[ForecastSection]
    quality: QualitySection


def site_page(config: TrainerConfig, history: SiteHistory, models: Sequence[ModelPart], *, now: datetime) -> bytes:
    """The whole page of a site."""
    targets = {one.signal for one in models}
    analyzed = [name for name in history.signals if is_power(config, name) or name in targets]
    rows = {name: _key_figures(config, history, name) for name in history.signals}
    page = SitePage(
        site=history.site,
        time_zone=history.time_zone,
        from_s=history.start_s,
        to_s=history.start_s + len(history.values) * history.step_s,
        step_s=history.step_s,
        made_at_s=now.timestamp(),
        headline=rows[analyzed[0]] if analyzed else None,
        key_figures=list(rows.values()),
        signals=[signal_section(config, history, name) for name in analyzed],
        forecasts=[forecast_section(config, one, history.time_zone) for one in models],
        quality=quality_section(history),
    )
    return render("site.html", site=page)


def bad_site_page(site: str, reason: str, *, now: datetime) -> bytes:
    """The page of a site whose report could not be made."""
    return render("site_without_report.html", site=site, reason=reason, now=now)


def _key_figures(config: TrainerConfig, history: SiteHistory, name: str) -> KeyFigureRow:
    figures = key_figures(good_values(config, history, name), history.start_s, history.step_s)
    return KeyFigureRow(quantity=quantity_of(name), is_power=is_power(config, name), figures=figures)
