"""Attempts become rarer, never all at once, and start afresh only after a stable minute."""

from random import Random

from ringmain_program.backoff import BackOff


def test_delays_double_up_to_half_a_minute_with_jitter() -> None:
    backoff = BackOff(Random(1))
    delays = [backoff.next_s() for _ in range(8)]
    bounds = [1, 2, 4, 8, 16, 30, 30, 30]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    assert BackOff(Random(2)).next_s() != delays[0]


def test_only_a_stable_minute_starts_the_delays_afresh() -> None:
    backoff = BackOff(Random(1))
    for _ in range(6):
        backoff.next_s()
    assert backoff.next_s(stable_for_s=59) > 10
    assert backoff.next_s(stable_for_s=60) <= 1


def test_another_first_and_longest_delay_can_be_chosen_and_a_reset_starts_afresh() -> None:
    backoff = BackOff(Random(1), first_s=0.5, longest_s=3.0)
    delays = [backoff.next_s() for _ in range(5)]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, [0.5, 1, 2, 3, 3], strict=True))
    backoff.reset()
    assert backoff.next_s() <= 0.5
