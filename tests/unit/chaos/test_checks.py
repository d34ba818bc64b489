"""What counts as out of order in a run of faults: only what a kill on record explains is forgiven."""

import pytest

from chaos.checks import Order, Outage, check_order, late

KILL = Outage(frozenset({"a"}), began_s=100.0, over_s=105.0)
ACCEPTED = {1: 90.0, 2: 91.0, 3: 92.0, 4: 93.0}
SEEN = {1: 90.5, 4: 106.0, 2: 107.0, 3: 107.5}


def check(
    *, resent_s: dict[int, list[float]], seen_s: dict[int, float] = SEEN, accepted_s: dict[int, float] = ACCEPTED
) -> Order:
    return check_order([1, 4, 2, 3], accepted_s=accepted_s, seen_s=seen_s, resent_s=resent_s, outages=[KILL])


def test_late_is_what_comes_after_a_higher_number() -> None:
    assert late([1, 2, 3]) == []
    assert late([1, 4, 2, 3, 5, 6]) == [2, 3]
    assert late([2, 1]) == [1]


def test_what_a_broker_forgot_and_the_agent_sent_again_is_resent_late() -> None:
    assert check(resent_s={2: [106.5], 3: [106.5]}) == Order([], [2, 3])


def test_a_late_number_that_was_not_sent_again_is_reordered() -> None:
    assert check(resent_s={3: [106.5]}) == Order([2], [3])


@pytest.mark.parametrize("again_s", [99.0, 108.0])
def test_sending_again_before_the_kill_or_after_the_arrival_explains_nothing(again_s: float) -> None:
    assert check(resent_s={2: [again_s], 3: [106.5]}).reordered == [2]


def test_a_number_that_kafka_had_before_the_kill_is_reordered() -> None:
    assert check(resent_s={2: [106.5], 3: [106.5]}, seen_s=SEEN | {2: 99.5}).reordered == [2]


def test_a_number_accepted_when_the_outage_was_over_is_reordered() -> None:
    assert check(resent_s={2: [106.5], 3: [106.5]}, accepted_s=ACCEPTED | {2: 105.5}).reordered == [2]


def test_without_a_kill_every_late_number_is_reordered() -> None:
    order = check_order([2, 1], accepted_s={1: 1.0, 2: 2.0}, seen_s={1: 3.0, 2: 3.0}, resent_s={1: [2.5]}, outages=[])
    assert order == Order([1], [])
