"""The wall clock: doubt after a jump, before the last trusted instant, or while nothing confirms it; trust comes back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.inputs.trusted_time import EARLIEST_MS, TrustedTime, next_time
from ringmain_protocol.messages import ReasonCode

NOW_MS = EARLIEST_MS + 400 * 86_400_000
DAY_S, YEAR_S = 86_400, 365 * 86_400


class Machine:
    """A machine with a clock that can be set."""

    def __init__(self, last_trusted_ms: int | None = None, *, now_ms: int = NOW_MS) -> None:
        self.time, self.now_s, self.now_ms = TrustedTime(last_trusted_ms=last_trusted_ms), 1000.0, now_ms

    def run(self, length_s: float = 1.0, *, set_s: float = 0.0, **sources: Any) -> TrustedTime:
        """Time goes on; then the clock is set."""
        self.now_s += length_s
        self.now_ms += round(1000 * (length_s + set_s))
        self.time = next_time(self.time, now_ms=self.now_ms, now_s=self.now_s, **({"synchronized": False} | sources))
        return self.time


@pytest.mark.parametrize("set_s", [-50 * YEAR_S, -DAY_S, -61, 61, 3600, 40 * DAY_S, 50 * YEAR_S])
@pytest.mark.parametrize("synchronized", [True, False])
def test_a_jump_of_more_than_a_minute_is_doubted_until_the_clock_returns(*, set_s: float, synchronized: bool) -> None:
    """Even if the kernel calls the new time synchronized: a forged time server does just that."""
    machine = Machine()
    assert machine.run(synchronized=synchronized).trusted
    machine.run(set_s=set_s, synchronized=False)
    before_ms = machine.time.last_trusted_ms
    jumped = machine.run(60, synchronized=synchronized)
    assert not jumped.trusted
    assert jumped.last_trusted_ms == before_ms
    assert [reason.code for reason in jumped.reasons] == [ReasonCode.CLOCK_DOUBT, ReasonCode.CLOCK_SET]
    assert machine.run(set_s=-set_s, synchronized=synchronized).trusted


@pytest.mark.parametrize("set_s", [-59, -10, -1, 1, 10, 59])
def test_a_small_step_is_no_doubt_and_moves_the_instants_kept_so_far(set_s: float) -> None:
    machine = Machine()
    machine.run(synchronized=True)
    stepped = machine.run(set_s=set_s, synchronized=True)
    assert (stepped.trusted, stepped.moved_ms) == (True, 1000 * set_s)
    assert machine.run(synchronized=True).moved_ms == 0
    assert [reason.code for reason in machine.time.reasons] == [ReasonCode.CLOCK_SET]
    assert machine.run(600, synchronized=True).reasons == ()


@pytest.mark.parametrize("last_trusted_ms", [None, NOW_MS - 1000])
@pytest.mark.parametrize("set_s", [-59, -10, 10, 59])
def test_a_small_step_that_nothing_confirms_is_not_trusted_until_it_is_undone(
    set_s: float, last_trusted_ms: int | None
) -> None:
    """A limit that begins or ends within this minute must not open by it. Steps are stamped on: it is no doubt."""
    machine = Machine(last_trusted_ms)
    assert machine.run(synchronized=last_trusted_ms is not None).trusted
    stepped = machine.run(set_s=set_s)
    assert (stepped.trusted, stepped.stamps_steps) == (False, True)
    assert not machine.run(60).trusted
    assert machine.run(set_s=-set_s).trusted
    machine.run(set_s=set_s)
    assert machine.run(agreeing_feeds=2).trusted


def test_a_site_without_any_source_forgets_a_small_step_after_an_hour() -> None:
    machine = Machine()
    machine.run()
    assert not machine.run(set_s=30).trusted
    assert not machine.run(3500).trusted
    assert machine.run(200).trusted


def test_small_steps_add_up_to_a_doubt() -> None:
    machine = Machine()
    machine.run(synchronized=True)
    assert [machine.run(60, set_s=25, synchronized=True).trusted for _ in range(3)] == [True, True, False]


def test_slow_drift_that_is_corrected_daily_is_no_doubt() -> None:
    machine = Machine()
    assert all(machine.run(3600, set_s=1.5, synchronized=True).trusted for _ in range(1000))
    assert all(machine.run(3600, set_s=0.01).trusted for _ in range(100))


def test_after_a_boot_in_1970_the_first_synchronization_ends_the_doubt() -> None:
    machine = Machine(NOW_MS, now_ms=0)
    assert not machine.run().trusted
    assert machine.time.last_trusted_ms == NOW_MS
    assert machine.run(set_s=(NOW_MS + 60_000) / 1000, synchronized=True).trusted


def test_a_clock_before_the_last_trusted_instant_is_not_trusted_even_if_synchronized() -> None:
    machine = Machine(NOW_MS + 30_000)
    assert not machine.run(synchronized=True, agreeing_feeds=5).trusted
    assert machine.run(60, synchronized=True).trusted


def test_after_a_start_a_site_that_had_a_source_waits_for_it() -> None:
    """A clock restored from a file is as far behind as the machine was off."""
    machine = Machine(NOW_MS - 60_000)
    assert not machine.run().trusted
    assert machine.time.reasons
    assert machine.run(agreeing_feeds=2).trusted
    assert machine.run(10 * DAY_S).trusted  # by the monotonic clock


def test_a_clock_far_past_the_last_trusted_instant_is_in_doubt_until_confirmed_or_for_an_hour() -> None:
    """The clock of a gateway may be weeks ahead until its time server answers; the history must not run after it."""
    machine = Machine(NOW_MS - 40 * 86_400_000)
    assert machine.run().doubt
    assert machine.run(3000).doubt
    assert not machine.run(1000).doubt
    assert not machine.time.trusted


def test_two_senders_end_a_doubt_one_does_not() -> None:
    machine = Machine()
    machine.run(synchronized=True)
    assert not machine.run(set_s=3600, agreeing_feeds=1).trusted
    assert machine.run(agreeing_feeds=2).trusted


def test_the_kernel_alone_ends_a_doubt_after_an_hour_without_a_further_jump() -> None:
    machine = Machine()
    machine.run(synchronized=True)
    machine.run(set_s=DAY_S, synchronized=True)
    machine.run(3000, synchronized=True)
    machine.run(60, synchronized=False)
    assert not machine.run(3000, synchronized=True).trusted
    assert machine.run(700, synchronized=True).trusted


def test_a_site_without_any_source_takes_its_clock_and_doubts_it_for_an_hour_after_a_jump() -> None:
    machine = Machine()
    assert machine.run().trusted
    assert not machine.run(set_s=-3600).trusted
    assert not machine.run(3500).trusted
    assert machine.run(200).trusted
    assert machine.time.last_trusted_ms is None


steps = st.tuples(
    st.floats(0.0, 5000.0),
    st.one_of(st.just(0.0), st.floats(-50.0 * YEAR_S, 50.0 * YEAR_S), st.floats(-120.0, 120.0)),
    st.booleans(),
    st.integers(0, 3),
)


@given(st.one_of(st.none(), st.integers(0, 2 * NOW_MS)), st.lists(steps, max_size=30))
def test_the_last_trusted_instant_never_falls_nor_takes_an_instant_in_doubt(
    last_ms: int | None, course: list[tuple[float, float, bool, int]]
) -> None:
    machine = Machine(last_ms)
    for length_s, set_s, synchronized, agreeing in course:
        before = machine.time
        after = machine.run(length_s, set_s=set_s, synchronized=synchronized, agreeing_feeds=agreeing)
        assert after.last_trusted_ms == before.last_trusted_ms or (
            after.trusted and after.last_trusted_ms == max(machine.now_ms, before.last_trusted_ms or machine.now_ms)
        )
        assert not (after.trusted and after.doubt)
        assert (ReasonCode.CLOCK_DOUBT in {reason.code for reason in after.reasons}) != after.trusted
        if before.confirmed and before.trusted and abs(set_s) > 120.0:
            assert not after.trusted or agreeing >= 2
