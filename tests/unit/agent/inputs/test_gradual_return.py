"""A limit on its way back."""

import pytest

from ringmain_agent.inputs.gradual_return import GradualReturn


@pytest.mark.parametrize(("now_s", "limit_kw"), [(0.0, 10.0), (20.0, 10.0), (45.0, 55.0), (70.0, 100.0), (900.0, 100.0)])
def test_limit_waits_and_then_rises_in_proportion(now_s: float, limit_kw: float) -> None:
    one = GradualReturn(from_kw=10.0, begins_s=20.0, ramp_s=50.0)
    assert one.limit_kw(100.0, now_s) == pytest.approx(limit_kw)
    assert one.is_over(now_s) == (now_s >= 70.0)


def test_without_a_ramp_it_returns_at_once_after_the_delay_and_never_above_its_target() -> None:
    one = GradualReturn(from_kw=10.0, begins_s=20.0, ramp_s=0.0)
    assert [one.limit_kw(100.0, now_s) for now_s in (19.9, 20.0)] == [10.0, 100.0]
    assert one.limit_kw(5.0, 0.0) == 5.0
