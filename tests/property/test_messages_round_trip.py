"""What one process encodes, another decodes to the same; and nothing that arrives can do worse than be refused."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from ringmain_protocol.errors import MessageError
from ringmain_protocol.manifest import decode_document, encode_document
from ringmain_protocol.messages import decode, encode
from support.strategies import DOCUMENTS, MESSAGES, structs


@pytest.mark.parametrize("kind", MESSAGES)
@settings(max_examples=30)
@given(data=st.data())
def test_decoding_gives_back_what_was_encoded(kind: type[Struct], data: st.DataObject) -> None:
    message = data.draw(structs(kind))
    assert decode(encode(message), kind) == message


@pytest.mark.parametrize("kind", DOCUMENTS)
@settings(max_examples=30)
@given(data=st.data())
def test_documents_of_the_repository_come_back_as_they_were(kind: type[Struct], data: st.DataObject) -> None:
    document = data.draw(structs(kind))
    assert decode_document(encode_document(document), kind) == document


@pytest.mark.parametrize("kind", MESSAGES)
@settings(max_examples=30)
@given(data=st.data())
def test_fields_of_a_newer_version_are_ignored(kind: type[Struct], data: st.DataObject) -> None:
    message = data.draw(structs(kind))
    newer = json.loads(encode(message)) | {"field_of_tomorrow": {"nested": [1, None, "x"]}}
    assert decode(json.dumps(newer).encode(), kind) == message


@pytest.mark.parametrize("kind", MESSAGES)
@settings(max_examples=30)
@given(data=st.data(), cut=st.floats(0, 1, exclude_max=True))
def test_a_truncated_message_is_refused(kind: type[Struct], data: st.DataObject, cut: float) -> None:
    payload = encode(data.draw(structs(kind)))
    with pytest.raises(MessageError) as caught:
        decode(payload[: int(cut * len(payload))], kind)
    assert caught.value.reason in {"undecodable", "invalid"}


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", MESSAGES)
@settings(max_examples=30)
@given(data=st.data(), wrong=_json_values)
def test_a_message_with_a_wrong_field_is_invalid_or_means_the_same_again(
    kind: type[Struct], data: st.DataObject, wrong: Any
) -> None:
    fields = json.loads(encode(data.draw(structs(kind))))
    name = data.draw(st.sampled_from(sorted(fields)))
    try:
        message = decode(json.dumps(fields | {name: wrong}).encode(), kind)
    except MessageError as error:
        reason = error.reason
    else:
        reason = "invalid" if decode(encode(message), kind) == message else "changed"
    assert reason == "invalid"


@pytest.mark.parametrize("kind", MESSAGES)
@settings(max_examples=30)
@given(payload=st.binary(max_size=60))
def test_any_bytes_are_refused_with_a_reason(kind: type[Struct], payload: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        decode(payload, kind)
    assert caught.value.reason in {"undecodable", "invalid"}
