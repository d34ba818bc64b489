"""Histories of made-up sites on disk, in the layout that ingest makes, and a configuration that trains quickly on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.training import made_up, rows_of
from deltalake import write_deltalake
from numpy.typing import NDArray

from ringmain_protocol import topics
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig, TrainingConfig
from ringmain_trainer.history.delta import open_table
from ringmain_trainer.history.tables import TABLES

CONFIG = """
[training]
forecasts_min = 40
jobs = {jobs}

[[model]]
signal = "load_kw"
history = ["load_kw", "temperature_degc"]
series = ["temperature_degc"]
"""


def made_up_site(days: int, seed: int) -> dict[str, NDArray[Any]]:
    """Load and temperature of so many days."""
    return made_up(days, np.random.default_rng(seed))


def put_site(location: Path, site: str, signals: dict[str, NDArray[Any]], *, forecast: NDArray[Any] | None = None) -> None:
    """Add a site to the history; `forecast` is what its weather forecast comes from, instead of the temperature."""
    rng = np.random.default_rng(len(site))
    steps, series = rows_of(signals, site, rng)
    if forecast is not None:
        series = rows_of({"temperature_degc": forecast}, site, rng)[1]
    for kind, frame in ((topics.STEPS, steps), (topics.SERIES, series)):
        write_deltalake(open_table(str(location), TABLES[kind]), frame, mode="append")


def write_config(folder: Path, *, jobs: int = 1, more: str = "") -> Path:
    """A configuration file for the folder's `history` and `candidates`."""
    path = folder / "trainer.toml"
    path.write_text(more + CONFIG.format(jobs=jobs), encoding="utf-8")
    return path


def quick_config(folder: Path, *, jobs: int = 1) -> TrainerConfig:
    """The same as a Struct."""
    return TrainerConfig(
        history=str(folder / "history"),
        repository=str(folder / "repository"),
        keys=str(folder / "keys"),
        candidates=str(folder / "candidates"),
        training=TrainingConfig(forecasts_min=40, jobs=jobs),
        model=[ModelConfig(signal="load_kw", history=["load_kw", "temperature_degc"], series=["temperature_degc"])],
    )


def model_hashes(candidates: Path) -> dict[str, str]:
    """SHA-256 of the newest model of each site, whatever the gate says of it."""
    records = [json.loads(path.read_bytes()) for path in sorted(candidates.glob("*/load_kw/**/candidate.json"))]
    records.sort(key=lambda record: int(record["created_at_ms"]))
    return {record["site"]: record["model_sha256"] for record in records}
