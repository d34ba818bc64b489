"""Outputs that cannot work are refused."""

from ringmain_agent.config.output import Output, output_problem


def test_outputs_that_cannot_work_are_named() -> None:
    assert "not one of W, kW, MW" in (output_problem(Output(topic="t", unit="A")) or "")
    assert "wildcard" in (output_problem(Output(topic="t/#")) or "")
    assert "repeat_s 60 must be below" in (output_problem(Output(topic="t", repeat_s=60)) or "")
    assert "$watt" in (output_problem(Output(topic="t", payload="$watt")) or "")
    assert "not valid" in (output_problem(Output(topic="t", payload="$ 5")) or "")
    assert output_problem(Output(topic="battery/setpoint", valid_for_s=60)) is None
