"""Receipts say what Kafka has, no more, and not too often."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ringmain_bridge.forwarding.receipts import MAX_RANGES, MAX_STREAMS, Receipts
from ringmain_protocol.messages import Receipt

A, B = "aaaaaaaa", "bbbbbbbb"


def receipts(*, interval_s: float = 30, expiry_s: float = 1000, sites_max: int = 100) -> Receipts:
    return Receipts(interval_s=interval_s, expiry_s=expiry_s, sites_max=sites_max)


@given(st.lists(st.integers(0, 40), max_size=60))
def test_ranges_are_disjoint_ascending_and_cover_exactly_what_arrived(sequences: list[int]) -> None:
    collected = receipts()
    for sequence in sequences:
        collected.arrived("s", A, sequence, now_s=0)
    said = [receipt for _, receipt in collected.due(now_s=0)]
    ranges = said[0].ranges if said else []
    assert {n for first, last in ranges for n in range(first, last + 1)} == set(sequences)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(ranges))
    assert all(first <= last for first, last in ranges)


def test_a_site_gets_a_receipt_at_most_once_an_interval() -> None:
    collected = receipts(interval_s=30)
    collected.arrived("s", A, 1, now_s=100)
    assert collected.due(now_s=100) == [("s", Receipt(stream=A, ranges=[(1, 1)]))]
    collected.arrived("s", A, 2, now_s=101)
    collected.arrived("t", A, 5, now_s=101)
    assert collected.due(now_s=129.9) == [("t", Receipt(stream=A, ranges=[(5, 5)]))]
    assert collected.due(now_s=130) == [("s", Receipt(stream=A, ranges=[(1, 2)]))]
    assert collected.due(now_s=1000) == []


def test_what_arrives_again_is_said_again() -> None:
    collected = receipts(interval_s=0)
    collected.arrived("s", A, 1, now_s=0)
    collected.due(now_s=0)
    collected.arrived("s", A, 1, now_s=1)
    assert collected.due(now_s=1) == [("s", Receipt(stream=A, ranges=[(1, 1)]))]


def test_the_stream_heard_last_is_published_last_and_stays_retained() -> None:
    collected = receipts()
    for stream in (A, B, A):
        collected.arrived("s", stream, 1, now_s=0)
    assert [receipt.stream for _, receipt in collected.due(now_s=0)] == [B, A]


def test_memory_is_bounded_in_ranges_streams_and_sites() -> None:
    collected = receipts(sites_max=2)
    for sequence in range(0, 4 * MAX_RANGES, 2):
        collected.arrived("s", A, sequence, now_s=1)
    ((_, receipt),) = collected.due(now_s=1)
    assert len(receipt.ranges) == MAX_RANGES
    assert receipt.ranges[-1] == (4 * MAX_RANGES - 2, 4 * MAX_RANGES - 2)
    for number in range(MAX_STREAMS + 3):
        collected.arrived("s", f"{number:08x}", 1, now_s=2)
    assert len(collected.due(now_s=100)) == MAX_STREAMS
    collected.arrived("t", A, 1, now_s=3)
    collected.arrived("u", A, 1, now_s=4)
    assert [site for site, _ in collected.due(now_s=200)] == ["t", "u"] or collected.unpublished == 0


def test_what_could_not_be_published_is_due_at_once() -> None:
    collected = receipts()
    collected.arrived("s", A, 1, now_s=0)
    assert collected.unpublished == 1
    collected.due(now_s=0)
    assert collected.unpublished == 0
    collected.not_published("s", A)
    assert collected.due(now_s=0.1) == [("s", Receipt(stream=A, ranges=[(1, 1)]))]
    collected.not_published("gone", A)


def test_after_a_new_connection_everything_is_said_again_and_at_the_stop_at_once() -> None:
    collected = receipts()
    collected.arrived("s", A, 1, now_s=0)
    collected.due(now_s=0)
    collected.republish_all()
    assert collected.due(now_s=1) == []
    collected.flush()
    assert len(collected.due(now_s=1)) == 1


def test_silent_sites_are_forgotten() -> None:
    collected = receipts(expiry_s=10)
    collected.arrived("s", A, 1, now_s=0)
    collected.expire(now_s=10)
    assert collected.unpublished == 1
    collected.expire(now_s=10.1)
    assert collected.due(now_s=11) == []
