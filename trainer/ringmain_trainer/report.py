"""The report: a page for each site and one for the fleet, as files that need nothing else. This module reads and writes."""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct

from ringmain_trainer.candidates import MODEL, candidate_folder
from ringmain_trainer.config import ModelConfig, TrainerConfig
from ringmain_trainer.dataset import read_series, read_site, read_sites
from ringmain_trainer.errors import ExportError, HistoryError, TooLittleDataError
from ringmain_trainer.export import check_file
from ringmain_trainer.fan_out import run_all
from ringmain_trainer.files import write_file
from ringmain_trainer.quality_report import check_steps, read_site_steps, site_quality
from ringmain_trainer.report_fleet import fleet_page
from ringmain_trainer.report_numbers import newest_known, scores
from ringmain_trainer.report_scores import Model, judge, why_no_model
from ringmain_trainer.report_site import ModelPart, SiteHistory, SiteSummary, bad_site_page, site_page, site_summary

FLEET_PAGE: Final = "index.html"
_SITE: Final = re.compile(r"[a-z0-9-]{1,63}")


class ReportedSite(Struct, frozen=True, kw_only=True):
    """What became of one site; with `reason` its page says only why there is no report."""

    site: str
    file: str
    page_bytes: int = 0
    models_scored: int = 0
    models_missing: int = 0
    reason: str = ""


def report(config: TrainerConfig, *, now: datetime, site: str | None = None) -> list[ReportedSite]:
    """Write the pages of all sites and of the fleet, or of one site alone, below `report.folder`.

    Args:
        config: Where the history and the models are, and what is configured.
        now: Said on the pages.
        site: Only this one; the page of the fleet is left as it is.

    Raises:
        HistoryError: If the site is not in the history.
    """
    folder = Path(config.report.folder)
    sites = [one for one in read_sites(config.history) if _SITE.fullmatch(one)]
    if site is not None:
        if site not in sites:
            raise HistoryError(f"no steps of site {site!r} in {config.history}")
        sites = [site]
    outcomes = run_all(partial(write_site, config, now=now), sites, jobs=config.training.jobs, dask="")
    done: dict[str, tuple[ReportedSite, SiteSummary]] = {}
    for outcome in outcomes:
        name = sites[outcome.number]
        done[name] = outcome.value or _bad(folder, name, outcome.reason, now=now)
    rows = [done[name] for name in sites]
    if site is None:
        write_file(folder / FLEET_PAGE, fleet_page(config.report, [summary for _, summary in rows], now=now))
    return [reported for reported, _ in rows]


def write_site(config: TrainerConfig, site: str, *, now: datetime) -> tuple[ReportedSite, SiteSummary]:
    """Write the page of one site.

    Raises:
        HistoryError: If it has no steps of the configured length.
    """
    folder, file = Path(config.report.folder), page_name(site)
    history = read_history(config, site)
    models = [model_part(config, site, model, now=now) for model in config.model]
    content = site_page(config, history, models, now=now)
    write_file(folder / file, content)
    scored = sum(one.scores is not None for one in models)
    result = ReportedSite(
        site=site, file=file, page_bytes=len(content), models_scored=scored, models_missing=len(models) - scored
    )
    return result, site_summary(config, history, models, file)


def page_name(site: str) -> str:
    """File of a site's page; no site can take that of the fleet."""
    return f"{site}_.html" if f"{site}.html" == FLEET_PAGE else f"{site}.html"


def read_history(config: TrainerConfig, site: str) -> SiteHistory:
    """All signals of a site on one grid, with their marks, and the weather of its models.

    Raises:
        HistoryError: If there are no steps of the configured length.
    """
    step_s = config.training.step_s
    read = read_site_steps(config, site)
    if read is None:
        raise HistoryError(f"no steps of {step_s / 60:g} min (training.step_s) in the history of this site")
    checked, _ = check_steps(config, read)
    start_s, count = read.steps.start_s, len(read.steps.values)
    targets = [model.signal for model in config.model if model.signal in read.signals]
    signals = [*targets, *(name for name in read.signals if name not in targets)]
    order = [read.signals.index(name) for name in signals]
    names = sorted({name for model in config.model for name in model.series})
    series = read_series(config.history, site, names, None) if names else {}
    return SiteHistory(
        site=site,
        time_zone=read.time_zone,
        start_s=start_s,
        step_s=step_s,
        signals=signals,
        values=read.steps.values[:, order].astype(np.float64),
        marks=checked.marks[:, order],
        quality=site_quality(site, config=config),
        weather={name: newest_known(one, start_s, step_s, count) for name, one in series.items() if one.issues},
    )


def model_part(config: TrainerConfig, site: str, model: ModelConfig, *, now: datetime) -> ModelPart:
    """A configured model of a site: read from its candidate or newest release, and scored."""
    data = read_site(config, site, model, until=None)
    found = next(_files(Path(config.candidates), model.signal, site), None)
    if found is None or data is None:
        return _no_model(model.signal, why_no_model(config, data, model.signal))
    state, file = found
    try:
        content = file.read_bytes()
        made = Model(content, check_file(content))
    except (OSError, ExportError) as error:
        return _no_model(model.signal, f"the file of the model cannot be used: {error}")
    try:
        judged = judge(config, model, data, made, now=now)
    except TooLittleDataError as error:
        return ModelPart(model.signal, state, made, None, None, str(error), ())
    counted = scores(judged.scored)
    reason = "" if counted else "nothing of what happened is known"
    return ModelPart(model.signal, state, made, judged, counted, reason, ())


def _files(candidates: Path, signal: str, site: str) -> Iterator[tuple[str, Path]]:
    """Model files of a site with their state: what waits, then what was released, the newest first."""
    waiting = candidate_folder(candidates, signal, site) / MODEL
    if waiting.is_file():
        yield "waiting", waiting
    numbers = sorted((int(one.name) for one in (candidates / "released").glob("[0-9]*") if one.name.isdigit()), reverse=True)
    for number in numbers:
        file = candidates / "released" / str(number) / signal / site / MODEL
        if file.is_file():
            yield f"release {number}", file


def _no_model(signal: str, reason: str) -> ModelPart:
    return ModelPart(signal, "none", None, None, None, reason, ())


def _bad(folder: Path, site: str, reason: str, *, now: datetime) -> tuple[ReportedSite, SiteSummary]:
    content = bad_site_page(site, reason, now=now)
    file = page_name(site)
    write_file(folder / file, content)
    result = ReportedSite(site=site, file=file, page_bytes=len(content), reason=reason)
    return result, SiteSummary(site=site, page=file, reason=reason)
