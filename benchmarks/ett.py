"""Long-horizon accuracy on a file of the ETT kind (a time, then numbers; hourly or 15 minutes). Prints one JSON object.

Mean squared and mean absolute error at 96, 192, 336 and 720 steps, of all columns (`multivariate`) and of the last one
alone (`univariate`), scaled by mean and standard deviation of the training part. Hourly rows up to 8640 train, up to 11520
validate, up to 14400 test; four times that at 15 minutes. Every window of the test part counts. What is chosen is chosen on
the validation part. Scores come from the exported models in ONNX Runtime.

    python -m benchmarks.ett --data ETTh1.csv.gz [--forecasts FILE]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import joblib
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.answers import answers
from benchmarks.direct_linear import (
    Channel,
    DirectLinearConfig,
    Shape,
    Split,
    export_direct,
    fit_lookback,
    mean_of,
    usable_lookbacks,
)
from benchmarks.series_file import SeriesFileError, instants, numbers, read_table
from ringmain_model.session import forecast, open_session
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.errors import TrainerError
from ringmain_trainer.features.examples import Inputs

HORIZONS: Final = (96, 192, 336, 720)
SPLIT_HOURS: Final = (8640, 11520, 14400)
_BLOCK: Final = 256

MULTIVARIATE: Final = "multivariate"
UNIVARIATE: Final = "univariate"
CONFIGS: Final = {
    MULTIVARIATE: DirectLinearConfig(),
    UNIVARIATE: DirectLinearConfig(
        lookback_steps=(336, 504, 720, 1008, 1440), alphas=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    ),
}
"""One series alone cannot lean on the others: it looks back further, and more penalties are tried."""

Matrix = NDArray[np.float64]


class EttData(NamedTuple):
    """Values `(n_steps, columns)` as in the file; where training, validation and test end."""

    start_s: int
    step_s: int
    names: tuple[str, ...]
    values: Matrix
    split: Split
    end: int


def main() -> None:
    """Read, fit, export, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="CSV, also compressed")
    parser.add_argument("--forecasts", type=Path, metavar="FILE", help="where to write forecasts of the test part, Parquet")
    parser.add_argument("--jobs", type=int, default=-1, help="processes")
    options = parser.parse_args()
    with answers() as stream:
        try:
            data = read_ett(options.data)
            found, frame = run(data, CONFIGS, jobs=options.jobs, keep=options.forecasts is not None)
        except (SeriesFileError, TrainerError) as error:
            sys.exit(f"ett: {error}")
        if options.forecasts:
            frame.write_parquet(options.forecasts)
        print(json.dumps(found, indent=1), file=stream)


