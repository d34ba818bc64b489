"""The tables of a backtest: a line of scores for each recipe and block of leads, and a row for each scored value."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct

from ringmain_trainer.arrays import Bools, Values
from ringmain_trainer.models.metrics import Forecasts, lead_blocks, mae, scores, skill, spread

ALL: Final = "all"


class Line(Struct, frozen=True, kw_only=True):
    """Scores of one recipe over one block of leads, in the unit of the signal; with a `reason` there are none.

    `best_persistence` marks the persistence that is the better one over all leads; `skill` refers to it.
    """

    site: str
    signal: str
    recipe: str
    origins: str = ALL
    leads: str = ALL
    forecasts: int = 0
    mae: float | None = None
    rmse: float | None = None
    rmae: float | None = None
    pinball: float | None = None
    rcrps: float | None = None
    rcrps_peak: float | None = None
    coverage: float | None = None
    peak_time_h: float | None = None
    peak_size: float | None = None
    skill: float | None = None
    best_persistence: bool = False
    reason: str = ""


class Prediction(NamedTuple):
    """Forecasts of one recipe; `asked` marks the origins at which it may forecast."""

    asked: Bools
    levels: tuple[float, ...]
    quantiles: Values


def lines_of(
    who: Line, forecasts: Forecasts, predictions: Mapping[str, Prediction], asked: Bools, block_h: float
) -> Iterator[Line]:
    """Scores of models and persistences over the values that all of them have."""
    chosen = forecasts.take(asked)
    known = np.isfinite(chosen.actual)
    for naive in chosen.persistence.values():
        known &= np.isfinite(naive)
    truth = np.where(known, chosen.actual, np.nan)
    naive_mae = {name: mae(naive, truth) for name, naive in chosen.persistence.items()}
    best = min(naive_mae, key=lambda name: naive_mae[name] if np.isfinite(naive_mae[name]) else np.inf)
    norm = spread(truth)
    blocks = [(ALL, slice(0, truth.shape[1]))]
    blocks += lead_blocks(truth.shape[1], forecasts.step_s, block_h)
    points = {
        name: (forecasts.levels, np.repeat(one[:, :, None], len(forecasts.levels), axis=2))
        for name, one in chosen.persistence.items()
    }
    by_recipe = {name: (one.levels, one.quantiles[asked]) for name, one in predictions.items()} | points
    for name, (levels, quantiles) in by_recipe.items():
        for leads, block in blocks:
            block_scores = scores(quantiles[:, block], truth[:, block], levels, step_s=forecasts.step_s, norm=norm)
            numbers: dict[str, Any] = {
                key: _rounded(getattr(block_scores, key))
                for key in ("mae", "rmse", "rmae", "pinball", "rcrps", "rcrps_peak", "coverage", "peak_time_h", "peak_size")
                if not (key == "coverage" and name in points) and not (key.startswith("peak_") and leads != ALL)
            }
            loss = mae(chosen.persistence[best][:, block], truth[:, block])
            yield msgspec.structs.replace(
                who,
                recipe=name,
                leads=leads,
                forecasts=block_scores.forecasts,
                best_persistence=name == best,
                skill=None if name == best else _rounded(skill(block_scores.mae, loss)),
                **numbers,
            )


def frame_of(who: Line, forecasts: Forecasts, predictions: Mapping[str, Prediction]) -> pl.DataFrame:
    """The scored values: a row for each value of each recipe."""
    horizon = forecasts.actual.shape[1]
    valid_at_s = forecasts.issued_at_s[:, None] + forecasts.step_s * np.arange(horizon)
    points = {
        name: Prediction(np.asarray(np.isfinite(one).any(axis=1)), (0.5,), one[:, :, None])
        for name, one in forecasts.persistence.items()
    }
    frames = []
    for recipe, one in (dict(predictions) | points).items():
        asked = one.asked
        instants = {"issued_at": np.repeat(forecasts.issued_at_s[asked], horizon), "valid_at": valid_at_s[asked].ravel()}
        frame = pl.DataFrame(
            {
                name: pl.from_epoch(pl.Series(values), time_unit="s").dt.replace_time_zone("UTC")
                for name, values in instants.items()
            }
            | {f"q{level:g}": one.quantiles[asked][:, :, i].ravel() for i, level in enumerate(one.levels)}
            | {"actual": forecasts.actual[asked].ravel()}
        )
        frames.append(frame.with_columns(pl.col(pl.Float64).fill_nan(None), recipe=pl.lit(recipe)))
    names = {"site": who.site, "signal": who.signal, "series": f"{who.site}/{who.signal}"}
    frame = pl.concat(frames, how="diagonal").with_columns(pl.lit(value).alias(name) for name, value in names.items())
    quantiles = sorted((name for name in frame.columns if name.startswith("q")), key=lambda name: float(name[1:]))
    return frame.select(*names, "recipe", "issued_at", "valid_at", *quantiles, "actual")


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None
