"""Scores a model for the report, on days after its training where possible; otherwise its scores are called in sample."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ringmain_model.session import forecast, open_session
from ringmain_protocol.manifest import ModelManifest
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig
from ringmain_trainer.errors import ExportError, TooLittleDataError
from ringmain_trainer.evaluation.drift import InputDrift
from ringmain_trainer.features.examples import examples, training_rows, window_of
from ringmain_trainer.features.site_data import SiteData
from ringmain_trainer.models.fit import persistence
from ringmain_trainer.report.figures import Scored, Scores
from ringmain_trainer.training.recipe import fit_and_prove, rows_of

Rows = NDArray[np.int64]

_FORECASTS_MIN: Final = 20


class ModelFile(NamedTuple):
    """A model file and its manifest."""

    content: bytes
    manifest: ModelManifest


class ScoredModel(NamedTuple):
    """Forecasts that were scored; `how` names their model and days; `in_sample` if the model was trained on these days."""

    scored: Scored
    how: str
    in_sample: bool


class ModelPart(NamedTuple):
    """One configured model of the site: its file and its scores; without them `reason` says why.

    `facts` go onto its card; `drift` compares its inputs since the training with those of the training.
    """

    signal: str
    state: str
    file: ModelFile | None
    scored: ScoredModel | None
    scores: Scores | None
    reason: str
    facts: Sequence[tuple[str, str]]
    drift: Mapping[str, InputDrift]


def score_model(config: TrainerConfig, model: ModelConfig, data: SiteData, file: ModelFile, *, now: datetime) -> ScoredModel:
    """Score a model on the newest days of its site.

    If there are days after its training, it is scored on these. If not, the same recipe is trained once more without the
    newest days and scored on them: an honest measure of the recipe. Where that cannot be done, the model is scored on days
    that it was trained on, and `in_sample` says so.

    Raises:
        TooLittleDataError: If there is nothing to score on.
    """
    window, training, report = window_of(config.training), config.training, config.report
    steps, step_s = data.steps, window.step_s
    rows = np.array(training_rows(steps, window, every=training.issue_every_steps, share_min=training.history_share_min))
    if not len(rows):
        raise TooLittleDataError("too little data: no day to score a forecast on")
    at_s = steps.start_s + step_s * rows
    span_s = report.score_days * DAY_S
    after = rows[(at_s >= file.manifest.trained_to_ms // 1000) & (at_s >= at_s[-1] - span_s)]
    if len(after) >= _FORECASTS_MIN:
        how = f"the waiting or released model, on {_days(after, step_s)} days after its training"
        return ScoredModel(_score(config, model, data, file.content, after), how, in_sample=False)
    cut = int(rows[-1] - span_s // step_s)
    early, late = rows[rows + window.horizon_steps <= cut], rows[rows >= cut]
    again = _trained_before(config, model, data, early, now=now) if report.look_back else None
    if again is not None:
        day = datetime.fromtimestamp(steps.start_s + step_s * cut, UTC)
        how = f"trained the same way on what was known on {day:%d %b %Y}, scored on the {_days(late, step_s)} days after it"
        return ScoredModel(_score(config, model, data, again, late), how, in_sample=False)
    rows = late if len(late) >= _FORECASTS_MIN else rows
    how = f"IN SAMPLE: the model was trained on these {_days(rows, step_s)} days, so it looks better here than it is"
    return ScoredModel(_score(config, model, data, file.content, rows), how, in_sample=True)


def _trained_before(config: TrainerConfig, model: ModelConfig, data: SiteData, rows: Rows, *, now: datetime) -> bytes | None:
    """The recipe on the days before those that are scored; None if that is too little to train on."""
    if len(rows) < config.training.forecasts_min:
        return None
    try:
        return fit_and_prove(recipe_of(config, model), data, rows.tolist(), now=now).content
    except (TooLittleDataError, ExportError):
        return None  # the page says that the scores are in sample


def why_no_model(config: TrainerConfig, data: SiteData | None, signal: str) -> str:
    """The reason in the data for a missing model."""
    if data is None:
        return f"no steps of {signal} in the history"
    try:
        rows_of(config.training, data)
    except TooLittleDataError as error:
        return str(error)
    return "no candidate and no release: `ringmain-trainer train` has not run since, or has refused it; its log says why"


def _score(config: TrainerConfig, model: ModelConfig, data: SiteData, content: bytes, rows: Rows) -> Scored:
    window = window_of(config.training)
    scored_examples = examples(data.steps, (data.series[name] for name in model.series), window, rows.tolist())
    history = scored_examples.inputs["history"]
    return Scored(
        levels=config.training.quantiles,
        issued_at_s=scored_examples.issued_at_s,
        step_s=window.step_s,
        quantiles=forecast(open_session(content), scored_examples.inputs).astype(np.float64),
        targets=scored_examples.targets.astype(np.float64),
        yesterday=persistence(history, window, 1),
        last_week=persistence(history, window, 7),
    )


def _days(rows: Rows, step_s: int) -> int:
    return max(1, round(float(rows[-1] - rows[0]) * step_s / DAY_S))
