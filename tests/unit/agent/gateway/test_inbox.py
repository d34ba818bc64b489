"""The queue to the cycle is bounded in messages and in bytes, and keeps the order of arrival."""

from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.gateway.inbox import OVERHEAD_BYTES, Arrived, Inbox


def arrived(payload: bytes) -> Arrived:
    return Arrived("plant/load", payload, retained=False, received_s=0.0)


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(0, 10), st.integers(0, 3000))
def test_what_is_taken_is_what_was_accepted_and_both_bounds_hold(
    payloads: list[bytes], messages_max: int, bytes_max: int
) -> None:
    inbox = Inbox(messages_max=messages_max, bytes_max=bytes_max)
    accepted = [message for message in map(arrived, payloads) if inbox.put(message)]
    assert inbox.take() == accepted
    assert len(accepted) <= messages_max
    assert sum(len(message.payload) + OVERHEAD_BYTES for message in accepted) <= bytes_max
    assert inbox.take() == []


def test_taken_messages_leave_their_room_to_others() -> None:
    inbox = Inbox(messages_max=10, bytes_max=2 * OVERHEAD_BYTES + 10)
    assert [inbox.put(arrived(b"12345")) for _ in range(3)] == [True, True, False]
    inbox.take()
    assert inbox.put(arrived(b"12345"))
