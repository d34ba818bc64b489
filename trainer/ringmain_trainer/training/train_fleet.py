"""One training of all sites: tasks to the workers, results into the journal and the log as they come."""

import logging
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from polars.exceptions import PanicException, PolarsError

from ringmain_protocol import topics
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig
from ringmain_trainer.errors import HistoryError, TrainerError
from ringmain_trainer.history.delta import table_path
from ringmain_trainer.history.site_reader import read_sites
from ringmain_trainer.history.tables import LANDING, TABLES, bucket
from ringmain_trainer.registry.candidates import drop_candidate
from ringmain_trainer.training.journal import Journal, header_of, instant, open_journal
from ringmain_trainer.training.train_site import TrainingResult, train_model
from ringmain_trainer.workers import Outcome, run_all

_PROGRESS_S: Final = 10.0
_UNREADABLE: Final = (PolarsError, PanicException, DeltaError)
log: Final = logging.getLogger("ringmain_trainer")

Task = tuple[str, ModelConfig, TrainingResult | None]
"""A site, a model, and the result from an interrupted training."""


def train(
    config: TrainerConfig, *, now: datetime, until: datetime | None = None, resume: bool = False, dask: str = ""
) -> list[TrainingResult]:
    """Train all models of all sites that have steps in the history; one that fails stops no other.

    Args:
        config: Models, history and candidates.
        now: Goes into the manifests, and decides how far their clock tables reach.
        until: End of the data, for a look back.
        resume: Continue an interrupted training: a result is reused if its data are unchanged and its candidate is there.
        dask: Address of a Dask scheduler, instead of processes on this machine.

    Returns:
        By site and model, in the order of the configuration.

    Raises:
        TrainerError: If another training works on the same candidates, or the Dask cluster does not answer.
    """
    asked = header_of(config, now=now, until=until)
    sites = sites_of(config.history)
    order = [(site, model.signal) for site in sites for model in config.model]
    with open_journal(Path(config.candidates), asked, TrainingResult, resume=resume) as journal:
        header = journal.header
        until = None if header.until_ms is None else instant(header.until_ms)
        work = partial(_train, config, now=instant(header.now_ms), until=until)
        tasks = ((site, model, journal.done.get((site, model.signal))) for site in sites for model in config.model)
        results = {}
        for outcome in _reported(run_all(work, tasks, jobs=config.training.jobs, dask=dask), len(order)):
            result = _result(config, order, outcome)
            _write_down(journal, result)
            results[result.site, result.signal] = result
    return [results[key] for key in order]


def _train(config: TrainerConfig, task: Task, *, now: datetime, until: datetime | None) -> TrainingResult:
    site, model, done = task
    try:
        return train_model(config, site, model, now=now, until=until, done=done)
    except _UNREADABLE as error:
        files = [
            broken for kind in (topics.STEPS, topics.SERIES, topics.STATUS) for broken in _broken(config.history, kind, site)
        ]
        text = "; ".join(files) or " ".join(str(error).split())
        raise HistoryError(f"the history of {site} cannot be read: {text}") from error
    except OSError as error:
        raise TrainerError(f"{model.signal} of {site}: {error}; candidates are in {config.candidates}") from error


def sites_of(location: str) -> list[str]:
    """Sites with steps; an unreadable file costs only the sites that are in no other.

    Raises:
        HistoryError: If nothing can be read.
    """
    try:
        return read_sites(location)
    except _UNREADABLE as error:
        log.warning("a file of the history cannot be read, trying each one: %s", " ".join(str(error).split()))
    try:
        files = DeltaTable(table_path(location, TABLES[topics.STEPS])).file_uris()
    except _UNREADABLE as error:
        raise HistoryError(f"the history cannot be read: {str(error).splitlines()[0]}") from error
    sites: set[str] = set()
    for file in files:
        try:
            sites.update(_sites_in(file))
        except _UNREADABLE as error:
            log.error("%s cannot be read: %s", file, " ".join(str(error).split()))  # noqa: TRY400  the text is enough
    return sorted(sites)


def _broken(location: str, kind: str, site: str) -> Iterator[str]:
    """Unreadable files of a table that may hold rows of the site, each with its error."""
    path = table_path(location, TABLES[kind])
    if not DeltaTable.is_deltatable(path):
        return
    for file in DeltaTable(path).file_uris([("bucket", "in", [str(bucket(site)), str(LANDING)])]):
        try:
            _sites_in(file)
        except _UNREADABLE as error:
            yield f"{file}: {' '.join(str(error).split())}"


def _sites_in(file: str) -> set[str]:
    return set(pl.read_parquet(file, columns=["site"])["site"].unique())


def _result(config: TrainerConfig, order: list[tuple[str, str]], outcome: Outcome[TrainingResult]) -> TrainingResult:
    """The result of a task; for an unexpected error, a result with its reason."""
    if outcome.value is not None:
        return outcome.value
    site, signal = order[outcome.number]
    drop_candidate(Path(config.candidates), signal, site)  # a candidate of an earlier training is not this one's
    if outcome.trace:
        log.error("failed site=%s signal=%s\n%s", site, signal, outcome.trace)
    return TrainingResult(site=site, signal=signal, trained=False, reason=outcome.reason)


def _write_down(journal: Journal[TrainingResult], result: TrainingResult) -> None:
    if journal.done.get((result.site, result.signal)) == result:
        return
    journal.add(result)
    if result.trained:
        text = "trained site=%s signal=%s mae=%.4g forecasts=%d train_s=%.1f decision=%s"
        numbers = result.metrics["mae"], result.trained_forecasts, result.train_s
        log.info(text, result.site, result.signal, *numbers, result.decision and result.decision.value)
        if result.masked:
            out = ", ".join(f"{count} {name}" for name, count in result.masked.items())
            log.warning("values that cannot be true were taken out site=%s signal=%s: %s", result.site, result.signal, out)
    else:
        log.warning("no model site=%s signal=%s reason=%s", result.site, result.signal, result.reason)


def _reported(outcomes: Iterator[Outcome[TrainingResult]], total: int) -> Iterator[Outcome[TrainingResult]]:
    """The outcomes; the log meanwhile gives the number done, the number without a model, and the time left."""
    begin = logged = time.monotonic()
    without = 0
    for done, outcome in enumerate(outcomes, start=1):
        yield outcome
        without += outcome.value is None or not outcome.value.trained
        now = time.monotonic()
        if now - logged >= _PROGRESS_S or done == total:
            rest_min = (now - begin) / done * (total - done) / 60
            log.info("train done=%d/%d without_model=%d rest_min=%.1f", done, total, without, rest_min)
            logged = now
