"""Drift: whether the newest days are still like those of the training. Pure: arrays in, numbers and reasons out.

Inputs. The record of a candidate keeps for each signal and series the deciles of every season (a month and its neighbors),
so that July is not compared with January. A value falls into one of ten bins of its season, which should hold a tenth each:

    PSI = sum over bins of (share - 0.1) * ln(share / 0.1)            (Siddiqi 2006; 0.25 is the usual bound)

What repeats exactly, as PV does at night, is spread over the bins whose edges it equals. Weather comes in spells, so a
fortnight never looks like its season: the record also keeps the largest PSI of any such span of the training, and only what
is above that with a margin is drift. So are values outside the range of the training, and a season that it did not have.

Errors. Live forecasts of the released model (absolute error of P50, pinball, coverage) against the held-out days of its
training, with persistence over the same values: a cold spell makes everybody worse, drift makes the model worse.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ringmain_trainer.config.evaluation import DriftConfig
from ringmain_trainer.config.trainer import ModelConfig
from ringmain_trainer.features.dataset import SiteData, Window, known_future
from ringmain_trainer.models.metrics import Forecasts, Ints, Values, by_day, coverage, mae, pinball
from ringmain_trainer.registry.gate import against_persistence, compare

_BINS: Final = 10
_MONTHS: Final = 12
_SHARE_MIN: Final = 1e-3
_VALUES_MIN: Final = 48
_SPAN_SHARE_MIN: Final = 0.5
_UNSEEN_MAX: Final = 0.5
_USUAL_MARGIN: Final = 1.5
"""The largest of some twenty spans is passed by one of the next twenty; by so much it hardly is."""
_DAY_S: Final = 86400


class Reference(Struct, frozen=True, kw_only=True):
    """What an input was in training: eleven quantiles by month (1 to 12), with its neighbors; the largest PSI of a span."""

    months: dict[int, list[float]]
    psi_usual: float


class InputDrift(Struct, frozen=True, kw_only=True):
    """How one input of the newest days lies to that of the training; shares of its values."""

    psi: float
    psi_bound: float
    outside_share: float
    unseen_share: float
    values: int


class ErrorDrift(Struct, frozen=True, kw_only=True):
    """Live errors of a model, in the unit of the signal; `at_training` are those of its held-out days.

    NaN is told as None where there was nothing to count.
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


