"""Sent readings against a history table."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from ringmain_protocol.steps import Reading, float32
from ringmain_simulation.count import Comparison, compare_readings, compare_steps, count_fallbacks, count_rows
from ringmain_simulation.sent import SentReadings
from ringmain_simulation.summary import forecast_scores

SITE = "test-1"
START = datetime(2020, 11, 1, tzinfo=UTC)
START_MS = round(1000 * START.timestamp())
STEP_MS = 900_000
WHEN = pl.Datetime("us", "UTC")


def _sent(values: list[float], *, every_ms: int = STEP_MS, signal: str = "load_kw") -> SentReadings:
    sent = SentReadings()
    sent.add(SITE, [Reading(signal, START_MS + i * every_ms, value) for i, value in enumerate(values)])
    return sent


def _write(history: Path, name: str, rows: dict[str, list[object]], times: tuple[str, ...]) -> None:
    frame = pl.DataFrame(rows).with_columns(*(pl.col(column).cast(WHEN) for column in times))
    write_deltalake(str(history / name), frame, mode="append")


def _write_readings(history: Path, entries: list[tuple[int, float]], signal: str = "load_kw") -> None:
    rows: dict[str, list[object]] = {
        "site": [SITE] * len(entries),
        "signal": [signal] * len(entries),
        "at": [START + timedelta(milliseconds=at_ms) for at_ms, _ in entries],
        "value": [value for _, value in entries],
    }
    _write(history, "readings", rows, ("at",))


def test_history_that_holds_what_was_sent_is_exactly_once(tmp_path: Path) -> None:
    _write_readings(tmp_path, [(0, 1.5), (STEP_MS, 2.5)])
    found = compare_readings(tmp_path, _sent([1.5, 2.5]))[SITE]
    assert found.exactly_once
    assert (found.expected, found.found) == (2, 2)
    assert count_rows(tmp_path, "readings") == 2


def test_lost_duplicated_differing_and_unexpected_readings_are_each_seen(tmp_path: Path) -> None:
    _write_readings(tmp_path, [(0, 1.0), (0, 1.0), (STEP_MS, 2.5), (7 * STEP_MS, 9.0)])
    _write_readings(tmp_path, [(0, 1.0)])
    expected = Comparison(expected=3, found=2, lost=1, duplicated=2, differing=1, unexpected=1)
    assert expected == compare_readings(tmp_path, _sent([1.0, 2.0, 3.0]))[SITE]
    assert not expected.exactly_once


def test_history_without_a_table_has_lost_everything(tmp_path: Path) -> None:
    assert compare_readings(tmp_path, _sent([1.0, 2.0]))[SITE].lost == 2
    assert count_rows(tmp_path, "readings") == 0


@pytest.mark.parametrize("off", [0.0, 1e-3])
def test_steps_are_compared_with_the_step_values_of_the_protocol(tmp_path: Path, off: float) -> None:
    values = [100.1, 200.2, 300.3, 400.4, 500.5, 1.0]
    rows: dict[str, list[object]] = {
        "site": [SITE],
        "signal": ["load_kw"],
        "start_at": [START],
        "value": [float32(sum(values[:5]) / 5) + off],
    }
    _write(tmp_path, "steps", rows, ("start_at",))
    found = compare_steps(tmp_path, _sent(values, every_ms=180_000), until_ms=START_MS + STEP_MS)[SITE]
    assert (1, 0 if off == 0 else 1) == (found.found, found.differing)
    assert 0 == found.lost == found.unexpected


def test_step_that_the_sensor_left_out_is_not_expected(tmp_path: Path) -> None:
    sent = _sent([1.0])
    sent.add(SITE, [Reading("load_kw", START_MS + 2 * STEP_MS, 3.0)])
    assert compare_steps(tmp_path, sent, until_ms=START_MS + 3 * STEP_MS)[SITE].expected == 2


def test_fallbacks_are_counted_once_a_report_and_by_rung(tmp_path: Path) -> None:
    rungs = ["optimal", "shifted", "shifted", "rule", "release"]
    rows: dict[str, list[object]] = {
        "site": [SITE] * 5,
        "stream": ["ab"] * 5,
        "sequence": [1, 2, 2, 3, 4],
        "issued_at": [START + timedelta(hours=hour) for hour in (1, 2, 2, 3, 0)],
        "fallback": list(rungs),
    }
    _write(tmp_path, "setpoints", rows, ("issued_at",))
    assert count_fallbacks(tmp_path, from_ms=START_MS + 1) == {SITE: {"shifted": 1, "rule": 1}}


def test_score_compares_the_median_with_the_better_persistence_on_the_same_steps(tmp_path: Path) -> None:
    days = 9
    load_kw = [100.0 * day for day in range(days) for _ in range(96)]  # yesterday is 100 off, last week 700
    issued = START + timedelta(days=7, hours=6)
    rows: dict[str, list[object]] = {
        "site": [SITE] * 96,
        "signal": ["load_kw"] * 96,
        "issued_at": [issued] * 96,
        "valid_at": [issued + timedelta(minutes=15 * lead) for lead in range(96)],
        "lead": list(range(96)),
        "quantiles": [[0.1, 0.5, 0.9]] * 96,
        "values": [[0.0, load_kw[7 * 96 + 24 + lead] + 30.0, 9999.0] for lead in range(96)],
        "release": [1] * 96,
    }
    _write(tmp_path, "forecasts", rows, ("issued_at", "valid_at"))
    sent = _sent(load_kw)
    end_ms = START_MS + days * 96 * STEP_MS
    score = forecast_scores(tmp_path, sent, signal="load_kw", from_ms=START_MS, to_ms=end_ms)[SITE]
    assert (score.forecast_mae_kw, score.persistence_mae_kw, score.persistence) == (30.0, 100.0, "yesterday")
    assert (score.forecasts, score.steps) == (1, 96)
    cut_off = forecast_scores(tmp_path, sent, signal="load_kw", from_ms=START_MS, to_ms=end_ms - 19 * 4 * STEP_MS)
    assert cut_off == {}, "a forecast that has not ended is not scored"
