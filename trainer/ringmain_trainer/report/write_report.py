"""The report: a page for each site and one for the fleet, as files that need nothing else. This module reads and writes."""

import re
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from ringmain_program.files import write_file
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig
from ringmain_trainer.errors import ExportError, HistoryError, PublishError, TooLittleDataError
from ringmain_trainer.evaluation.drift import InputDrift, input_drift
from ringmain_trainer.export.onnx_file import check_file
from ringmain_trainer.features.examples import window_of
from ringmain_trainer.features.site_data import SiteData, read_site
from ringmain_trainer.history.site_reader import read_series
from ringmain_trainer.quality.site_quality import check_steps, read_site_steps, site_quality
from ringmain_trainer.quantities import number
from ringmain_trainer.registry.candidates import (
    CandidateRecord,
    is_waiting,
    read_champion,
    read_newest_rejected,
    read_waiting_of,
)
from ringmain_trainer.registry.input_reference import inputs_of
from ringmain_trainer.report.figures import newest_known, scores
from ringmain_trainer.report.fleet_page import fleet_page
from ringmain_trainer.report.model_scores import ModelFile, ModelPart, score_model, why_no_model
from ringmain_trainer.report.site_history import SiteHistory
from ringmain_trainer.report.site_page import bad_site_page, site_page
from ringmain_trainer.report.site_summary import SiteSummary, site_summary
from ringmain_trainer.training.journal import FILE as JOURNAL
from ringmain_trainer.training.train_fleet import sites_of
from ringmain_trainer.training.train_site import TrainingResult
from ringmain_trainer.workers import run_all

FLEET_PAGE: Final = "index.html"
_SITE: Final = re.compile(r"[a-z0-9-]{1,63}")


