"""Step values come on a whole grid, the later of two values counts, and a past day is read as it was known then."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ringmain_protocol import topics
from ringmain_protocol.messages import Steps, encode
from ringmain_trainer.history.delta import append, open_table
from ringmain_trainer.history.records import Batch, ReceivedLog, Record
from ringmain_trainer.history.site_reader import (
    SeriesHistory,
    read_series,
    read_sites,
    read_steps,
    read_time_zone,
    step_table,
)
from ringmain_trainer.history.tables import TABLES

NAN = float("nan")


def test_steps_stand_on_a_whole_grid_from_the_first_to_the_last_of_the_target() -> None:
    rows = pl.DataFrame(
        {
            "signal": ["load_kw", "load_kw", "temperature_degc", "temperature_degc"],
            "start_s": [1800, 3600, 2700, 90_000],
            "value": [1.0, 2.0, 3.0, 4.0],
        }
    )
    table = step_table(rows, ["load_kw", "temperature_degc"], 900)
    assert table is not None
    assert table.start_s == 1800
    np.testing.assert_array_equal(table.values, np.array([[1, NAN], [NAN, 3], [2, NAN]], np.float32))
    assert step_table(rows, ["pv_kw"], 900) is None


def write_steps(location: Path, *messages: tuple[int, int, float | None, int], received_ms: int) -> None:
    """Steps `(sequence, at_ms, value, quality)` of one site."""
    batch, seen = Batch(topics.STEPS), ReceivedLog()
    for sequence, at_ms, value, quality in messages:
        row: dict[str, Any] = {"signals": ["load_kw"], "at_ms": [at_ms], "values": [value], "quality": [quality]}
        message = Steps(stream="0123456789abcdef", sequence=sequence, step_s=900, **row)
        assert batch.add(Record(topics.STEPS, b"liander-287", encode(message), (), received_ms), seen) is None
    assert append(open_table(str(location), TABLES[topics.STEPS]), batch.frame(), {})


def test_of_two_values_for_a_step_the_later_one_counts_and_missing_ones_count_for_nothing(tmp_path: Path) -> None:
    at_ms = 1_603_000_800_000
    first = ((1, at_ms, 1.0, 0), (2, at_ms + 900_000, 2.0, 1), (3, at_ms + 1_800_000, 3.0, 0))
    write_steps(tmp_path, *first, received_ms=at_ms + 5_000_000)
    write_steps(tmp_path, (4, at_ms, 7.0, 0), (5, at_ms + 900_000, None, 2), received_ms=at_ms + 6_000_000)
    table = read_steps(str(tmp_path), "liander-287", ["load_kw"], 900, None)
    assert table is not None
    assert table.values[:, 0].tolist() == [7, 2, 3]


def test_steps_whose_time_cannot_be_true_are_left_out(tmp_path: Path) -> None:
    at_ms = 1_603_000_800_000
    far = ((1, 0, 1.0, 0), (2, at_ms, 2.0, 0), (3, at_ms + 90_000_000_000, 3.0, 0))
    write_steps(tmp_path, *far, received_ms=at_ms + 900_000)
    table = read_steps(str(tmp_path), "liander-287", ["load_kw"], 900, None)
    assert table is not None
    assert table.values[:, 0].tolist() == [2]


def test_a_history_can_be_looked_at_as_it_was_before(
    tmp_path: Path, start_s: int, site_values: Callable[..., Any], write_history: Callable[..., None]
) -> None:
    write_history(tmp_path, "liander-287", site_values(3))
    until = datetime.fromtimestamp(start_s, UTC) + timedelta(days=2)
    names = ["load_kw", "temperature_degc"]
    steps = read_steps(str(tmp_path), "liander-287", names, 900, until)
    assert steps is not None
    assert (steps.start_s, steps.values.shape) == (start_s, (192, 2))
    series = read_series(str(tmp_path), "liander-287", ["temperature_degc", "wind"], until)
    assert [one.issued_at_s for one in series["temperature_degc"].issues] == [start_s + 21600 * i for i in range(9)]
    assert series["temperature_degc"].unit == "degC"
    assert series["wind"] == SeriesHistory("", [])
    assert read_sites(str(tmp_path)) == ["liander-287"]
    assert read_time_zone(str(tmp_path), "liander-287") is None
    np.testing.assert_array_equal(steps.values[:, 0], site_values(3)["load_kw"][:192])
