"""Analysis of a site: what is unusual is found and said, files say what scikit-learn said, failures stay with their site."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from ringmain_model.session import open_session, run
from ringmain_trainer.__main__ import main
from ringmain_trainer.analysis.analyse import (
    KINDS,
    RECORD,
    AnalysisResult,
    analyse,
    analyse_site,
    analysis_folder,
    result_rows,
)
from ringmain_trainer.analysis.anomalies import (
    Residuals,
    day_features,
    fit_forest,
    forest_model,
    unusual_days,
    unusual_hours,
)
from ringmain_trainer.analysis.day_clusters import Days, cluster_days, cluster_model, normalized, season_of, whole_days
from ringmain_trainer.analysis.limit_violations import (
    CLASSIFIERS,
    expected_risk,
    fit_classifier,
    fit_violations,
    limit_of,
    outside,
    violations_model,
)
from ringmain_trainer.config.trainer import AnalysisConfig, ModelConfig, TrainerConfig
from ringmain_trainer.errors import ExportError, TooLittleDataError
from ringmain_trainer.export.onnx_file import damaged
from ringmain_trainer.features.feature_graph import FEATURES, feature_model
from ringmain_trainer.features.site_data import SiteData
from ringmain_trainer.history.site_reader import StepTable
from ringmain_trainer.registry.candidates import candidate_folder
from ringmain_trainer.training.recipe import rows_of
from ringmain_trainer.training.train_site import train_model

NOW = datetime(2021, 2, 1, tzinfo=UTC)
START_S = 1_601_683_200  # 2020-10-03T00:00:00Z, a Saturday
ZONE = "Europe/Amsterdam"
DAY = 96


def office(days: int, seed: int = 0) -> NDArray[np.float32]:
    """Working days with a plateau, weekends without."""
    rng, hours = np.random.default_rng(seed), np.arange(days * DAY) / 4
    weekend = (hours // 24 + 5) % 7 >= 5
    busy = (np.abs(hours % 24 - 12) < 5) & ~weekend
    values: NDArray[np.float64] = 300 + 500 * busy + 40 * np.sin(hours / 12 * np.pi) + rng.normal(0, 10, len(hours))
    return values.astype(np.float32)


def days_of(values: NDArray[np.float32], zone: str = "UTC") -> Days:
    return whole_days(StepTable(START_S, values[:, None]), 900, zone)


# Kinds of days


def test_whole_days_begin_at_local_midnight_and_leave_gaps_and_clock_changes_out() -> None:
    values = office(40)
    values[10 * DAY + 50] = np.nan
    days = days_of(values, ZONE)
    assert days.dates[0] == date(2020, 10, 4)
    np.testing.assert_array_equal(days.profiles[0], values[DAY - 8 : 2 * DAY - 8])  # two hours before UTC
    assert date(2020, 10, 13) not in days.dates
    assert date(2020, 10, 25) not in days.dates
    np.testing.assert_array_equal(days.profiles[-1], values[39 * DAY - 4 :][:DAY])  # one hour after the clock change
    assert len(days_of(np.full(20, 1, np.float32)).dates) == 0


def test_working_days_and_weekends_are_two_kinds_with_their_make_up() -> None:
    days = days_of(office(70))
    found = cluster_days(days, k_range=(2, 6), holidays=["2020-10-12"])
    assert [one.size for one in found.clusters] == [50, 20]
    work, free = found.clusters
    assert (work.weekend_share, free.weekday_share, free.weekend_share) == (0.0, 0.0, 1.0)
    assert work.holiday_share == pytest.approx(1 / 50)
    assert sum(work.season_shares.values()) == pytest.approx(1)
    assert date.fromisoformat(free.representative_day).weekday() >= 5
    assert np.mean(work.mean) > np.mean(free.mean)
    assert set(found.silhouettes) == {2, 3, 4, 5, 6}
    assert max(found.silhouettes, key=lambda k: found.silhouettes[k]) == 2
    again = cluster_days(days, k_range=(2, 6))
    np.testing.assert_array_equal(found.labels, again.labels)


def test_shapes_have_no_size_and_a_constant_day_is_flat() -> None:
    profiles = np.stack([np.arange(8), 1000 * np.arange(8), np.full(8, 3)]).astype(np.float32)
    shapes = normalized(profiles)
    np.testing.assert_allclose(shapes[0], shapes[1], atol=1e-6)
    assert np.abs(shapes[:2]).max() == 1
    assert not shapes[2].any()


def test_too_few_or_equal_days_have_no_kinds() -> None:
    with pytest.raises(TooLittleDataError, match="5 whole days, 6 are needed"):
        cluster_days(days_of(office(5)))
    with pytest.raises(TooLittleDataError, match="do not differ"):
        cluster_days(Days(np.ones((30, 96), np.float32), [date(2021, 1, 1)] * 30))
    assert [season_of(date(2021, month, 1)) for month in (1, 4, 7, 10, 12)] == [
        "winter",
        "spring",
        "summer",
        "autumn",
        "winter",
    ]


def test_the_file_of_a_clustering_tells_kinds_from_raw_profiles() -> None:
    days = days_of(office(70))
    found = cluster_days(days)
    (labels,) = open_session(cluster_model(found)).run(["cluster"], {"profiles": days.profiles})
    np.testing.assert_array_equal(labels, found.labels)
    (constant,) = open_session(cluster_model(found)).run(["distances"], {"profiles": np.full((1, 96), 7, np.float32)})
    assert np.isfinite(constant).all()


# Anomalies


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


# Violations


def site_data(days: int) -> SiteData:
    load = office(days)
    return SiteData("liander-287", ZONE, StepTable(START_S, np.column_stack([load, 8 + 0 * load])), {})


@pytest.fixture
def model() -> ModelConfig:
    return ModelConfig(signal="load_kw", history=["load_kw", "temperature_degc"])


def test_the_risk_of_a_daily_peak_is_learned_and_the_file_says_what_scikit_learn_says(
    trainer_config: TrainerConfig, model: ModelConfig
) -> None:
    data = site_data(45)
    config = msgspec.structs.replace(trainer_config, analysis=AnalysisConfig(violation_rows_max=6_000, limit_quantile=0.9))
    fitted = fit_violations(config, model, data, rows_of(config.training, data), now=NOW)
    assert fitted.limit.source.startswith("no limit in analysis.limits: the quantile 0.9 ")
    assert fitted.by_step.f1 > 0.7
    assert fitted.by_step.recall > 0.7
    assert 0 < fitted.by_step.events < fitted.by_step.cases
    assert 0 < fitted.by_step.threshold < 1
    probes = damaged(fitted.data.take(np.arange(-3, 0)).inputs, fitted.spec)
    features = run(open_session(feature_model(fitted.spec)), probes, FEATURES)
    events, known = outside(fitted.data.targets, fitted.limit), np.isfinite(fitted.data.targets)
    for classifier in CLASSIFIERS:  # whichever was chosen
        ours = fitted._replace(estimator=fit_classifier(classifier, fitted.features, events, known))
        session = open_session(violations_model(ours))
        for name, values in expected_risk(ours, features).items():
            found = run(session, probes, name)
            assert found.shape == values.shape
            assert np.abs(found - values).max() < 1e-5
        assert session.get_inputs()[0].name == "history"


def test_limits_come_from_the_configuration_and_a_limit_never_reached_is_a_reason(
    trainer_config: TrainerConfig, model: ModelConfig
) -> None:
    analysis = AnalysisConfig(limits={"load_kw": (-100.0, 9999.0)})
    limit = limit_of("load_kw", np.ones(5), analysis)
    assert (limit.low, limit.high, limit.source) == (-100.0, 9999.0, "analysis.limits")
    assert outside(np.array([-101.0, 0, 10_000, np.nan]), limit).tolist() == [True, False, True, False]
    data = site_data(45)
    config = msgspec.structs.replace(trainer_config, analysis=analysis)
    text = r"limit -100 to 9999 \(analysis.limits\): 0 of \d+ steps of the first days are outside"
    with pytest.raises(TooLittleDataError, match=text):
        fit_violations(config, model, data, rows_of(config.training, data), now=NOW)


# The command


def test_a_wrong_file_is_refused_by_the_proof() -> None:
    from ringmain_trainer.analysis.onnx_files import prove_same  # noqa: PLC0415

    days = days_of(office(30))
    found = cluster_days(days)
    wrong = {"cluster": (found.labels + 1) % 2}
    with pytest.raises(ExportError, match="values of cluster are off in one call"):
        prove_same(cluster_model(found), {"profiles": days.profiles}, wrong)


def test_every_site_gets_all_kinds_or_reasons_and_its_files(
    trainer_config: TrainerConfig,
    site_values: Callable[..., Any],
    write_history: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for site, days, stream in (("good", 45, "0123456789abcdef"), ("short", 3, "fedcba9876543210")):
        write_history(Path(trainer_config.history), site, site_values(days), stream=stream)
    config = msgspec.structs.replace(trainer_config, analysis=AnalysisConfig(violation_rows_max=5_000, trees=20))
    assert train_model(config, "good", config.model[0], now=NOW, until=None).trained
    stale = analysis_folder(config, "profiles", "load_kw", "short")
    stale.mkdir(parents=True)
    (stale / RECORD).write_text("{}")
    found = {(one.site, one.kind): one for one in analyse(config, now=NOW)}
    assert set(found) == {(site, kind) for site in ("good", "short") for kind in KINDS}
    assert all(one.done for (site, _), one in found.items() if site == "good"), found
    assert {one.reason[:15] for (site, _), one in found.items() if site == "short"} == {"too little data", "no model of loa"}
    assert not stale.exists()
    assert 0.5 < found["good", "hours"].metrics["coverage"] <= 1
    assert "fitted on these days" in found["good", "hours"].texts["note"]
    for kind in ("days", "profiles", "violations"):
        folder = analysis_folder(config, kind, "load_kw", "good")
        assert sorted(path.name for path in folder.iterdir()) == ["model.joblib", "model.onnx", RECORD]
        record = msgspec.json.decode((folder / RECORD).read_bytes(), type=AnalysisResult)
        assert record == found["good", kind]
        assert 0 < record.model_bytes == (folder / "model.onnx").stat().st_size < 1_000_000
        assert record.dump_bytes == (folder / "model.joblib").stat().st_size
        assert set(joblib.load(folder / "model.joblib")) & {"forest", "kmeans", "classifier"}
    rows = result_rows(found.values())
    assert any(row.get("cluster") == 1 for row in rows)
    assert candidate_folder(Path(config.candidates), "load_kw", "good").is_dir()
    path = tmp_path / "trainer.toml"
    model = 'signal = "load_kw"\nhistory = ["load_kw", "temperature_degc"]\nseries = ["temperature_degc"]\n'
    path.write_text(
        f'history = "{config.history}"\ncandidates = "{config.candidates}"\n[training]\njobs = 1\n[[model]]\n{model}'
    )
    assert main(["analyse", "--config", str(path), "--site", "short"]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].startswith("site=short signal=load_kw kind=days done=False reason=too little data")


def test_one_failing_kind_leaves_the_others(
    trainer_config: TrainerConfig, site_values: Callable[..., Any], write_history: Callable[..., None]
) -> None:
    write_history(Path(trainer_config.history), "good", site_values(25))
    analysis = AnalysisConfig(limits={"load_kw": (-1e6, 1e6)}, trees=20)
    config = msgspec.structs.replace(trainer_config, analysis=analysis)
    found = {one.kind: one for one in analyse_site(config, "good", config.model[0], now=NOW)}
    assert {kind for kind, one in found.items() if one.done} == {"days", "profiles"}
    assert found["hours"].reason == "no model of load_kw: train this site first"
    assert "steps of the first days are outside" in found["violations"].reason or "too little" in found["violations"].reason
    nobody = analyse_site(config, "nobody", config.model[0], now=NOW)
    assert {one.reason for one in nobody} == {"no steps of load_kw in the history"}
