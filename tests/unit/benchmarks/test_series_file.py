"""Files of users: times in every usual way of writing them, gaps, units as they are; and a clear word where they fail."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from benchmarks.series_file import SeriesFileError, read_series_file


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def write(path: Path, times: list[str], values: list[str] | None = None, separator: str = ",") -> Path:
    rows = values or [str(i) for i in range(len(times))]
    lines = [f"when{separator}load", *(f"{t}{separator}{v}" for t, v in zip(times, rows, strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "times",
    [
        ["2020-12-31T22:00Z", "2020-12-31T22:15Z", "2020-12-31T22:30Z", "2020-12-31T22:45Z"],
        ["2020-12-31 23:00:00+01:00", "2020-12-31 23:15:00+01:00", "2020-12-31 23:30:00+01:00", "2020-12-31 23:45:00+01:00"],
        ["2020-12-31 22:00", "2020-12-31 22:15", "2020-12-31 22:30", "2020-12-31 22:45"],
        ["31/12/2020 22:00", "31/12/2020 22:15", "31/12/2020 22:30", "31/12/2020 22:45"],
        ["31.12.2020 22:00:00", "31.12.2020 22:15:00", "31.12.2020 22:30:00", "31.12.2020 22:45:00"],
        ["12/31/2020 22:00", "12/31/2020 22:15", "12/31/2020 22:30", "12/31/2020 22:45"],
        ["1609452000", "1609452900", "1609453800", "1609454700"],
        ["1609452000000", "1609452900000", "1609453800000", "1609454700000"],
    ],
)
def test_times_are_read_however_they_are_written(tmp_path: Path, times: list[str]) -> None:
    found = read_series_file(write(tmp_path / "a.csv", times), time="when", columns=["load"])
    assert (found.start_s, found.step_s) == (seconds("2020-12-31T22:00"), 900)
    assert found.columns["load"].tolist() == [0, 1, 2, 3]


def test_days_and_months_that_could_be_either_are_told_apart_by_the_steady_step(tmp_path: Path) -> None:
    times = [f"{day:02}/0{month}/2021 {hour:02}:00" for month in (3, 4) for day in range(1, 13) for hour in range(24)]
    found = read_series_file(write(tmp_path / "a.csv", times), time="when", columns=["load"])
    assert found.start_s == seconds("2021-03-01T00:00")
    assert np.isfinite(found.columns["load"]).sum() == len(times)


def test_local_times_follow_the_clock_and_its_changes(tmp_path: Path) -> None:
    """The hour that comes twice in autumn is two hours."""
    times = ["2020-10-25 01:00", "2020-10-25 02:00", "2020-10-25 02:00", "2020-10-25 03:00", "2020-10-25 04:00"]
    file = write(tmp_path / "a.csv", times)
    found = read_series_file(file, time="when", columns=["load"], time_zone="Europe/Amsterdam")
    assert found.start_s == seconds("2020-10-24T23:00")
    assert found.columns["load"].tolist() == [0, 1, 2, 3, 4]


def test_stamps_at_the_end_are_moved_to_the_start_of_their_step(tmp_path: Path) -> None:
    times = ["2020-12-31T00:10Z", "2020-12-31T00:20Z", "2020-12-31T00:30Z"]
    found = read_series_file(write(tmp_path / "a.csv", times), time="when", columns=["load"], stamp="end")
    assert (found.start_s, found.step_s) == (seconds("2020-12-31T00:00"), 600)


def test_midnight_with_the_date_of_the_day_that_ends_is_the_next_day(tmp_path: Path) -> None:
    times = [f"{day:02}/01/2018 {m // 60:02}:{m % 60:02}" for day in (1, 2) for m in (*range(15, 1440, 15), 0)]
    found = read_series_file(write(tmp_path / "a.csv", times), time="when", columns=["load"])
    assert found.columns["load"].tolist() == list(range(192))


def test_gaps_of_rows_and_of_values_stay_gaps(tmp_path: Path) -> None:
    times = [f"2020-01-01T00:{minute:02}Z" for minute in (0, 5, 10, 25, 30)]
    found = read_series_file(write(tmp_path / "a.csv", times, ["1", "", "NaN", "4", "5"]), time="when", columns=["load"])
    assert np.array_equal(found.columns["load"], [1, np.nan, np.nan, np.nan, np.nan, 4, 5], equal_nan=True)


def test_semicolons_and_decimal_commas_are_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", ["2020-01-01 00:00", "2020-01-01 01:00", "2020-01-01 02:00"], ["1,5", "2,5", "3"], ";")
    assert read_series_file(file, time="when", columns=["load"]).columns["load"].tolist() == [1.5, 2.5, 3.0]


@pytest.mark.parametrize(
    ("times", "values", "text"),
    [
        (["noon", "1 pm", "2 pm"], None, "'noon', which is no time that is understood"),
        (["2020-01-01T00:00Z", "2020-01-01T00:01Z", "2020-01-01T00:02Z"], None, "most frequent step is 60 s"),
        (
            ["2020-01-01T00:00Z", "2020-01-01T01:00Z", "2020-01-01T02:00Z"],
            ["1", "many", "3"],
            "'many', which is not a number",
        ),
        (["2020-01-01T00:00Z"], None, "too few"),
        (["2020-01-01T00:07Z", "2020-01-01T00:22Z", "2020-01-01T00:37Z"], None, "not on whole steps of 900 s"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(
    tmp_path: Path, times: list[str], values: list[str] | None, text: str
) -> None:
    with pytest.raises(SeriesFileError, match=text):
        read_series_file(write(tmp_path / "a.csv", times, values), time="when", columns=["load"])


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", ["2020-01-01T00:00Z"])
    with pytest.raises(SeriesFileError, match="no column 'power'; there are when, load"):
        read_series_file(file, time="when", columns=["power"])
    with pytest.raises(SeriesFileError, match="no\\.csv"):
        read_series_file(tmp_path / "no.csv", time="when", columns=["load"])
