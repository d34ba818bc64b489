"""Result of a run: forecasts against persistence, limits with and without control, readings sent and stored."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from msgspec import Struct

from ringmain_simulation.count import Comparison, compare_readings, count_fallbacks, read_table
from ringmain_simulation.lockstep import Lockstep
from ringmain_simulation.scenario import SCORED_HOUR_UTC
from ringmain_simulation.sent import SentReadings

LEADS: Final = 96
STEP_MS: Final = 900_000
DAY_MS: Final = 86_400_000
_FORECAST: Final = ("site", "signal", "issued_at", "valid_at", "lead", "quantiles", "values", "release")


class Score(Struct, frozen=True, kw_only=True):
    """Mean absolute errors of one signal of one site on the same steps.

    Persistence is the better of the same step yesterday and last week, both known at issue time; `persistence` names it.
    """

    forecast_mae_kw: float
    persistence_mae_kw: float
    persistence: str
    forecasts: int
    steps: int


class Summary(Struct, frozen=True, kw_only=True):
    """Result of `ringmain-simulate demo --json`; the fields up to `duration_s` are its contract."""

    sites: list[str]
    readings_published: int
    readings_in_history: int
    readings_lost: int
    readings_duplicated_in_history: int
    model_version_active: int
    forecast_mae_kw: float | None
    persistence_mae_kw: float | None
    setpoints_sent: int
    limit_violations: int
    limit_violations_without_control: int
    fallbacks: dict[str, int]
    duration_s: float
    persistence: str
    shown_days: float
    per_site: dict[str, "SiteSummary"]


class SiteSummary(Struct, frozen=True, kw_only=True):
    """One site of the summary."""

    readings: Comparison
    releases: dict[str, int]
    load: Score | None
    pv: Score | None
    setpoints_received: int
    limit_violations: int
    limit_violations_without_control: int
    import_limit_kw: float
    import_max_kw: float
    import_max_without_control_kw: float
    fallbacks: dict[str, int]


def forecast_scores(history: Path, sent: SentReadings, *, signal: str, from_ms: int, to_ms: int) -> dict[str, Score]:
    """Scores of the agents' forecasts with a model, issued once a day at `SCORED_HOUR_UTC`.

    A forecast counts if all of its 96 steps lie before `to_ms`. Sites without such a forecast are not in the result.
    """
    rows = read_table(history, "forecasts", list(_FORECAST))
    if rows.is_empty():
        return {}
    scored = rows.filter(
        pl.col("signal") == signal,
        pl.col("release") >= 1,
        pl.col("issued_at").dt.hour() == SCORED_HOUR_UTC,
        pl.col("issued_at").dt.minute() == 0,
        pl.col("issued_at").dt.epoch("ms") >= from_ms,
        pl.col("issued_at").dt.epoch("ms") + LEADS * STEP_MS <= to_ms,
        pl.col("lead") < LEADS,
    ).unique(["site", "issued_at", "lead"])
    scores = {}
    for site in sent.sites:
        of_site = scored.filter(pl.col("site") == site)
        score = _score(of_site, step_means(sent, site, signal))
        if score is not None:
            scores[site] = score
    return scores


def step_means(sent: SentReadings, site: str, signal: str) -> dict[int, float]:
    """Mean of the readings of each step by START: the actual values for scores."""
    times, values = (np.asarray(column) for column in sent.column(site, signal))
    starts, index = np.unique(times - times % STEP_MS, return_inverse=True)
    means = np.bincount(index, weights=values) / np.bincount(index)
    return dict(zip(starts.tolist(), means.tolist(), strict=True))


def summarize(lockstep: Lockstep, history: Path, *, duration_s: float) -> Summary:
    """Summary of the run, from the history and the counts of the simulation."""
    start_ms, end_ms = lockstep.scenario.control_ms, lockstep.now_ms
    readings = compare_readings(history, lockstep.sent)
    fallbacks = count_fallbacks(history, from_ms=start_ms)
    load, pv = (
        forecast_scores(history, lockstep.sent, signal=signal, from_ms=start_ms, to_ms=end_ms)
        for signal in ("load_kw", "pv_kw")
    )
    per_site = {
        site: _site_summary(lockstep, site, readings[site], load.get(site), pv.get(site), fallbacks.get(site, {}))
        for site in lockstep.sites
    }
    sites = per_site.values()
    complete = len(load) == len(per_site)
    return Summary(
        sites=list(per_site),
        readings_published=sum(s.readings.expected for s in sites),
        readings_in_history=sum(s.readings.found for s in sites),
        readings_lost=sum(s.readings.lost for s in sites),
        readings_duplicated_in_history=sum(s.readings.duplicated for s in sites),
        model_version_active=min(min(s.releases.values(), default=0) for s in sites),
        forecast_mae_kw=_mean(s.forecast_mae_kw for s in load.values()) if complete else None,
        persistence_mae_kw=_mean(s.persistence_mae_kw for s in load.values()) if complete else None,
        setpoints_sent=sum(s.setpoints_received for s in sites),
        limit_violations=sum(s.limit_violations for s in sites),
        limit_violations_without_control=sum(s.limit_violations_without_control for s in sites),
        fallbacks=_added(s.fallbacks for s in sites),
        duration_s=round(duration_s, 1),
        persistence="per site the better of the same step yesterday and last week, from values known at issue time",
        shown_days=round((end_ms - start_ms) / DAY_MS, 2),
        per_site=per_site,
    )


def _site_summary(  # noqa: PLR0913, PLR0917  one row of the summary
    lockstep: Lockstep, site: str, readings: Comparison, load: Score | None, pv: Score | None, fallbacks: dict[str, int]
) -> SiteSummary:
    counts, status = lockstep.counts(site), lockstep.status(site)
    return SiteSummary(
        readings=readings,
        releases={} if status is None else dict(status.releases),
        load=load,
        pv=pv,
        setpoints_received=counts.setpoints_received,
        limit_violations=counts.violations,
        limit_violations_without_control=counts.violations_without_control,
        import_limit_kw=lockstep.sites[site].design.import_limit_kw,
        import_max_kw=round(counts.import_max_kw, 1),
        import_max_without_control_kw=round(counts.import_max_without_control_kw, 1),
        fallbacks=fallbacks,
    )


def _score(rows: pl.DataFrame, actual_kw: Mapping[int, float]) -> Score | None:
    errors: list[tuple[float, float, float]] = []
    issues: set[int] = set()
    columns = rows.select(
        pl.col("issued_at").dt.epoch("ms"), pl.col("valid_at").dt.epoch("ms"), "quantiles", "values"
    ).iter_rows()
    for issued_ms, valid_ms, quantiles, values in columns:
        known = [actual_kw.get(valid_ms - before_ms, math.nan) for before_ms in (0, DAY_MS, 7 * DAY_MS)]
        if not all(map(math.isfinite, known)):
            continue
        issues.add(issued_ms)
        median = values[quantiles.index(0.5)]
        errors.append((abs(median - known[0]), abs(known[1] - known[0]), abs(known[2] - known[0])))
    if not errors:
        return None
    forecast, yesterday, last_week = (sum(column) / len(errors) for column in zip(*errors, strict=True))
    return Score(
        forecast_mae_kw=round(forecast, 2),
        persistence_mae_kw=round(min(yesterday, last_week), 2),
        persistence="yesterday" if yesterday <= last_week else "last week",
        forecasts=len(issues),
        steps=len(errors),
    )


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return round(sum(numbers) / len(numbers), 2)


def _added(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total
