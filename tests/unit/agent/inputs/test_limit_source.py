"""The narrower of limits, of which some may be missing."""

from ringmain_agent.inputs.limit_source import narrowed, narrowest


def test_missing_limits_do_not_count() -> None:
    assert narrowest([None, 3.0, 2.0]) == 2.0
    assert narrowest([None]) is None
    assert narrowed([None, 1.0, None], [5.0, 0.0, None]) == [5.0, 0.0, None]
