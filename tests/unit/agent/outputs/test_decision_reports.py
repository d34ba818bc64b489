"""Setpoints are reported when something changed, and at least once a minute."""

from ringmain_agent.control.limits import Limited
from ringmain_agent.control.regulate import Regulation
from ringmain_agent.outputs.decision_reports import SetpointReports
from ringmain_agent.snapshot import Reason
from ringmain_protocol import topics
from ringmain_protocol.messages import Fallback, Mode, ReasonCode

REGULATION = Regulation(
    setpoints={}, fallback=Fallback.SHIFTED, reasons=(Reason(ReasonCode.PLAN_OLD, "plan is 20 min old"),)
)


def limited(power_kw: float | None = 5.0, position: int | None = 2) -> Limited:
    reasons = (Reason(ReasonCode.SETPOINT_LIMITED, "battery limited", "battery"),)
    return Limited(power_kw={"battery": power_kw}, positions={"tap": position}, reasons=reasons)


def test_report_carries_rung_reason_positions_and_validity() -> None:
    report = SetpointReports(valid_for_s=60.0).report(REGULATION, limited(), Mode.CONTROL, 1000)
    assert report is not None
    kind, _, fields = report
    assert kind == topics.SETPOINT
    assert fields == {
        "issued_at_ms": 1000,
        "valid_for_s": 60.0,
        "mode": Mode.CONTROL,
        "fallback": Fallback.SHIFTED,
        "power_kw": {"battery": 5.0},
        "positions": {"tap": 2},
        "reason": "plan is 20 min old; battery limited",
        "reason_codes": [ReasonCode.PLAN_OLD, ReasonCode.SETPOINT_LIMITED],
    }


def test_report_comes_on_a_change_and_else_once_a_minute() -> None:
    reports = SetpointReports(valid_for_s=60.0)
    due = [
        reports.report(REGULATION, given, Mode.CONTROL, at_ms) is not None
        for at_ms, given in [
            (0, limited()),
            (1000, limited()),
            (2000, limited(power_kw=5.05)),
            (3000, limited(power_kw=6.0)),
            (4000, limited(power_kw=6.0, position=3)),
            (5000, limited(power_kw=None, position=3)),
            (64_999, limited(power_kw=None, position=3)),
            (65_000, limited(power_kw=None, position=3)),
            (1, limited(power_kw=None, position=3)),
        ]
    ]
    assert due == [True, False, False, True, True, True, False, True, True]
