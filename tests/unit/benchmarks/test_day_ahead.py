"""The day-ahead benchmark: its scores, its days and its names of series."""

from datetime import UTC, date, datetime

import numpy as np
import pytest
from benchmarks.day_ahead import Scored, figures, series_names
from benchmarks.day_ahead import test_days_of as days_of
from benchmarks.series_file import SeriesFileError

from support.load_and_wind import DAYS, START_S, series_file

DAY_S = 86400


def test_scores_are_shares_of_the_range_of_the_target() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 100, (20, 24))
    said = np.stack([truth - 10, truth - 5, truth + 1, truth + 5, truth + 10], axis=2)
    found = figures(Scored(np.zeros(20, np.int64), said, truth + 2, truth - 4, truth))
    norm = float(np.ptp(np.quantile(truth, (0.01, 0.99))))
    assert found["rmae"] == pytest.approx(1 / norm, abs=1e-5)
    assert found["persistence_rcrps"] == pytest.approx(2 / norm, abs=1e-5)  # the better of the two
    assert found["rcrps"] == pytest.approx(2 * np.mean([0.1 * 10, 0.3 * 5, 0.5 * 1, 0.3 * 5, 0.1 * 10]) / norm, abs=1e-5)
    assert found["coverage_80"] == 1


def test_days_to_forecast_are_the_last_whole_ones_of_the_file_or_those_asked_for() -> None:
    file = series_file()
    file.columns["load"][-50:] = np.nan  # as a file looks that a live forecast was made from: weather goes on
    last = START_S + (DAYS - 1) * DAY_S
    assert days_of(file, "load", 5, None) == [last - i * DAY_S for i in (4, 3, 2, 1, 0)]
    assert days_of(file, "load", 3, None) == [last - i * DAY_S for i in (4, 3, 2)]  # most of the last three are empty
    assert days_of(file, "load", 2, date(2021, 4, 10)) == [
        int(datetime(2021, 4, d, tzinfo=UTC).timestamp()) for d in (10, 11)
    ]
    with pytest.raises(SeriesFileError, match="two weeks after its first value"):
        days_of(file, "load", 2, date(2021, 3, 5))


def test_series_are_named_as_a_model_file_wants_them() -> None:
    assert series_names(["Wind Speed [m/s]", "wind speed m s", "10m"]) == {
        "Wind Speed [m/s]": "wind_speed_m_s",
        "wind speed m s": "wind_speed_m_s_",
        "10m": "series_10m",
    }
