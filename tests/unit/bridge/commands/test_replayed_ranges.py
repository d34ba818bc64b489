"""Ranges are a set of numbers, and their text form is that set again."""

from hypothesis import given
from hypothesis import strategies as st

from ringmain_bridge.commands.replayed_ranges import Ranges

NUMBERS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5)), max_size=20)


def filled(pairs: list[tuple[int, int]]) -> tuple[Ranges, set[int]]:
    ranges, expected = Ranges(), set()
    for first, more in pairs:
        ranges.add(first, first + more)
        expected |= set(range(first, first + more + 1))
    return ranges, expected


@given(NUMBERS)
def test_ranges_hold_what_was_added(pairs: list[tuple[int, int]]) -> None:
    ranges, expected = filled(pairs)
    assert {n for n in range(100) if n in ranges} == expected


@given(NUMBERS, st.integers(0, 200))
def test_offset_and_text_hold_it_all_or_if_short_the_lower_part(pairs: list[tuple[int, int]], length: int) -> None:
    ranges, expected = filled(pairs)
    begin, text = ranges.first_gap(length)
    assert len(text) <= length
    again = Ranges.parse(text)
    if begin:
        again.add(0, begin - 1)
    held = {n for n in range(100) if n in again}
    assert held <= expected
    if length == 200:
        assert held == expected


def test_text_of_another_form_is_ignored() -> None:
    assert Ranges.parse("x,3-,4-z,,7").first_gap(100) == (0, "3,7")