class ReportedSite(Struct, frozen=True, kw_only=True):
    """The report of one site; with `reason` its page says only why there is none."""

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
        now: Time that the pages show.
        site: Only this one; the page of the fleet is left as it is.

    Raises:
        HistoryError: If the site is not in the history.
    """
    folder = Path(config.report.folder)
    sites = [one for one in sites_of(config.history) if _SITE.fullmatch(one)]
    if site is not None:
        if site not in sites:
            raise HistoryError(f"no steps of site {site!r} in {config.history}")
        sites = [site]
    trained = last_training(Path(config.candidates))
    tasks = ((one, trained.get(one, {})) for one in sites)
    outcomes = run_all(partial(write_site, config, now=now), tasks, jobs=config.training.jobs, dask="")
    done: dict[str, tuple[ReportedSite, SiteSummary]] = {}
    for outcome in outcomes:
        name = sites[outcome.number]
        done[name] = outcome.value or _bad(folder, name, outcome.reason, now=now)
    rows = [done[name] for name in sites]
    if site is None:
        write_file(folder / FLEET_PAGE, fleet_page(config.report, [summary for _, summary in rows], now=now))
    return [reported for reported, _ in rows]


def last_training(candidates: Path) -> dict[str, dict[str, TrainingResult]]:
    """Results of the newest training by site and signal, from its journal; none without one."""
    file = candidates / JOURNAL
    results: dict[str, dict[str, TrainingResult]] = {}
    for line in file.read_bytes().splitlines()[1:] if file.is_file() else []:
        try:
            result = msgspec.json.decode(line, type=TrainingResult)
        except msgspec.MsgspecError:
            continue  # a training that is under way, or was killed in this line
        results.setdefault(result.site, {})[result.signal] = result
    return results


def write_site(
    config: TrainerConfig, task: tuple[str, dict[str, TrainingResult]], *, now: datetime
) -> tuple[ReportedSite, SiteSummary]:
    """Write the page of one site, with the results of its models in the newest training.

    Raises:
        HistoryError: If it has no steps of the configured length.
    """
    site, trained = task
    folder, file = Path(config.report.folder), page_name(site)
    history = read_history(config, site)
    models = [model_part(config, site, model, trained.get(model.signal), now=now) for model in config.model]
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


def model_part(
    config: TrainerConfig, site: str, model: ModelConfig, trained: TrainingResult | None, *, now: datetime
) -> ModelPart:
    """A configured model of a site: its candidate, else its newest release, else what the gate rejected; scored."""
    data = read_site(config, site, model, until=None)
    try:
        stored = _newest(Path(config.candidates), model.signal, site)
        file = None if stored is None else ModelFile(stored.content, check_file(stored.content))
    except (PublishError, ExportError) as error:
        return _no_model(model.signal, f"the file of the model cannot be used: {error}")
    if stored is None or file is None or data is None:
        refusal = "" if trained is None or trained.trained else trained.reason
        return _no_model(model.signal, refusal or why_no_model(config, data, model.signal))
    facts = [*stored.facts, *_measured(trained, stored)]
    part = ModelPart(model.signal, stored.state, file, None, None, "", facts, {})
    part = part._replace(drift=_drift(config, model, data, stored, file))
    try:
        scored = score_model(config, model, data, file, now=now)
    except TooLittleDataError as error:
        return part._replace(reason=str(error))
    counted = scores(scored.scored)
    return part._replace(scored=scored, scores=counted, reason="" if counted else "no measurement of these days is known")


class _StoredModel(NamedTuple):
    """A model file and what is known of it."""

    state: str
    content: bytes
    record: CandidateRecord
    facts: list[tuple[str, str]]


def _newest(candidates: Path, signal: str, site: str) -> _StoredModel | None:
    """The waiting candidate, else the newest release, else the newest rejected one.

    Raises:
        PublishError: If its files are not whole.
    """
    rejected = read_newest_rejected(candidates, signal, site)
    refused = [] if rejected is None else [("last rejected", rejected.record.reason)]
    if is_waiting(candidates, signal, site):
        waiting = read_waiting_of(candidates, signal, site)
        return _StoredModel(
            f"waiting, {waiting.record.decision}", waiting.content, waiting.record, [*_decided(waiting.record), *refused]
        )
    champion = read_champion(candidates, signal, site)
    if champion is not None:
        release, one = champion
        return _StoredModel(f"release {release}", one.content, one.record, [*_decided(one.record), *refused])
    return (
        None if rejected is None else _StoredModel("rejected", rejected.content, rejected.record, _decided(rejected.record))
    )


def _decided(record: CandidateRecord) -> list[tuple[str, str]]:
    """The decision of the gate."""
    facts = [("decision", f"{record.decision}: {record.reason}")]
    if record.scores:
        facts.append(("scores of the gate", ", ".join(f"{name} {number(value)}" for name, value in record.scores.items())))
    if record.forced:
        facts.append(("released", "by a person, against the gate"))
    return facts


def _measured(trained: TrainingResult | None, stored: _StoredModel) -> list[tuple[str, str]]:
    """Measurements of the newest training, if this model is its own."""
    if trained is None or not trained.trained or trained.metrics != stored.record.metrics:
        return []
    notes = [("notes of the training", "; ".join(trained.notes))] if trained.notes else []
    return [("one forecast takes", f"{trained.latency_ms:.2g} ms on the machine of the training"), *notes]


def _drift(
    config: TrainerConfig, model: ModelConfig, data: SiteData, stored: _StoredModel, file: ModelFile
) -> dict[str, InputDrift]:
    """The inputs since the training against those of the training; nothing without enough new days."""
    if not stored.record.inputs or list(file.manifest.signals) != model.history:
        return {}
    end_s = data.steps.start_s + config.training.step_s * len(data.steps.values)
    first_s = max(file.manifest.trained_to_ms // 1000, end_s - round(config.drift.days * DAY_S))
    if end_s - first_s < config.drift.days_min * DAY_S:
        return {}
    compared = {}
    for name, (values, at_s) in inputs_of(data, model, window_of(config.training)).items():
        reference, new = stored.record.inputs.get(name), (at_s >= first_s) & (at_s < end_s)
        one = None if reference is None else input_drift(values[new], at_s[new], reference, config.drift)
        if one is not None:
            compared[name] = one
    return compared


def _no_model(signal: str, reason: str) -> ModelPart:
    return ModelPart(signal, "none", None, None, None, reason, (), {})


def _bad(folder: Path, site: str, reason: str, *, now: datetime) -> tuple[ReportedSite, SiteSummary]:
    content = bad_site_page(site, reason, now=now)
    file = page_name(site)
    write_file(folder / file, content)
    result = ReportedSite(site=site, file=file, page_bytes=len(content), reason=reason)
    return result, SiteSummary(site=site, page=file, reason=reason)
