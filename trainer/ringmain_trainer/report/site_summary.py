"""A site and its models in few figures, for the tables of the fleet. Pure."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.evaluation.drift import input_reasons
from ringmain_trainer.report.figures import DayType, daily_bands
from ringmain_trainer.report.model_scores import ModelPart
from ringmain_trainer.report.site_history import SiteHistory, days_of, good_values, is_power


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
    """A site in the table of the fleet; `reason` says why its page holds no report."""

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


def site_summary(config: TrainerConfig, history: SiteHistory, models: Sequence[ModelPart], page: str) -> SiteSummary:
    """The figures of a site."""
    return SiteSummary(
        site=history.site,
        page=page,
        time_zone=history.time_zone,
        days=len(history.values) * history.step_s / DAY_S,
        good_share=history.quality.good_share,
        errors=history.quality.errors,
        warnings=history.quality.warnings,
        models=[_model_summary(config, one) for one in models],
        profile=_workday(config, history),
    )


def _model_summary(config: TrainerConfig, part: ModelPart) -> ModelSummary:
    drift = ", ".join(input_reasons(part.drift, config.drift))
    if part.scores is None or part.scored is None:
        return ModelSummary(signal=part.signal, state=part.state, reason=part.reason, drift=drift)
    scores = part.scores
    return ModelSummary(
        drift=drift,
        signal=part.signal,
        state=part.state,
        in_sample=part.scored.in_sample,
        mae=scores.forecast.mae,
        mae_persistence=_finite(scores.mae_persistence),
        rmae=_finite(scores.forecast.rmae),
        rcrps=_finite(scores.forecast.rcrps),
        coverage=scores.forecast.coverage,
        skill=_finite(scores.skill),
    )


def _workday(config: TrainerConfig, history: SiteHistory) -> list[float]:
    """Median workday of the first signal of power as a share of its largest size, for the small pictures of the fleet."""
    name = next((one for one in history.signals if is_power(config, one)), None)
    if name is None:
        return []
    band = daily_bands(days_of(config, history, good_values(config, history, name))).get(DayType.WORKDAY)
    if band is None:
        return []
    median = band.percentiles[2]
    largest = np.nanmax(np.abs(median))
    return [round(float(one), 4) for one in median / largest] if largest else []


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
