"""Quality of day-ahead forecasts by quantiles, on any file of times, targets and weather. Prints one JSON object.

Issued at 06:00 UTC of the day before for the whole day from 00:00 UTC on; retrained each week on the days before; scored on
what the exported model says in ONNX Runtime. Weather counts as known ahead, as one forecast for all leads. Errors are shares
of P99 - P1 of the target on the days scored: `rcrps` is twice the mean pinball loss over the quantiles, `rmae` the absolute
error of the median, `coverage_80` the share of the target between the outer quantiles; `persistence_rcrps` is the better of
yesterday and last week, as known at issue.

    python -m benchmarks.day_ahead --data FILE --time COL --target COL[,COL] [--weather COL,...] [--stamp start|end]
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import joblib
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.answers import answers
from benchmarks.series_file import SeriesFile, SeriesFileError, read_series_file
from ringmain_model.session import forecast, open_session
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.estimators import EstimatorName, EstimatorsConfig, ExtraTreesConfig, HistGradientBoostingConfig
from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig, TrainingConfig
from ringmain_trainer.errors import TrainerError
from ringmain_trainer.features.examples import examples, window_of
from ringmain_trainer.features.site_data import SiteData
from ringmain_trainer.history.site_reader import Issue, SeriesHistory, StepTable
from ringmain_trainer.models.fit import persistence
from ringmain_trainer.training.recipe import fit_site

QUANTILES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
TARGET: Final = "target"
RETRAIN_DAYS: Final = 7
ISSUES_A_DAY: Final = 4
"""Interval of training forecasts; one of them is at the hour of those that are scored."""
_ISSUE_S: Final = 6 * 3600
_AHEAD_S: Final = DAY_S - _ISSUE_S
"""From issue to the first step that is scored."""
_CONTEXT_DAYS: Final = 9


class Protocol(NamedTuple):
    """Targets, weather and time of the forecasts: the last `test_days` with a value, or from `test_from` on."""

    targets: tuple[str, ...]
    weather: tuple[str, ...] = ()
    time_zone: str = "UTC"
    train_days: int = 84
    test_days: int = 28
    test_from: date | None = None
    holidays: tuple[str, ...] = ()
    estimators: tuple[EstimatorName, ...] = ("hist_gradient_boosting", "ridge", "extra_trees")


class Scored(NamedTuple):
    """Forecasts of one target, `(days, steps)` and `(days, steps, quantiles)`; NaN where the target has a gap."""

    issued_at_s: NDArray[np.int64]
    quantiles: NDArray[np.float64]
    yesterday: NDArray[np.float64]
    last_week: NDArray[np.float64]
    actual: NDArray[np.float64]


def main() -> None:
    """Read, train, forecast, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="CSV, also compressed")
    parser.add_argument("--time", required=True, metavar="COL", help="column of the times")
    parser.add_argument("--target", required=True, metavar="COL[,COL]", help="columns to forecast")
    parser.add_argument("--weather", default="", metavar="COL,...", help="columns that are known ahead")
    parser.add_argument("--time-zone", default="UTC", help="of times without an offset, and of the calendar")
    parser.add_argument("--stamp", choices=("start", "end"), default="start", help="what of its step a time is")
    parser.add_argument("--train-days", type=int, default=84)
    parser.add_argument("--test-days", type=int, default=28)
    parser.add_argument(
        "--test-from", type=date.fromisoformat, metavar="DATE", help="first day; else the last days that there are"
    )
    parser.add_argument("--holidays", default="", metavar="DATE,...", help="public holidays by local date")
    parser.add_argument(
        "--estimators",
        nargs="+",
        choices=get_args(EstimatorName),
        default=Protocol._field_defaults["estimators"],
        help="the blend",
    )
    parser.add_argument("--jobs", type=int, default=-1, help="processes")
    parser.add_argument("--forecasts", type=Path, metavar="FILE", help="where to write what was scored, Parquet")
    options = parser.parse_args()
    protocol = Protocol(
        _names(options.target),
        _names(options.weather),
        options.time_zone,
        options.train_days,
        options.test_days,
        options.test_from,
        _names(options.holidays),
        tuple(options.estimators),
    )
    with answers() as stream:
        try:
            file = read_series_file(
                options.data,
                time=options.time,
                columns=list(dict.fromkeys((*protocol.targets, *protocol.weather))),
                time_zone=protocol.time_zone,
                stamp=options.stamp,
            )
            scored = run(file, protocol, jobs=options.jobs)
        except (SeriesFileError, TrainerError, ValueError) as error:
            sys.exit(f"day_ahead: {error}")
        if options.forecasts:
            as_frame(scored, file.step_s).write_parquet(options.forecasts)
        print(json.dumps(result(scored), indent=1), file=stream)


