"""The excerpt of real data that the simulated substations replay; license and attribution stand in `data/LICENSE.md`.

Four Dutch substations from October 2020 to January 2021, in quarter-hours stamped with their START. Cleaned here, once:
radiation becomes W/m2 and non-negative, cloud cover is cut to 0..100 %, MW becomes kW. Missing values stay NaN.
"""

import csv
import gzip
import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

EXCERPT: Final = Path(__file__).parent / "data" / "liander_4stations_15min.csv.gz"
STEP_S: Final = 900
_JOULE_PER_H_AND_W: Final = 3600.0
_STATIONS: Final = (287, 307, 435, 438)

SITES: Final = tuple(f"liander-{station}" for station in _STATIONS)


class Excerpt(NamedTuple):
    """Arrays of shape `(n_steps,)` on one grid of quarter-hours; NaN is missing."""

    start_ms: int
    load_kw: dict[str, FloatArray]
    price_per_mwh: FloatArray
    temperature_degc: FloatArray
    radiation_w_per_m2: FloatArray
    windspeed_m_per_s: FloatArray
    cloud_pct: FloatArray

    def step_at(self, at_ms: int) -> int:
        """Number of the quarter-hour that holds the instant."""
        return (at_ms - self.start_ms) // (1000 * STEP_S)


def load_excerpt(path: Path = EXCERPT) -> Excerpt:
    """The excerpt that ships with the package.

    Raises:
        ValueError: If the file is not a gapless series of quarter-hours: do not use it.
    """
    with gzip.open(path, "rt", encoding="ascii", newline="") as file:
        rows = list(csv.DictReader(file))
    times_ms = [_instant_ms(row["time_utc"]) for row in rows]
    if any(later - earlier != 1000 * STEP_S for earlier, later in itertools.pairwise(times_ms)):
        raise ValueError(f"{path}: the rows are not consecutive quarter-hours")

    def column(name: str) -> FloatArray:
        return np.array([float(row[name]) if row[name] else np.nan for row in rows])

    return Excerpt(
        start_ms=times_ms[0],
        load_kw={site: 1000.0 * column(f"load_{n}_mw") for site, n in zip(SITES, _STATIONS, strict=True)},
        price_per_mwh=column("price"),
        temperature_degc=column("temp"),
        radiation_w_per_m2=np.maximum(column("radiation"), 0.0) / _JOULE_PER_H_AND_W,
        windspeed_m_per_s=column("windspeed_100m"),
        cloud_pct=np.clip(column("clouds"), 0.0, 100.0),
    )


def _instant_ms(text: str) -> int:
    return round(1000 * datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
