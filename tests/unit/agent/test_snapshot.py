"""Reasons: the problem is known by its code and the thing it is about, never by the words of its text."""

from ringmain_agent.snapshot import Reason, distinct, new_problems, reason_text
from ringmain_protocol.messages import ReasonCode

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