def run(file: SeriesFile, protocol: Protocol, *, jobs: int = -1) -> dict[str, Scored]:
    """Forecast the test days of each target.

    Raises:
        SeriesFileError: If there are no days to test on, or none to learn from.
        TrainerError: If the trainer makes no model of what there is.
    """
    config = configuration(file.step_s, protocol)
    tasks = []
    for target in protocol.targets:
        days = test_days_of(file, target, protocol.test_days, protocol.test_from)
        weeks = (days[i : i + RETRAIN_DAYS] for i in range(0, len(days), RETRAIN_DAYS))
        tasks += [(target, own) for own in weeks]
    made: list[Scored] = joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(week)(file, protocol, config, target, days) for target, days in tasks
    )
    found: dict[str, Scored] = {}
    for target in protocol.targets:
        own = [one for one, task in zip(made, tasks, strict=True) if task[0] == target]
        found[target] = Scored(*(np.concatenate(part) for part in zip(*own, strict=True)))
    return found


def configuration(step_s: int, protocol: Protocol) -> TrainerConfig:
    """Configuration of the trainer: a blend of boosted trees, a linear model and random trees."""
    training = TrainingConfig(
        step_s=step_s,
        history_steps=_CONTEXT_DAYS * DAY_S // step_s,
        horizon_steps=(_AHEAD_S + DAY_S) // step_s,
        first_lead_steps=_AHEAD_S // step_s,
        quantiles=QUANTILES,
        lag_days=(1, 2, 3, 7),
        features=("weekend_waves", "series_means", "wind_cubed"),
        forecasts_min=10,
        model_bytes_max=20_000_000,
        held_out_days=21.0,
        held_out_share=0.3,
    )
    model = ModelConfig(
        signal=TARGET,
        history=[TARGET],
        series=list(series_names(protocol.weather).values()),
        estimators=protocol.estimators,
    )
    return TrainerConfig(
        time_zone=protocol.time_zone,
        holidays=list(protocol.holidays),
        training=training,
        estimators=EstimatorsConfig(
            hist_gradient_boosting=HistGradientBoostingConfig(max_features=0.5, rows_max=12_000),
            extra_trees=ExtraTreesConfig(rows_max=12_000),
        ),
        model=[model],
    )


def series_names(columns: Sequence[str]) -> dict[str, str]:
    """Columns by names that a model file may hold."""
    names: dict[str, str] = {}
    for column in columns:
        name = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")[:50]
        name = name if name[:1].isalpha() else f"series_{name}"
        while name in names.values():
            name += "_"
        names[column] = name
    return names


