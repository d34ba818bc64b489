"""Whatever is in Kafka, ingest goes on: each record becomes rows of its table or is counted with its reason."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import decode
from ringmain_trainer.history.records import Batch, Names, ReceivedLog, Record, facts_of
from ringmain_trainer.history.tables import TABLES
from support.hostile import FUZZ, KINDS, hostile_payloads, hostile_topics

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
    batch, known = Batch(kind), ReceivedLog()
    arrived = data.draw(st.lists(records(kind), max_size=4))
    errors = [error for record in arrived if (error := batch.add(record, known)) is not None]
    assert batch.rejected.keys() <= REASONS
    assert batch.rejected.total() == len(errors)
    frame = batch.frame()
    assert frame.height == batch.rows
    assert tuple(frame.columns) == tuple(TABLES[kind].columns)
    assert len(frame["month"].drop_nulls()) == frame.height


def as_decoded(kind: str, records: list[Record]) -> list[tuple[Any, ...]]:
    """Rows of readings or steps as the protocol's own decoder sees them, value by value; what it refuses has none."""
    found, known = [], ReceivedLog()
    for record in records:
        try:
            facts = facts_of(record)
            message: Any = decode(record.value or b"", KINDS[kind])
        except MessageError:
            continue
        instants = [*message.at_ms, facts.received_ms]
        if not -62_135_596_800_000 <= min(instants) <= max(instants) < 253_370_764_800_000:
            continue
        if known.is_new(facts, message):
            columns = (message.signals, message.at_ms, message.values, message.quality)
            found += [(facts.site, message.stream, message.sequence, *row) for row in zip(*columns, strict=True)]
    return sorted(found, key=repr)


@pytest.mark.parametrize("kind", [topics.READINGS, topics.STEPS])
@FUZZ
@given(data=st.data())
def test_the_fast_way_takes_what_the_protocol_takes_and_nothing_else(kind: str, data: st.DataObject) -> None:
    arrived = data.draw(st.lists(records(kind), max_size=6))
    arrived = [record for record in arrived for _ in range(2)]  # the second time, streams and names were seen before
    names, frames = Names(), []
    for _ in range(2):
        batch, known = Batch(kind, names), ReceivedLog()
        for record in arrived:
            batch.add(record, known)
        at = "at" if kind == topics.READINGS else "start_at"
        instants = pl.col(at).dt.epoch("ms")
        frames.append(batch.frame().select("site", "stream", "sequence", "signal", instants, "value", "quality"))
    expected = as_decoded(kind, arrived)
    for frame in frames:
        rows = frame.rows()
        if kind == topics.STEPS:  # stored as float32
            rows = [(*row[:5], None, row[6]) for row in rows]
            expected = [(*row[:5], None, row[6]) for row in expected]
        assert sorted(rows, key=repr) == sorted(expected, key=repr)
