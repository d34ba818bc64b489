"""Setpoints are written as the equipment wants them, and it is seen when it does not follow."""

import json

from ringmain_agent.feeds import PositiveDirection
from ringmain_agent.outputs import Output, Sent, follows, output_problem, setpoint_payload
from ringmain_protocol.steps import Reading

OUTPUT = Output(topic="battery/setpoint", valid_for_s=60)


def test_default_payload_carries_power_sequence_time_and_validity() -> None:
    payload = json.loads(setpoint_payload(OUTPUT, -12.5, sequence=7, now_ms=1000))
    assert payload == {"power_kw": -12.5, "sequence": 7, "issued_at_ms": 1000, "valid_for_s": 60}


def test_release_is_a_payload_of_its_own() -> None:
    payload = json.loads(setpoint_payload(OUTPUT, None, sequence=8, now_ms=1000))
    assert payload == {"release": True, "sequence": 8, "issued_at_ms": 1000}


def test_unit_sign_and_template_are_those_of_the_equipment() -> None:
    output = Output(topic="t", unit="W", positive_direction=PositiveDirection.EXPORT, payload="P=$power")
    assert setpoint_payload(output, -2.0, sequence=1, now_ms=0) == b"P=2000.0"
    assert setpoint_payload(output, 0.0, sequence=1, now_ms=0) == b"P=0.0"


def test_outputs_that_cannot_work_are_named() -> None:
    assert "not one of W, kW, MW" in (output_problem(Output(topic="t", unit="A")) or "")
    assert "wildcard" in (output_problem(Output(topic="t/#")) or "")
    assert "repeat_s 60 must be below" in (output_problem(Output(topic="t", repeat_s=60)) or "")
    assert "$watt" in (output_problem(Output(topic="t", payload="$watt")) or "")
    assert "not valid" in (output_problem(Output(topic="t", payload="$ 5")) or "")
    assert output_problem(OUTPUT) is None


def test_equipment_that_stays_away_from_its_setpoint_is_seen_after_the_time_given() -> None:
    sent = Sent(power_kw=100.0, since_ms=0, sent_ms=0)
    idle = Reading("battery_kw", 31_000, 0.0)
    assert follows(sent, idle, OUTPUT, rated_kw=100, now_ms=29_000)
    assert not follows(sent, idle, OUTPUT, rated_kw=100, now_ms=31_000)
    assert follows(sent, Reading("battery_kw", 31_000, 97.0), OUTPUT, rated_kw=100, now_ms=31_000)
    assert follows(sent, None, OUTPUT, rated_kw=100, now_ms=31_000)
    assert follows(Sent(power_kw=None, since_ms=0, sent_ms=0), idle, OUTPUT, rated_kw=100, now_ms=31_000)
