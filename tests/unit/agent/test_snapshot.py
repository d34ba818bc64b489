"""Reasons: the problem is known by its code and the thing it is about, never by the words of its text."""

import math
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ringmain_agent.snapshot import Measured, Measurements, Reason, distinct, new_problems, reason_text
from ringmain_protocol.messages import Quality, ReasonCode

OLD = Reason(ReasonCode.PLAN_OLD, "plan is 20 min old")
OLDER = Reason(ReasonCode.PLAN_OLD, "plan is 25 min old")
ONE = Reason(ReasonCode.NOT_FOLLOWED, "one does not follow", "one")
TWO = Reason(ReasonCode.NOT_FOLLOWED, "two does not follow", "two")


def test_problem_whose_numbers_changed_is_not_new() -> None:
    assert new_problems([OLD], [OLDER]) == []


def test_same_kind_of_problem_at_another_equipment_is_new() -> None:
    assert new_problems([OLD, ONE], [OLDER, ONE, TWO, TWO]) == [TWO]


def test_text_has_each_problem_once_in_order() -> None:
    assert distinct([ONE, OLD, OLDER, ONE]) == [ONE, OLD]
    assert reason_text([ONE, OLD, OLDER, ONE]) == "one does not follow; plan is 20 min old"
    assert reason_text([]) == ""


Measure = Callable[..., Measurements]


STALE_MS = 300_000


AHEAD_MS = 60_000


@pytest.mark.parametrize(
    ("age_ms", "value"),
    [(0, 5.0), (STALE_MS, 5.0), (STALE_MS + 1, None), (-AHEAD_MS, 5.0), (-AHEAD_MS - 1, None)],
)
def test_value_is_fresh_until_it_is_stale_and_up_to_a_minute_ahead(
    measured: Measure, now_ms: int, age_ms: int, value: float | None
) -> None:
    measurements = measured(now_ms - age_ms, now_ms=now_ms, pcc_kw=5.0)
    assert measurements.fresh("pcc_kw") == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_fresh_value_is_a_finite_number(measured: Measure, now_ms: int, value: float | None) -> None:
    measurements = replace(measured(now_ms), newest={"pcc_kw": Measured(value, now_ms)})
    assert measurements.fresh("pcc_kw") is None
    assert measurements.fresh("load_kw") is None


def test_value_that_its_sender_called_missing_is_not_fresh(measured: Measure, now_ms: int) -> None:
    measurements = replace(measured(now_ms), newest={"pcc_kw": Measured(5.0, now_ms, Quality.MISSING)})
    assert measurements.fresh("pcc_kw") is None


def test_a_feed_with_its_own_stale_after_s_is_fresh_for_that_long() -> None:
    measured = Measurements(
        now_ms=1_000_000, stale_after_s=300.0, feed_stale_after_s={"battery_soc_kwh": 900.0, "pcc_kw": 5.0},
        newest=dict.fromkeys(("battery_soc_kwh", "pcc_kw", "load_kw"), Measured(1.0, 500_000)),
        import_limit_kw=1.0, export_limit_kw=1.0,
    )  # fmt: skip
    assert measured.fresh("battery_soc_kwh") == 1.0
    assert measured.fresh("pcc_kw") is None
    assert measured.fresh("load_kw") is None
