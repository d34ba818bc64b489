"""The watch: errors and inputs of the released models at their sites, and the models to train again (see `drift`).

For each site and signal it reads the newest days of the history: step values, series, and the forecasts that the agent sent.
A site that fails has a line with the reason and stops no other. A history that cannot be read costs one look.
"""

import fcntl
import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct

from ringmain_protocol import topics
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig
from ringmain_trainer.errors import TrainerError
from ringmain_trainer.evaluation.drift import ErrorDrift, InputDrift, error_drift, error_reasons, input_drift, input_reasons
from ringmain_trainer.export.onnx_file import check_file
from ringmain_trainer.features.examples import examples
from ringmain_trainer.features.site_data import SiteData, read_site
from ringmain_trainer.history.delta import scan
from ringmain_trainer.models.fit import PERSISTENCE, persistence
from ringmain_trainer.models.metrics import Forecasts
from ringmain_trainer.registry.candidates import CandidateRecord, is_waiting, last_trained_ms, note_attempt, read_champion
from ringmain_trainer.registry.champion import Released
from ringmain_trainer.registry.input_reference import inputs_of
from ringmain_trainer.training.journal import FILE
from ringmain_trainer.training.train_fleet import sites_of
from ringmain_trainer.training.train_site import TrainingResult, train_model
from ringmain_trainer.workers import run_all

log: Final = logging.getLogger("ringmain_trainer")

Task = tuple[str, ModelConfig]


class Watched(Struct, frozen=True, kw_only=True):
    """A model at its site. `reasons` speak for training it again; `reason` explains missing errors or inputs.

    `retrain`: there are reasons, and the last training is `retrain_days_min` days ago or more. `training` is the result of
    the new training, if there was one.
    """

    site: str
    signal: str
    release: int = 0
    age_days: float | None = None
    retrain: bool = False
    reasons: list[str] = []
    reason: str = ""
    errors: ErrorDrift | None = None
    inputs: dict[str, InputDrift] = {}
    training: TrainingResult | None = None


def watch(  # noqa: PLR0913  the models, the clock, and the ends of it
    config: TrainerConfig,
    *,
    clock: Callable[[], datetime],
    deliver: Callable[[list[Watched]], None],
    stop: Event,
    once: bool = False,
    retrain: bool = False,
) -> list[Watched]:
    """Look at all models every `watch.every_s` seconds, until stopped.

    Args:
        config: Models, interval, bounds of drift.
        clock: The time.
        deliver: Takes the results of each look.
        stop: Ends the watch, at the end of a look at the latest.
        once: Look once.
        retrain: Train the models with `retrain`; the gate decides on the candidates.

    Returns:
        The results of the last look.

    Raises:
        TrainerError: If the history cannot be read, with `once`.
    """
    results: list[Watched] = []
    while True:
        began = time.monotonic()
        now = clock()
        try:
            results = look(config, now=now)
            if retrain:
                results = train_again(config, results, now=now)
            deliver(results)
        except (TrainerError, OSError) as error:
            if once:
                raise
            log.error("watch: this look failed, the next is in %g s: %s", config.watch.every_s, error)  # noqa: TRY400
        if once or stop.wait(max(0.0, config.watch.every_s - (time.monotonic() - began))):
            return results


def look(config: TrainerConfig, *, now: datetime) -> list[Watched]:
    """Look at all models of all sites that have steps; one that fails stops no other.

    Raises:
        HistoryError: If it cannot be read at all.
    """
    sites = sites_of(config.history)
    tasks = [(site, model) for site in sites for model in config.model]
    by_task = {}
    for outcome in run_all(partial(_look_at, config, now=now), tasks, jobs=config.training.jobs):
        site, model = tasks[outcome.number]
        failed = Watched(site=site, signal=model.signal, reason=f"it cannot be looked at: {outcome.reason}")
        by_task[outcome.number] = failed if outcome.value is None else outcome.value
    return [by_task[number] for number in sorted(by_task)]


def train_again(config: TrainerConfig, results: Sequence[Watched], *, now: datetime) -> list[Watched]:
    """Train the models with `retrain`; their results get `training`.

    Raises:
        TrainerError: If another training has the same candidates open.
    """
    models = {model.signal: model for model in config.model}
    chosen = [i for i, one in enumerate(results) if one.retrain]
    done = list(results)
    if not chosen:
        return done
    candidates = Path(config.candidates)
    tasks = [(results[i].site, models[results[i].signal]) for i in chosen]
    with _training_alone(candidates):
        for outcome in run_all(partial(_train, config, now=now), tasks, jobs=config.training.jobs):
            i = chosen[outcome.number]
            site, signal = done[i].site, done[i].signal
            result = outcome.value or TrainingResult(site=site, signal=signal, trained=False, reason=outcome.reason)
            done[i] = msgspec.structs.replace(done[i], training=result)
            log.info("trained again site=%s signal=%s %s", site, signal, result.decision_reason or result.reason)
            note_attempt(candidates, signal, site, round(1000 * now.timestamp()))
    return done


