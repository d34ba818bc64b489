"""Cost of a model for each of many sites: a history of a year for each, the real `ringmain-trainer train`, JSON.

    python -m benchmarks.training --sites 1000 --jobs 2

Each site has load and temperature in quarter-hours and a weather forecast, issued every six hours, hour by hour for the next
60 hours: 70,080 steps and 87,600 forecast values in a year. The history has the layout that ingest and compaction make. The
model has the default settings. Beside other work, `cpu_s_per_site` over `jobs` is what a quiet machine needs. Memory is
looked at five times a second, in all processes of the training.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import psutil
from deltalake import write_deltalake

from ringmain_model.session import forecast, open_session
from ringmain_protocol import topics
from ringmain_trainer.history.delta import open_table
from ringmain_trainer.history.tables import INSTANT, TABLES, bucket
from ringmain_trainer.registry.candidates import MODEL

BEGIN: Final = datetime(2025, 10, 1, tzinfo=UTC)
STREAM: Final = "0123456789abcdef"
_SITES_PER_COMMIT: Final = 100
_ISSUED_EVERY: Final = timedelta(hours=6)
_AHEAD_H: Final = 60
_LATENCY_CALLS: Final = 200
_LOOK_S: Final = 0.2

CONFIG: Final = """
holidays = ["2025-12-25", "2025-12-26", "2026-01-01", "2026-04-06", "2026-04-27", "2026-05-14", "2026-05-25"]

[training]
jobs = {jobs}

