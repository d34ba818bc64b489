"""The section of a signal on its site's page: profiles, response to weather, months, kinds of days, unusual days. Pure."""

from datetime import UTC, date, datetime
from typing import Final

import numpy as np
from markupsafe import Markup
from msgspec import Struct

from ringmain_trainer.analysis.anomalies import Anomaly, day_features, fit_forest, unusual_days
from ringmain_trainer.analysis.day_clusters import Cluster, Clusters, Days, cluster_days, whole_days
from ringmain_trainer.calendar import zone_rules
from ringmain_trainer.config.trainer import SignalKind, TrainerConfig
from ringmain_trainer.errors import TooLittleDataError
from ringmain_trainer.history.site_reader import StepTable
from ringmain_trainer.quantities import Quantity
from ringmain_trainer.report import figures, site_plots
from ringmain_trainer.report.figures import LocalDays, Slope, Values
from ringmain_trainer.report.site_history import SiteHistory, days_of, good_values, is_power, quantity_of, weather_of

_MONTHS_MAX: Final = 24
_WEEKS_SHOWN_FROM_DAYS: Final = 14
_DAYLIGHT_W_PER_M2: Final = 20.0


class Month(Struct, frozen=True, kw_only=True):
    """Figures of a month, in the unit of the signal; energy in unit hours. Without values `known` is false."""

    month: date
    known: bool
    highest: float
    lowest: float
    mean: float
    drawn_h: float
    fed_in_h: float
    missing_share: float


class Patterns(Struct, frozen=True, kw_only=True):
    """Pictures and figures of a signal that has values; where one is missing, the text beside it says why."""

    time_line: Markup
    heat_map: Markup
    daily: Markup
    weekly: Markup | None
    responses: list[Markup]
    slopes: dict[str, Slope]
    temperature_source: str
    radiation_source: str
    months: list[Month]
    kinds: list[Cluster] | None
    kinds_picture: Markup | None
    why_no_kinds: str
    unusual: list[Anomaly]
    why_none_unusual: str


class SignalSection(Struct, frozen=True, kw_only=True):
    """A signal; without any value it has no patterns."""

    quantity: Quantity
    is_power: bool
    patterns: Patterns | None


def signal_section(config: TrainerConfig, history: SiteHistory, name: str) -> SignalSection:
    """The section of a signal."""
    values = good_values(config, history, name)
    patterns = _patterns(config, history, name, values) if np.isfinite(values).any() else None
    return SignalSection(quantity=quantity_of(name), is_power=is_power(config, name), patterns=patterns)


def _patterns(config: TrainerConfig, history: SiteHistory, name: str, values: Values) -> Patterns:
    zone, quantity, days = history.time_zone, quantity_of(name), days_of(config, history, values)
    whole = whole_days(StepTable(history.start_s, values[:, None].astype(np.float32)), history.step_s, zone)
    unusual, why_none_unusual = _unusual(config, whole, zone, quantity)
    marked = [datetime.fromtimestamp(one.from_s, UTC).astimezone(zone_rules(zone)).date() for one in unusual]
    kinds, why_no_kinds = _kinds(config, whole)
    weekly = len(days.dates) >= _WEEKS_SHOWN_FROM_DAYS
    responses, slopes, sources = _responses(config, history, name, days)
    return Patterns(
        time_line=site_plots.time_line(days, marked, quantity, zone),
        heat_map=site_plots.heat_map(days, quantity, zone),
        daily=site_plots.daily_profiles(figures.daily_bands(days), quantity, zone),
        weekly=site_plots.weekly_profile(figures.weekly_band(days), quantity, zone) if weekly else None,
        responses=responses,
        slopes=slopes,
        temperature_source=sources.get(SignalKind.TEMPERATURE, ""),
        radiation_source=sources.get(SignalKind.RADIATION, ""),
        months=_months(days, history.step_s),
        kinds=None if kinds is None else kinds.clusters,
        kinds_picture=None if kinds is None else site_plots.kinds_of_days(kinds, quantity, zone),
        why_no_kinds=why_no_kinds,
        unusual=unusual,
        why_none_unusual=why_none_unusual,
    )


def _unusual(config: TrainerConfig, whole: Days, zone: str, quantity: Quantity) -> tuple[list[Anomaly], str]:
    """Days out of the ordinary, furthest out first; without any, why none could be looked for."""
    try:
        features = day_features(whole, config.holidays)
    except TooLittleDataError as error:
        return [], str(error)
    forest = fit_forest(features, config.analysis)
    labels, scores = forest.predict(features.rows), forest.decision_function(features.rows)
    return unusual_days(features, labels, scores, zone, quantity.shown_unit), ""


def _kinds(config: TrainerConfig, whole: Days) -> tuple[Clusters | None, str]:
    """Days grouped by the shape of their profile; without enough days, why not."""
    k_range = (config.analysis.clusters_min, config.analysis.clusters_max)
    try:
        return cluster_days(whole, k_range=k_range, holidays=config.holidays), ""
    except TooLittleDataError as error:
        return None, str(error)


def _responses(
    config: TrainerConfig, history: SiteHistory, name: str, days: LocalDays
) -> tuple[list[Markup], dict[str, Slope], dict[SignalKind, str]]:
    """Duration curve and response to the weather that is known; slopes over temperature; sources of the weather."""
    values, quantity = good_values(config, history, name), quantity_of(name)
    pictures, slopes, sources = [site_plots.duration_curve(*figures.duration(values), quantity)], {}, {}
    temperature = weather_of(config, history, SignalKind.TEMPERATURE, name)
    if temperature is not None:
        warmth, means = figures.daily_means(days_of(config, history, temperature.values)), figures.daily_means(days)
        curve = figures.running_median(warmth, means)
        pictures.append(site_plots.temperature_response(warmth, means, days.types, curve, quantity))
        slopes = figures.slopes(warmth, means)
        sources[SignalKind.TEMPERATURE] = temperature.source
    radiation = weather_of(config, history, SignalKind.RADIATION, name)
    if radiation is not None:
        light = np.where(radiation.values > _DAYLIGHT_W_PER_M2, radiation.values, np.nan)
        curve = figures.response(light, values)
        if len(curve.at):
            pictures.append(site_plots.radiation_response(light, values, curve, quantity))
            sources[SignalKind.RADIATION] = radiation.source
    return pictures, slopes, sources


def _months(days: LocalDays, step_s: int) -> list[Month]:
    """The newest months, oldest first."""
    months = sorted({(day.year, day.month) for day in days.dates})[-_MONTHS_MAX:]
    rows = []
    for year, month in months:
        part = days.values[[(day.year, day.month) == (year, month) for day in days.dates]]
        known = part[np.isfinite(part)]
        shown = known if len(known) else np.array([np.nan])
        drawn_h, fed_in_h = (float(np.maximum(sign * shown, 0).sum()) * step_s / 3600 for sign in (1, -1))
        rows.append(
            Month(
                month=date(year, month, 1),
                known=bool(len(known)),
                highest=float(shown.max()),
                lowest=float(shown.min()),
                mean=float(shown.mean()),
                drawn_h=drawn_h,
                fed_in_h=fed_in_h,
                missing_share=1 - len(known) / part.size,
            )
        )
    return rows
