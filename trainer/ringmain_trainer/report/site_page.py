"""What a site's page says: tables, pictures and words out of the site's data. Pure; `report` reads and writes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ringmain_trainer.analysis.anomalies import Anomaly, Residuals, day_features, fit_forest, unusual_days, unusual_hours
from ringmain_trainer.analysis.day_clusters import Clusters, Days, cluster_days, whole_days
from ringmain_trainer.calendar import zone_rules
from ringmain_trainer.config.trainer import SignalKind, TrainerConfig
from ringmain_trainer.errors import TooLittleDataError
from ringmain_trainer.evaluation.drift import InputDrift, input_reasons
from ringmain_trainer.history.site_reader import StepTable
from ringmain_trainer.quality.rules import Mark, Marks, kind_of, mask_bits
from ringmain_trainer.quality.site_quality import SiteQuality
from ringmain_trainer.report import figures as numbers
from ringmain_trainer.report import html as report_page
from ringmain_trainer.report import plots
from ringmain_trainer.report.figures import DayType, LocalDays, Scored, Scores, Values
from ringmain_trainer.report.html import Html
from ringmain_trainer.report.model_scores import Model, ScoredModel
from ringmain_trainer.report.plots import Quantity
from ringmain_trainer.units import unit_of

_MONTHS_MAX: Final = 24
_FINDINGS_MAX: Final = 30
_ANOMALIES_MAX: Final = 10
_DAYLIGHT_W_PER_M2: Final = 20.0
_LARGE: Final = 10_000.0
_MARKS: Final = (*("good", "gap"), *(str(mark.name).lower() for mark in Mark if mark is not Mark.GAP))
_POWER_KINDS: Final = frozenset((SignalKind.LOAD, SignalKind.PV, SignalKind.WIND))
_MACHINE: Final = frozenset(("oil", "transformer", "winding", "hot", "spot", "battery"))


class SiteHistory(NamedTuple):
    """Everything that was measured at a site, on one grid; `values` and `marks` are `(n_steps, n_signals)`.

    `weather` are series as they were forecast last before each step, `(n_steps,)`, by name.
    """

    site: str
    time_zone: str
    start_s: int
    step_s: int
    signals: list[str]
    values: Values
    marks: Marks
    quality: SiteQuality
    weather: Mapping[str, Values]


class ModelPart(NamedTuple):
    """One configured model of the site: its file and how it does; or why there is none.

    `facts` go onto its card; `drift` is how its inputs since the training differ from those of the training.
    """

    signal: str
    state: str
    model: Model | None
    judged: ScoredModel | None
    scores: Scores | None
    reason: str
    facts: Sequence[tuple[str, str]]
    drift: Mapping[str, InputDrift]


class ModelSummary(Struct, frozen=True, kw_only=True):
    """A model in the table of the fleet; without scores `reason` says why."""

    signal: str
    state: str
    reason: str = ""
    in_sample: bool = False
    mae: float | None = None
    mae_persistence: float | None = None
    rmae: float | None = None
    rcrps: float | None = None
    coverage: float | None = None
    skill: float | None = None
    drift: str = ""


class SiteSummary(Struct, frozen=True, kw_only=True):
    """A site in the table of the fleet; with `reason` its page says only that."""

    site: str
    page: str
    reason: str = ""
    time_zone: str = ""
    days: float = 0.0
    good_share: float | None = None
    errors: int = 0
    warnings: int = 0
    models: list[ModelSummary] = []
    profile: list[float] = []


def site_page(config: TrainerConfig, history: SiteHistory, models: Sequence[ModelPart], *, now: datetime) -> bytes:
    """The whole page of a site."""
    analyzed = [name for name in history.signals if _kind(config, name) in _POWER_KINDS or name in _targets(models)]
    links = [("Key figures", "#figures"), *((name, f"#signal-{name}") for name in analyzed)]
    links += [(f"Forecast of {one.signal}", f"#forecast-{one.signal}") for one in models]
    links += [("Data quality", "#quality"), ("Fleet", "index.html")]
    n = len(history.values)
    span = f"{_at(history, history.start_s)} to {_at(history, history.start_s + n * history.step_s)}"
    facts = [
        f"Data from {span}, steps of {history.step_s / 60:g} min; all times are local, {history.time_zone}.",
        "Positive power is drawn from the network, negative is fed in. Values taken out by data quality do not count.",
        f"Made {_local(now, history.time_zone):%d %b %Y %H:%M}, {history.time_zone}.",
    ]
    parts = [report_page.header(f"Site {history.site}", facts, links)]
    parts.append(report_page.section("Key figures", _figures(config, history, analyzed), anchor="figures"))
    for index, name in enumerate(analyzed):
        made = _signal_parts(config, history, name)
        parts.append(report_page.section(name, made, anchor=f"signal-{name}", new_page=index > 0))
    for one in models:
        title = f"Forecast of {one.signal}"
        made = _model_parts(config, history, one)
        parts.append(report_page.section(title, made, anchor=f"forecast-{one.signal}", new_page=True))
    parts.append(report_page.section("Data quality", _quality_parts(history), anchor="quality", new_page=True))
    return report_page.page(f"{history.site}: Ringmain report", parts)


def bad_site_page(site: str, reason: str, *, now: datetime) -> bytes:
    """The page of a site whose report could not be made."""
    parts = [
        report_page.header(f"Site {site}", [f"Made {now:%d %b %Y %H:%M} UTC."], [("Fleet", "index.html")]),
        report_page.paragraph(Html(f"There is no report of this site: {report_page.text(reason)}"), kind="trouble"),
    ]
    return report_page.page(f"{site}: Ringmain report", parts)


def site_summary(config: TrainerConfig, history: SiteHistory, models: Sequence[ModelPart], page: str) -> SiteSummary:
    """What the table of the fleet says of a site."""
    return SiteSummary(
        site=history.site,
        page=page,
        time_zone=history.time_zone,
        days=len(history.values) * history.step_s / 86400,
        good_share=history.quality.good_share,
        errors=history.quality.errors,
        warnings=history.quality.warnings,
        models=[_model_summary(config, one) for one in models],
        profile=_workday(config, history),
    )


def good_values(config: TrainerConfig, history: SiteHistory, name: str) -> Values:
    """The values of a signal without those that the rules took out."""
    column = history.signals.index(name)
    bad = (history.marks[:, column] & mask_bits(config.quality)) != 0
    return np.where(bad, np.nan, history.values[:, column])


def _figures(config: TrainerConfig, history: SiteHistory, analyzed: Sequence[str]) -> Iterator[Html]:
    rows = []
    for name in history.signals:
        unit = unit_of(name)
        found = numbers.key_figures(good_values(config, history, name), history.start_s, history.step_s)
        if found is None:
            rows.append([name, _quantity(name).shown_unit, *["none"] * 4, "", "", "", _percent(1)])
            continue
        power = _kind(config, name) in _POWER_KINDS
        rows.append(
            [
                name,
                _quantity(name).shown_unit,
                _number(found.high),
                _at(history, found.high_at_s),
                _number(found.low),
                _number(found.mean),
                _energy(found.drawn_h, unit) if power else "",
                _energy(found.fed_in_h, unit) if power else "",
                f"{found.load_factor:.2f}" if power else "",
                _percent(found.missing_share),
            ]
        )
    main = next(iter(analyzed), None)
    if main is not None:
        found = numbers.key_figures(good_values(config, history, main), history.start_s, history.step_s)
        if found is not None:
            unit = _quantity(main).shown_unit
            energy = [
                ("energy drawn", _energy(found.drawn_h, unit)),
                ("energy fed in", _energy(found.fed_in_h, unit)),
                ("load factor", f"{found.load_factor:.2f}"),
            ]
            yield report_page.tiles(
                [
                    (f"highest {main}", f"{_number(found.high)} {unit}"),
                    (f"lowest {main}", f"{_number(found.low)} {unit}"),
                    *(energy if _kind(config, main) in _POWER_KINDS else []),
                    ("days of data", f"{found.hours / 24:.0f}"),
                    ("missing", _percent(found.missing_share)),
                ]
            )
    head = ["signal", "unit", "highest", "at", "lowest", "mean", "drawn", "fed in", "load factor", "missing or taken out"]
    caption = "Mean values of steps. The load factor is the size of the mean over the largest size."
    yield report_page.table(caption, head, rows, numbers=range(2, len(head)))


def _signal_parts(config: TrainerConfig, history: SiteHistory, name: str) -> Iterator[Html]:
    values, zone, quantity = good_values(config, history, name), history.time_zone, _quantity(name)
    if not np.isfinite(values).any():
        yield report_page.paragraph(
            "No value is left after the rules of data quality: see the findings below.", kind="trouble"
        )
        return
    days = numbers.local_days(values, history.start_s, history.step_s, zone, config.holidays)
    whole = whole_days(StepTable(history.start_s, values[:, None].astype(np.float32)), history.step_s, zone)
    odd, why_none = _unusual(config, whole, history, quantity)
    marked = [_local(datetime.fromtimestamp(one.from_s, UTC), zone).date() for one in odd]
    yield report_page.figure(plots.time_line(days, marked, quantity, zone))
    yield report_page.figure(plots.heat_map(days, quantity, zone), "Grey: no value.")
    yield report_page.heading("Daily and weekly profile")
    legend = "Line: median. Bands: the middle half and the middle 80 % of the days. Holidays are those of the configuration."
    yield report_page.figure(plots.daily_profiles(numbers.daily_bands(days), quantity, zone), legend)
    if len(days.dates) >= 14:
        yield report_page.figure(plots.weekly_profile(numbers.weekly_band(days), quantity, zone))
    yield report_page.heading("Duration and response to weather")
    yield from _responses(config, history, name, days)
    yield _months(days, quantity, history.step_s, power=_kind(config, name) in _POWER_KINDS)
    yield report_page.heading("Kinds of days")
    yield from _kinds(config, history, whole, quantity)
    yield report_page.heading("Unusual days")
    if not odd:
        yield report_page.paragraph(why_none or "No day stands out.")
        return
    rows = [
        [one.reason.partition(":")[0], one.reason.partition(": ")[2], f"{one.score:.3f}"] for one in odd[:_ANOMALIES_MAX]
    ]
    left = f"; {len(odd) - len(rows)} more are marked in the time line" if len(odd) > len(rows) else ""
    caption = f"Days that differ most from the usual day of their kind and season (isolation forest){left}"
    yield report_page.table(caption, ["day", "what", "score"], rows, numbers=(2,))


def _unusual(config: TrainerConfig, whole: Days, history: SiteHistory, quantity: Quantity) -> tuple[list[Anomaly], str]:
    """Days out of the ordinary, furthest out first; without any, why none could be looked for."""
    try:
        features = day_features(whole, config.holidays)
    except TooLittleDataError as error:
        return [], str(error)
    forest = fit_forest(features, config.analysis)
    labels, scores = forest.predict(features.rows), forest.decision_function(features.rows)
    return unusual_days(features, labels, scores, history.time_zone, quantity.shown_unit), ""


def _responses(config: TrainerConfig, history: SiteHistory, name: str, days: LocalDays) -> Iterator[Html]:
    values, quantity = good_values(config, history, name), _quantity(name)
    drawn = [report_page.figure(plots.duration_curve(*numbers.duration(values), quantity))]
    words = []
    temperature = _weather(config, history, SignalKind.TEMPERATURE, name)
    if temperature is not None:
        source, degc = temperature
        by_day = numbers.local_days(degc, history.start_s, history.step_s, history.time_zone, config.holidays)
        warmth, means = numbers.daily_means(by_day), numbers.daily_means(days)
        curve = numbers.running_median(warmth, means)
        drawn.append(report_page.figure(plots.temperature_response(warmth, means, days.types, curve, quantity)))
        words += [
            f"{'below' if side == 'cold' else 'above'} 15 °C the daily mean changes by {_number(slope.per_degree)} "
            f"{quantity.shown_unit} per degree ({slope.days} days)"
            for side, slope in numbers.slopes(warmth, means).items()
        ]
        words.append(f"temperature: {source}")
    radiation = _weather(config, history, SignalKind.RADIATION, name)
    if radiation is not None:
        source, watts = radiation
        light = np.where(watts > _DAYLIGHT_W_PER_M2, watts, np.nan)
        curve = numbers.response(light, values)
        if len(curve.at):
            drawn.append(report_page.figure(plots.radiation_response(light, values, curve, quantity)))
            words.append(f"radiation: {source}")
    if words:
        said = "; ".join(words)
        drawn.append(
            report_page.paragraph(
                f"{said[0].upper()}{said[1:]}. Slopes are medians over pairs of days (Theil and Sen); the running median "
                "takes the nearest eighth of the days."
            )
        )
    else:
        drawn.append(report_page.paragraph("No temperature or radiation of this site is in the history.", kind="note"))
    for first in range(0, len(drawn), 2):
        yield report_page.pair(drawn[first : first + 2])


def _months(days: LocalDays, quantity: Quantity, step_s: int, *, power: bool) -> Html:
    rows = []
    unit, hours = quantity.shown_unit, step_s / 3600
    head = ["month", *(f"{name}, {unit}" for name in ("highest", "lowest", "mean")), "missing"]
    head[4:4] = ["drawn", "fed in"] if power else []
    months = sorted({(day.year, day.month) for day in days.dates})[-_MONTHS_MAX:]
    for year, month in months:
        part = days.values[[(day.year, day.month) == (year, month) for day in days.dates]]
        known, name = part[np.isfinite(part)], f"{date(year, month, 1):%b %Y}"
        if not len(known):
            rows.append([name, *["none"] * (len(head) - 2), _percent(1)])
            continue
        drawn, fed_in = (float(np.maximum(sign * known, 0).sum()) * hours for sign in (1, -1))
        figures = [_number(float(one)) for one in (known.max(), known.min(), known.mean())]
        energy = [_energy(one, unit) for one in (drawn, fed_in)] if power else []
        rows.append([name, *figures, *energy, _percent(1 - len(known) / part.size)])
    return report_page.table(f"{quantity.name} by month", head, rows)


def _kinds(config: TrainerConfig, history: SiteHistory, whole: Days, quantity: Quantity) -> Iterator[Html]:
    most = (config.analysis.clusters_min, config.analysis.clusters_max)
    try:
        found: Clusters = cluster_days(whole, k_range=most, holidays=config.holidays)
    except TooLittleDataError as error:
        yield report_page.paragraph(str(error), kind="note")
        return
    yield report_page.figure(
        plots.kinds_of_days(found, quantity, history.time_zone),
        "Days grouped by the shape of their profile (KMeans): mean and middle 80 % of each; below, when they happened.",
    )
    head = [
        "kind",
        "days",
        "workdays",
        "weekends",
        "holidays",
        "winter",
        "spring",
        "summer",
        "autumn",
        "energy",
        "typical day",
    ]
    rows = [
        [
            f"{index}",
            f"{one.size}",
            *(_whole(share) for share in (one.weekday_share, one.weekend_share, one.holiday_share)),
            *(_whole(share) for share in one.season_shares.values()),
            _whole(one.energy_share_of_mean),
            one.representative_day,
        ]
        for index, one in enumerate(found.clusters, start=1)
    ]
    yield report_page.table("Shares of the days of a kind; energy against the mean of all days.", head, rows)


def _model_parts(config: TrainerConfig, history: SiteHistory, one: ModelPart) -> Iterator[Html]:
    quantity, zone = _quantity(one.signal), history.time_zone
    if one.model is None:
        yield report_page.paragraph(f"No model: {one.reason}", kind="trouble")
        return
    if one.judged is None or one.scores is None:
        yield report_page.paragraph(f"Not scored: {one.reason}", kind="trouble")
    else:
        judged, found = one.judged, one.scores
        yield report_page.paragraph(f"Scored: {judged.how}.", kind="label" if judged.in_sample else "")
        yield _score_table(found, quantity)
        curves = numbers.errors_by_lead(judged.scored)
        pictures = [report_page.figure(plots.errors_by_lead(curves, judged.scored.step_s, quantity))]
        yield report_page.pair([*pictures, _lead_table(curves, judged.scored.step_s, quantity)])
        by_lead, (shares, told) = numbers.coverage_by_lead(judged.scored), numbers.reliability(judged.scored)
        yield report_page.heading("Calibration")
        left = (
            ""
            if told > 0.9995
            else f"Reliability without {_percent(1 - told)} of the steps: a band of one value, which happened."
        )
        yield report_page.figure(plots.calibration(judged.scored, shares, by_lead, quantity), left)
        chosen = numbers.worst_and_typical(judged.scored)
        if chosen is not None:
            yield report_page.heading("A typical and the worst forecast")
            rows = {"typical": chosen[1], "worst": chosen[0]}
            yield report_page.figure(plots.forecast_and_actual(judged.scored, rows, quantity, zone))
        yield report_page.heading("Hours that the forecast had not thought possible")
        yield _surprises(config, history, judged.scored, quantity)
    if one.drift:
        yield report_page.heading("Inputs since the training")
        yield _drift_table(config, one)
    yield report_page.heading("Model card")
    yield report_page.facts(_card(history, one))


def _surprises(config: TrainerConfig, history: SiteHistory, scored: Scored, quantity: Quantity) -> Html:
    residuals = Residuals(
        scored.quantiles.astype(np.float32), scored.targets.astype(np.float32), scored.issued_at_s, scored.step_s
    )
    found = unusual_hours(residuals, config.analysis, quantity.shown_unit)
    if not found:
        return report_page.paragraph("None on the days that were scored.")
    rows = [[_at(history, one.from_s), _at(history, one.to_s), one.reason] for one in found[:_ANOMALIES_MAX]]
    left = f"; {len(found) - len(rows)} lesser ones are left out" if len(found) > len(rows) else ""
    caption = f"What happened was far outside the outer quantiles for {config.analysis.residual_h:g} h or longer{left}"
    return report_page.table(caption, ["from", "to", "what"], rows, numbers=())


def _score_table(found: Scores, quantity: Quantity) -> Html:
    made, unit, norm = found.forecast, quantity.shown_unit, "share of P99 \N{MINUS SIGN} P1"
    naive = (found.mae_yesterday, found.mae_last_week)
    rows = [
        [f"mean absolute error, {unit}", _number(made.mae), *(_number(one) for one in naive)],
        ["error saved against it", "", *(_saved(made.mae, one) for one in naive)],
        [f"root mean square error, {unit}", _number(made.rmse), "", ""],
        [f"mean error (forecast less actual), {unit}", _number(made.bias), "", ""],
        [f"rMAE ({norm})", f"{made.rmae:.4f}", "", ""],
        [f"rCRPS ({norm})", f"{made.rcrps:.4f}", "", ""],
        ["rCRPS, peaks weighted", f"{made.rcrps_peak:.4f}", "", ""],
        [f"coverage of the {_whole(found.coverage_nominal)} band", _percent(made.coverage), "", ""],
        ["peak of the day: off in time, h", _number(made.peak_time_h), "", ""],
        [f"peak of the day: off in size, {unit}", _number(made.peak_size), "", ""],
    ]
    caption = f"{made.forecasts:,} forecasts over the whole horizon"
    return report_page.table(caption, ["", "forecast", "yesterday", "last week"], rows)


def _drift_table(config: TrainerConfig, one: ModelPart) -> Html:
    rows = []
    for name, found in one.drift.items():
        reasons = input_reasons({name: found}, config.drift)
        words = report_page.flag("as in training", "good") if not reasons else report_page.flag("drifts", "warn")
        figures = [f"{found.psi:.3f}", f"{found.psi_bound:.3f}", _percent(found.outside_share), _percent(found.unseen_share)]
        rows.append([name, *figures, words])
    head = ["input", "PSI", "usual up to", "outside the range", "season not seen", ""]
    caption = "Newest values against those of the training by season; PSI: population stability index"
    return report_page.table(caption, head, rows, numbers=(1, 2, 3, 4))


def _lead_table(curves: Mapping[str, Values], step_s: int, quantity: Quantity) -> Html:
    """The curves of the picture beside it as figures, for some lead times."""
    count = len(curves["forecast"])
    per_hour = 3600 // step_s
    hours = sorted({h for h in (1, 3, 6, 12, 18, 24, 36, 48, 72) if h * per_hour <= count} | {max(1, count // per_hour)})
    rows = []
    for h in hours:
        at = slice((h - 1) * per_hour, h * per_hour)
        cells = [_number(float(np.mean(curves[name][at]))) for name in ("forecast", "yesterday", "last week")]
        rows.append([f"{h - 1} to {h} h", *cells])
    caption = f"Mean absolute error by lead time, {quantity.unit}"
    return report_page.table(caption, ["lead time", "forecast", "yesterday", "last week"], rows)


def _card(history: SiteHistory, one: ModelPart) -> Iterator[tuple[str, str]]:
    if one.model is None:
        return
    manifest, content = one.model.manifest, one.model.content
    yield "state", one.state
    yield "trained on", f"{_at(history, manifest.trained_from_ms // 1000)} to {_at(history, manifest.trained_to_ms // 1000)}"
    yield "trained at", _at(history, manifest.created_at_ms // 1000)
    yield "forecasts in training", f"{manifest.trained_forecasts:,}"
    horizon_h = manifest.horizon_steps * manifest.step_s / 3600
    yield "shape", f"{manifest.history_steps} steps back, {horizon_h:g} h ahead, steps of {manifest.step_s / 60:g} min"
    yield "quantiles", ", ".join(f"P{100 * q:g}" for q in manifest.quantiles)
    yield "history", ", ".join(f"{name} ({unit})" if unit else name for name, unit in manifest.signals.items())
    series = ", ".join(f"{name} ({unit})" if unit else name for name, unit in manifest.series.items())
    yield "known ahead", series or "calendar only"
    yield "size of the file", f"{len(content) / 1000:,.0f} kB"
    yield "used in the years", f"{manifest.years[0]} to {manifest.years[1]}"
    yield "tolerance of the export", f"{manifest.tolerance:.3g} {unit_of(one.signal)}"
    yield from one.facts
    yield "in training", ", ".join(f"{name} {value:.4g}" for name, value in sorted(manifest.metrics.items()))
    yield "made with", ", ".join(f"{name} {version}" for name, version in sorted(manifest.made_with.items()))
    yield "data, SHA-256", manifest.trained_sha256[:16]


def _quality_parts(history: SiteHistory) -> Iterator[Html]:
    dates = numbers.local_days(np.zeros(len(history.values)), history.start_s, history.step_s, history.time_zone, ()).dates
    states = np.stack([_worst_marks(history, column, len(dates)) for column in range(len(history.signals))], axis=1)
    yield report_page.figure(
        plots.quality_line(states, _MARKS, history.signals, dates, history.time_zone), "The worst mark of each day."
    )
    rows = []
    for one in history.quality.signals:
        marked = ", ".join(f"{name} {count:,}" for name, count in one.marked.items()) or "none"
        rows.append([one.signal, one.kind, f"{one.steps:,}", _percent(one.good_share), marked])
    yield report_page.table("Steps by signal", ["signal", "kind", "steps", "good", "marked steps"], rows, numbers=(2, 3))
    found = [*history.quality.findings, *(one for signal in history.quality.signals for one in signal.findings)]
    order = {"error": 0, "warning": 1, "note": 2}
    found.sort(key=lambda one: (order[one.severity], -one.count, one.signal, one.from_s))
    if not found:
        yield report_page.paragraph("Nothing was found.")
        return
    kinds = {"error": "bad", "warning": "warn", "note": "good"}
    listed = [
        [
            report_page.flag(one.severity, kinds[one.severity]),
            one.signal,
            one.rule,
            _at(history, one.from_s).replace(" ", "\N{NO-BREAK SPACE}"),
            _at(history, one.to_s).replace(" ", "\N{NO-BREAK SPACE}"),
            one.reason,
            f"{one.count:,}",
        ]
        for one in found[:_FINDINGS_MAX]
    ]
    left = len(found) - len(listed)
    caption = "Findings" + (f"; {left} lesser ones are left out" if left > 0 else "")
    head = ["", "signal", "rule", "from", "to", "what", "steps"]
    yield report_page.table(caption, head, listed, numbers=(6,))


def _worst_marks(history: SiteHistory, column: int, days: int) -> NDArray[np.int8]:
    """The highest mark of each local day, as an index into `_MARKS`; a gap counts least."""
    marks = history.marks[:, column]
    worst = np.zeros(days, np.int8)
    for index, mark in enumerate(Mark, start=1):
        hit = np.where((marks & mark) != 0, 1.0, 0.0)
        by_day = numbers.local_days(hit, history.start_s, history.step_s, history.time_zone, ()).values
        worst[np.nansum(by_day, axis=1) > 0] = index
    return worst


def _weather(config: TrainerConfig, history: SiteHistory, kind: SignalKind, target: str) -> tuple[str, Values] | None:
    """The site's own measurement if there is one, else what was forecast last; and which it is."""
    for name in history.signals:
        if name != target and _kind(config, name) is kind and not _MACHINE & set(name.split("_")):
            return f"measured ({name})", good_values(config, history, name)
    for name, values in history.weather.items():
        if _kind(config, name) is kind:
            return f"as forecast last before each step ({name})", values
    return None


