"""State that survives a restart comes back as it was, or is refused."""

import pytest
from msgspec import Struct

from ringmain_agent.gateway.kept import decode_kept, encode_kept


class State(Struct, frozen=True):
    """Any state."""

    energy_kwh: float
    since_ms: int = 0


def test_state_comes_back_as_it_was() -> None:
    assert decode_kept(encode_kept(State(1.5, 2)), State) == State(1.5, 2)


def test_state_of_an_agent_that_kept_less_has_the_defaults() -> None:
    assert decode_kept(b'{"energy_kwh": 1.5, "of_another_version": 7}', State) == State(1.5)


@pytest.mark.parametrize("kept", [None, 5, "text", b"", b"{", b"\xff", b'{"energy_kwh": null}', b"[" * 100_000])
def test_damaged_state_is_refused(kept: object) -> None:
    with pytest.raises(ValueError, match="State"):
        decode_kept(kept, State)


def test_number_that_is_not_finite_is_not_kept() -> None:
    with pytest.raises(ValueError, match="State"):
        decode_kept(encode_kept(State(float("nan"))), State)
