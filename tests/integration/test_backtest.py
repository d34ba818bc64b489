"""Backtest: only what was known then, recipes side by side, what was scored is what is told."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from ringmain_trainer.__main__ import main
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.errors import TooLittleDataError
from ringmain_trainer.evaluation.backtest import backtest, backtest_site, known_at, origin_rows, read_raw
from ringmain_trainer.features.site_data import SiteData
from ringmain_trainer.history.site_reader import SeriesHistory, StepTable
from ringmain_trainer.release.publish import publish
from ringmain_trainer.release.tuf_repository import create_repository
from ringmain_trainer.training.train_fleet import train

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SITE, SIGNAL = "liander-287", "load_kw"


@pytest.fixture
def config(trainer_config: TrainerConfig) -> TrainerConfig:
    settings = msgspec.structs.replace(trainer_config.backtest, origins=4, refit_days=2.0, lead_block_h=12.0)
    return msgspec.structs.replace(trainer_config, backtest=settings)


@pytest.fixture
def history(
    config: TrainerConfig, site_values: Callable[..., dict[str, Any]], write_history: Callable[..., None]
) -> SiteData:
    """30 days of a site, as it came."""
    write_history(Path(config.history), SITE, site_values(30))
    return read_raw(config, SITE, config.model[0])


def changed_after(data: SiteData, at_s: int) -> SiteData:
    """The same until an instant; everything that comes later is something else."""
    steps = data.steps.values.copy()
    rng = np.random.default_rng(5)
    later = (at_s - data.steps.start_s) // 900
    steps[later:] = rng.normal(1e4, 1e5, steps[later:].shape)
    series = {
        name: SeriesHistory(
            one.unit,
            [i if i.issued_at_s <= at_s else i._replace(values=np.full_like(i.values, 1e6)) for i in one.issues],
        )
        for name, one in data.series.items()
    }
    return data._replace(steps=StepTable(data.steps.start_s, steps), series=series)


def test_nothing_that_comes_after_an_origin_changes_its_forecast(config: TrainerConfig, history: SiteData) -> None:
    model = config.model[0]
    whole = backtest_site(config, model, history, "none", now=NOW).forecasts
    origins = whole["issued_at"].unique().sort()
    at = origins[1]  # the model was fitted at the first; one more fit lies after it
    other = backtest_site(config, model, changed_after(history, int(at.timestamp())), "none", now=NOW).forecasts
    for recipe in ("challenger", "yesterday", "last_week"):
        one, two = (
            frame.filter(pl.col("recipe") == recipe, pl.col("issued_at") <= at).drop("actual") for frame in (whole, other)
        )
        assert len(one) == 2 * 96
        assert one.equals(two), recipe
    later = (frame.filter(pl.col("recipe") == "challenger", pl.col("issued_at") > at)["q0.5"] for frame in (whole, other))
    assert not next(later).equals(next(later))


def test_marks_of_quality_look_at_nothing_later(config: TrainerConfig, history: SiteData) -> None:
    values = history.steps.values.copy()
    values[2000:, 0] = 500.0  # a flat line begins; at the first of its steps nobody can know
    data = history._replace(steps=StepTable(history.steps.start_s, values))
    early = known_at(config, config.model[0], data, 2004)
    late = known_at(config, config.model[0], data, 2200)
    assert np.isfinite(early.steps.values[-4:, 0]).all()
    assert np.isnan(late.steps.values[-100:, 0]).all()
    at_s = history.steps.start_s + 900 * 2004
    assert all(issue.issued_at_s <= at_s for one in early.series.values() for issue in one.issues)
    assert early.steps.start_s + 900 * len(early.steps.values) == at_s


def test_origins_are_the_newest_at_the_hour_with_a_whole_horizon(config: TrainerConfig, history: SiteData) -> None:
    rows = origin_rows(config, history.steps)
    at = [datetime.fromtimestamp(history.steps.start_s + 900 * int(row), UTC) for row in rows]
    assert [(one.hour, one.minute) for one in at] == [(6, 0)] * 4
    assert (
        at[-1] + timedelta(days=1)
        <= datetime.fromtimestamp(history.steps.start_s + 30 * 86400, UTC)
        < at[-1] + timedelta(days=2)
    )
    gappy = history.steps.values.copy()
    gappy[1800:2600] = np.nan
    assert origin_rows(config, StepTable(history.steps.start_s, gappy[:2700]))[-1] <= 1800 + 384  # half of the window
    assert len(origin_rows(config, StepTable(history.steps.start_s, gappy[:800]))) == 0


def test_the_lines_are_the_scores_of_the_forecasts(config: TrainerConfig, history: SiteData) -> None:
    result = backtest_site(config, config.model[0], history, "none", now=NOW)
    lines = {(line.recipe, line.leads): line for line in result.lines}
    assert lines["champion", "all"].reason == "none"
    assert {leads for recipe, leads in lines if recipe == "challenger"} == {"all", "0-12 h", "12-24 h"}
    made = result.forecasts.filter(pl.col("recipe") == "challenger")
    error = float((made["q0.5"] - made["actual"]).abs().mean())  # type: ignore[arg-type]
    assert lines["challenger", "all"].mae == pytest.approx(error, rel=1e-4)
    assert made.columns == ["site", "signal", "series", "recipe", "issued_at", "valid_at", "q0.1", "q0.5", "q0.9", "actual"]
    assert (made["q0.1"] <= made["q0.9"]).all()
    assert made["series"].unique().to_list() == [f"{SITE}/{SIGNAL}"]
    best = [line for line in result.lines if line.best_persistence]
    assert {line.recipe for line in best} in ({"yesterday"}, {"last_week"})
    naive = {recipe: line.mae for (recipe, leads), line in lines.items() if leads == "all" and recipe != "champion"}
    mae, rival = naive["challenger"], min(naive["yesterday"] or 0, naive["last_week"] or 0)
    assert mae is not None
    assert lines["challenger", "all"].skill == pytest.approx(1 - mae / rival, abs=1e-4)
    assert lines["yesterday", "all"].coverage is None
    assert lines["yesterday", "all"].rcrps == pytest.approx(lines["yesterday", "all"].rmae)


def test_the_champion_is_scored_on_days_after_its_training_only(
    config: TrainerConfig, history: SiteData, start_s: int
) -> None:
    assert len(history.steps.values) == 30 * 96
    create_repository(Path(config.repository), Path(config.keys), NOW)
    until = datetime.fromtimestamp(start_s, UTC) + timedelta(days=27)
    train(config, now=NOW, until=until)
    publish(config, now=NOW, sites=[SITE], force=True)
    result = backtest(config, now=NOW)
    said = result.forecasts.filter(pl.col("recipe") == "champion")
    assert said["issued_at"].min() >= until - timedelta(hours=4)  # type: ignore[operator]
    assert said["issued_at"].n_unique() == 2
    beside = {line.recipe for line in result.lines if line.origins == "after the champion's training"}
    assert beside == {"champion", "challenger", "yesterday", "last_week"}
    assert all(line.forecasts == 2 for line in result.lines if line.origins == "after the champion's training")
    train(config, now=NOW)
    publish(config, now=NOW, sites=[SITE], force=True)
    (line,) = (line for line in backtest(config, now=NOW).lines if line.recipe == "champion")
    assert line.reason == "release 2 was trained on all these days"


def test_too_little_data_is_said(config: TrainerConfig, history: SiteData) -> None:
    short = history._replace(steps=StepTable(history.steps.start_s, history.steps.values[: 12 * 96]))
    with pytest.raises(TooLittleDataError, match="forecasts to train on"):
        backtest_site(config, config.model[0], short, "none", now=NOW)
    with pytest.raises(TooLittleDataError, match="no origin"):
        backtest_site(
            config,
            config.model[0],
            history._replace(steps=StepTable(history.steps.start_s, history.steps.values[:800])),
            "none",
            now=NOW,
        )


def test_the_command_writes_parquet_and_one_site_stops_no_other(
    tmp_path: Path,
    site_values: Callable[..., dict[str, Any]],
    write_history: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_history(tmp_path / "history", SITE, site_values(24))
    write_history(tmp_path / "history", "liander-307", site_values(3))
    path = tmp_path / "trainer.toml"
    path.write_text(
        '[training]\nforecasts_min = 40\njobs = 1\n[[model]]\nsignal = "load_kw"\nhistory = ["load_kw", "temperature_degc"]'
    )
    file = tmp_path / "forecasts.parquet"
    assert main(["backtest", "--config", str(path), "--origins", "2", "--out", str(file), "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    reasons = {(line["site"], line["recipe"]): line["reason"] for line in lines if line["reason"]}
    assert reasons["liander-307", ""].startswith("too little data")
    assert reasons[SITE, "champion"] == "no model of this site and signal is released"
    frame = pl.read_parquet(file)
    assert set(frame["recipe"].unique()) == {"challenger", "yesterday", "last_week"}
    assert frame.filter(pl.col("recipe") == "challenger")["issued_at"].n_unique() == 2
    assert main(["backtest", "--config", str(path), "--site", "liander-307"]) == 1
    with pytest.raises(SystemExit):
        main(["backtest", "--config", str(path), "--origins", "0"])