def _workday(config: TrainerConfig, history: SiteHistory) -> list[float]:
    """Median workday of the first signal of power as a share of its largest size, for the small pictures of the fleet."""
    name = next((one for one in history.signals if _kind(config, one) in _POWER_KINDS), None)
    if name is None:
        return []
    values = good_values(config, history, name)
    days = numbers.local_days(values, history.start_s, history.step_s, history.time_zone, config.holidays)
    band = numbers.daily_bands(days).get(DayType.WORKDAY)
    if band is None:
        return []
    median = band.percentiles[2]
    largest = np.nanmax(np.abs(median))
    return [round(float(one), 4) for one in median / largest] if largest else []


def _model_summary(config: TrainerConfig, one: ModelPart) -> ModelSummary:
    drift = ", ".join(input_reasons(one.drift, config.drift))
    if one.scores is None or one.judged is None:
        return ModelSummary(signal=one.signal, state=one.state, reason=one.reason, drift=drift)
    found = one.scores
    return ModelSummary(
        drift=drift,
        signal=one.signal,
        state=one.state,
        in_sample=one.judged.in_sample,
        mae=found.forecast.mae,
        mae_persistence=_known(found.mae_persistence),
        rmae=_known(found.forecast.rmae),
        rcrps=_known(found.forecast.rcrps),
        coverage=found.forecast.coverage,
        skill=_known(found.skill),
    )


