"""Control only as long as the switch is heard to say so, since this start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.config.agent import Switch
from ringmain_agent.inputs.local_switch import LocalSwitch
from ringmain_protocol.messages import ReasonCode


def switch(*, stale_after_s: float | None = None, retained: bool = False) -> LocalSwitch:
    return LocalSwitch(Switch(topic="station/control", stale_after_s=stale_after_s, retained=retained))


def test_switch_is_observe_until_it_is_heard_and_says_why() -> None:
    local = switch()
    reason = local.reason(1e9)
    assert not local.is_on(1e9)
    assert reason is not None
    assert reason.code is ReasonCode.SWITCH_UNKNOWN
    assert "the switch on station/control has not been heard since the start" in reason.text
    local.take(b" control\n", retained=False, at_s=5.0)
    assert local.is_on(1e9)
    assert local.reason(1e9) is None


@pytest.mark.parametrize("accepted", [False, True])
def test_retained_control_counts_only_where_the_configuration_accepts_it(*, accepted: bool) -> None:
    local = switch(retained=accepted)
    local.take(b"control", retained=True, at_s=5.0)
    assert local.is_on(5.0) is accepted
    assert (local.reason(5.0) is None) is accepted
    local.take(b"control", retained=False, at_s=6.0)
    local.take(b"observe", retained=True, at_s=7.0)
    assert not local.is_on(7.0)


def test_stale_switch_is_observe_until_it_is_heard_again() -> None:
    local = switch(stale_after_s=10.0)
    local.take(b"control", retained=False, at_s=5.0)
    assert [local.is_on(at_s) for at_s in (5.0, 15.0, 15.1)] == [True, True, False]
    reason = local.reason(15.1)
    assert reason is not None
    assert "more than stale_after_s 10 s ago" in reason.text
    local.take(b"control", retained=True, at_s=16.0)
    assert not local.is_on(16.0)
    local.take(b"control", retained=False, at_s=17.0)
    assert local.is_on(17.0)


PAYLOADS = st.sampled_from([b"control", b"observe", b"", b"\xff", b"control!"])


@given(st.lists(st.tuples(PAYLOADS, st.booleans(), st.floats(0, 100)), max_size=20), st.floats(0, 1e6))
def test_only_a_live_control_message_that_nothing_has_followed_is_control(
    messages: list[tuple[bytes, bool, float]], now_s: float
) -> None:
    local = switch()
    for payload, retained, at_s in messages:
        local.take(payload, retained=retained, at_s=at_s)
    if local.is_on(now_s):
        last_other = max((i for i, (payload, _, _) in enumerate(messages) if payload != b"control"), default=-1)
        assert any(payload == b"control" and not retained for payload, retained, _ in messages[last_other + 1 :])
