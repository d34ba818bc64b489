"""Drift: are the newest days still like those of the training? Pure: arrays in, numbers and reasons out.

Inputs. `registry.input_reference` describes the inputs of the training by season. The newest values of an input have
drifted if their PSI exceeds the usual bound and, with a margin, the largest of any such span of the training; if too many
lie outside the range of the training; or if the training had no such season.

Errors. Live forecasts of the released model (absolute error of P50, pinball loss, coverage) are compared with the held-out
days of its training, and with persistence over the same values. A cold spell makes every forecast worse; drift makes the
model worse than persistence.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from msgspec import Struct

from ringmain_trainer.arrays import Ints, Values
from ringmain_trainer.config.evaluation import DriftConfig
from ringmain_trainer.models.metrics import Forecasts, by_day, coverage, mae, pinball
from ringmain_trainer.registry.gate import against_persistence, compare
from ringmain_trainer.registry.input_reference import VALUES_MIN, Reference, bin_shares, months_of, population_stability

_UNSEEN_MAX: Final = 0.5
_USUAL_MARGIN: Final = 1.5
"""Margin above the largest training value: the maximum of 20 spans is exceeded by chance about once in the next 20."""
_AT_TRAINING: Final = ("mae", "pinball", "coverage", "mae_yesterday", "mae_last_week")


class InputDrift(Struct, frozen=True, kw_only=True):
    """The newest days of one input compared with its training.

    `outside_share` of its values lie outside the range of the training, `unseen_share` in a season that it did not have.
    """

    psi: float
    psi_bound: float
    outside_share: float
    unseen_share: float
    values: int


class ErrorDrift(Struct, frozen=True, kw_only=True):
    """Live errors of a model, in the unit of the signal; None where no value counts.

    `at_training` are the errors on the held-out days of its training.
    """

    days: int
    forecasts: int
    mae: float | None
    pinball: float | None
    coverage: float | None
    mae_persistence: float | None
    persistence: str
    at_training: dict[str, float]
    p_worse_than_persistence: float | None


def input_drift(values: Values, at_s: Ints, reference: Reference, config: DriftConfig) -> InputDrift | None:
    """Compare the newest values of an input with its reference; None if there are too few."""
    known = np.isfinite(values)
    values, at_s = values[known], at_s[known]
    if len(values) < VALUES_MIN or not reference.months:
        return None
    month = months_of(at_s)
    seen = np.isin(month, list(reference.months))
    low = min(edges[0] for edges in reference.months.values())
    high = max(edges[-1] for edges in reference.months.values())
    shares = bin_shares(values[seen], month[seen], reference)
    return InputDrift(
        psi=population_stability(shares) if seen.any() else 0.0,
        psi_bound=max(config.psi_max, _USUAL_MARGIN * reference.psi_usual),
        outside_share=float(((values < low) | (values > high)).mean()),
        unseen_share=float(1 - seen.mean()),
        values=len(values),
    )


def input_reasons(drifts: Mapping[str, InputDrift], config: DriftConfig) -> list[str]:
    """Reasons of the inputs for a new training."""
    reasons = []
    for name, drift in drifts.items():
        if drift.unseen_share > _UNSEEN_MAX:
            reasons.append(f"{name}: the training had no such season")
        if drift.outside_share > config.outside_share_max:
            reasons.append(f"{name}: {drift.outside_share:.0%} of the values are outside the range of the training")
        if drift.psi > drift.psi_bound:
            reasons.append(f"{name}: population stability index {drift.psi:.2f}, up to {drift.psi_bound:.2f} is usual")
    return reasons


def error_drift(live: Forecasts, at_training: Mapping[str, float]) -> ErrorDrift:
    """Errors of live forecasts, and the metrics of the training."""
    days = by_day(np.abs(live.median - live.actual), live.issued_at_s, live.step_s)
    against, persistence = against_persistence(live)
    return ErrorDrift(
        days=len(days),
        forecasts=len(live.issued_at_s),
        mae=_known(mae(live.median, live.actual)),
        pinball=_known(pinball(live.quantiles, live.actual, live.levels)),
        coverage=_known(coverage(live.quantiles, live.actual)),
        mae_persistence=None if against is None else against.other,
        persistence=persistence,
        at_training={key: at_training[key] for key in _AT_TRAINING if key in at_training},
        p_worse_than_persistence=None if against is None else against.p_worse,
    )


def error_reasons(drift: ErrorDrift, live: Forecasts, config: DriftConfig) -> list[str]:
    """Reasons of the errors for a new training; none with fewer than `days_min` days."""
    if drift.days < config.days_min or drift.mae is None:
        return []
    reasons = []
    at_training = drift.at_training.get("mae")
    if at_training is not None and _risen(drift, live, at_training, config):
        reasons.append(f"error: MAE {drift.mae:.4g} on {drift.days} days, {at_training:.4g} at training")
    naive, p = drift.mae_persistence, drift.p_worse_than_persistence
    if naive is not None and p is not None and drift.mae > naive and p < config.alpha:
        reasons.append(
            f"error: worse than persistence ({drift.persistence}): MAE {drift.mae:.4g} against {naive:.4g}, p {p:.2g}"
        )
    nominal = live.levels[-1] - live.levels[0]
    if drift.coverage is not None and abs(drift.coverage - nominal) > config.coverage_slack:
        reasons.append(f"coverage: {drift.coverage:.0%} of the truth is between the outer quantiles, not {nominal:.0%}")
    return reasons


def _risen(drift: ErrorDrift, live: Forecasts, at_training: float, config: DriftConfig) -> bool:
    """Whether the error exceeds its bound beyond chance, and has also risen in relation to persistence."""
    bound = (1 + config.error_share_max) * at_training
    days = by_day(np.abs(live.median - live.actual), live.issued_at_s, live.step_s)
    above = compare(days, dict.fromkeys(days, bound))
    if above is None or above.loss <= bound or above.p_worse >= config.alpha:
        return False
    naive = [drift.at_training[name] for name in ("mae_yesterday", "mae_last_week") if name in drift.at_training]
    if not naive or drift.mae is None or not drift.mae_persistence:
        return True
    return drift.mae / drift.mae_persistence > (1 + config.error_share_max) * at_training / min(naive)


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