def _targets(models: Iterable[ModelPart]) -> set[str]:
    return {one.signal for one in models}


def _kind(config: TrainerConfig, name: str) -> SignalKind:
    return kind_of(name, config.quality)


def _quantity(name: str) -> Quantity:
    return Quantity(name, unit_of(name))


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _saved(error: float, naive: float) -> str:
    return _percent(1 - error / naive) if naive > 0 else ""


def _percent(share: float) -> str:
    if 0 < abs(share) < 0.0005:
        return "< 0.1\N{NO-BREAK SPACE}%"
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")


def _whole(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "none"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _energy(unit_hours: float, unit: str) -> str:
    if unit == "kW" and abs(unit_hours) >= _LARGE:
        scale, name = (1e6, "GWh") if abs(unit_hours) >= 1000 * _LARGE else (1e3, "MWh")
        return f"{_number(unit_hours / scale)}\N{NO-BREAK SPACE}{name}"
    return f"{_number(unit_hours)}\N{NO-BREAK SPACE}{unit}h"


def _at(history: SiteHistory, at_s: int) -> str:
    return f"{_local(datetime.fromtimestamp(at_s, UTC), history.time_zone):%d %b %Y %H:%M}"


def _local(at: datetime, time_zone: str) -> datetime:
    return at.astimezone(zone_rules(time_zone))