[[model]]
signal = "load_kw"
history = ["load_kw", "temperature_degc"]
series = ["temperature_degc"]
"""


def main() -> None:
    """Generate the history, train, print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--folder", type=Path, help="for history and candidates; a history that is there is used as it is")
    parser.add_argument("--dask", metavar="ADDRESS", help="on this Dask cluster instead of own processes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        print(json.dumps(measure(folder, options.sites, options.days, options.jobs, options.dask)))


def measure(folder: Path, sites: int, days: int, jobs: int, dask: str | None = None) -> dict[str, Any]:
    """Generate what is not there, train all sites in a new process, and look at the result."""
    folder.mkdir(parents=True, exist_ok=True)
    history = folder / "history"
    begin = time.monotonic()
    if not history.exists():
        generate(history, sites, days)
    generated_s = time.monotonic() - begin
    (folder / "trainer.toml").write_text(CONFIG.format(jobs=jobs), encoding="utf-8")
    command = [sys.executable, "-m", "ringmain_trainer", "train", "--config", str(folder / "trainer.toml")]
    command += ["--json", str(folder / "results.json"), *(["--dask", dask] if dask else [])]
    begin, before_s = time.monotonic(), _children_cpu_s()
    with (folder / "train.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        largest, together = watch_memory(process)
    train_s, cpu_s = time.monotonic() - begin, _children_cpu_s() - before_s
    if process.returncode:
        sys.exit(f"train ended with {process.returncode}:\n{(folder / 'train.log').read_text()}")
    results = json.loads((folder / "results.json").read_text())
    trained = [result for result in results if result["trained"]]
    model = next((folder / "candidates").rglob(MODEL)).read_bytes()
    return {
        "seconds_per_site": round(train_s / len(results), 3),
        "sites": len(results),
        "days": days,
        "jobs": jobs,
        "train_s": round(train_s, 1),
        "failed": len(results) - len(trained),
        "rejected_by_the_gate": sum(result["decision"] == "rejected" for result in trained),
        "rss_mb_max": round(largest),
        "rss_mb_all_processes": round(together),
        "cpu_s_per_site": round(cpu_s / len(results), 3),
        "model_bytes": round(float(np.median([result["model_bytes"] for result in trained]))),
        "latency_ms": round(latency_ms(model), 3),
        "history_mb": round(sum(file.stat().st_size for file in history.rglob("*.parquet")) / 1e6),
        "generate_s": round(generated_s, 1),
    }


def generate(location: Path, sites: int, days: int) -> None:
    """A history of `sites` sites, in few large files for each site bucket and month."""
    names = sorted((f"site-{number:05d}" for number in range(sites)), key=lambda name: (bucket(name), name))
    tables = {kind: open_table(str(location), TABLES[kind]) for kind in (topics.STEPS, topics.SERIES)}
    for first in range(0, sites, _SITES_PER_COMMIT):
        made = [site_rows(name, days) for name in names[first : first + _SITES_PER_COMMIT]]
        for kind, frames in zip(tables, zip(*made, strict=True), strict=True):
            write_deltalake(tables[kind], pl.concat(frames), mode="append")


def site_rows(site: str, days: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of one made-up site."""
    rng = np.random.default_rng(list(site.encode()))
    return rows_of(made_up(days, rng), site, rng)


def made_up(days: int, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
    """A temperature, and a load that follows it, the hour and the weekday, with a few gaps."""
    count = days * 96
    hours = np.arange(count) / 4
    drift = np.convolve(rng.normal(0, 1.2, count + 400), np.ones(400) / 20, "valid")[:count]
    temperature = 10 - 9 * np.cos((hours / 24 - 110) / 365 * 2 * np.pi) + 4 * np.sin((hours - 9) / 12 * np.pi) + drift
    working = ((hours // 24 + 2) % 7 < 5).astype(float)  # the first day is a Wednesday
    shape = np.sin((hours - 7) / 12 * np.pi) + 0.5 * np.sin((hours - 5) / 6 * np.pi)
    size = rng.uniform(200, 5000)
    load = size * (1 + 0.25 * shape * (0.6 + 0.4 * working) - 0.012 * temperature + rng.normal(0, 0.03, count))
    load[rng.random(count) < 0.002] = np.nan
    return {"load_kw": load, "temperature_degc": temperature}


def rows_of(
    signals: dict[str, np.ndarray[Any, Any]], site: str, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Signals in quarter-hours of whole days as rows of the tables of steps and series; the temperature is also forecast."""
    days = len(signals["temperature_degc"]) // 96
    at = pl.datetime_range(BEGIN, BEGIN + timedelta(days=days), "15m", closed="left", eager=True, time_unit="us")
    steps = [step_rows(site, name, at, values, days) for name, values in signals.items()]
    return pl.concat(steps), series_rows(site, signals["temperature_degc"], rng)


def step_rows(site: str, name: str, at: pl.Series, values: np.ndarray[Any, Any], days: int) -> pl.DataFrame:
    """One signal as rows of the table of steps."""
    gap = np.isnan(values)
    columns = {
        "site": site,
        "stream": STREAM,
        "sequence": pl.Series(np.arange(days * 96) // 96 + 1, dtype=pl.Int64),
        "signal": name,
        "start_at": at,
        "step_s": 900,
        "value": pl.Series(values.astype(np.float32)).fill_nan(None),
        "quality": pl.Series(np.where(gap, 2, 0), dtype=pl.Int8),
        "received_at": at + timedelta(minutes=16),
    }
    return _whole(topics.STEPS, columns, at)


def series_rows(site: str, truth: np.ndarray[Any, Any], rng: np.random.Generator) -> pl.DataFrame:
    """A weather forecast that is worse the longer it looks ahead, as rows of the table of series."""
    hourly = truth[::4]
    issues = len(hourly) // 6
    ahead = np.arange(_AHEAD_H)
    valid = np.minimum(6 * np.arange(issues)[:, None] + ahead, len(hourly) - 1)
    error = np.cumsum(rng.normal(0, 0.15, valid.shape), axis=1)
    issued = pl.Series(np.repeat(np.arange(issues) * 6 * 3600, _AHEAD_H))
    lead = pl.Series(np.tile(ahead * 3600, issues))
    begin_us = int(BEGIN.timestamp()) * 1_000_000
    issued_at = (issued * 1_000_000 + begin_us).cast(INSTANT)
    columns = {
        "site": site,
        "name": "temperature_degc",
        "issued_at": issued_at,
        "valid_at": ((issued + lead) * 1_000_000 + begin_us).cast(INSTANT),
        "step_s": 3600,
        "unit": "degC",
        "value": pl.Series((hourly[valid] + error).ravel()),
        "received_at": issued_at + timedelta(hours=1),
    }
    return _whole(topics.SERIES, columns, issued_at)


def _whole(kind: str, columns: dict[str, Any], time_column: pl.Series) -> pl.DataFrame:
    """All columns of a table, in its types; what is not given is null."""
    given = columns | {"bucket": bucket(columns["site"]), "month": time_column.dt.strftime("%Y-%m")}
    wanted = TABLES[kind].columns
    frame = pl.DataFrame({name: value for name, value in given.items() if isinstance(value, pl.Series)})
    rest = {name: given.get(name) for name in wanted if not isinstance(given.get(name), pl.Series)}
    return frame.with_columns(pl.lit(value).alias(name) for name, value in rest.items()).select(
        pl.col(name).cast(kind_of) for name, kind_of in wanted.items()
    )


def watch_memory(process: "subprocess.Popen[Any]") -> tuple[float, float]:
    """Wait for the process; resident megabytes of its largest process, and of all of them together, at their highest."""
    largest = together = 0.0
    while process.poll() is None:
        sizes = list(_resident_mb(process.pid))
        largest, together = max([largest, *sizes]), max(together, sum(sizes))
        time.sleep(_LOOK_S)
    return largest, together


def _children_cpu_s() -> float:
    """Processor time of all processes that were begun here and have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident_mb(root: int) -> Iterator[float]:
    try:
        parent = psutil.Process(root)
        members = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in members:
        try:
            yield member.memory_info().rss / 1e6
        except psutil.NoSuchProcess:
            continue


def latency_ms(content: bytes) -> float:
    """Median time of one forecast on one thread, as the agent makes it."""
    session = open_session(content)
    shapes = {one.name: [1, *one.shape[1:]] for one in session.get_inputs()}
    inputs: dict[str, Any] = {
        name: np.full(shape, int(BEGIN.timestamp()), np.int64) if name == "issued_at_s" else np.ones(shape, np.float32)
        for name, shape in shapes.items()
    }
    taken = []
    for _ in range(_LATENCY_CALLS):
        begin = time.perf_counter()
        forecast(session, inputs)
        taken.append(time.perf_counter() - begin)
    return 1000 * float(np.median(taken))


if __name__ == "__main__":
    main()
