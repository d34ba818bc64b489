"""Kafka records to table rows: everything of a message arrives once, and what cannot be used is counted and left out."""

from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from ringmain_protocol import topics
from ringmain_protocol.messages import (
    Forecast,
    Mode,
    Readings,
    Schedule,
    Series,
    Setpoint,
    Status,
    Steps,
    encode,
)
from ringmain_trainer.history import value_columns
from ringmain_trainer.history.records import Batch, Names, ReceivedLog, Record
from ringmain_trainer.history.tables import TABLES, bucket
from support.strategies import structs

SITE = "liander-287"
RECEIVED_MS = 1_795_000_000_000
AT_MS = 1_603_000_000_000  # 2020-10-18
SENT: dict[str, Any] = {"stream": "0123456789abcdef", "sequence": 7}
KINDS: dict[str, type[Struct]] = {
    topics.READINGS: Readings,
    topics.STEPS: Steps,
    topics.SERIES: Series,
    topics.FORECAST: Forecast,
    topics.SCHEDULE: Schedule,
    topics.SETPOINT: Setpoint,
    topics.STATUS: Status,
}


def record(kind: str, message: Struct | bytes | None, *, name: str | None = None, **headers: bytes) -> Record:
    value = encode(message) if isinstance(message, Struct) else message
    all_headers: list[tuple[str, bytes | None]] = [("mqtt_topic", topics.topic(SITE, kind, name).encode())]
    return Record(kind, SITE.encode(), value, [*all_headers, *headers.items()], RECEIVED_MS)


def rows(*records: Record, known: ReceivedLog | None = None) -> pl.DataFrame:
    batch, known = Batch(records[0].kind), known or ReceivedLog()
    errors = [batch.add(one, known) for one in records]
    assert errors == [None] * len(records)
    return batch.frame()


def readings(**changes: Any) -> Readings:
    columns = {"signals": ["load_kw", "pv_kw"], "at_ms": [AT_MS, AT_MS + 1], "values": [1.5, None], "quality": [0, 2]}
    return Readings(**(SENT | columns | changes))


def test_a_batch_of_readings_becomes_one_row_per_value() -> None:
    frame = rows(record(topics.READINGS, readings(), received_ms=b"1795000000123"))
    assert frame["signal"].to_list() == ["load_kw", "pv_kw"]
    assert frame["value"].to_list() == [1.5, None]
    assert frame["quality"].to_list() == [0, 2]
    assert frame["at"].dt.epoch("ms").to_list() == [AT_MS, AT_MS + 1]
    assert frame["received_at"].dt.epoch("ms").to_list() == [1_795_000_000_123] * 2
    assert frame["sequence"].to_list() == [7, 7]
    assert frame["time_plausible"].to_list() == [True, True]
    assert frame["bucket"].to_list() == [bucket(SITE)] * 2
    assert frame["month"].to_list() == ["2020-10"] * 2


def test_an_implausible_time_is_kept_and_marked_and_makes_no_partition_of_its_own() -> None:
    frame = rows(record(topics.READINGS, readings(at_ms=[0, 1]), implausible_time=b"1"))
    assert frame["at"].dt.epoch("ms").to_list() == [0, 1]
    assert frame["time_plausible"].to_list() == [False, False]
    assert frame["month"].to_list() == ["2026-11"] * 2


@pytest.mark.parametrize("header", [b"", b"soon", b"-1", b"99999999999999999999"])
def test_without_a_usable_receive_time_the_record_time_of_kafka_counts(header: bytes) -> None:
    frame = rows(record(topics.READINGS, readings(), received_ms=header))
    assert frame["received_at"].dt.epoch("ms").to_list() == [RECEIVED_MS] * 2


def test_what_comes_twice_is_taken_once_over_all_kinds_of_the_outbox() -> None:
    known = ReceivedLog()
    first, again, other = Batch(topics.READINGS), Batch(topics.READINGS), Batch(topics.STEPS)
    assert first.add(record(topics.READINGS, readings()), known) is None
    assert again.add(record(topics.READINGS, readings()), known) is None
    steps = Steps(**SENT, step_s=900, signals=["load_kw"], at_ms=[AT_MS], values=[1.0], quality=[0])
    assert other.add(record(topics.STEPS, msgspec.structs.replace(steps, sequence=8)), known) is None
    assert other.add(record(topics.STEPS, msgspec.structs.replace(steps, sequence=8)), known) is None
    assert [(b.rows, b.duplicates) for b in (first, again, other)] == [(2, 0), (0, 1), (1, 1)]
    assert list(known.sequences[SITE, SENT["stream"]]) == [(7, 8)]


