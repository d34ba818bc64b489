"""Typical days: KMeans on normalized daily profiles of whole days. Pure."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import onnx
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from ringmain_trainer.analysis.onnx_files import finished, labels_and_scores, splice
from ringmain_trainer.arrays import Floats
from ringmain_trainer.calendar import DAY_S, SATURDAY
from ringmain_trainer.errors import TooLittleDataError
from ringmain_trainer.features.feature_graph import GraphWriter
from ringmain_trainer.history.site_reader import StepTable

_SEASONS: Final = ("winter", "spring", "summer", "autumn")


class Days(NamedTuple):
    """Whole days by the local clock: `profiles` `(n_days, steps of a day)` in the unit of the signal, and their dates."""

    profiles: Floats
    dates: list[date]


class Cluster(Struct, frozen=True, kw_only=True):
    """One kind of day: mean and middle 80 % of its profiles, the day nearest to the mean, its weekdays and seasons."""

    size: int
    share: float
    mean: list[float]
    low: list[float]
    high: list[float]
    representative_day: str
    weekday_share: float
    weekend_share: float
    holiday_share: float
    season_shares: dict[str, float]
    energy_share_of_mean: float


class Clusters(NamedTuple):
    """Kinds of days, largest first; `labels` `(n_days,)` give the kind of each day, `slots_s` the time of day of a step."""

    days: Days
    labels: NDArray[np.int64]
    clusters: list[Cluster]
    slots_s: NDArray[np.int64]
    silhouettes: dict[int, float]
    estimator: KMeans


def whole_days(steps: StepTable, step_s: int, time_zone: str, *, column: int = 0) -> Days:
    """Days from local midnight to local midnight without a gap; those with a clock change are left out."""
    zone, n = ZoneInfo(time_zone), DAY_S // step_s
    values = steps.values[:, column]
    day = datetime.fromtimestamp(steps.start_s, UTC).astimezone(zone).date()
    profiles, dates = [], []
    while True:
        begin, end = (int(_midnight(day + timedelta(days=k), zone).timestamp()) for k in (0, 1))
        row, behind = divmod(begin - steps.start_s, step_s)
        if row + n > len(values):
            break
        if row >= 0 and not behind and end - begin == DAY_S and np.isfinite(values[row : row + n]).all():
            profiles.append(values[row : row + n])
            dates.append(day)
        day += timedelta(days=1)
    return Days(np.array(profiles, np.float32).reshape(len(profiles), n), dates)


def normalized(profiles: Floats) -> Floats:
    """Shapes: less the mean of the day, over the largest departure from it; a constant day is zero throughout."""
    shape = profiles - profiles.mean(axis=1, keepdims=True)
    largest = np.abs(shape).max(axis=1, keepdims=True)
    scaled: Floats = (shape / np.where(largest > 0, largest, 1)).astype(np.float32)
    return scaled


def cluster_days(days: Days, *, k_range: tuple[int, int] = (2, 8), holidays: Sequence[str] = (), seed: int = 0) -> Clusters:
    """Kinds of days by shape.

    Args:
        days: Whole days, see `whole_days`.
        k_range: Smallest and largest number of clusters; the one with the best silhouette is taken.
        holidays: Local dates.
        seed: Of KMeans.

    Raises:
        TooLittleDataError: If there are fewer than three whole days for each of the fewest clusters.
    """
    low, high = k_range
    n = len(days.dates)
    if n < 3 * low:
        raise TooLittleDataError(f"too little data: {n} whole days, {3 * low} are needed for {low} kinds of days")
    shapes = normalized(days.profiles)
    distinct = len(np.unique(np.round(shapes, 4), axis=0))
    if distinct < low:
        raise TooLittleDataError("the days do not differ in shape")
    tried: dict[int, tuple[float, KMeans]] = {}
    for k in range(low, max(low, min(high, n // 3, distinct - 1)) + 1):
        with threadpool_limits(limits=1):  # sums have one order
            estimator = KMeans(n_clusters=k, n_init=4, random_state=seed).fit(shapes)
        tried[k] = (float(silhouette_score(shapes, estimator.labels_)), estimator)
    best = max(tried, key=lambda k: tried[k][0])
    estimator = tried[best][1]
    order = np.argsort(-np.bincount(estimator.labels_, minlength=best), kind="stable")
    estimator.cluster_centers_ = np.ascontiguousarray(estimator.cluster_centers_[order])  # largest first, in the file too
    estimator.labels_ = np.argsort(order)[estimator.labels_].astype(np.int32)
    labels = estimator.labels_.astype(np.int64)
    clusters = [_cluster(days, shapes, labels == one, estimator.cluster_centers_[one], holidays) for one in range(best)]
    step_s = DAY_S // days.profiles.shape[1]
    slots_s = step_s * np.arange(days.profiles.shape[1], dtype=np.int64)
    return Clusters(days, labels, clusters, slots_s, {k: score for k, (score, _) in tried.items()}, estimator)


def season_of(day: date) -> str:
    """Meteorological season of the northern half."""
    return _SEASONS[day.month % 12 // 3]


def _cluster(
    days: Days, shapes: Floats, chosen: NDArray[np.bool_], center: NDArray[np.floating], holidays: Sequence[str]
) -> Cluster:
    rows = np.flatnonzero(chosen)
    profiles = days.profiles[rows].astype(np.float64)
    dates = [days.dates[row] for row in rows]
    nearest = int(((shapes[rows] - center) ** 2).sum(axis=1).argmin())
    special = np.array([day.isoformat() in set(holidays) for day in dates])
    weekend = np.array([day.weekday() >= SATURDAY for day in dates]) & ~special
    low, high = np.quantile(profiles, [0.1, 0.9], axis=0)
    every = float(np.abs(days.profiles).mean())
    return Cluster(
        size=len(rows),
        share=len(rows) / len(days.dates),
        mean=profiles.mean(axis=0).tolist(),
        low=low.tolist(),
        high=high.tolist(),
        representative_day=dates[nearest].isoformat(),
        weekday_share=float((~weekend & ~special).mean()),
        weekend_share=float(weekend.mean()),
        holiday_share=float(special.mean()),
        season_shares={name: sum(season_of(day) == name for day in dates) / len(dates) for name in _SEASONS},
        energy_share_of_mean=float(np.abs(profiles).mean() / every) if every else 1.0,
    )


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def cluster_model(clusters: Clusters) -> onnx.ModelProto:
    """`profiles` `[n, steps of a day]`, in the unit of the signal, to `cluster` and `distances` to all centers.

    Raises:
        ExportError: If the clustering cannot be converted.
    """
    g = GraphWriter()
    shape = g("Sub", "profiles", g("ReduceMean", "profiles", g.ints(1), keepdims=1))
    largest = g("ReduceMax", g("Abs", shape), g.ints(1), keepdims=1)
    constant = g("Equal", largest, g.const(0.0))
    shapes = g("Div", shape, g("Where", constant, g.const(1.0), largest))
    names = splice(g, clusters.estimator, shapes, normalized(clusters.days.profiles), "kmeans_")
    outputs = labels_and_scores(g, names, "cluster", "distances")
    return finished(g, {"profiles": clusters.days.profiles.shape[1]}, outputs)
