"""Training examples hold the series as known at issue time; gaps are NaN and targets are never filled."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ringmain_trainer.features.examples import Window, examples, known_future, training_rows
from ringmain_trainer.history.site_reader import Issue, SeriesHistory, StepTable

WINDOW = Window(step_s=900, history_steps=8, horizon_steps=4)
NAN = float("nan")


def issue(issued_at_s: int, start_s: int, *values: float, step_s: int = 900) -> Issue:
    return Issue(issued_at_s, start_s, step_s, np.array(values, np.float32))


def known(*issues: Issue, at: int) -> list[float | None]:
    values = known_future(SeriesHistory("", list(issues)), np.array([at]), WINDOW)[0].tolist()
    return [None if value != value else value for value in values]  # noqa: PLR0124  NaN


def test_the_newest_known_issue_wins_step_by_step() -> None:
    old, new = issue(0, 0, 1, 1, 1, 1, 1, 1), issue(900, 900, 2, 2)
    assert known(old, new, at=900) == [2, 2, 1, 1]
    assert known(old, new, at=899 - 899) == [1, 1, 1, 1]


def test_a_later_issue_is_not_known() -> None:
    assert known(issue(901, 900, 5, 5, 5, 5), at=900) == [None] * 4
    assert known(issue(900, 900, 5, 5, 5, 5), at=900) == [5] * 4


def test_a_missing_value_of_the_newest_issue_is_taken_from_the_one_before() -> None:
    assert known(issue(0, 0, 1, 1, 1, 1, 1), issue(900, 900, NAN, 2, NAN, 2), at=900) == [1, 2, 1, 2]


def test_an_hourly_series_holds_over_its_quarter_hours() -> None:
    assert known(issue(0, 0, 1, 2, step_s=3600), at=1800) == [1, 1, 2, 2]
    assert known(issue(0, 900, 1, step_s=900), at=0) == [None, 1, None, None]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-4, 8), st.integers(0, 6)), max_size=6), st.integers(0, 30))
def test_the_as_of_join_equals_a_plain_search(made: list[tuple[int, int, int]], row: int) -> None:
    made.sort()
    issues = [
        issue(900 * at, 900 * (at + ahead), *(100 * i + k for k in range(count)))
        for i, (at, ahead, count) in enumerate(made)
    ]
    expected: list[float | None] = []
    for step in range(row, row + WINDOW.horizon_steps):
        found = [i for i, (at, ahead, n) in enumerate(made) if at <= row and 0 <= step - at - ahead < n]
        expected.append(100 * found[-1] + step - made[found[-1]][0] - made[found[-1]][1] if found else None)
    assert known(*issues, at=900 * row) == expected


def test_the_last_row_of_a_window_is_the_step_that_ended_at_issue_and_targets_begin_there() -> None:
    steps = StepTable(9000, np.arange(40, dtype=np.float32).reshape(20, 2))
    made = examples(steps, [SeriesHistory("", [issue(0, 0, *range(100))])], WINDOW, [8, 10])
    assert made.issued_at_s.tolist() == [9000 + 8 * 900, 9000 + 10 * 900]
    assert made.inputs["history"].shape == (2, 8, 2)
    assert made.inputs["history"][0, -1].tolist() == [14, 15]
    assert made.targets[0].tolist() == [16, 18, 20, 22]
    assert made.inputs["known_future"][1, :, 0].tolist() == [20, 21, 22, 23]
    assert {value.dtype for value in made.inputs.values()} == {np.dtype(np.float32), np.dtype(np.int64)}


def test_a_site_without_series_has_a_known_future_of_no_columns() -> None:
    made = examples(StepTable(0, np.zeros((20, 1), np.float32)), [], WINDOW, [8])
    assert made.inputs["known_future"].shape == (1, 4, 0)


def test_gaps_are_nan_and_are_never_filled() -> None:
    values = np.arange(20, dtype=np.float32)[:, None]
    values[9] = NAN
    made = examples(StepTable(0, values), [], WINDOW, [4, 8, 18])
    assert np.isnan(made.inputs["history"][0, :4]).all()
    assert np.isnan(made.targets[1]).tolist() == [False, True, False, False]
    assert np.isnan(made.targets[2]).tolist() == [False, False, True, True]


def test_training_forecasts_have_enough_history_and_something_to_learn_from() -> None:
    values = np.ones((40, 1), np.float32)
    values[8:16] = NAN
    values[28:36] = NAN
    rows = training_rows(StepTable(0, values), WINDOW, every=2, share_min=0.5)
    shares = [float(np.isfinite(values[row - 8 : row]).mean()) for row in rows]
    assert min(shares) >= 0.5
    assert all(np.isfinite(values[row : row + 4]).any() for row in rows)
    assert {12, 28} & set(rows) == set()  # nothing but gaps ahead
    assert {14, 16, 18} & set(rows) == set()  # hardly anything but gaps behind
    assert {20, 22, 24, 26} <= set(rows)
