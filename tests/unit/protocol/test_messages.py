"""Messages: strict when sent, tolerant when received, and a reason for each refusal."""

import json
import math
from typing import Any

import pytest
from msgspec import Struct

from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import (
    MAX_MESSAGE_BYTES,
    Envelope,
    Fallback,
    Forecast,
    Mode,
    Online,
    Readings,
    ReasonCode,
    Receipt,
    Series,
    Setpoint,
    Steps,
    decode,
    encode,
)

STREAM = "0123456789abcdef"


def readings(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "stream": STREAM,
        "sequence": 7,
        "signals": ["load_kw", "load_kw"],
        "at_ms": [1000, 2000],
        "values": [1.5, None],
        "quality": [0, 2],
    }
    return fields | changes


def forecast(**changes: Any) -> Forecast:
    fields: dict[str, Any] = {
        "stream": STREAM,
        "sequence": 1,
        "signal": "load_kw",
        "issued_at_ms": 0,
        "step_s": 900,
        "quantiles": [0.1, 0.5, 0.9],
        "values": [[1.0, 2.0, 3.0]],
        "release": 1,
    }
    return Forecast(**fields | changes)


def setpoint(power_kw: float | None) -> Setpoint:
    return Setpoint(
        stream=STREAM,
        sequence=1,
        issued_at_ms=0,
        valid_for_s=600.0,
        mode=Mode.CONTROL,
        fallback=Fallback.OPTIMAL,
        power_kw={"battery": power_kw},
    )


def series(values: list[float | None]) -> Series:
    return Series(issued_at_ms=0, start_ms=0, step_s=900, unit="EUR/MWh", values=values)


def test_the_wire_is_columnar_json() -> None:
    assert json.loads(encode(Readings(**readings()))) == readings()


def test_reason_code_of_a_newer_agent_is_read_as_another_reason() -> None:
    """A bridge that is older than its agents must not refuse their messages."""
    payload = encode(setpoint(None)).replace(b'"reason_codes":[]', b'"reason_codes":["no_plan","of_next_year"]')
    assert decode(payload, Setpoint).reason_codes == [ReasonCode.NO_PLAN, ReasonCode.OTHER]
    with pytest.raises(MessageError, match="reason_codes"):
        decode(payload.replace(b'"of_next_year"', b"7"), Setpoint)


def test_message_of_an_older_agent_has_no_reason_codes() -> None:
    fields = json.loads(encode(setpoint(None)))
    del fields["reason_codes"]
    assert decode(json.dumps(fields).encode(), Setpoint) == setpoint(None)


def test_absence_travels_as_null() -> None:
    assert json.loads(encode(setpoint(None)))["power_kw"] == {"battery": None}
    assert decode(encode(series([1.0, None])), Series).values == [1.0, None]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["dict", "list", "list_of_lists", "field"])
def test_a_number_that_is_not_finite_is_never_sent(value: float, where: str) -> None:
    message: Struct
    match where:
        case "dict":
            message = setpoint(value)
        case "list":
            message = series([1.0, value])
        case "list_of_lists":
            message = forecast(values=[[1.0, 2.0, value]])
        case _:
            message = Setpoint(
                stream=STREAM,
                sequence=1,
                issued_at_ms=0,
                valid_for_s=value,
                mode=Mode.CONTROL,
                fallback=Fallback.RULE,
                power_kw={},
            )
    with pytest.raises(MessageError) as caught:
        encode(message)
    assert caught.value.reason == "not_finite"


@pytest.mark.parametrize(
    "message",
    [
        Receipt(stream="not hex!", ranges=[]),
        Receipt(stream=STREAM, ranges=[(-1, 0)]),
        Series(issued_at_ms=0, start_ms=0, step_s=0, unit="", values=[]),
        Envelope(
            issued_at_ms=0,
            expires_at_ms=0,
            priority=0,
            start_ms=0,
            step_s=900,
            import_limit_kw=[-1.0],
            export_limit_kw=[],
        ),
        Online(online=True, since_ms=2**63),
    ],
)
def test_what_the_reader_would_refuse_is_not_sent(message: Struct) -> None:
    with pytest.raises(MessageError) as caught:
        encode(message)
    assert caught.value.reason == "invalid"


def test_a_message_above_the_limit_is_neither_sent_nor_read() -> None:
    rows = MAX_MESSAGE_BYTES // 10
    with pytest.raises(MessageError) as caught:
        encode(Readings(**readings(signals=["load_kw"] * rows, at_ms=[0] * rows, values=[0.0] * rows, quality=[0] * rows)))
    assert caught.value.reason == "too_large"
    with pytest.raises(MessageError) as caught:
        decode(b" " * (MAX_MESSAGE_BYTES + 1), Online)
    assert caught.value.reason == "too_large"


def test_a_message_at_the_limit_is_read() -> None:
    payload = encode(Online(online=True, since_ms=5))
    assert decode(payload.ljust(MAX_MESSAGE_BYTES), Online) == Online(online=True, since_ms=5)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"online": true, "since_ms": 1}x',
        b'{"online": true, "since_ms": NaN}',
        b'{"online": true, "since_ms": 1, "later": "\xff"}',
        b'{"later": ' + b"[" * 100_000,
    ],
)
def test_what_is_not_json_is_undecodable(payload: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        decode(payload, Online)
    assert caught.value.reason == "undecodable"


@pytest.mark.parametrize(
    "changes",
    [
        {"signals": ["load_kw"]},
        {"at_ms": [1000]},
        {"values": []},
        {"quality": [0, 1, 2]},
        {"quality": [0, 3]},
        {"signals": ["load_kw", "Load"]},
        {"signals": ["load_kw", "load_kw\n"]},
        {"signals": ["load_kw", ""]},
        {"values": [1.5, "1.5"]},
        {"values": [1.5, True]},
        {"at_ms": [1000, 2000.5]},
        {"at_ms": [1000, 2**63]},
        {"at_ms": [1000, None]},
        {"sequence": -1},
        {"sequence": "7"},
        {"stream": "short"},
        {"stream": STREAM + "\n"},
        {"stream": None},
    ],
)
def test_a_message_of_the_wrong_shape_is_invalid(changes: dict[str, Any]) -> None:
    with pytest.raises(MessageError) as caught:
        decode(json.dumps(readings(**changes)).encode(), Readings)
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize("name", list(readings()))
def test_a_missing_field_is_invalid(name: str) -> None:
    fields = readings()
    del fields[name]
    with pytest.raises(MessageError) as caught:
        decode(json.dumps(fields).encode(), Readings)
    assert caught.value.reason == "invalid"
    assert name in str(caught.value)


def test_unknown_fields_are_ignored_so_that_an_old_agent_survives_a_new_trainer() -> None:
    assert decode(json.dumps(readings(added_later=[1])).encode(), Readings) == Readings(**readings())


def test_a_message_of_another_kind_is_invalid_and_not_taken_for_this_one() -> None:
    with pytest.raises(MessageError) as caught:
        decode(encode(Readings(**readings())), Steps)
    assert caught.value.reason == "invalid"


def test_every_lead_of_a_forecast_has_every_quantile() -> None:
    broken = json.loads(encode(forecast())) | {"values": [[1.0, 2.0]]}
    with pytest.raises(MessageError) as caught:
        decode(json.dumps(broken).encode(), Forecast)
    assert caught.value.reason == "invalid"


def test_numbers_that_json_writes_without_a_point_are_read_as_numbers() -> None:
    assert decode(json.dumps(readings(values=[1, 2])).encode(), Readings).values == [1.0, 2.0]
