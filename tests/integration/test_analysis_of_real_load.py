"""On real load the risk of a violation is told better than by yesterday, and all files say what scikit-learn says."""

import csv
import gzip
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ringmain_model.session import open_session, run
from ringmain_trainer.analysis.anomalies import day_features, fit_forest, forest_model, unusual_days
from ringmain_trainer.analysis.day_clusters import cluster_days, cluster_model, normalized, whole_days
from ringmain_trainer.analysis.limit_violations import expected_risk, fit_violations, violations_model
from ringmain_trainer.analysis.onnx_files import prove_same
from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import AnalysisConfig, ModelConfig, TrainerConfig
from ringmain_trainer.export.onnx_file import damaged
from ringmain_trainer.features.feature_graph import FEATURES, feature_model
from ringmain_trainer.features.site_data import SiteData
from ringmain_trainer.history.site_reader import Issue, SeriesHistory, StepTable
from ringmain_trainer.training.recipe import rows_of

FILE = "nl_liander_4stations_fcst_inputs_15min.csv.gz"
WEATHER = {"temperature_degc": "temp", "radiation_w_per_m2": "radiation", "windspeed_m_per_s": "windspeed_100m"}
MODEL = ModelConfig(signal="load_kw", history=["load_kw", "temperature_degc"], series=list(WEATHER))
CONFIG = TrainerConfig(
    holidays=["2020-12-25", "2020-12-26", "2021-01-01"], model=[MODEL], analysis=AnalysisConfig(violation_rows_max=40_000)
)
NOW = datetime(2021, 2, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def columns() -> dict[str, NDArray[np.float32]]:
    folder = os.environ.get("RINGMAIN_DATA")
    if not folder:
        pytest.skip("RINGMAIN_DATA does not name the folder of the real data")
    with gzip.open(Path(folder) / FILE, "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["time_utc"] >= "2020-10-03"]
    names = [*WEATHER.values(), "load_307_mw", "load_435_mw"]
    return {name: np.array([float(row[name] or "nan") for row in rows], np.float32) for name in names}


def site(columns: dict[str, NDArray[np.float32]], point: int) -> SiteData:
    """Steps of a point and weather as forecast every six hours."""
    start_s = int(datetime(2020, 10, 3, tzinfo=UTC).timestamp())
    steps = np.stack([1000 * columns[f"load_{point}_mw"], columns["temp"]], axis=1)
    series = {}
    for name, column in WEATHER.items():
        values = (columns[column] / (3600 if column == "radiation" else 1)).astype(np.float32)
        at = range(0, len(values), 24)
        series[name] = SeriesHistory("", [Issue(start_s + 900 * i, start_s + 900 * i, 900, values[i : i + 216]) for i in at])
    return SiteData(f"liander-{point}", "Europe/Amsterdam", StepTable(start_s, steps), series)


@pytest.mark.parametrize("point", [307, 435])
def test_peaks_are_told_better_than_by_yesterday(columns: dict[str, NDArray[np.float32]], point: int) -> None:
    data = site(columns, point)
    fitted = fit_violations(recipe_of(CONFIG, MODEL), CONFIG.analysis, data, rows_of(CONFIG.training, data), now=NOW)
    assert fitted.by_step.events > 200
    assert fitted.by_step.f1 > 0.4
    assert fitted.by_step.f1 > fitted.persistence_f1 + 0.05
    assert fitted.by_step.recall > 0.4
    probes = damaged(fitted.data.take(np.arange(-4, 0)).inputs, fitted.spec)
    expected = expected_risk(fitted, run(open_session(feature_model(fitted.spec)), probes, FEATURES))
    assert len(prove_same(violations_model(fitted), probes, expected)) < 150_000


def test_unusual_days_and_kinds_of_days_have_files_with_the_same_labels(columns: dict[str, NDArray[np.float32]]) -> None:
    days = whole_days(site(columns, 307).steps, 900, "Europe/Amsterdam")
    assert len(days.dates) == 115  # of 119: the clock change, the ends, and one with a hole
    features = day_features(days, CONFIG.holidays)
    forest = fit_forest(features, AnalysisConfig(trees=32))
    labels = forest.predict(features.rows).astype(np.int64)
    inputs = {"features": features.rows}
    scores = forest.decision_function(features.rows)
    assert len(prove_same(forest_model(forest, features), inputs, {"label": labels, "score": scores})) < 300_000
    assert 0 < len(unusual_days(features, labels, scores, "Europe/Amsterdam", "kW")) <= 6
    found = cluster_days(days, holidays=CONFIG.holidays)
    expected = {"cluster": found.estimator.predict(normalized(days.profiles)).astype(np.int64)}
    assert len(prove_same(cluster_model(found), {"profiles": days.profiles}, expected)) < 10_000
    assert sum(one.size for one in found.clusters) == len(days.dates)
