"""The bridge's short way of decoding accepts what the protocol accepts, with the same result, and refuses the rest alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import astuple

from ringmain_bridge.forwarding import batch_decoder as batches
from ringmain_protocol import messages
from ringmain_protocol.errors import MessageError
from support.strategies import structs

BATCHES = (messages.Readings, messages.Steps)
CHANGES = (
    (b"", b""),
    (b":", b": "),
    (b"}", b""),
    (b"}", b',"more":[[1]]}'),
    (b'"quality":[', b'"quality":[0,'),
    (b'"sequence":', b'"sequence":-'),
    (b'"stream":"', b'"stream":"X'),
    (b'"stream":"', b'"stream":"\xff'),
    (b'"signals":[', b'"signals":["A",'),
    (b'"signals":["', b'"signals":["\xc3\xa4'),
    (b'"at_ms":[', b'"at_ms":[9223372036854775807,'),
)


def outcome(payload: bytes, kind: type[Struct], *, short: bool) -> tuple[object, ...]:
    """The fields of the message, or why it is refused."""
    try:
        message: Struct = batches.decode(payload, kind) if short else messages.decode(payload, kind)
    except MessageError as error:
        return error.reason, str(error)
    assert isinstance(message, kind)
    return astuple(message)


@st.composite
def payloads(draw: st.DrawFn, kind: type[Struct]) -> bytes:
    """Valid messages, and such with one thing wrong."""
    payload = messages.encode(draw(structs(kind)))
    old, new = draw(st.sampled_from(CHANGES))
    return payload.replace(old, new, 1) if old else payload


@pytest.mark.parametrize("kind", BATCHES)
@given(data=st.data())
def test_the_same_message_or_the_same_refusal(kind: type[Struct], data: st.DataObject) -> None:
    payload = data.draw(payloads(kind))
    assert outcome(payload, kind, short=True) == outcome(payload, kind, short=False)


@given(st.binary(max_size=200))
def test_no_bytes_are_taken_otherwise(payload: bytes) -> None:
    for kind in (*BATCHES, messages.Online):
        assert outcome(payload, kind, short=True) == outcome(payload, kind, short=False)


@pytest.mark.parametrize("count", [64, 65, 1000])
def test_a_batch_of_any_length_is_accepted(count: int) -> None:
    batch = messages.Readings(
        stream="0123456789abcdef", sequence=1, signals=["load_kw"] * count, at_ms=[0] * count, values=[None] * count,
        quality=[2] * count,
    )  # fmt: skip
    assert astuple(batches.decode(messages.encode(batch), messages.Readings)) == astuple(batch)