def test_a_series_is_taken_once_per_issue_and_name() -> None:
    batch, known = Batch(topics.SERIES), ReceivedLog()
    series = Series(issued_at_ms=AT_MS, start_ms=AT_MS, step_s=3600, unit="degC", values=[1.0, None])
    later = msgspec.structs.replace(series, issued_at_ms=AT_MS + 1)
    for message, name in ((series, "temperature_degc"), (series, "temperature_degc"), (series, "wind"), (later, "wind")):
        assert batch.add(record(topics.SERIES, message, name=name), known) is None
    frame = batch.frame()
    assert batch.duplicates == 1
    assert frame["name"].to_list() == ["temperature_degc"] * 2 + ["wind"] * 4
    assert frame["valid_at"].dt.epoch("ms").to_list() == [AT_MS, AT_MS + 3_600_000] * 3
    assert frame["value"].to_list() == [1.0, None] * 3


@settings(max_examples=25)
@given(structs(Status))
def test_the_last_status_that_a_broker_delivers_again_is_taken_once(status: Status) -> None:
    batch, known = Batch(topics.STATUS), ReceivedLog()
    for _ in range(2):
        batch.add(record(topics.STATUS, status), known)
    assert batch.rows + batch.rejected.total() / 2 == 1
    if batch.rows:
        assert msgspec.json.decode(batch.frame()["payload"][0].encode(), type=Status) == status


def test_schedules_have_a_row_per_equipment_and_step() -> None:
    schedule = Schedule(
        **SENT,
        issued_at_ms=AT_MS,
        step_s=900,
        fallback="rule",  # type: ignore[arg-type]
        pcc_kw=[5.0, 6.0],
        power_kw={"battery": [1.0, 2.0], "pv": [-3.0, -4.0]},
        soc_kwh={"battery": [10.0, 11.0]},
    )
    frame = rows(record(topics.SCHEDULE, schedule))
    assert frame["equipment"].to_list() == ["battery", "battery", "pv", "pv"]
    assert frame["power_kw"].to_list() == [1.0, 2.0, -3.0, -4.0]
    assert frame["soc_kwh"].to_list() == [10.0, 11.0, None, None]
    assert frame["pcc_kw"].to_list() == [5.0, 6.0] * 2
    assert frame["valid_at"].dt.epoch("ms").to_list() == [AT_MS, AT_MS + 900_000] * 2
    assert frame["fallback"].to_list() == ["rule"] * 4


def test_forecasts_have_a_row_per_lead_with_all_quantiles() -> None:
    forecast = Forecast(
        **SENT, signal="load_kw", issued_at_ms=AT_MS, step_s=900, quantiles=[0.1, 0.5], values=[[1, 2], [3, 4]], release=3
    )
    frame = rows(record(topics.FORECAST, forecast))
    assert frame["lead"].to_list() == [0, 1]
    assert frame["values"].to_list() == [[1, 2], [3, 4]]
    assert frame["quantiles"].to_list() == [[0.1, 0.5]] * 2
    assert frame["release"].to_list() == [3, 3]


def test_a_released_equipment_has_no_power() -> None:
    power = {"battery": 5.0, "pv": None}
    changes: dict[str, Any] = {"mode": Mode.CONTROL, "fallback": "optimal", "power_kw": power}
    frame = rows(record(topics.SETPOINT, Setpoint(**SENT, issued_at_ms=AT_MS, valid_for_s=60, **changes)))
    assert frame["power_kw"].to_list() == [5.0, None]
    assert frame["mode"].to_list() == ["control"] * 2


def test_a_step_value_beyond_float32_is_missing_and_not_infinite() -> None:
    steps = Steps(**SENT, step_s=900, signals=["a", "b"], at_ms=[AT_MS] * 2, values=[1e300, 0.1], quality=[0, 0])
    frame = rows(record(topics.STEPS, steps))
    assert frame["value"].to_list()[0] is None
    assert frame["value"].is_finite().to_list()[1]


