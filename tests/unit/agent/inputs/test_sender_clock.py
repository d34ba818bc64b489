"""The clock of a sender: a constant offset is its time, a larger one is a late value, and the agent's clock is no matter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.inputs.sender_clock import SenderClock, heard

T0_MS = 1_700_000_000_000


def hear(
    clock: SenderClock | None, *, at_s: float, received_s: float, wall_s: float | None = None
) -> tuple[SenderClock, float]:
    """A value stamped `at_s` after T0; lateness in seconds."""
    wall_ms = None if wall_s is None else T0_MS + 1000 * wall_s
    after, late_ms = heard(clock, at_ms=T0_MS + round(1000 * at_s), received_s=received_s, wall_ms=wall_ms)
    return after, late_ms / 1000


@given(st.floats(-2e9, 1e9), st.lists(st.floats(0.0, 1.5), min_size=1, max_size=50))
def test_a_sender_with_any_time_of_its_own_is_punctual(off_s: float, delays_s: list[float]) -> None:
    clock = None
    for number, delay_s in enumerate(delays_s):
        clock, late_s = hear(clock, at_s=number + off_s, received_s=number + delay_s)
        assert late_s == 0.0


def test_what_a_sender_kept_for_ten_minutes_is_ten_minutes_late() -> None:
    clock, _ = hear(None, at_s=0, received_s=0)
    for number in range(600):  # its queue goes out in half a minute
        clock, late_s = hear(clock, at_s=number, received_s=600 + number / 20)
        assert late_s == pytest.approx(600 + number / 20 - number) or (late_s == 0.0 and number > 590)
    assert hear(clock, at_s=700, received_s=700)[1] == 0.0


def test_a_sender_whose_clock_was_set_back_is_punctual_again_after_a_minute() -> None:
    clock, _ = hear(None, at_s=0, received_s=0)
    late = []
    for number in range(1, 70):
        clock, late_s = hear(clock, at_s=number - 45, received_s=number)
        late.append(late_s)
    assert late[0] == pytest.approx(45)
    assert late[-1] == 0.0


def test_a_sender_whose_clock_was_set_forward_is_punctual_at_once() -> None:
    clock, _ = hear(None, at_s=0, received_s=0)
    assert hear(clock, at_s=3601, received_s=1)[1] == 0.0


def test_a_first_value_that_is_old_by_a_trusted_clock_is_late() -> None:
    """It may come from a queue; a minute later it is known that it does not."""
    clock, late_s = hear(None, at_s=-400, received_s=10, wall_s=0)
    assert late_s == pytest.approx(400)
    assert hear(clock, at_s=-339, received_s=71)[1] == 0.0
    assert hear(None, at_s=-400, received_s=10)[1] == 0.0  # the clock of the agent is in doubt
