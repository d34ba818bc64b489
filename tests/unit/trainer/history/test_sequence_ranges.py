"""Sequences are kept as ranges, and nothing is lost or made up by that."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ringmain_trainer.history.sequence_ranges import NEWEST, Newest, Ranges

NUMBERS = st.lists(st.integers(0, 40) | st.integers(2**62 - 5, 2**62))


@given(NUMBERS)
def test_a_number_is_in_the_set_exactly_if_it_was_added(numbers: list[int]) -> None:
    ranges, expected = Ranges(), set[int]()
    for number in numbers:
        assert ranges.add(number) == (number not in expected)
        expected.add(number)
    assert {n for first, last in ranges for n in range(first, last + 1)} == expected
    assert all(n in ranges for n in expected)
    assert not any(n in ranges for n in set(range(42)) - expected)


@given(NUMBERS)
def test_ranges_are_in_order_and_do_not_touch(numbers: list[int]) -> None:
    ranges = Ranges()
    for number in numbers:
        ranges.add(number)
    kept = list(ranges)
    assert all(first <= last for first, last in kept)
    assert all(one[1] + 1 < two[0] for one, two in pairwise(kept))
    assert list(Ranges(kept)) == kept


def test_overlapping_ranges_are_merged_at_the_start() -> None:
    assert list(Ranges([(5, 9), (1, 3), (4, 4), (8, 12), (20, 20)])) == [(1, 12), (20, 20)]


@given(st.lists(st.integers(0, 3 * NEWEST), max_size=6 * NEWEST))
def test_of_issues_the_newest_are_known_and_older_ones_are_said_to_be_unknown(numbers: list[int]) -> None:
    newest, seen = Newest(), list[int]()
    for number in numbers:
        known = sorted(set(seen))[-NEWEST:]
        too_old = len(known) == NEWEST and number < known[0]
        assert newest.add(number) is (None if too_old else number not in known)
        seen += [] if too_old else [number]
        assert list(newest) == sorted(set(seen))[-NEWEST:]
    assert list(Newest(seen)) == list(newest)
