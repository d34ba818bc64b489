"""Whatever is in Kafka, ingest goes on: each record becomes rows of its table or is counted with its reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import FUZZ, KINDS, hostile_payloads, hostile_topics
from ringmain_protocol import topics
from ringmain_trainer.records import Batch, Known, Record
from ringmain_trainer.tables import TABLES

REASONS = {"no_site", "no_value", "unknown_topic", "too_large", "undecodable", "invalid", "time_out_of_range"}
SITE = "uw-114"


@st.composite
def records(draw: st.DrawFn, kind: str) -> Record:
    """What another bridge, another version or an accident may have written."""
    name = "wind" if kind == topics.SERIES else None
    topic = (
        topics.topic(SITE, kind, name).encode()
        if draw(st.integers(0, 3))
        else draw(hostile_topics()).encode(errors="replace")
    )
    headers: list[tuple[str, bytes | None]] = [
        ("mqtt_topic", draw(st.sampled_from([topic, topic, topic, None, b"\xff"]))),
        ("received_ms", draw(st.sampled_from([b"1795000000123", b"-1", b"9" * 15, b"9" * 16, b"", b"\xb2", None]))),
        ("implausible_time", draw(st.sampled_from([b"0", b"1", None]))),
    ]
    return Record(
        kind,
        draw(st.sampled_from([SITE.encode()] * 5 + [None, b"", b"\xff", b"A"])),
        draw(hostile_payloads(KINDS[kind])) if draw(st.integers(0, 19)) else None,
        draw(st.sampled_from([headers, headers, headers[:1], []])),
        draw(st.sampled_from([1_795_000_000_000, 0, -1, 2**62])),
    )


@pytest.mark.parametrize("kind", topics.FORWARDED)
@FUZZ
@given(data=st.data())
def test_any_record_becomes_rows_or_is_counted_with_its_reason(kind: str, data: st.DataObject) -> None:
    batch, known = Batch(kind), Known()
    arrived = data.draw(st.lists(records(kind), max_size=4))
    errors = [error for record in arrived if (error := batch.add(record, known)) is not None]
    assert batch.rejected.keys() <= REASONS
    assert batch.rejected.total() == len(errors)
    frame = batch.frame()
    assert frame.height == batch.rows
    assert tuple(frame.columns) == tuple(TABLES[kind].columns)
    assert len(frame["month"].drop_nulls()) == frame.height
