"""Series of the day-ahead benchmark's tests: hourly load with a weather column that persistence does not know."""

from datetime import UTC, datetime

import numpy as np
from benchmarks.series_file import SeriesFile

START_S = int(datetime(2021, 3, 1, tzinfo=UTC).timestamp())
DAYS = 58


def series_file(days: int = DAYS) -> SeriesFile:
    """Hourly load with a daily and a weekly shape, and a wind that persistence does not know."""
    rng, hours = np.random.default_rng(5), np.arange(24 * days)
    wind = np.repeat(np.abs(rng.normal(6, 3, -(-len(hours) // 12))), 12)[: len(hours)]
    load = (
        20 + 6 * np.sin(2 * np.pi * hours / 24) + 3 * (hours // 24 % 7 < 5) - 0.8 * wind + 0.5 * rng.normal(size=len(hours))
    )
    load[100:104] = np.nan
    return SeriesFile(START_S, 3600, {"load": load, "Wind Speed [m/s]": wind})
