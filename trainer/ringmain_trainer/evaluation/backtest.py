"""Backtest: scores of forecasts at past origins, each made from the data known at its issue time and nothing later.

At each origin the step values end, series stand as they were issued until then, and the rules of quality see nothing
later. Recipes side by side:

- `challenger`: the configuration's recipe, fitted anew as often as in operation, scored through its exported ONNX;
- `champion`: the newest released model of the site and signal, on the origins after its training;
- `yesterday` and `last_week`: seasonal persistence; the better one over all origins is marked.

Scores are given for all leads and by blocks of leads, over the values that all recipes of a comparison have. `champion` and
`challenger` over the champion's origins have lines of their own (`origins` = "after the champion's training").
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ringmain_model.session import QUANTILES, open_session, run_in_blocks
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig
from ringmain_trainer.errors import ExportError, PublishError, TooLittleDataError, TrainerError
from ringmain_trainer.evaluation.backtest_table import Line, Prediction, frame_of, lines_of
from ringmain_trainer.features.examples import examples, window_of
from ringmain_trainer.features.site_data import SiteData, mask_marked, read_site
from ringmain_trainer.history.site_reader import SeriesHistory, StepTable
from ringmain_trainer.models.fit import PERSISTENCE, persistence
from ringmain_trainer.models.metrics import Forecasts
from ringmain_trainer.registry.champion import Released, read_released
from ringmain_trainer.registry.gate import CHALLENGER, CHAMPION
from ringmain_trainer.training.recipe import fit_and_prove, rows_of
from ringmain_trainer.training.train_fleet import sites_of
from ringmain_trainer.workers import run_all

_AFTER: Final = "after the champion's training"
_MARK_DAYS: Final = 60
"""Days before an origin that the rules of quality see, for the inputs of a forecast."""


class Backtest(NamedTuple):
    """Scores, and the forecasts that were scored."""

    lines: list[Line]
    forecasts: pl.DataFrame


class Champion(NamedTuple):
    """A released model and the raw history of its own inputs."""

    released: Released
    data: SiteData


def backtest(config: TrainerConfig, *, now: datetime, sites: Sequence[str] = (), signals: Sequence[str] = ()) -> Backtest:
    """Score all recipes of all sites and signals; a site that fails has a line with the reason and stops no other.

    Args:
        config: History, recipes, and the origins in `backtest`.
        now: Goes into the clock tables of the fitted models, which are not kept.
        sites: Names of sites; all that have steps if empty.
        signals: Targets of models; all models of the configuration if empty.

    Raises:
        HistoryError: If it cannot be read at all.
    """
    models = [model for model in config.model if not signals or model.signal in signals]
    tasks = [(site, model) for site in (sorted(sites) or sites_of(config.history)) for model in models]
    by_task: dict[int, Backtest] = {}
    for outcome in run_all(partial(_task, config, now=now), tasks, jobs=config.training.jobs):
        site, model = tasks[outcome.number]
        failed = Backtest([Line(site=site, signal=model.signal, recipe="", reason=outcome.reason)], pl.DataFrame())
        by_task[outcome.number] = failed if outcome.value is None else outcome.value
    ordered = [by_task[number] for number in sorted(by_task)]
    frames = [one.forecasts for one in ordered if len(one.forecasts)]
    frame = pl.concat(frames, how="diagonal") if frames else pl.DataFrame()
    return Backtest([line for one in ordered for line in one.lines], frame)


def _task(config: TrainerConfig, task: tuple[str, ModelConfig], *, now: datetime) -> Backtest:
    site, model = task
    try:
        return backtest_site(config, model, read_raw(config, site, model), _released(config, site, model), now=now)
    except (TrainerError, ExportError) as error:
        return Backtest([Line(site=site, signal=model.signal, recipe="", reason=str(error))], pl.DataFrame())


def read_raw(config: TrainerConfig, site: str, model: ModelConfig) -> SiteData:
    """The history of a site without the marks of quality: marks may depend on later values.

    Raises:
        TooLittleDataError: If there is none.
    """
    data = read_site(_quality_off(config), site, model, until=None)
    if data is None:
        raise TooLittleDataError(f"no steps of {model.signal} in the history")
    return data


def backtest_site(
    config: TrainerConfig, model: ModelConfig, data: SiteData, champion: Champion | str, *, now: datetime
) -> Backtest:
    """Score all recipes at the origins of one site and signal; reads and writes nothing.

    Args:
        config: Recipe and origins.
        model: Signal, history and series.
        data: The history without marks of quality.
        champion: The released model with its own history, or the reason why there is none.
        now: Goes into the clock tables of the fitted models, which are not kept.

    Raises:
        TooLittleDataError: If there is no origin, or the recipe cannot be fitted before any of them.
        ExportError: If a model cannot be exported, or its file gives other values.
    """
    rows = origin_rows(config, data.steps)
    if not len(rows):
        raise TooLittleDataError("too little data: no origin with a window before it and a whole horizon after it")
    window = window_of(config.training)
    known = [known_at(config, model, data, int(row)) for row in rows]
    inputs = [examples(one.steps, one.series.values(), window, [len(one.steps.values)]).inputs for one in known]
    batch = {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}
    whole = _marked(config, model, data)
    actual = examples(whole.steps, (), window, rows.tolist()).targets.astype(np.float64)
    issued_at_s = data.steps.start_s + window.step_s * rows
    predictions = {CHALLENGER: _challenger(config, model, data, rows, batch, now=now)}
    naive = {name: persistence(batch["history"], window, days) for name, days in PERSISTENCE.items()}
    lines: list[Line] = []
    who = Line(site=data.site, signal=model.signal, recipe=CHAMPION)
    if isinstance(champion, str):
        lines.append(_without_scores(who, champion))
    else:
        of_champion = _champion(config, champion, rows, issued_at_s)
        if isinstance(of_champion, str):
            lines.append(_without_scores(who, of_champion))
        else:
            predictions[CHAMPION] = of_champion
    quantiles = predictions[CHALLENGER].quantiles
    forecasts = Forecasts(issued_at_s, window.step_s, config.training.quantiles, quantiles, actual, naive)
    groups = [(who.origins, predictions[CHALLENGER].asked, [CHALLENGER])]
    if CHAMPION in predictions:
        both = predictions[CHALLENGER].asked & predictions[CHAMPION].asked
        groups.append((_AFTER, both, [CHAMPION, CHALLENGER]))
    for origins, asked, recipes in groups:
        of = msgspec.structs.replace(who, origins=origins)
        compared = {name: predictions[name] for name in recipes}
        lines += lines_of(of, forecasts, compared, asked, config.backtest.lead_block_h)
    return Backtest(lines, frame_of(who, forecasts, predictions))


def origin_rows(config: TrainerConfig, steps: StepTable) -> NDArray[np.int64]:
    """Rows of the steps at which forecasts are issued: the newest ones with a window before and a whole horizon after."""
    window, settings = window_of(config.training), config.backtest
    every, first_s = round(settings.every_h * 3600), round(settings.at_h * 3600)
    begin_s = steps.start_s + window.history_steps * window.step_s
    end_s = steps.start_s + (len(steps.values) - window.horizon_steps) * window.step_s
    at_s = np.arange(first_s + -(-(begin_s - first_s) // every) * every, end_s + 1, every, dtype=np.int64)
    rows = (at_s[at_s % window.step_s == 0] - steps.start_s) // window.step_s
    count = np.concatenate([[0], np.cumsum(np.isfinite(steps.values[:, 0]))])
    share = (count[rows] - count[rows - window.history_steps]) / window.history_steps
    return np.asarray(rows[share >= config.training.history_share_min][-settings.origins :], np.int64)


def known_at(config: TrainerConfig, model: ModelConfig, data: SiteData, row: int, *, days: float | None = None) -> SiteData:
    """The data known at the START of a row: the steps before it, series issued until then, marks made from these alone.

    Args:
        config: The rules of quality.
        model: Names the columns of the steps.
        data: The history without marks of quality.
        row: Of the steps.
        days: The newest days only; the window of a model if not given.
    """
    window = window_of(config.training)
    at_s = data.steps.start_s + window.step_s * row
    span = _MARK_DAYS * DAY_S // window.step_s if days is None else round(days * DAY_S / window.step_s)
    first = max(0, row - max(span, window.history_steps))
    steps = StepTable(data.steps.start_s + window.step_s * first, data.steps.values[first:row])
    series = {
        name: SeriesHistory(one.unit, [issue for issue in one.issues if issue.issued_at_s <= at_s])
        for name, one in data.series.items()
    }
    return _marked(config, model, data._replace(steps=steps, series=series))


def _marked(config: TrainerConfig, model: ModelConfig, data: SiteData) -> SiteData:
    """The data with gaps in place of all values that the quality rules mark."""
    return mask_marked(data, model.history, config.training.step_s, config.quality)._replace(masked=data.masked)


def _challenger(  # noqa: PLR0913  the recipe, its data and the inputs of its forecasts
    config: TrainerConfig,
    model: ModelConfig,
    data: SiteData,
    rows: NDArray[np.int64],
    batch: dict[str, NDArray[np.float32] | NDArray[np.int64]],
    *,
    now: datetime,
) -> Prediction:
    """Forecasts of the recipe, fitted anew every `refit_days` on the data known then; none while there are too few."""
    window, levels = window_of(config.training), config.training.quantiles
    quantiles = np.full((len(rows), window.horizon_steps, len(levels)), np.nan)
    refit = config.backtest.refit_days * DAY_S / window.step_s
    reason = TooLittleDataError("too little data")
    first = 0
    while first < len(rows):
        last = int(np.searchsorted(rows, rows[first] + refit - 1e-6))
        known = known_at(config, model, data, int(rows[first]), days=config.training.days_max)
        try:
            content = fit_and_prove(recipe_of(config, model), known, rows_of(config.training, known), now=now).content
        except TooLittleDataError as error:
            reason, first = error, first + 1
            continue
        part = {name: value[first:last] for name, value in batch.items()}
        quantiles[first:last] = run_in_blocks(open_session(content), part, QUANTILES)
        first = last
    asked = np.isfinite(quantiles).all(axis=(1, 2))
    if not asked.any():
        raise reason
    return Prediction(asked, levels, quantiles)


def _champion(
    config: TrainerConfig, champion: Champion, rows: NDArray[np.int64], issued_at_s: NDArray[np.int64]
) -> Prediction | str:
    """Forecasts of the released model at the origins after its training; or the reason why there are none."""
    released, window = champion.released, champion.released.window
    who = f"release {released.release}"
    if (window.step_s, window.horizon_steps) != (config.training.step_s, config.training.horizon_steps):
        return f"{who} has another step or horizon"
    asked = 1000 * issued_at_s >= released.manifest.trained_to_ms
    if not asked.any():
        return f"{who} was trained on all these days"
    levels = tuple(released.manifest.quantiles)
    quantiles = np.full((len(rows), window.horizon_steps, len(levels)), np.nan)
    session, own = open_session(released.content), champion.data
    for i in np.flatnonzero(asked):
        row = int((issued_at_s[i] - own.steps.start_s) // window.step_s)
        known = known_at(config, released.model, own, row)
        inputs = examples(known.steps, known.series.values(), window, [len(known.steps.values)]).inputs
        quantiles[i] = run_in_blocks(session, inputs, QUANTILES)[0]
    return Prediction(asked, levels, quantiles)


def _released(config: TrainerConfig, site: str, model: ModelConfig) -> Champion | str:
    """The newest released model with its history; or the reason why there is none."""
    try:
        released = read_released(Path(config.candidates), model.signal, site)
        if released is None:
            return "no model of this site and signal is released"
        return Champion(released, read_raw(config, site, released.model))
    except (PublishError, ExportError, TooLittleDataError) as error:
        return f"the released model cannot be compared: {error}"


def _without_scores(who: Line, reason: str) -> Line:
    return Line(site=who.site, signal=who.signal, recipe=who.recipe, reason=reason)


def _quality_off(config: TrainerConfig) -> TrainerConfig:
    return msgspec.structs.replace(config, quality=msgspec.structs.replace(config.quality, enabled=False))
