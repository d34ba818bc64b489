"""The section of a model on its site's page: scores, calibration, single forecasts, drift of its inputs, its card. Pure."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from markupsafe import Markup
from msgspec import Struct

from ringmain_trainer.analysis.anomalies import Anomaly, Residuals, unusual_hours
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.evaluation.drift import InputDrift, input_reasons
from ringmain_trainer.quantities import Quantity
from ringmain_trainer.report import figures, model_plots
from ringmain_trainer.report.figures import Scored, Values
from ringmain_trainer.report.model_scores import ModelPart
from ringmain_trainer.report.site_history import quantity_of

_LEADS_H: Final = (1, 3, 6, 12, 18, 24, 36, 48, 72)


class Lead(Struct, frozen=True, kw_only=True):
    """Mean absolute errors of the hour that ends `to_h` after the issue, in the unit of the signal."""

    to_h: int
    forecast: float
    yesterday: float
    last_week: float


class Skill(Struct, frozen=True, kw_only=True):
    """Pictures and tables of a model that was scored."""

    errors_by_lead: Markup
    leads: list[Lead]
    calibration: Markup
    uncertain_share: float
    examples: Markup | None
    surprises: list[Anomaly]
    surprise_h: float


class DriftRow(Struct, frozen=True, kw_only=True):
    """An input since the training against the training."""

    input: str
    drift: InputDrift
    drifts: bool


class ForecastSection(Struct, frozen=True, kw_only=True):
    """A configured model; without scores its part says why."""

    quantity: Quantity
    part: ModelPart
    skill: Skill | None
    drift: list[DriftRow]


def forecast_section(config: TrainerConfig, part: ModelPart, time_zone: str) -> ForecastSection:
    """The section of a model."""
    quantity = quantity_of(part.signal)
    drift = [
        DriftRow(input=name, drift=one, drifts=bool(input_reasons({name: one}, config.drift)))
        for name, one in part.drift.items()
    ]
    skill = None
    if part.scored is not None and part.scores is not None:
        skill = _skill(config, part.scored.scored, quantity, time_zone)
    return ForecastSection(quantity=quantity, part=part, skill=skill, drift=drift)


def _skill(config: TrainerConfig, scored: Scored, quantity: Quantity, time_zone: str) -> Skill:
    curves = figures.errors_by_lead(scored)
    shares, uncertain_share = figures.reliability(scored)
    chosen = figures.worst_and_typical(scored)
    examples = None
    if chosen is not None:
        worst, typical = chosen
        examples = model_plots.forecast_and_actual(scored, {"typical": typical, "worst": worst}, quantity, time_zone)
    quantiles, targets = scored.quantiles.astype(np.float32), scored.targets.astype(np.float32)
    residuals = Residuals(quantiles, targets, scored.issued_at_s, scored.step_s)
    return Skill(
        errors_by_lead=model_plots.errors_by_lead(curves, scored.step_s, quantity),
        leads=_leads(curves, scored.step_s),
        calibration=model_plots.calibration(scored, shares, figures.coverage_by_lead(scored), quantity),
        uncertain_share=uncertain_share,
        examples=examples,
        surprises=unusual_hours(residuals, config.analysis, quantity.shown_unit),
        surprise_h=config.analysis.residual_h,
    )


def _leads(curves: Mapping[str, Values], step_s: int) -> list[Lead]:
    """The curves of the picture as figures, for some lead times."""
    steps, per_hour = len(curves["forecast"]), 3600 // step_s
    hours = sorted({h for h in _LEADS_H if h * per_hour <= steps} | {max(1, steps // per_hour)})

    def mean(name: str, h: int) -> float:
        return float(np.mean(curves[name][(h - 1) * per_hour : h * per_hour]))

    return [
        Lead(to_h=h, forecast=mean("forecast", h), yesterday=mean("yesterday", h), last_week=mean("last week", h))
        for h in hours
    ]
