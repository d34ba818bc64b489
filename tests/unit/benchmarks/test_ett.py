"""The long-horizon benchmark: split and scaling by the book, every window of the test part, scores of the exported files."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from benchmarks.direct_linear import DirectLinearConfig, Split
from benchmarks.ett import MULTIVARIATE, UNIVARIATE, EttData, read_ett, run
from benchmarks.series_file import SeriesFileError

CONFIGS = dict.fromkeys((MULTIVARIATE, UNIVARIATE), DirectLinearConfig(lookback_steps=(48, 72), alphas=(0.01, 0.1, 1.0)))
HORIZON = 24


def small() -> EttData:
    rng, hours = np.random.default_rng(1), np.arange(900)[:, None]
    values = 5 + 3 * np.sin(2 * np.pi * hours / 24 + np.arange(3)) + 0.3 * rng.normal(size=(900, 3))
    return EttData(1467331200, 3600, ("HUFL", "HULL", "OT"), values, Split(480, 660), 900)


def write(path: Path, rows: int, minutes: int) -> Path:
    at = pl.datetime_range(
        pl.datetime(2016, 7, 1), pl.datetime(2030, 1, 1), interval=f"{minutes}m", eager=True, time_unit="ms"
    ).head(rows)
    frame = pl.DataFrame(
        {"date": at.dt.to_string("%Y-%m-%d %H:%M:%S"), "A": np.arange(rows) * 1.5, "OT": np.arange(rows) * 2.0}
    )
    frame.write_csv(path)
    return path


def test_the_split_is_that_of_the_publications_for_hours_and_quarter_hours(tmp_path: Path) -> None:
    hourly = read_ett(write(tmp_path / "h.csv", 17420, 60))
    assert (hourly.split, hourly.end, hourly.values.shape) == (Split(8640, 11520), 14400, (14400, 2))
    assert hourly.values[-1, 1] == 2 * 14399
    quarters = read_ett(write(tmp_path / "m.csv", 57700, 15))
    assert (quarters.split, quarters.end) == (Split(34560, 46080), 57600)


def test_a_file_that_is_too_short_or_has_other_steps_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SeriesFileError, match="14399 rows, the split takes 14400"):
        read_ett(write(tmp_path / "h.csv", 14399, 60))
    with pytest.raises(SeriesFileError, match="600 s apart"):
        read_ett(write(tmp_path / "t.csv", 20000, 10))


def test_scores_are_those_of_the_forecasts_that_are_written() -> None:
    data = small()
    found, frame = run(data, CONFIGS, horizons=(HORIZON,), jobs=1, keep=True)
    windows = data.end - data.split.validation - HORIZON + 1
    assert list(found) == [MULTIVARIATE, UNIVARIATE]
    for kind, channels in ((MULTIVARIATE, 3), (UNIVARIATE, 1)):
        own = frame.filter(pl.col("series").cast(pl.String).str.starts_with(kind))
        assert len(own) == channels * windows * HORIZON  # stride 1, and the last window counts
        error = (own["q0.5"] - own["actual"]).cast(pl.Float64)
        assert found[kind][str(HORIZON)]["mse"] == pytest.approx((error**2).mean(), abs=1e-4)
        assert found[kind][str(HORIZON)]["mae"] == pytest.approx(error.abs().mean(), abs=1e-4)


def test_values_are_scaled_by_the_training_part_alone() -> None:
    data = small()
    _, frame = run(data, CONFIGS, horizons=(HORIZON,), jobs=1, keep=True)
    first = frame.filter(pl.col("series") == f"{UNIVARIATE}/{HORIZON}/OT")
    train = data.values[: data.split.train, 2]
    expected = (data.values[data.split.validation, 2] - train.mean()) / train.std()
    assert first["actual"][0] == pytest.approx(expected, abs=1e-6)
    assert first["valid_at"][0] == first["issued_at"][0]


def test_forecasts_beat_the_value_of_the_day_before() -> None:
    data = small()
    found, frame = run(data, CONFIGS, horizons=(HORIZON,), jobs=1, keep=True)
    own = frame.filter(pl.col("series") == f"{UNIVARIATE}/{HORIZON}/OT")["actual"].to_numpy().reshape(-1, HORIZON)
    yesterday = float(np.mean((own[HORIZON:] - own[:-HORIZON]) ** 2))
    assert found[UNIVARIATE][str(HORIZON)]["mse"] < 0.7 * yesterday


def test_what_comes_after_a_window_does_not_change_its_forecasts() -> None:
    data = small()
    later = data.values.copy()
    later[700:] += 100
    _, one = run(data, CONFIGS, horizons=(HORIZON,), jobs=1, keep=True)
    _, other = run(data._replace(values=later), CONFIGS, horizons=(HORIZON,), jobs=1, keep=True)
    before = (pl.col("issued_at").dt.epoch("s") - data.start_s) // 3600 <= 700
    assert one.filter(before)["q0.5"].equals(other.filter(before)["q0.5"])
    assert not one["q0.5"].equals(other["q0.5"])
