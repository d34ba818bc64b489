"""References of the inputs of a model: deciles of the training, for comparison with later days. Pure.

For each signal and series a candidate's record keeps the deciles of every season (a month and its neighbors): July
is not compared with January. A value falls into one of the ten bins of its season; each bin should hold a tenth:

    PSI = sum over bins of (share - 0.1) * ln(share / 0.1)            (Siddiqi 2006; 0.25 is the usual bound)

A value that repeats exactly, as PV does at night, is spread over the bins whose edges it equals. Weather comes in spells,
and a fortnight never looks like its season: the record also keeps the largest PSI of any such span of the training.
"""

from itertools import pairwise
from typing import Final

import numpy as np
from msgspec import Struct

from ringmain_trainer.arrays import Ints, Values
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.trainer import ModelConfig
from ringmain_trainer.features.examples import Window, known_future
from ringmain_trainer.features.site_data import SiteData

VALUES_MIN: Final = 48
"""With fewer values nothing is compared."""

_BINS: Final = 10
_MONTHS: Final = 12
_SHARE_MIN: Final = 1e-3
_SPAN_SHARE_MIN: Final = 0.5


class Reference(Struct, frozen=True, kw_only=True):
    """An input in training: eleven quantiles by month (1 to 12), with its neighbors, and the largest PSI of a span."""

    months: dict[int, list[float]]
    psi_usual: float


def inputs_of(data: SiteData, model: ModelConfig, window: Window) -> dict[str, tuple[Values, Ints]]:
    """Values and their instants of all inputs of a model: signals hourly, series (`ahead <name>`) as known day by day."""
    every = max(1, 3600 // window.step_s)
    at_s = data.steps.start_s + window.step_s * np.arange(len(data.steps.values))
    inputs = {
        name: (data.steps.values[::every, i].astype(np.float64), at_s[::every]) for i, name in enumerate(model.history)
    }
    issued_at_s = at_s[:: max(1, DAY_S // window.step_s)]
    day = Window(window.step_s, window.history_steps, min(window.horizon_steps, DAY_S // window.step_s))
    valid_at_s = (issued_at_s[:, None] + window.step_s * np.arange(day.horizon_steps))[:, ::every]
    for name in model.series:
        known = known_future(data.series[name], issued_at_s, day)[:, ::every]
        inputs[f"ahead {name}"] = (known.ravel().astype(np.float64), valid_at_s.ravel())
    return inputs


def references(data: SiteData, model: ModelConfig, window: Window, span_days: float) -> dict[str, Reference]:
    """The references of all inputs of a model that have values enough; spans of `span_days` give the usual PSI."""
    by_input = {name: reference_of(*one, span_days) for name, one in inputs_of(data, model, window).items()}
    return {name: one for name, one in by_input.items() if one is not None}


def reference_of(values: Values, at_s: Ints, span_days: float) -> Reference | None:
    """Deciles of the seasons and the usual PSI of values with their instants; None with fewer than `VALUES_MIN`."""
    known = np.isfinite(values)
    values, at_s = values[known], at_s[known]
    if len(values) < VALUES_MIN:
        return None
    month = months_of(at_s)
    seasons: dict[int, list[float]] = {}
    for center in range(1, _MONTHS + 1):
        near = np.isin(month, [(center + shift - 1) % _MONTHS + 1 for shift in (-1, 0, 1)])
        if int(near.sum()) >= VALUES_MIN:
            seasons[center] = [float(v) for v in np.quantile(values[near], np.linspace(0, 1, _BINS + 1))]
    deciles = Reference(months=seasons, psi_usual=0.0)
    spans = (at_s - at_s[0]) // int(span_days * DAY_S)
    edges = np.flatnonzero(np.diff(spans, prepend=spans[0] - 1, append=spans[-1] + 1))
    enough = max(VALUES_MIN, _SPAN_SHARE_MIN * float(np.diff(edges).max(initial=0)))
    indices = [
        population_stability(bin_shares(values[a:b], month[a:b], deciles)) for a, b in pairwise(edges) if b - a >= enough
    ]
    return Reference(months=seasons, psi_usual=max(indices, default=0.0))


def bin_shares(values: Values, month: Ints, reference: Reference) -> Values:
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
    """PSI of the shares of ten bins that should hold a tenth each."""
    share = np.maximum(shares, _SHARE_MIN)
    return float(((share - 1 / _BINS) * np.log(share * _BINS)).sum())


def months_of(at_s: Ints) -> Ints:
    """Month, 1 to 12, of instants in UTC seconds."""
    return np.asarray(at_s.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % _MONTHS + 1)
