"""Fixtures: made-up sites as step tables, as messages and as a history on disk. The conftests take them in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ringmain_protocol import topics
from ringmain_protocol.messages import Series, Steps, encode
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig, TrainingConfig
from ringmain_trainer.history.delta import append, open_table
from ringmain_trainer.history.records import Batch, ReceivedLog, Record
from ringmain_trainer.history.tables import TABLES

START_S = 1_601_683_200  # 2020-10-03T00:00:00Z, a Saturday
STREAM = "0123456789abcdef"
NOW_MS = 1_610_000_000_000


@pytest.fixture
def start_s() -> int:
    """First step of the made-up sites."""
    return START_S


@pytest.fixture(scope="session")
def site_values() -> Callable[..., dict[str, NDArray[np.float32]]]:
    """A load that follows temperature and time of day, for so many days of quarter-hours."""

    def make(days: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
        rng, hours = np.random.default_rng(seed), np.arange(days * 96) / 4
        temperature = 8 + 4 * np.sin(hours / 24 * 2 * np.pi) + np.cumsum(rng.normal(0, 0.1, len(hours)))
        load = 1000 + 250 * np.sin(hours / 12 * np.pi - 1) - 20 * temperature + rng.normal(0, 15, len(hours))
        return {"load_kw": load.astype(np.float32), "temperature_degc": temperature.astype(np.float32)}

    return make


@pytest.fixture(scope="session")
def write_history() -> Callable[..., None]:
    """Put step values and a series issued every six hours into a history, the way ingest does."""

    def write(location: Path, site: str, values: dict[str, Any], *, stream: str = STREAM) -> None:
        known, steps, series = ReceivedLog(), Batch(topics.STEPS), Batch(topics.SERIES)
        count = len(next(iter(values.values())))
        for sequence, first in enumerate(range(0, count, 96), start=1):
            rows = [(name, i, value[i]) for name, value in values.items() for i in range(first, min(first + 96, count))]
            message = Steps(
                stream=stream,
                sequence=sequence,
                step_s=900,
                signals=[name for name, _, _ in rows],
                at_ms=[1000 * (START_S + 900 * i) for _, i, _ in rows],
                values=[float(value) if np.isfinite(value) else None for _, _, value in rows],
                quality=[0 if np.isfinite(value) else 2 for _, _, value in rows],
            )
            assert steps.add(Record(topics.STEPS, site.encode(), encode(message), (), NOW_MS), known) is None
        weather = values.get("temperature_degc")
        header = [("mqtt_topic", topics.topic(site, topics.SERIES, "temperature_degc").encode())]
        for first in range(0, count if weather is not None else 0, 24):
            at_ms = 1000 * (START_S + 900 * first)
            ahead = [float(value) for value in values["temperature_degc"][first : first + 216]]
            issue = Series(issued_at_ms=at_ms, start_ms=at_ms, step_s=900, unit="degC", values=list(ahead))
            assert series.add(Record(topics.SERIES, site.encode(), encode(issue), header, NOW_MS), known) is None
        for batch in (steps, series):
            assert append(open_table(str(location), batch.table), batch.frame(), {})
        assert set(TABLES) == set(topics.KAFKA_TOPICS)

    return write


@pytest.fixture
def trainer_config(tmp_path: Path) -> TrainerConfig:
    """One model of load with temperature; everything below the test's folder, in one process."""
    model = ModelConfig(signal="load_kw", history=["load_kw", "temperature_degc"], series=["temperature_degc"])
    return TrainerConfig(
        history=str(tmp_path / "history"),
        repository=str(tmp_path / "repository"),
        keys=str(tmp_path / "keys"),
        candidates=str(tmp_path / "candidates"),
        holidays=["2020-10-12"],
        training=TrainingConfig(forecasts_min=40, jobs=1),
        model=[model],
    )