def test_days_of(file: SeriesFile, target: str, count: int, first: date | None) -> list[int]:
    """Starts of the days to forecast, UTC seconds: the last whole ones of the file, or those from a day on.

    Where the target has no values in most of the last whole days, it is its own last days.

    Raises:
        SeriesFileError: If there are none.
    """
    known_s = file.start_s + np.flatnonzero(np.isfinite(file.columns[target])) * file.step_s
    if not len(known_s):
        raise SeriesFileError(f"{target} has no values")
    day_known = np.unique(known_s // DAY_S)
    file_end = (file.start_s + len(file.columns[target]) * file.step_s) // DAY_S
    if first is not None:
        begin = (first - date(1970, 1, 1)).days
        days = range(begin, min(begin + count, file_end))
    else:
        days = range(file_end - count, file_end)
        if np.isin(days, day_known).sum() * 2 < count:
            days = range(int(day_known[-1]) - count + 1, int(day_known[-1]) + 1)
    chosen = [day * DAY_S for day in days if day * DAY_S - int(known_s[0]) >= (RETRAIN_DAYS + 7) * DAY_S]
    if not chosen:
        raise SeriesFileError(f"{target}: no day to forecast is two weeks after its first value")
    return chosen


def week(file: SeriesFile, protocol: Protocol, config: TrainerConfig, target: str, days: Sequence[int]) -> Scored:
    """Train once, on what was there at the first issue; forecast each day."""
    step_s, window, model = file.step_s, window_of(config.training), config.model[0]
    issues = np.array([day - _AHEAD_S for day in days], np.int64)
    issued_s, horizon = int(issues[0]), window.horizon_steps
    origin_s = issued_s - (protocol.train_days + _CONTEXT_DAYS + 3) * DAY_S
    whole = site_data(file, protocol, target, origin_s, int(days[-1]) + DAY_S)
    known = (issued_s - origin_s) // step_s
    seen = whole._replace(steps=StepTable(origin_s, whole.steps.values[:known]))
    every, newest = DAY_S // ISSUES_A_DAY // step_s, known - horizon
    oldest = max(every, newest - protocol.train_days * DAY_S // step_s)
    rows = range(newest - (newest - oldest) // every * every, newest + 1, every)
    has_target = [row for row in rows if np.isfinite(seen.steps.values[row : row + horizon, 0]).any()]
    trained = fit_site(recipe_of(config, model), seen, has_target, now=datetime.fromtimestamp(issued_s, UTC))
    made = examples(
        whole.steps, (whole.series[name] for name in model.series), window, [(int(at) - origin_s) // step_s for at in issues]
    )
    scored = slice(_AHEAD_S // step_s, None)
    said = forecast(open_session(trained.content), made.inputs)[:, scored].astype(np.float64)
    yesterday, last_week = (persistence(made.inputs["history"], window, back)[:, scored] for back in (1, 7))
    return Scored(issues, said, yesterday, last_week, made.targets[:, scored].astype(np.float64))


def site_data(file: SeriesFile, protocol: Protocol, target: str, from_s: int, until_s: int) -> SiteData:
    """Data as the trainer would read them from its history; weather as one forecast that was always known."""
    step_s, values = file.step_s, file.columns[target]
    at = np.arange((until_s - from_s) // step_s) + (from_s - file.start_s) // step_s
    inside = (at >= 0) & (at < len(values))
    steps = np.full((len(at), 1), np.nan, np.float32)
    steps[inside, 0] = values[at[inside]]
    series = {
        name: SeriesHistory("", [Issue(0, file.start_s, step_s, file.columns[column].astype(np.float32))])
        for column, name in series_names(protocol.weather).items()
    }
    return SiteData("benchmark", protocol.time_zone, StepTable(from_s, steps), series)


def result(scored: dict[str, Scored]) -> dict[str, Any]:
    """The figures of each target, and their means."""
    series = {target: figures(one) for target, one in scored.items()}
    means = {
        name: round(float(np.mean([one[name] for one in series.values()])), 5)
        if all(name in one for one in series.values())
        else None
        for name in ("rcrps", "rmae", "coverage_80", "persistence_rcrps")
    }
    return {**means, "series": series}


def figures(one: Scored) -> dict[str, float]:
    """All that is said of one target."""
    known = np.isfinite(one.actual)
    truth, said = one.actual[known], one.quantiles[known]
    low, high = np.quantile(truth, [0.01, 0.99])
    norm = float(high - low) or 1.0
    missed = [np.abs(values[known] - truth) for values in (one.yesterday, one.last_week)]
    naive = [float(np.nanmean(error)) for error in missed if np.isfinite(error).any()]
    persistence_rcrps = {"persistence_rcrps": round(min(naive) / norm, 5)} if naive else {}
    return {
        "rcrps": round(2 * pinball(truth, said) / norm, 5),
        "rmae": round(float(np.abs(said[:, QUANTILES.index(0.5)] - truth).mean()) / norm, 5),
        "coverage_80": round(float(((truth >= said[:, 0]) & (truth <= said[:, -1])).mean()), 4),
        **persistence_rcrps,
        "mae": round(float(np.abs(said[:, QUANTILES.index(0.5)] - truth).mean()), 5),
        "norm": round(norm, 5),
        "steps": int(known.sum()),
        "days": len(one.actual),
    }


def pinball(truth: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    """Mean pinball loss over values and quantiles."""
    levels, missing = np.array(QUANTILES), truth[:, None] - said
    return float(np.maximum(levels * missing, (levels - 1) * missing).mean())


def as_frame(scored: dict[str, Scored], step_s: int) -> pl.DataFrame:
    """Scored values, a row each, without gaps of the target."""
    frames = []
    for target, one in scored.items():
        days, steps = one.actual.shape
        valid = one.issued_at_s[:, None] + _AHEAD_S + step_s * np.arange(steps)
        columns: dict[str, Any] = {
            "series": [target] * (days * steps),
            "issued_at": _times(np.repeat(one.issued_at_s, steps)),
            "valid_at": _times(valid.ravel()),
        }
        columns |= {f"q{level:g}": one.quantiles[:, :, i].ravel() for i, level in enumerate(QUANTILES)}
        frames.append(pl.DataFrame({**columns, "actual": one.actual.ravel()}))
    return pl.concat(frames).filter(pl.col("actual").is_not_nan())


def _times(seconds: NDArray[np.int64]) -> pl.Series:
    return pl.Series(1000 * seconds).cast(pl.Datetime("ms", "UTC"))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    main()
