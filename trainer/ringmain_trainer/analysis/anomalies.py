"""Anomalies: unusual days by an IsolationForest, and hours outside the quantiles of the forecast. Pure.

Days are compared with the usual day of their kind and season; each comes with the part of the day that stands out most.
Hours are compared with the calibrated quantiles of the site's own model, read from its file.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import onnx
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from ringmain_trainer.analysis.day_clusters import Days
from ringmain_trainer.analysis.onnx_files import finished, labels_and_scores, splice
from ringmain_trainer.arrays import Floats
from ringmain_trainer.calendar import DAY_S, SATURDAY
from ringmain_trainer.config.trainer import AnalysisConfig
from ringmain_trainer.errors import TooLittleDataError
from ringmain_trainer.features.feature_graph import GraphWriter
from ringmain_trainer.quality.arrays import runs
from ringmain_trainer.quantities import number

DAYS_MIN: Final = 21
_PARTS: Final = 8
"""Parts of a day."""
_SEASON_DAYS: Final = 28
_SAMPLES: Final = 128
_UNUSUAL: Final = 3.0
"""Usual departures: a day that the forest sets apart counts if one of its parts is further off than this."""

FEATURES: Final = (*(f"part_{i}" for i in range(_PARTS)), "mean", "highest", "lowest", "spread", "largest_step")
"""Columns of the features of a day, in usual departures."""


class Anomaly(Struct, frozen=True, kw_only=True):
    """An interval `[from_s, to_s)` in UTC seconds that is out of the ordinary; a higher score is further out."""

    detector: str
    from_s: int
    to_s: int
    score: float
    reason: str


class DayFeatures(NamedTuple):
    """Features `(n_days, columns)`; by how much each part of each day is off, in the unit of the signal; the days."""

    rows: Floats
    off: NDArray[np.float64]
    days: Days


class Residuals(NamedTuple):
    """Consecutive forecasts: `quantiles` `(N, horizon, levels)`, `targets` `(N, horizon)`, and issue times."""

    quantiles: Floats
    targets: Floats
    issued_at_s: NDArray[np.int64]
    step_s: int


def day_features(days: Days, holidays: Sequence[str] = ()) -> DayFeatures:
    """Departures of each day from the usual day of its kind (working or free) and season.

    Raises:
        TooLittleDataError: If there are fewer than `DAYS_MIN` days, or no day differs from another.
    """
    if len(days.dates) < DAYS_MIN:
        raise TooLittleDataError(f"too little data: {len(days.dates)} whole days, {DAYS_MIN} are needed to know the usual")
    profiles = days.profiles.astype(np.float64)
    n, steps = profiles.shape
    parts = profiles.reshape(n, _PARTS, steps // _PARTS).mean(axis=2)
    free = np.array([one.weekday() >= SATURDAY or one.isoformat() in set(holidays) for one in days.dates])
    numbers = np.array([one.toordinal() for one in days.dates])
    usual = np.stack([_usual(parts, free, numbers, row) for row in range(n)])
    off = parts - usual
    scale = 1.4826 * float(np.median(np.abs(off)))
    if not scale > 0:
        raise TooLittleDataError("no day differs from another")
    scaled = off / scale
    step = np.abs(np.diff(profiles, axis=1)).max(axis=1)
    steps_usual = float(np.median(step)) or 1.0
    summed = [scaled.mean(axis=1), scaled.max(axis=1), scaled.min(axis=1), scaled.std(axis=1), step / steps_usual]
    return DayFeatures(np.column_stack([scaled, *summed]).astype(np.float32), off, days)


def fit_forest(features: DayFeatures, config: AnalysisConfig) -> IsolationForest:
    """The detector of days."""
    samples = min(_SAMPLES, len(features.rows))
    forest = IsolationForest(
        n_estimators=config.trees, max_samples=samples, contamination=config.anomaly_share, random_state=0
    )
    return forest.fit(features.rows)


def forest_model(forest: IsolationForest, features: DayFeatures) -> onnx.ModelProto:
    """`features` `[n, columns]` to `label` (-1 out of the ordinary, else 1) and `score` (below 0 out of the ordinary).

    Raises:
        ExportError: If the forest cannot be converted.
    """
    g = GraphWriter()
    names = splice(g, forest, "features", features.rows, "forest_")
    outputs = labels_and_scores(g, names, "label", "score")
    return finished(g, {"features": features.rows.shape[1]}, outputs)


def unusual_days(
    features: DayFeatures, labels: NDArray[np.int64], scores: NDArray[np.floating], time_zone: str, unit: str = ""
) -> list[Anomaly]:
    """The days that the detector sets apart, furthest out first, each with its most unusual part."""
    anomalies = []
    scale = 1.4826 * float(np.median(np.abs(features.off)))
    for row in np.flatnonzero(labels < 0):
        part = int(np.abs(features.off[row]).argmax())
        off = float(features.off[row, part])
        if abs(off) < _UNUSUAL * scale:
            continue
        day = features.days.dates[row]
        hours = 24 // _PARTS
        from_s = local_midnight_s(day, time_zone)
        direction = "above" if off > 0 else "below"
        text = f"{day}: from {hours * part:02d} to {hours * (part + 1):02d} h on average {number(abs(off))} {unit}".rstrip()
        anomalies.append(
            Anomaly(
                detector="days",
                from_s=from_s,
                to_s=from_s + DAY_S,
                score=-float(scores[row]),
                reason=f"{text} {direction} the usual, {abs(off) / scale:.1f} usual departures",
            )
        )
    return sorted(anomalies, key=lambda one: -one.score)


def unusual_hours(residuals: Residuals, config: AnalysisConfig, unit: str = "") -> list[Anomaly]:
    """Intervals in which the truth was far outside the outer quantiles of the forecast, furthest out first.

    The score is the largest distance in widths of the band. Intervals shorter than `residual_h` do not count.
    """
    low, high = residuals.quantiles[:, :, 0].astype(np.float64), residuals.quantiles[:, :, -1].astype(np.float64)
    truth = residuals.targets.astype(np.float64)
    at = residuals.issued_at_s[:, None] + residuals.step_s * np.arange(truth.shape[1])
    order = np.argsort(at, axis=None, kind="stable")
    at_s, first = np.unique(at.ravel()[order], return_index=True)
    chosen = order[first]  # of several forecasts for a step the first in order
    low, high, truth = (values.ravel()[chosen] for values in (low, high, truth))
    known = np.isfinite(truth)
    if not known.any():
        return []
    least = 0.01 * float(np.ptp(truth[known]))
    width = np.maximum(high - low, max(least, 1e-9))
    beyond = np.where(known, np.maximum(np.maximum(low - truth, truth - high), 0) / width, 0.0)
    flagged = beyond > config.residual_widths
    together = np.concatenate([[True], np.diff(at_s) == residuals.step_s])
    needed = max(1, round(config.residual_h * 3600 / residuals.step_s))
    anomalies = []
    for a, b in zip(*runs(flagged), strict=True):
        pieces = np.split(np.arange(a, b), np.flatnonzero(~together[a + 1 : b]) + 1)
        for piece in (one for one in pieces if len(one) >= needed):
            worst = int(piece[beyond[piece].argmax()])
            above = truth[worst] > high[worst]
            edge = high[worst] if above else low[worst]
            measured = f"{number(truth[worst])} {unit}".rstrip()
            text = f"{measured} where the forecast went {'up' if above else 'down'} to {number(edge)}"
            hours = len(piece) * residuals.step_s / 3600
            anomalies.append(
                Anomaly(
                    detector="forecast",
                    from_s=int(at_s[piece[0]]),
                    to_s=int(at_s[piece[-1]]) + residuals.step_s,
                    score=float(beyond[worst]),
                    reason=f"{text}, {beyond[worst]:.1f} widths of its band out; {hours:g} h in all",
                )
            )
    return sorted(anomalies, key=lambda one: -one.score)


def local_midnight_s(day: date, time_zone: str) -> int:
    """Begin of a local day, UTC seconds."""
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone)).timestamp())


def _usual(parts: NDArray[np.float64], free: NDArray[np.bool_], numbers: NDArray[np.int64], row: int) -> NDArray[np.float64]:
    """Median of the days of the same kind within the season, without this one; of all days if there are too few."""
    near = np.abs(numbers - numbers[row]) <= _SEASON_DAYS
    near[row] = False
    same = near & (free == free[row])
    chosen = same if same.sum() >= 4 else near if near.sum() >= 4 else np.arange(len(parts)) != row
    usual: NDArray[np.float64] = np.median(parts[chosen], axis=0)
    return usual
