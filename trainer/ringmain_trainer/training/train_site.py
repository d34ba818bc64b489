"""Training of one site and signal: read its history, follow the recipe, ask the gate, write the candidate."""

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig
from ringmain_trainer.errors import ExportError, TooLittleDataError
from ringmain_trainer.features.examples import window_of
from ringmain_trainer.features.site_data import SiteData, read_site
from ringmain_trainer.registry.candidates import CandidateRecord, drop_candidate, is_waiting, prune_rejected, write_candidate
from ringmain_trainer.registry.champion import judge
from ringmain_trainer.registry.gate import Decision, Verdict
from ringmain_trainer.registry.input_reference import references
from ringmain_trainer.training.journal import inputs_hash
from ringmain_trainer.training.recipe import TrainedModel, fit_and_prove, fit_site, rows_of


class TrainingResult(Struct, frozen=True, kw_only=True):
    """The result of one site and signal; without a candidate `reason` gives the cause.

    `decision` and `decision_reason` are the gate's verdict. `masked` counts the values that the quality rules turned into
    gaps, by `signal.mark`.
    """

    site: str
    signal: str
    trained: bool
    reason: str = ""
    masked: dict[str, int] = {}
    decision: Decision | None = None
    decision_reason: str = ""
    metrics: dict[str, float] = {}
    trained_forecasts: int = 0
    model_bytes: int = 0
    latency_ms: float = 0.0
    train_s: float = 0.0
    notes: list[str] = []
    inputs_sha256: str = ""


def train_model(  # noqa: PLR0913  a model, its time, and its result from an interrupted run
    config: TrainerConfig,
    site: str,
    model: ModelConfig,
    *,
    now: datetime,
    until: datetime | None,
    done: TrainingResult | None = None,
) -> TrainingResult:
    """Train one model and write it as a candidate; the candidate that waited before is removed first.

    `done`: the result from an interrupted run. It is reused if the input hash is unchanged and its candidate is still there.
    """
    begin = time.monotonic()
    folder, inputs_sha256 = Path(config.candidates), ""
    try:
        data = read_site(config, site, model, until=until)
        inputs_sha256 = "" if data is None else inputs_hash(data)
        kept = done is not None and done.trained and done.decision is not Decision.REJECTED
        if done and done.inputs_sha256 == inputs_sha256 and kept == is_waiting(folder, model.signal, site):
            return done
        drop_candidate(folder, model.signal, site)
        if data is None:
            return _skipped(site, model, f"no steps of {model.signal} in the history")
        trained = fit_site(recipe_of(config, model), data, rows_of(config.training, data), now=now)
        verdict = _verdict(config, model, data, trained, now=now, until=until)
    except (TooLittleDataError, ExportError) as error:
        return _skipped(site, model, str(error), inputs_sha256)
    manifest = trained.manifest
    record = CandidateRecord(
        site=site,
        signal=model.signal,
        created_at_ms=manifest.created_at_ms,
        model_sha256="",
        dump_sha256="",
        trained_sha256=manifest.trained_sha256,
        trained_forecasts=manifest.trained_forecasts,
        metrics=manifest.metrics,
        decision=verdict.decision,
        reason=verdict.reason,
        scores=verdict.scores,
        inputs=references(data, model, window_of(config.training), config.drift.days),
    )
    write_candidate(folder, trained.fitted, trained.content, record)
    prune_rejected(folder, model.signal, site, config.promotion.rejected_kept)
    return TrainingResult(
        site=site,
        signal=model.signal,
        trained=True,
        decision=verdict.decision,
        decision_reason=verdict.reason,
        masked=data.masked or {},
        metrics=manifest.metrics,
        trained_forecasts=manifest.trained_forecasts,
        model_bytes=len(trained.content),
        latency_ms=trained.latency_ms,
        notes=list(trained.notes),
        train_s=time.monotonic() - begin,
        inputs_sha256=inputs_sha256,
    )


def _verdict(  # noqa: PLR0913  a model, its data and its time
    config: TrainerConfig,
    model: ModelConfig,
    data: SiteData,
    trained: TrainedModel,
    *,
    now: datetime,
    until: datetime | None,
) -> Verdict:
    """The verdict of the gate, from the forecasts of the held-out days that the fit has made anyway."""
    if trained.fitted.held_out is None:
        return Verdict(decision=Decision.UNDECIDED, reason="no forecasts of held-out days to judge by")

    def again(at_s: int) -> bytes:
        last = (at_s - data.steps.start_s) // config.training.step_s - config.training.horizon_steps
        rows = [row for row in rows_of(config.training, data) if row <= last]
        if len(rows) < config.training.forecasts_min:
            raise TooLittleDataError("too little data before the newest days")
        return fit_and_prove(recipe_of(config, model), data, rows, now=now).content

    return judge(config, model, data, trained.fitted.held_out, until=until, again=again)


def _skipped(site: str, model: ModelConfig, reason: str, inputs_sha256: str = "") -> TrainingResult:
    return TrainingResult(site=site, signal=model.signal, trained=False, reason=reason, inputs_sha256=inputs_sha256)


def persistence_beaten(results: Sequence[TrainingResult]) -> list[TrainingResult]:
    """Models that were worse on the held-out days than yesterday's or last week's values."""
    naive = ("mae_yesterday", "mae_last_week")
    return [r for r in results if r.trained and any(r.metrics["mae"] > r.metrics[n] for n in naive if n in r.metrics)]
