"""What the rules say of a history on disk: per site, per value, and what training then leaves out."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ringmain_protocol import topics
from ringmain_protocol.messages import Steps, encode
from ringmain_trainer.config.trainer import QualityConfig, TrainerConfig
from ringmain_trainer.features.site_data import read_site
from ringmain_trainer.history.delta import append, open_table
from ringmain_trainer.history.records import Batch, ReceivedLog, Record
from ringmain_trainer.history.tables import TABLES
from ringmain_trainer.quality.site_quality import (
    SiteQuality,
    checked_steps,
    finding_rows,
    quality,
    read_site_steps,
    site_quality,
    steps_checked,
)

DAY = 96


@pytest.fixture
def history(
    trainer_config: TrainerConfig, site_values: Callable[..., Any], write_history: Callable[..., None]
) -> TrainerConfig:
    """A clean site; one with three days in W for kW, a gap, a flat day and a spike; weather with 250 degrees in it."""
    write_history(Path(trainer_config.history), "clean", site_values(20))
    values = site_values(30)
    load = values["load_kw"]
    load[5 * DAY : 8 * DAY] *= 1000
    load[12 * DAY : 12 * DAY + 10] = np.nan
    load[20 * DAY : 21 * DAY] = 777
    load[1000 + DAY] = 9000
    values["temperature_degc"][100] = 250
    write_history(Path(trainer_config.history), "faulty", values, stream="fedcba9876543210")
    return trainer_config


def test_each_site_is_summed_up_with_intervals_and_reasons(history: TrainerConfig) -> None:
    found = {one.site: one for one in quality(history)}
    assert found["clean"].errors == found["clean"].warnings == 0
    assert found["clean"].good_share == 1.0
    faulty = found["faulty"]
    load, temperature, series = faulty.signals
    assert (load.signal, temperature.signal, series.signal) == ("load_kw", "temperature_degc", "series/temperature_degc")
    assert load.marked == {"gap": 10, "unit": 3 * DAY, "flat": DAY, "spike": 1}
    assert temperature.marked == series.marked == {"range": 1}
    assert (faulty.errors, faulty.time_zone, faulty.steps) == (1, "Europe/Amsterdam", 30 * DAY)
    assert msgspec.json.decode(msgspec.json.encode(faulty), type=SiteQuality) == faulty


def test_training_sees_marked_values_as_gaps_and_counts_them(history: TrainerConfig) -> None:
    data = read_site(history, "faulty", history.model[0], until=None)
    assert data is not None
    gone = np.isnan(data.steps.values[:, 0])
    assert int(gone.sum()) == 10 + 3 * DAY + DAY + 1
    assert data.masked == {"load_kw.unit": 3 * DAY, "load_kw.flat": DAY, "load_kw.spike": 1, "temperature_degc.range": 1}
    assert np.nanmax(data.steps.values) < 3000
    assert max(np.nanmax(one.values) for one in data.series["temperature_degc"].issues) < 60
    off = msgspec.structs.replace(history, quality=QualityConfig(enabled=False))
    unmasked = read_site(off, "faulty", off.model[0], until=None)
    assert unmasked is not None
    assert int(np.isnan(unmasked.steps.values[:, 0]).sum()) == 10


def test_analysts_see_quality_and_marks_of_each_value(history: TrainerConfig) -> None:
    frame = checked_steps(history, "faulty")
    load = frame.filter(signal="load_kw")
    assert len(frame) == 2 * 30 * DAY
    assert load["marks"][5 * DAY : 8 * DAY].unique().to_list() == ["unit"]
    assert load["quality"].value_counts().sort("quality").rows() == [(0, 30 * DAY - 395), (1, 385), (2, 10)]
    assert load["used"].sum() == 30 * DAY - 395
    assert load["value"].null_count() == 10
    assert load["value"][1000 + DAY] == 9000  # what was measured stands there as it was
    assert steps_checked(history).select("site").unique().collect().sort("site")["site"].to_list() == ["clean", "faulty"]
    assert len(checked_steps(history, "nobody")) == 0


def test_a_step_told_twice_with_different_values_is_a_finding(history: TrainerConfig, start_s: int) -> None:
    row: dict[str, Any] = {"signals": ["load_kw"], "at_ms": [1000 * start_s], "values": [1.5], "quality": [0]}
    message = Steps(stream="0000000000000000", sequence=1, step_s=900, **row)
    batch = Batch(topics.STEPS)
    assert batch.add(Record(topics.STEPS, b"clean", encode(message), (), 1_610_000_000_000), ReceivedLog()) is None
    assert append(open_table(history.history, TABLES[topics.STEPS]), batch.frame(), {})
    (found,) = site_quality("clean", config=history).findings
    assert (found.rule, found.count, found.from_s) == ("duplicate", 1, start_s)


def test_a_look_back_and_a_site_without_steps(history: TrainerConfig, start_s: int) -> None:
    until = datetime.fromtimestamp(start_s, UTC) + timedelta(days=4)
    read = read_site_steps(history, "faulty", until=until)
    assert read is not None
    assert read.steps.values.shape == (4 * DAY, 2)
    (nobody,) = quality(history, ["nobody"])
    assert nobody.reason == "no steps of 900 s in the history"
    assert finding_rows([nobody])[0]["reason"] == nobody.reason


def test_a_selection_of_checked_steps_has_the_marks_of_the_whole(history: TrainerConfig) -> None:
    until = datetime(2020, 10, 9, tzinfo=UTC)
    some = steps_checked(history, ["faulty"], signals=["load_kw"], since=until - timedelta(days=2), until=until).collect()
    assert (len(some), some["marks"].unique().sort().to_list()) == (192, ["", "unit"])
