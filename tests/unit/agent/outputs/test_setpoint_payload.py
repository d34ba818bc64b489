"""Setpoints are written as the equipment wants them, and it is seen when it does not follow."""

import json

from ringmain_agent.config.feed import PositiveDirection
from ringmain_agent.config.output import Output
from ringmain_agent.equipment.kind import ResponseTolerance
from ringmain_agent.outputs.setpoint_payload import WrittenSetpoint, is_following, setpoint_payload
from ringmain_agent.snapshot import Measured

OUTPUT = Output(topic="battery/setpoint", valid_for_s=60)


def test_default_payload_carries_power_sequence_time_validity_and_why() -> None:
    payload = json.loads(
        setpoint_payload(OUTPUT, -12.5, sequence=7, now_ms=1000, fallback="shifted", reason='plan is "20 min" old\n')
    )
    assert payload == {
        "power_kw": -12.5,
        "sequence": 7,
        "issued_at_ms": 1000,
        "valid_for_s": 60,
        "fallback": "shifted",
        "reason": 'plan is "20 min" old\n',
    }


def test_position_has_a_default_payload_of_its_own() -> None:
    payload = json.loads(setpoint_payload(OUTPUT, None, position=-3, sequence=7, now_ms=1000))
    assert payload["position"] == -3
    assert "power_kw" not in payload


def test_on_off_load_can_be_told_in_its_own_words() -> None:
    output = Output(topic="t", payload='{"run": $on}')
    assert setpoint_payload(output, 100.0, sequence=1, now_ms=0) == b'{"run": true}'
    assert setpoint_payload(output, 0.0, sequence=1, now_ms=0) == b'{"run": false}'


def test_release_is_a_payload_of_its_own() -> None:
    payload = json.loads(setpoint_payload(OUTPUT, None, sequence=8, now_ms=1000))
    assert payload == {"release": True, "sequence": 8, "issued_at_ms": 1000}


def test_unit_sign_and_template_are_those_of_the_equipment() -> None:
    output = Output(topic="t", unit="W", positive_direction=PositiveDirection.EXPORT, payload="P=$power")
    assert setpoint_payload(output, -2.0, sequence=1, now_ms=0) == b"P=2000.0"
    assert setpoint_payload(output, 0.0, sequence=1, now_ms=0) == b"P=0.0"


def test_equipment_that_stays_away_from_its_setpoint_is_seen_after_the_time_given() -> None:
    told, within = [WrittenSetpoint(100.0, 0)], ResponseTolerance(5.0)
    idle = Measured(0.0, 31_000)
    assert is_following(told, idle, OUTPUT, within, now_ms=29_000)
    assert not is_following(told, idle, OUTPUT, within, now_ms=31_000)
    assert is_following(told, Measured(97.0, 31_000), OUTPUT, within, now_ms=31_000)
    assert is_following(told, None, OUTPUT, within, now_ms=31_000)
    assert is_following([WrittenSetpoint(None, 0)], idle, OUTPUT, within, now_ms=31_000)
    assert is_following([], idle, OUTPUT, within, now_ms=31_000)


def test_equipment_is_seen_not_to_follow_also_when_every_cycle_tells_it_something_else() -> None:
    told = [WrittenSetpoint(100.0 + second % 7, 1000 * second) for second in range(60)]
    within = ResponseTolerance(5.0)
    assert not is_following(told, Measured(0.0, 59_000), OUTPUT, within, now_ms=60_000)
    assert is_following(told, Measured(103.0, 59_000), OUTPUT, within, now_ms=60_000)
    released = [*told, WrittenSetpoint(None, 59_500)]
    assert is_following(released, Measured(0.0, 59_000), OUTPUT, within, now_ms=60_000)


def test_measurement_from_before_the_setpoint_says_nothing() -> None:
    assert is_following([WrittenSetpoint(100.0, 5000)], Measured(0.0, 4000), OUTPUT, ResponseTolerance(5.0), now_ms=60_000)


def test_plant_below_its_bound_and_vehicle_that_draws_less_follow() -> None:
    plant, vehicle = ResponseTolerance(5.0, more_is_fine=True), ResponseTolerance(5.0, less_is_fine=True)
    bound, allowed = [WrittenSetpoint(-100.0, 0)], [WrittenSetpoint(11.0, 0)]
    assert is_following(bound, Measured(-20.0, 31_000), OUTPUT, plant, now_ms=31_000)
    assert not is_following(bound, Measured(-120.0, 31_000), OUTPUT, plant, now_ms=31_000)
    assert is_following(allowed, Measured(0.0, 31_000), OUTPUT, vehicle, now_ms=31_000)
    assert not is_following(allowed, Measured(22.0, 31_000), OUTPUT, vehicle, now_ms=31_000)
