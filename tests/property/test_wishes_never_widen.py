"""No order of wishes widens an interval: what safety has taken stays taken."""

import math

from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.equipment.interval import ANYTHING, Interval

BOUND = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([-math.inf, math.inf]))


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    least, most = sorted([draw(BOUND), draw(BOUND)])
    return Interval(least, most)


@given(
    controls=st.permutations(range(5)).flatmap(
        lambda order: st.tuples(st.just(order), st.lists(intervals(), min_size=5, max_size=5))
    )
)
def test_no_order_of_wishes_widens(controls: tuple[list[int], list[Interval]]) -> None:
    order, wishes = controls
    left = ANYTHING
    for index in order:
        narrower = left.intersect_or_nearest_end(wishes[index])
        assert left.least <= narrower.least <= narrower.most <= left.most
        left = narrower


@given(safety=intervals(), wishes=st.lists(intervals(), max_size=5))
def test_what_safety_allows_holds_whatever_is_wished_after_it(safety: Interval, wishes: list[Interval]) -> None:
    left = safety
    for wish in wishes:
        left = left.intersect_or_nearest_end(wish)
    assert safety.intersect_or_nearest_end(left) == left


@given(interval=intervals(), value=st.floats(allow_nan=True, allow_infinity=True))
def test_nearest_value_lies_inside_also_for_what_is_no_number(interval: Interval, value: float) -> None:
    nearest = interval.clamp(value)
    assert interval.least <= nearest <= interval.most
    if interval.least <= value <= interval.most:
        assert nearest == value