def look_at(config: TrainerConfig, site: str, model: ModelConfig, *, now: datetime) -> Watched:
    """Look at one model: its errors, its inputs, its age.

    Raises:
        TrainerError: If its files or the history cannot be read.
    """
    candidates = Path(config.candidates)
    last_ms = last_trained_ms(candidates, model.signal, site)
    now_ms = round(1000 * now.timestamp())
    age_days = None if last_ms is None else (now_ms - last_ms) / (1000 * DAY_S)
    rested = age_days is None or age_days >= config.watch.retrain_days_min
    one = Watched(site=site, signal=model.signal, age_days=None if age_days is None else round(age_days, 2))
    champion = read_champion(candidates, model.signal, site)
    if champion is None:
        waits = is_waiting(candidates, model.signal, site)
        reasons = [] if waits else ["no model is released"]
        text = "a candidate waits, no model is released" if waits else ""
        return msgspec.structs.replace(one, reason=text, reasons=reasons, retrain=bool(reasons) and rested)
    release, candidate = champion
    released = Released(release, candidate.content, check_file(candidate.content))
    one = msgspec.structs.replace(one, release=release)
    reasons = []
    if age_days is not None and age_days > config.drift.age_days_max:
        reasons.append(f"age: last trained {age_days:.0f} days ago, {config.drift.age_days_max:g} are allowed")
    data = _newest(config, site, released, now)
    if data is None:
        text = f"no steps of {model.signal} in the last {config.drift.days:g} days"
        return msgspec.structs.replace(one, reasons=reasons, retrain=bool(reasons) and rested, reason=text)
    inputs = _inputs(config, data, released, candidate.record, now)
    reasons += input_reasons(inputs, config.drift)
    forecasts = read_forecasts(config, data, released, now)
    errors = None
    if forecasts is not None:
        errors = error_drift(forecasts, candidate.record.metrics)
        reasons += error_reasons(errors, forecasts, config.drift)
    text = "" if errors else f"no forecasts of release {release} in the last {config.drift.days:g} days"
    return msgspec.structs.replace(
        one, errors=errors, inputs=inputs, reasons=reasons, retrain=bool(reasons) and rested, reason=text
    )


def read_forecasts(config: TrainerConfig, data: SiteData, released: Released, now: datetime) -> Forecasts | None:
    """Forecasts that the agent made with a release in the newest days, and the truth; None if there are none."""
    manifest, window = released.manifest, released.window
    since = now - timedelta(days=config.drift.days)
    rows = scan(config.history, topics.FORECAST, site=data.site, signals=[manifest.signal], since=since, until=now)
    sent = (
        rows.filter(
            pl.col("release") == released.release,
            pl.col("lead").is_between(0, window.horizon_steps - 1),
            pl.col("quantiles").list.len() == len(manifest.quantiles),
            pl.col("values").list.len() == len(manifest.quantiles),
        )
        .sort("received_at", "sequence")
        .unique(["issued_at", "lead"], keep="last")
        .select(pl.col("issued_at").dt.epoch("s"), "lead", "values")
        .collect()
    )
    if not len(sent):
        return None
    issued_at_s, place = np.unique(sent["issued_at"].to_numpy(), return_inverse=True)
    quantiles = np.full((len(issued_at_s), window.horizon_steps, len(manifest.quantiles)), np.nan)
    quantiles[place, sent["lead"].to_numpy()] = sent["values"].list.to_array(len(manifest.quantiles)).to_numpy()
    rows_of_issue = (issued_at_s - data.steps.start_s) // window.step_s
    measured = examples(data.steps, (), window, rows_of_issue.tolist())
    naive = {name: persistence(measured.inputs["history"], window, days) for name, days in PERSISTENCE.items()}
    levels = tuple(manifest.quantiles)
    return Forecasts(issued_at_s, window.step_s, levels, quantiles, measured.targets.astype(np.float64), naive)


def _look_at(config: TrainerConfig, task: Task, *, now: datetime) -> Watched:
    site, model = task
    return look_at(config, site, model, now=now)


def _train(config: TrainerConfig, task: Task, *, now: datetime) -> TrainingResult:
    site, model = task
    return train_model(config, site, model, now=now, until=None)


def _newest(config: TrainerConfig, site: str, released: Released, now: datetime) -> SiteData | None:
    """The model's inputs in the newest days, and the days before them that persistence needs; None without steps."""
    window = released.window
    begin = now - timedelta(days=config.drift.days)
    since = begin - timedelta(seconds=window.history_steps * window.step_s)
    data = read_site(config, site, released.model, until=now, since=since)
    if data is None or data.steps.start_s + len(data.steps.values) * window.step_s <= begin.timestamp():
        return None
    return data


def _inputs(
    config: TrainerConfig, data: SiteData, released: Released, record: CandidateRecord, now: datetime
) -> dict[str, InputDrift]:
    """The inputs of the newest days compared with those of the training."""
    begin_s = round((now - timedelta(days=config.drift.days)).timestamp())
    drifts = {}
    for name, (values, at_s) in inputs_of(data, released.model, released.window).items():
        reference, newest = record.inputs.get(name), at_s >= begin_s
        one = None if reference is None else input_drift(values[newest], at_s[newest], reference, config.drift)
        if one is not None:
            drifts[name] = one
    return drifts


@contextmanager
def _training_alone(candidates: Path) -> Generator[None]:
    """Hold the lock of the journal: no other training writes candidates meanwhile. The journal is not changed."""
    candidates.mkdir(parents=True, exist_ok=True)
    with (candidates / FILE).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainerError(f"a training writes to {candidates}: the watch trains nothing meanwhile") from error
        yield
