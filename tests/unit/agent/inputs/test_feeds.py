"""Payloads become readings in our unit and sign, or a reject with its reason."""

import pytest

from ringmain_agent.config.feed import Feed, PayloadFormat, PositiveDirection
from ringmain_agent.inputs.feeds import read_feed
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Quality

NOW_MS = 1_606_000_000_000


def feed(**changes: object) -> Feed:
    return Feed(**({"topic": "t", "unit": "kW"} | changes))  # type: ignore[arg-type]


def test_unit_and_sign_of_the_sender_are_turned_round_once() -> None:
    reading = read_feed("pv_kw", feed(unit="MW", positive_direction=PositiveDirection.EXPORT), b"1.5", received_ms=NOW_MS)
    assert (reading.value, reading.at_ms, reading.quality) == (-1500.0, NOW_MS, Quality.GOOD)


@pytest.mark.parametrize(
    ("signal", "unit", "payload", "expected"),
    [
        ("load_kw", "W", b"2500", 2.5),
        ("battery_soc_kwh", "MWh", b"0.25", 250.0),
        ("temperature_degc", "K", b"273.15", 0.0),
        ("temperature_degc", "degF", b"212", 100.0),
        ("soc_pu", "percent", b"50", 0.5),
    ],
)
def test_units_are_converted_to_ours(signal: str, unit: str, payload: bytes, expected: float) -> None:
    assert read_feed(signal, feed(unit=unit), payload, received_ms=NOW_MS).value == pytest.approx(expected)


def test_value_and_time_are_found_inside_json() -> None:
    wanted = feed(format=PayloadFormat.JSON, value_path="power.total", time_path="at")
    payload = b'{"power": {"total": 7}, "at": "2020-11-22T00:00:00+01:00"}'
    reading = read_feed("load_kw", wanted, payload, received_ms=NOW_MS)
    assert (reading.value, reading.at_ms) == (7.0, 1_605_999_600_000)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"abc", "undecodable"),
        (b"\xff\xfe", "undecodable"),
        (b"", "undecodable"),
        (b"nan", "not_finite"),
        (b"inf", "not_finite"),
        (b"1e400", "not_finite"),
        (b"101", "out_of_range"),
        (b"1_00", "undecodable"),
        (b"1" * 70_000, "too_large"),
    ],
)
def test_bad_plain_payloads_are_rejected_by_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        read_feed("load_kw", feed(maximum=100.0), payload, received_ms=NOW_MS)
    assert reason == caught.value.reason


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[]",
        b"3",
        b'{"value": true, "time": "2020-11-22T00:00:00Z"}',
        b'{"value": 1, "time": "yesterday"}',
        b'{"value": 1, "time": "2020-11-22T00:00:00"}',
        b'{"value": 1, "time": []}',
        b'{"value": 1, "time": 1e300}',
        b'{"value": {"value": 1}, "time": 5}',
        b'{"value": 1, "time": ' + b"9" * 4000 + b"}",
    ],
)
def test_json_of_another_shape_is_invalid(payload: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        read_feed("load_kw", feed(format=PayloadFormat.JSON, time_path="time"), payload, received_ms=NOW_MS)
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"9" * 400, "not_finite"), (b"9" * 4000, "not_finite"), (b"1e308", "out_of_range"), (b"-2e12", "out_of_range")],
)
def test_numbers_that_no_quantity_has_are_rejected_before_they_reach_a_sum(value: bytes, reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        read_feed("load_kw", feed(format=PayloadFormat.JSON), b'{"value": ' + value + b"}", received_ms=NOW_MS)
    assert reason == caught.value.reason


def test_null_is_a_missing_value_and_not_zero() -> None:
    reading = read_feed("load_kw", feed(format=PayloadFormat.JSON), b'{"value": null}', received_ms=NOW_MS)
    assert (reading.value, reading.quality) == (None, Quality.MISSING)


def test_an_implausible_time_is_kept_and_marked() -> None:
    payload = b'{"value": 1, "time": "2031-01-01T00:00:00Z"}'
    reading = read_feed("load_kw", feed(format=PayloadFormat.JSON, time_path="time"), payload, received_ms=NOW_MS)
    assert (reading.value, reading.quality) == (1.0, Quality.SUSPECT)