def inputs_of(data: SiteData, model: ModelConfig, window: Window) -> dict[str, tuple[Values, Ints]]:
    """Values with their instants of all inputs of a model: signals hourly, series (`ahead <name>`) as known day by day."""
    every = max(1, 3600 // window.step_s)
    at_s = data.steps.start_s + window.step_s * np.arange(len(data.steps.values))
    found = {name: (data.steps.values[::every, i].astype(np.float64), at_s[::every]) for i, name in enumerate(model.history)}
    issued_at_s = at_s[:: max(1, _DAY_S // window.step_s)]
    day = Window(window.step_s, window.history_steps, min(window.horizon_steps, _DAY_S // window.step_s))
    valid_at_s = (issued_at_s[:, None] + window.step_s * np.arange(day.horizon_steps))[:, ::every]
    for name in model.series:
        known = known_future(data.series[name], issued_at_s, day)[:, ::every]
        found[f"ahead {name}"] = (known.ravel().astype(np.float64), valid_at_s.ravel())
    return found


def references(data: SiteData, model: ModelConfig, window: Window, config: DriftConfig) -> dict[str, Reference]:
    """What the inputs of a model are like in its training."""
    made = {name: reference_of(*one, config.days) for name, one in inputs_of(data, model, window).items()}
    return {name: one for name, one in made.items() if one is not None}


def reference_of(values: Values, at_s: Ints, span_days: float) -> Reference | None:
    """Deciles of the seasons and the usual PSI of values with their instants; None if there are too few."""
    known = np.isfinite(values)
    values, at_s = values[known], at_s[known]
    if len(values) < _VALUES_MIN:
        return None
    month = months_of(at_s)
    seasons: dict[int, list[float]] = {}
    for centre in range(1, _MONTHS + 1):
        near = np.isin(month, [(centre + shift - 1) % _MONTHS + 1 for shift in (-1, 0, 1)])
        if int(near.sum()) >= _VALUES_MIN:
            seasons[centre] = [float(v) for v in np.quantile(values[near], np.linspace(0, 1, _BINS + 1))]
    made = Reference(months=seasons, psi_usual=0.0)
    spans = (at_s - at_s[0]) // int(span_days * _DAY_S)
    edges = np.flatnonzero(np.diff(spans, prepend=spans[0] - 1, append=spans[-1] + 1))
    enough = max(_VALUES_MIN, _SPAN_SHARE_MIN * float(np.diff(edges).max(initial=0)))
    found = [population_stability(bin_shares(values[a:b], month[a:b], made)) for a, b in pairwise(edges) if b - a >= enough]
    return Reference(months=seasons, psi_usual=max(found, default=0.0))


def input_drift(values: Values, at_s: Ints, reference: Reference, config: DriftConfig) -> InputDrift | None:
    """The newest values against the reference; None if there are too few."""
    known = np.isfinite(values)
    values, at_s = values[known], at_s[known]
    if len(values) < _VALUES_MIN or not reference.months:
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


def input_reasons(found: Mapping[str, InputDrift], config: DriftConfig) -> list[str]:
    """What of the inputs speaks for a new training."""
    reasons = []
    for name, one in found.items():
        if one.unseen_share > _UNSEEN_MAX:
            reasons.append(f"{name}: the training had no such season")
        if one.outside_share > config.outside_share_max:
            reasons.append(f"{name}: {one.outside_share:.0%} of the values are outside the range of the training")
        if one.psi > one.psi_bound:
            reasons.append(f"{name}: population stability index {one.psi:.2f}, up to {one.psi_bound:.2f} is usual")
    return reasons


def error_drift(made: Forecasts, at_training: Mapping[str, float]) -> ErrorDrift:
    """Live forecasts of a model, counted."""
    error = np.abs(made.median - made.actual)
    days = by_day(error, made.issued_at_s, made.step_s)
    against, name = against_persistence(made)
    inside = coverage(made.quantiles, made.actual)
    loss = pinball(made.quantiles, made.actual, made.levels)
    return ErrorDrift(
        days=len(days),
        forecasts=len(made.issued_at_s),
        mae=_told(mae(made.median, made.actual)),
        pinball=_told(loss),
        coverage=_told(inside),
        mae_persistence=None if against is None else against.other,
        persistence=name,
        at_training={key: at_training[key] for key in _AT_TRAINING if key in at_training},
        p_worse_than_persistence=None if against is None else against.p_worse,
    )


_AT_TRAINING: Final = ("mae", "pinball", "coverage", "mae_yesterday", "mae_last_week")


def error_reasons(found: ErrorDrift, made: Forecasts, config: DriftConfig) -> list[str]:
    """What of the errors speaks for a new training; nothing with too few days."""
    if found.days < config.days_min or found.mae is None:
        return []
    reasons = []
    at_training = found.at_training.get("mae")
    if at_training is not None and _risen(found, made, at_training, config):
        reasons.append(f"error: MAE {found.mae:.4g} on {found.days} days, {at_training:.4g} at training")
    naive, p = found.mae_persistence, found.p_worse_than_persistence
    if naive is not None and p is not None and found.mae > naive and p < config.alpha:
        reasons.append(
            f"error: worse than persistence ({found.persistence}): MAE {found.mae:.4g} against {naive:.4g}, p {p:.2g}"
        )
    nominal = made.levels[-1] - made.levels[0]
    if found.coverage is not None and abs(found.coverage - nominal) > config.coverage_slack:
        reasons.append(f"coverage: {found.coverage:.0%} of the truth is between the outer quantiles, not {nominal:.0%}")
    return reasons


def _risen(found: ErrorDrift, made: Forecasts, at_training: float, config: DriftConfig) -> bool:
    """Whether the error is above what it may be, beyond chance, and has also risen in relation to persistence."""
    bound = (1 + config.error_share_max) * at_training
    days = by_day(np.abs(made.median - made.actual), made.issued_at_s, made.step_s)
    above = compare(days, dict.fromkeys(days, bound))
    if above is None or above.loss <= bound or above.p_worse >= config.alpha:
        return False
    naive = [found.at_training[name] for name in ("mae_yesterday", "mae_last_week") if name in found.at_training]
    if not naive or found.mae is None or not found.mae_persistence:
        return True
    return found.mae / found.mae_persistence > (1 + config.error_share_max) * at_training / min(naive)


def bin_shares(values: Values, month: NDArray[np.int64], reference: Reference) -> Values:
    """Share of the values in each tenth of their season."""
    total = np.zeros(_BINS + 1)
    for one in np.unique(month):
        edges = reference.months.get(int(one))
        if edges is None:
            continue
        of_month = values[month == one]
        low, high = np.searchsorted(edges[1:-1], of_month, "left"), np.searchsorted(edges[1:-1], of_month, "right")
        weight = 1 / (high - low + 1)
        total += np.bincount(low, weight, _BINS + 1) - np.bincount(high + 1, weight, _BINS + 1)
    shares = np.cumsum(total)[:_BINS]
    return shares / shares.sum() if shares.sum() > 0 else shares


def population_stability(shares: Values) -> float:
    """PSI of shares of bins that should hold the same."""
    share = np.maximum(shares, _SHARE_MIN)
    return float(((share - 1 / _BINS) * np.log(share * _BINS)).sum())


def months_of(at_s: Ints) -> NDArray[np.int64]:
    """Month, 1 to 12, of instants in UTC seconds."""
    return np.asarray(at_s.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % _MONTHS + 1)


def _told(value: float) -> float | None:
    return value if np.isfinite(value) else None
