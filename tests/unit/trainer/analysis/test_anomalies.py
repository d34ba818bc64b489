"""Anomalies: days that the forest sets apart and that people would notice, and hours outside the quantiles."""

import numpy as np
import pytest

from ringmain_model.session import open_session
from ringmain_trainer.analysis.anomalies import (
    Residuals,
    day_features,
    fit_forest,
    forest_model,
    unusual_days,
    unusual_hours,
)
from ringmain_trainer.config.trainer import AnalysisConfig
from ringmain_trainer.errors import TooLittleDataError
from support.office_load import DAY, START_S, days_of, office


def test_a_day_with_a_night_of_load_is_set_apart_and_the_part_of_the_day_is_named() -> None:
    values = office(80)
    night = 33 * DAY
    values[night : night + 20] += 400
    features = day_features(days_of(values))
    forest = fit_forest(features, AnalysisConfig())
    labels, scores = forest.predict(features.rows).astype(np.int64), forest.decision_function(features.rows)
    first = unusual_days(features, labels, scores, "UTC", "kW")[0]
    assert first.from_s == START_S + 33 * 86400
    assert first.to_s - first.from_s == 86400
    assert first.reason.startswith("2020-11-05: from 00 to 03 h on average 401.3 kW above the usual")
    (found,) = open_session(forest_model(forest, features)).run(["label"], {"features": features.rows})
    np.testing.assert_array_equal(found, labels)


def test_ordinary_days_are_not_told_although_the_forest_always_sets_some_apart() -> None:
    features = day_features(days_of(office(80)))
    forest = fit_forest(features, AnalysisConfig())
    labels = forest.predict(features.rows).astype(np.int64)
    assert (labels < 0).any()
    told = unusual_days(features, labels, forest.decision_function(features.rows), "UTC")
    assert len(told) <= int((labels < 0).sum())
    with pytest.raises(TooLittleDataError, match="20 whole days, 21 are needed"):
        day_features(days_of(office(20)))


def test_hours_far_outside_the_quantiles_are_told_once_with_their_extent() -> None:
    quantiles = np.tile(np.array([90, 100, 110], np.float32), (3, 24, 1))
    targets = np.full((3, 24), 100, np.float32)
    targets[1, 5:9] = 150
    targets[1, 15] = 200  # for one step only
    targets[2, 20:] = 60
    targets[2, 22] = np.nan
    at = START_S + 24 * 900 * np.arange(3)
    found = unusual_hours(Residuals(quantiles, targets, at, 900), AnalysisConfig(residual_h=0.5), "kW")
    assert [(one.from_s - at[0], one.to_s - one.from_s) for one in found] == [(29 * 900, 3600), (68 * 900, 1800)]
    assert found[0].score == pytest.approx(2.0)
    assert found[0].reason == "150 kW where the forecast went up to 110, 2.0 widths of its band out; 1 h in all"
    assert "down to 90" in found[1].reason
    nothing = Residuals(quantiles, np.full_like(targets, np.nan), at, 900)
    assert unusual_hours(nothing, AnalysisConfig()) == []
