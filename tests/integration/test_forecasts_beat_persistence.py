"""The analyst's sanity check: on real load, Ridge beats the better of yesterday and last week on every station.

Trained on all days before the window, issued once a day at 06:00 UTC for 14 days that training has not seen, all 96 leads;
weather as forecast every six hours.
"""

import csv
import gzip
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from ringmain_model.session import open_session, run
from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig
from ringmain_trainer.features.design_matrix import Design
from ringmain_trainer.features.examples import examples, training_rows, window_of
from ringmain_trainer.features.feature_graph import FEATURES, columns_of, feature_model
from ringmain_trainer.features.feature_spec import feature_spec
from ringmain_trainer.history.site_reader import Issue, SeriesHistory, StepTable
from ringmain_trainer.models.fit import fit_model, persistence, predict

FILE = "nl_liander_4stations_fcst_inputs_15min.csv.gz"
WEATHER = {"temperature_degc": "temp", "radiation_w_per_m2": "radiation", "windspeed_m_per_s": "windspeed_100m"}
STATIONS = (287, 307, 435, 438)
MODEL = ModelConfig(signal="load_kw", history=["load_kw", "temperature_degc"], series=list(WEATHER))
CONFIG = TrainerConfig(holidays=["2020-12-25", "2020-12-26", "2021-01-01"], model=[MODEL])
DAY = 96


class Grid(NamedTuple):
    """Columns of the file from midnight of 3 October 2020 on, in units of the product."""

    start_s: int
    columns: dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def grid() -> Grid:
    folder = os.environ.get("RINGMAIN_DATA")
    if not folder:
        pytest.skip("RINGMAIN_DATA does not name the folder of the real data")
    with gzip.open(Path(folder) / FILE, "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["time_utc"] >= "2020-10-03"]
    names = [*WEATHER.values(), *(f"load_{station}_mw" for station in STATIONS)]
    columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
    columns["radiation"] /= 3600  # J/m2 per hour
    for station in STATIONS:
        columns[f"load_{station}_mw"] *= 1000
    start_s = int(datetime.fromisoformat(rows[0]["time_utc"]).timestamp())
    return Grid(start_s, {name: values.astype(np.float32) for name, values in columns.items()})


def issued_every_six_hours(start_s: int, values: NDArray[np.float32]) -> SeriesHistory:
    ahead = range(0, len(values), 24)
    return SeriesHistory("", [Issue(start_s + 900 * i, start_s + 900 * i, 900, values[i : i + 216]) for i in ahead])


@pytest.mark.parametrize("station", STATIONS)
@pytest.mark.parametrize("first_day", ["2020-12-21", "2021-01-14"])
def test_ridge_beats_the_better_of_yesterday_and_last_week(grid: Grid, station: int, first_day: str) -> None:
    window, start_s = window_of(CONFIG.training), grid.start_s
    first_s = int(datetime.fromisoformat(first_day).replace(tzinfo=UTC).timestamp())
    cut = (first_s - start_s) // 900
    values = np.stack([grid.columns[f"load_{station}_mw"], grid.columns["temp"]], axis=1)
    series = [issued_every_six_hours(start_s, grid.columns[column]) for column in WEATHER.values()]
    seen = StepTable(start_s, values[:cut])
    data = examples(seen, series, window, training_rows(seen, window, every=13, share_min=0.5))
    spec = feature_spec(recipe_of(CONFIG, MODEL), data, time_zone="Europe/Amsterdam", now=datetime(2021, 2, 1, tzinfo=UTC))
    session = open_session(feature_model(spec))
    fitted = fit_model(Design(run(session, data.inputs, FEATURES), columns_of(spec), data, window), recipe_of(CONFIG, MODEL))
    issues = [cut + 24 + DAY * day for day in range(14)]
    test = examples(StepTable(start_s, values), series, window, issues)
    median = predict(fitted, run(session, test.inputs, FEATURES))[:, :, 1]
    mae = float(np.nanmean(np.abs(median - test.targets)))
    naive = [float(np.nanmean(np.abs(persistence(test.inputs["history"], window, d) - test.targets))) for d in (1, 7)]
    assert np.isfinite(test.targets).mean() > 0.99
    assert mae < min(naive)
