"""The table of a local limit: what it must not leave open."""

import pytest

from ringmain_agent.config.local_limit import LocalLimit, PccLimits, local_limit_problems

CLOSED = PccLimits(import_kw=0.0, export_kw=0.0)


@pytest.mark.parametrize(
    "limit",
    [
        LocalLimit(feed="ripple_position", positions={"0": PccLimits(export_kw=0.0), "1.0": PccLimits()}, silent=CLOSED),
        LocalLimit(import_kw="box_import_kw", export_kw="box_export_kw", silent=CLOSED),
    ],
)
def test_both_ways_of_a_local_limit_are_valid(limit: LocalLimit) -> None:
    assert list(local_limit_problems(limit)) == []


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        (LocalLimit(silent=CLOSED), "needs either feed"),
        (LocalLimit(feed="x_position", import_kw="y_kw", silent=CLOSED), "needs either feed"),
        (LocalLimit(feed="x_position", silent=CLOSED), "belong together"),
        (LocalLimit(import_kw="y_kw", positions={"0": CLOSED}, silent=CLOSED), "belong together"),
        (LocalLimit(import_kw="y_position", silent=CLOSED), "must end in _kw"),
        (LocalLimit(feed="x_position", positions={"open": CLOSED}, silent=CLOSED), "'open' is not a number"),
        (LocalLimit(feed="x_position", positions={"0": CLOSED, "0.0": CLOSED}, silent=CLOSED), "twice"),
        (LocalLimit(feed="x_position", positions={"0": CLOSED}, silent=PccLimits(import_kw=0.0)), "silent needs export_kw"),
    ],
)
def test_problem_is_named(limit: LocalLimit, problem: str) -> None:
    assert any(problem in found for found in local_limit_problems(limit))
