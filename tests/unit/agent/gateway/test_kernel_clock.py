"""The machine's clocks: read together, and asked without an error wherever the program runs."""

import time

from ringmain_agent.gateway.kernel_clock import kernel_synchronized, read_clocks


def test_both_clocks_are_of_one_moment() -> None:
    before_s, before_ms = time.monotonic(), time.time_ns() // 1_000_000
    reading = read_clocks()
    assert before_s <= reading.now_s <= time.monotonic()
    assert before_ms <= reading.now_ms


def test_the_kernel_always_has_an_answer() -> None:
    assert kernel_synchronized() in {True, False}