FAR = 2**61
UNUSABLE: list[tuple[str, Record]] = [
    ("undecodable", record(topics.READINGS, b"{")),
    ("invalid", record(topics.READINGS, b"{}")),
    ("too_large", record(topics.READINGS, b" " * 1_000_001)),
    ("no_value", record(topics.READINGS, None)),
    ("no_site", record(topics.READINGS, readings())._replace(key=None)),
    ("no_site", record(topics.READINGS, readings())._replace(key=b"\xff\xfe")),
    ("time_out_of_range", record(topics.READINGS, readings(at_ms=[AT_MS, FAR]))),
    ("time_out_of_range", record(topics.READINGS, readings(at_ms=[-FAR, AT_MS]))),
    ("unknown_topic", record(topics.SERIES, b"{}", name="wind")._replace(headers=())),
    ("unknown_topic", record(topics.SERIES, b"{}", name="wind")._replace(key=b"liander-307")),
    ("invalid", record(topics.SCHEDULE, b'{"pcc_kw": [1, 2], "power_kw": {"battery": [1]}}')),
]


@pytest.mark.parametrize(("reason", "bad"), UNUSABLE)
def test_what_cannot_be_used_is_counted_and_nothing_of_it_is_kept(reason: str, bad: Record) -> None:
    batch, known = Batch(bad.kind), ReceivedLog()
    error = batch.add(bad, known)
    assert error is not None
    assert error.reason == reason
    assert batch.rejected == {reason: 1}
    assert batch.frame().is_empty()
    assert known.sequences == {}


@pytest.mark.parametrize("kind", list(KINDS))
@settings(max_examples=25)
@given(data=st.data())
def test_any_valid_message_becomes_rows_of_its_table_or_is_rejected_with_a_reason(kind: str, data: st.DataObject) -> None:
    messages: Sequence[Struct] = data.draw(st.lists(structs(KINDS[kind]), max_size=3))
    batch, known = Batch(kind), ReceivedLog()
    for message in messages:
        batch.add(record(kind, message, name="wind" if kind == topics.SERIES else None), known)
    frame = batch.frame()
    assert dict(frame.schema) == {
        name: pl.DataFrame(schema={name: t}).schema[name] for name, t in TABLES[kind].columns.items()
    }
    assert frame.height == batch.rows


@pytest.mark.parametrize("sortable", [2**62, 2**50, 1])
def test_rows_come_sorted_by_partition_site_signal_and_time(sortable: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_columns, "_SORTABLE", sortable)
    batch, known, month_ms = Batch(topics.READINGS), ReceivedLog(), 31 * 86_400_000
    for n, site in enumerate(["uw-114", "liander-287", "uw-114", "b", "a"]):
        at_ms = [AT_MS + 5 - n, AT_MS - n, AT_MS + month_ms, AT_MS - n]
        columns = {"signals": ["pv_kw", "load_kw", "load_kw", "a"], "at_ms": at_ms, "values": [1.0, None, 2, 3]}
        message = readings(sequence=n, **columns, quality=[0] * 4)
        assert batch.add(record(topics.READINGS, message)._replace(key=site.encode()), known) is None
    frame = batch.frame()
    assert frame.equals(frame.sort("bucket", "month", "site", "signal", "at", maintain_order=True))
    assert frame.height == 20
    assert frame["month"].unique().sort().to_list() == ["2020-10", "2020-11"]


def test_many_rows_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_columns, "_CHUNK", 5)
    batch, known = Batch(topics.STEPS), ReceivedLog()
    for n in range(50):
        columns: dict[str, Any] = {"signals": ["a", "b", "c"], "at_ms": [AT_MS + n] * 3, "values": [n, None, -n]}
        message = Steps(stream=SENT["stream"], sequence=n, step_s=900, quality=[0, 2, 1], **columns)
        assert batch.add(record(topics.STEPS, message), known) is None
    frame = batch.frame().sort("sequence", "signal")
    assert frame["value"].to_list() == [value for n in range(50) for value in (n, None, -n)]
    assert frame["quality"].to_list() == [0, 2, 1] * 50
    assert batch.taken()["number"].to_list() == list(range(50))


def test_names_are_shared_by_batches_and_what_is_wrong_is_still_refused() -> None:
    names, known = Names(), ReceivedLog()
    for n, signals in enumerate([["load_kw", "pv_kw"], ["load_kw", "pv_kw"], ["load_kw", "9"], ["load_kw"]]):
        batch = Batch(topics.READINGS, names)
        payload = msgspec.json.encode(readings(sequence=n, signals=["load_kw", "pv_kw"]))
        payload = payload.replace(b'["load_kw","pv_kw"]', msgspec.json.encode(signals))
        error = batch.add(record(topics.READINGS, payload), known)
        assert (error is None) == (signals == ["load_kw", "pv_kw"])
        assert batch.rows == (2 if error is None else 0)
