"""Setpoints are reported when something changed, at most every 10 s, and at least once a minute."""

from ringmain_agent.control.limits import Limited
from ringmain_agent.control.regulate import Regulation
from ringmain_agent.outputs.decision_reports import SetpointReports
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Reason
from ringmain_protocol import topics
from ringmain_protocol.messages import Fallback, Mode, ReasonCode
from support.sites import battery, station

REGULATION = Regulation(
    setpoints={}, fallback=Fallback.SHIFTED, reasons=(Reason(ReasonCode.PLAN_OLD, "plan is 20 min old"),)
)


def limited(power_kw: float | None = 5.0, position: int | None = 2) -> Limited:
    reasons = (Reason(ReasonCode.SETPOINT_LIMITED, "battery limited", "battery"),)
    return Limited(power_kw={"battery": power_kw}, positions={"tap": position}, reasons=reasons)


def station_site() -> Site:
    return station(batteries=(battery(),), valid_for_s=60.0)


def test_report_carries_rung_reason_positions_and_validity() -> None:
    report = SetpointReports(station_site()).report(REGULATION, limited(), Mode.CONTROL, 1000)
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


def test_report_comes_on_a_change_by_a_share_of_the_rating_and_else_once_a_minute() -> None:
    """1 % of a battery of 50 kW is 0.5 kW."""
    reports = SetpointReports(station_site())
    due = [
        reports.report(REGULATION, given, Mode.CONTROL, at_ms) is not None
        for at_ms, given in [
            (0, limited()),
            (10_000, limited()),
            (20_000, limited(power_kw=5.45)),
            (30_000, limited(power_kw=5.55)),
            (40_000, limited(power_kw=5.55, position=3)),
            (50_000, limited(power_kw=None, position=3)),
            (109_999, limited(power_kw=None, position=3)),
            (110_000, limited(power_kw=None, position=3)),
            (1, limited(power_kw=None, position=3)),
        ]
    ]
    assert due == [True, False, False, True, True, True, False, True, True]


def test_changes_in_every_cycle_are_one_report_in_ten_seconds() -> None:
    """A day of them leaves room for weeks of measurements in the outbox."""
    reports = SetpointReports(station_site())
    modes = (Mode.CONTROL, Mode.OBSERVE)
    made = [
        reports.report(REGULATION, limited(power_kw=float(second % 40)), modes[second % 2], 1000 * second)
        for second in range(600)
    ]
    assert sum(report is not None for report in made) == 60


def test_change_within_ten_seconds_of_a_report_is_reported_after_them() -> None:
    reports = SetpointReports(station_site())
    made = [
        reports.report(REGULATION, limited(), mode, at_ms)
        for mode, at_ms in [(Mode.OBSERVE, 0), (Mode.CONTROL, 1000), (Mode.CONTROL, 10_000)]
    ]
    assert [report is not None for report in made] == [True, False, True]
    assert made[2] is not None
    assert made[2][2]["mode"] is Mode.CONTROL