def read_ett(path: Path) -> EttData:
    """The first column is the time; gaps take the last value before.

    Raises:
        SeriesFileError: If it is no such file.
    """
    table = read_table(path)
    time, *rest = table.columns
    at = instants(table, time, time_zone="UTC")
    columns = []
    for name in rest:
        values = pl.Series(numbers(table, name)).fill_nan(None).fill_null(strategy="forward").fill_null(strategy="backward")
        if values.null_count():
            raise SeriesFileError(f"column {name!r} is empty")
        columns.append(values.to_numpy())
    if not columns or len(at) < 3:
        raise SeriesFileError(f"{path}: a time and at least one column of numbers are needed")
    step_s = int(np.median(np.diff(at)))
    if step_s not in (900, 3600):
        raise SeriesFileError(f"{path}: rows are {step_s} s apart; the split is defined for an hour and for 15 minutes")
    train, validation, end = (hours * 3600 // step_s for hours in SPLIT_HOURS)
    if len(at) < end:
        raise SeriesFileError(f"{path}: {len(at)} rows, the split takes {end}")
    return EttData(int(at[0]), step_s, tuple(rest), np.stack(columns, axis=1)[:end], Split(train, validation), end)


def run(
    data: EttData,
    configs: dict[str, DirectLinearConfig],
    *,
    horizons: Sequence[int] = HORIZONS,
    jobs: int = -1,
    keep: bool = False,
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Scores by kind and horizon; with `keep` also what was scored.

    Raises:
        TrainerError: If there is too little data, or an export fails.
    """
    train = data.values[: data.split.train]
    spread = train.std(axis=0)
    scaled = (data.values - train.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    day = DAY_S // data.step_s
    parts = {MULTIVARIATE: scaled, UNIVARIATE: scaled[:, -1:]}
    tasks = [
        (kind, horizon, lookback)
        for horizon in sorted(horizons, reverse=True)
        for kind in parts
        for lookback in sorted(usable_lookbacks(data.split, horizon, configs[kind]), reverse=True)
    ]  # the longest first: they take most of the time
    fitted = joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(fit_lookback)(
            parts[kind][: data.split.validation], data.split, Shape(horizon, day), lookback, configs[kind].alphas
        )
        for kind, horizon, lookback in tasks
    )
    found: dict[str, Any] = {kind: {} for kind in parts}
    frames = []
    for kind, values in parts.items():
        names = data.names[-values.shape[1] :]
        for horizon in horizons:
            own = [part for part, task in zip(fitted, tasks, strict=True) if task[:2] == (kind, horizon)]
            model = mean_of(values[: data.split.validation], data.split, own)
            said = [forecast_test(values[:, c], model.weights[c], data) for c in range(values.shape[1])]
            actual = [windows(values[data.split.validation :, c], horizon) for c in range(values.shape[1])]
            errors = [one - truth for one, truth in zip(said, actual, strict=True)]
            found[kind][str(horizon)] = {
                "mse": round(float(np.mean([np.mean(error**2) for error in errors])), 4),
                "mae": round(float(np.mean([np.mean(np.abs(error)) for error in errors])), 4),
            }
            if keep:
                frames += [
                    as_frame(f"{kind}/{horizon}/{name}", one, truth, data)
                    for name, one, truth in zip(names, said, actual, strict=True)
                ]
    return found, pl.concat(frames) if frames else pl.DataFrame()


def forecast_test(series: Matrix, weights: Matrix, data: EttData) -> Matrix:
    """Forecasts for every window of the test part, `(N, horizon)`, by the exported model of a channel."""
    lookback, horizon = weights.shape
    begin = data.split.validation
    history = windows(series[begin - lookback : data.end - horizon], lookback).astype(np.float32)[:, :, None]
    issued_at_s = data.start_s + data.step_s * (begin + np.arange(len(history), dtype=np.int64))
    validation = windows(series[data.split.train - lookback : begin - horizon], lookback)[::400].astype(np.float32)[
        :, :, None
    ]
    channel = Channel(
        site="ett",
        signal="channel",
        step_s=data.step_s,
        typical=float(np.median(series[: data.split.train])),
        spread=float(np.ptp(np.quantile(series[: data.split.train], (0.01, 0.99)))) or 1.0,
        trained_to_s=data.start_s + data.step_s * data.split.train,
        trained_forecasts=data.split.train - lookback - horizon + 1,
    )
    now = datetime.fromtimestamp(data.start_s + data.step_s * begin, UTC)
    content = export_direct(weights, channel, probes(validation, horizon), now=now)
    session, nothing = open_session(content), np.zeros((len(history), horizon, 0), np.float32)
    inputs: Inputs = {"history": history, "known_future": nothing, "issued_at_s": issued_at_s}
    return np.concatenate(
        [
            forecast(session, {key: value[at : at + _BLOCK] for key, value in inputs.items()})[:, :, 0].astype(np.float64)
            for at in range(0, len(history), _BLOCK)
        ]
    )


def probes(history: NDArray[np.float32], horizon: int) -> Inputs:
    """Windows as they are, with gaps, and empty."""
    holes = history.copy()
    holes[:, ::7] = np.nan
    holes[:, -5:] = np.nan
    made = np.concatenate([history[:2], holes, history[:1] * np.nan])
    count = len(made)
    return {
        "history": made,
        "known_future": np.zeros((count, horizon, 0), np.float32),
        "issued_at_s": np.zeros(count, np.int64),
    }


def windows(series: Matrix, size: int) -> Matrix:
    """All windows of a size, `(N, size)`."""
    return np.lib.stride_tricks.sliding_window_view(series, size)


def as_frame(series: str, said: Matrix, actual: Matrix, data: EttData) -> pl.DataFrame:
    """Forecasts of all windows as they were scored, in scaled units."""
    horizon = said.shape[1]
    issued = data.start_s + data.step_s * (data.split.validation + np.arange(len(said)))
    valid = issued[:, None] + data.step_s * np.arange(horizon)
    return pl.DataFrame(
        {
            "series": pl.repeat(series, valid.size, dtype=pl.String, eager=True).cast(pl.Categorical),
            "issued_at": _times(np.repeat(issued, horizon)),
            "valid_at": _times(valid.ravel()),
            "q0.5": said.ravel().astype(np.float32),
            "actual": actual.ravel().astype(np.float32),
        }
    )


def _times(seconds: NDArray[np.int64]) -> pl.Series:
    return pl.Series(1000 * seconds).cast(pl.Datetime("ms", "UTC"))


if __name__ == "__main__":
    main()
