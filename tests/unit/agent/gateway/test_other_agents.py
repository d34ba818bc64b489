"""Two agents of one site never take turns: both see the same order of their starts, and the later one observes."""

from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.gateway.other_agents import HEARD_S, WAIT_S, OtherAgents
from ringmain_protocol.messages import Online, ReasonCode

START_MS = 1_770_000_000_000


def online(instance: str = "bb", started_ms: int | None = START_MS, *, alive: bool = True) -> Online:
    identity = {"stream": "0123456789abcdef", "instance": instance.ljust(16, "0")}
    return Online(online=alive, since_ms=0, started_ms=started_ms, **identity)


def agent(instance: str = "aa", started_ms: int = START_MS, earlier: tuple[str, ...] = ()) -> OtherAgents:
    return OtherAgents(online(instance, started_ms), earlier)


def test_later_start_observes_and_says_so_and_the_earlier_one_answers_and_goes_on() -> None:
    first, second = agent("aa", START_MS), agent("bb", START_MS + 1)
    first.take(online("bb", START_MS + 1), retained=False, at_s=10.0)
    assert first.answer_due()
    assert not first.answer_due()
    assert not first.hinders(10.0)
    second.take(online("aa", START_MS), retained=False, at_s=10.0)
    assert second.hinders(1e9)  # until it is started again
    assert not second.answer_due()
    for one, words in ((first, "started later"), (second, "started earlier")):
        reason = one.reason(10.0)
        assert reason is not None
        assert reason.code is ReasonCode.SECOND_AGENT
        assert words in reason.text
    assert first.reason(10.0 + HEARD_S) is None
    assert second.reason(10.0 + HEARD_S) is not None


STARTS = st.one_of(st.integers(START_MS - 5, START_MS + 5), st.sampled_from([0, 1_000_000, 2**50]))


@given(STARTS, STARTS)
def test_exactly_one_of_two_agents_goes_on_whatever_their_clocks_say(first_ms: int, second_ms: int) -> None:
    first, second = agent("aa", first_ms), agent("bb", second_ms)
    first.take(online("bb", second_ms), retained=False, at_s=0.0)
    second.take(online("aa", first_ms), retained=False, at_s=0.0)
    assert [first.started_later, second.started_later].count(True) == 1
    assert first.answer_due() is not first.started_later


def test_start_by_a_clock_that_was_not_set_comes_last() -> None:
    one = agent("aa", 0)
    one.take(online("zz", START_MS), retained=False, at_s=0.0)
    assert one.started_later


def test_own_messages_of_this_start_and_of_earlier_ones_are_no_evidence() -> None:
    one = agent("aa", START_MS, earlier=("cc".ljust(16, "0"),))
    for instance in ("aa", "cc"):
        one.take(online(instance, 1_600_000_000_000), retained=False, at_s=0.0)
    one.take(Online(online=True, since_ms=0), retained=False, at_s=0.0)  # of a version without identity
    assert not one.hinders(0.0)
    assert one.reason(0.0) is None


def test_retained_birth_is_no_evidence_but_its_agent_has_time_to_answer_once() -> None:
    one = agent("bb", START_MS + 1)
    one.take(online("aa"), retained=True, at_s=10.0)
    assert one.hinders(10.0)
    one.take(online("aa"), retained=True, at_s=12.0)
    assert not one.hinders(10.0 + WAIT_S)
    assert one.reason(10.0) is None
    other = agent("bb", START_MS + 1)
    other.take(online("aa", alive=False), retained=True, at_s=10.0)
    assert not other.hinders(10.0)


def test_single_will_of_a_predecessor_is_no_evidence_and_repeated_ones_are() -> None:
    """Two agents with one client id never hear each other's births: each connect ends the other's session, with its will."""
    one = agent("bb", START_MS + 1)
    one.take(online("aa", alive=False), retained=False, at_s=0.0)
    assert not one.hinders(0.0)
    assert one.answer_due()
    one.take(online("aa", alive=False), retained=False, at_s=3.0)
    assert one.started_later
