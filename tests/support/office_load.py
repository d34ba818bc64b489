"""The load of an office building, made up: working days with a plateau, weekends without."""

import numpy as np
from numpy.typing import NDArray

from ringmain_trainer.analysis.day_clusters import Days, whole_days
from ringmain_trainer.history.site_reader import StepTable

START_S = 1_601_683_200  # 2020-10-03T00:00:00Z, a Saturday
DAY = 96


def office(days: int, seed: int = 0) -> NDArray[np.float32]:
    """Quarter-hours of kW from the first step on."""
    rng, hours = np.random.default_rng(seed), np.arange(days * DAY) / 4
    weekend = (hours // 24 + 5) % 7 >= 5
    busy = (np.abs(hours % 24 - 12) < 5) & ~weekend
    values: NDArray[np.float64] = 300 + 500 * busy + 40 * np.sin(hours / 12 * np.pi) + rng.normal(0, 10, len(hours))
    return values.astype(np.float32)


def days_of(values: NDArray[np.float32], zone: str = "UTC") -> Days:
    """Its whole days by local time."""
    return whole_days(StepTable(START_S, values[:, None]), 900, zone)
