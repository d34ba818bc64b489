"""Questions to the history: SQL and selections, answers as rows and as files; texts that help when it goes wrong."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ringmain_program.config import loads
from ringmain_trainer.errors import QuestionError
from ringmain_trainer.history.query import Selection, answer_rows, export, query, select, summary
from ringmain_trainer.imports.column_mapping import FileFormat

PAGE = Path(__file__).parents[4] / "docs" / "history.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def history(tmp_path: Path, write_history: Callable[..., None]) -> str:
    """Two days of two sites."""
    for i, site in enumerate(("uw-114", "uw-115")):
        load = np.arange(192, dtype=np.float32) + 1000 * i
        load[5] = np.nan
        write_history(tmp_path, site, {"load_kw": load, "temperature_degc": np.full(192, 7.0, np.float32)})
    return str(tmp_path)


def test_sql_sees_all_tables(history: str) -> None:
    rows, more = answer_rows(query(history, "SELECT site, max(value) AS kw FROM steps GROUP BY site ORDER BY site"))
    assert (rows, more) == ([{"site": "uw-114", "kw": 191.0}, {"site": "uw-115", "kw": 1191.0}], False)
    names = {row["name"] for row in answer_rows(query(history, "SHOW TABLES"))[0]}
    assert names == {
        "steps",
        "step_values",
        "readings",
        "series",
        "forecasts",
        "schedules",
        "setpoints",
        "status",
    }
    assert answer_rows(query(history, "SELECT * FROM setpoints")) == ([], False)


def test_step_values_has_one_value_a_step_the_one_received_last(history: str, write_history: Callable[..., None]) -> None:
    write_history(Path(history), "uw-114", {"load_kw": np.full(192, 5.0, np.float32)}, stream="fedcba9876543210")
    sql = "SELECT count(*) AS n FROM {} WHERE site = 'uw-114' AND signal = 'load_kw'"
    assert answer_rows(query(history, sql.format("steps")))[0] == [{"n": 384}]
    assert answer_rows(query(history, sql.format("step_values")))[0] == [{"n": 192}]


@pytest.mark.parametrize("sql", blocks("sql"))
def test_the_examples_of_the_page_run_as_they_stand(history: str, sql: str) -> None:
    rows, _ = answer_rows(query(history, sql))
    assert rows


@pytest.mark.parametrize("mapping", blocks("toml"))
def test_the_mappings_of_the_page_are_valid(mapping: str) -> None:
    assert loads(mapping, FileFormat).signal


def test_a_selection_narrows_tables_and_queries(history: str, start_s: int) -> None:
    begin = datetime.fromtimestamp(start_s, UTC)
    chosen = Selection(
        site="uw-115", signals=["load_kw"], since=begin + timedelta(hours=2), until=begin + timedelta(hours=3)
    )
    values = select(history, "steps", chosen).collect()["value"].to_list()
    assert values == [1008.0, 1009.0, 1010.0, 1011.0]
    assert answer_rows(query(history, "SELECT count(*) AS n FROM steps", chosen))[0] == [{"n": 4}]
    issues = select(history, "series", Selection(site="uw-114", signals=["temperature_degc"])).collect()
    assert issues["issued_at"].is_sorted()
    assert {row["site"] for row in summary(history, site="uw-115")} == {"uw-115"}


def test_no_more_rows_are_shown_than_a_person_can_use(history: str) -> None:
    rows, more = answer_rows(query(history, "SELECT * FROM steps"), rows_max=10)
    assert (len(rows), more) == (10, True)


@pytest.mark.parametrize("name", ["steps.parquet", "steps.csv", "new/folder/steps.csv"])
def test_an_export_has_all_rows(history: str, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    done = export(query(history, "SELECT site, start_at, value FROM steps WHERE value IS NOT NULL"), file)
    assert (done.rows, done.size_bytes) == (766, file.stat().st_size)
    frame = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, try_parse_dates=True)
    assert frame.height == 766
    assert frame["start_at"].dtype == pl.Datetime("us", "UTC")
    assert list(file.parent.glob(".*.part")) == []


def test_lists_fit_into_csv_as_text(history: str, tmp_path: Path) -> None:
    export(query(history, "SELECT site, quantiles FROM forecasts"), tmp_path / "forecasts.csv")
    assert (tmp_path / "forecasts.csv").read_text(encoding="utf-8") == "site,quantiles\n"
    lists = pl.LazyFrame({"site": ["a"], "values": [[1.5, 2.0]]})
    export(lists, tmp_path / "lists.csv")
    assert (tmp_path / "lists.csv").read_text(encoding="utf-8") == "site,values\na,1.5 2.0\n"


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT nothing FROM steps", r'unable to find column "nothing"(.|\n)*steps: site, .*start_at'),
        ("SELECT * FROM nowhere", r"'nowhere' was not found(.|\n)*step_values: site"),
        ("SELECT abc(value) FROM steps", r"unsupported function 'abc'"),
        ("SELECT value FROM steps WHERE", r"(?i)sql|expected"),
        ("SELECT * FROM steps WHERE start_at > TIMESTAMP '2020-01-01 00:00:00'", "compare them with text"),
        ("DELETE FROM steps", "answers SELECT"),
        ("DROP TABLE steps", "answers SELECT"),
        ("", "answers SELECT"),
    ],
)
def test_a_question_that_is_not_understood_says_what_there_is(history: str, sql: str, error: str) -> None:
    with pytest.raises(QuestionError, match=error):
        answer_rows(query(history, sql))
    assert summary(history) != []


def test_what_cannot_be_written_or_selected_is_said(history: str, tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match=r"an export is a file \.parquet or \.csv"):
        export(query(history, "SELECT * FROM steps"), tmp_path / "steps.xlsx")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(QuestionError, match="file"):
        export(query(history, "SELECT * FROM steps"), tmp_path / "file" / "steps.csv")
    with pytest.raises(QuestionError, match="there is no table 'step'; there are readings, steps"):
        select(history, "step", Selection())
