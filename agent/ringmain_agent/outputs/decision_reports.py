"""Reports of the agent's decisions for upstream: forecasts, schedules, setpoints."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from ringmain_agent.control.limits import Limited
from ringmain_agent.control.regulate import Regulation
from ringmain_agent.snapshot import Plan, Reason, reason_text
from ringmain_protocol import topics
from ringmain_protocol.messages import Fallback, Forecast, Mode, ReasonCode, Schedule, Setpoint

REASON_MAX: Final = 2000
REPEAT_S: Final = 60
CHANGE_KW: Final = 0.1

Report = tuple[str, type[Struct], dict[str, Any]]
"""Kind, message type and fields; the outbox adds stream and sequence."""


def plan_reports(plan: Plan) -> Iterator[Report]:
    """The forecasts and the schedule of a plan."""
    common = {"issued_at_ms": plan.issued_at_ms, "step_s": plan.step_s}
    for forecast in plan.forecasts:
        fields = {
            "signal": forecast.signal,
            "quantiles": forecast.quantiles,
            "values": forecast.values,
            "release": forecast.release,
            "reason": forecast.reason[:REASON_MAX],
        }
        yield topics.FORECAST, Forecast, common | fields
    fields = {
        "fallback": plan.fallback,
        "pcc_kw": plan.pcc_kw,
        "power_kw": plan.power_kw,
        "soc_kwh": plan.soc_kwh,
        "positions": plan.positions,
        "reason": plan.reason[:REASON_MAX],
        "reason_codes": codes(plan.reasons),
    }
    yield topics.SCHEDULE, Schedule, common | fields


def codes(reasons: Iterable[Reason]) -> list[ReasonCode]:
    """Codes of the reasons, each one once."""
    return list(dict.fromkeys(reason.code for reason in reasons))


class SetpointReports:
    """Reports of setpoints, when mode, fallback level or a value has changed, and at least once a minute."""

    def __init__(self, *, valid_for_s: float) -> None:
        """No report so far."""
        self._valid_for_s = valid_for_s
        self._at_ms = 0
        self._before: tuple[Mode, Fallback, Mapping[str, float | None]] | None = None

    def report(self, regulation: Regulation, limited: Limited, mode: Mode, now_ms: int) -> Report | None:
        """The report of this cycle, if it is due."""
        values: dict[str, float | None] = {**limited.power_kw, **limited.positions}
        if self._before is not None and 0 <= now_ms - self._at_ms < 1000 * REPEAT_S:  # negative after the clock was set back
            before_mode, before_fallback, before_kw = self._before
            if before_mode is mode and before_fallback is regulation.fallback and not _differ(before_kw, values):
                return None
        self._at_ms, self._before = now_ms, (mode, regulation.fallback, values)
        reasons = (*regulation.reasons, *limited.reasons)
        fields = {
            "issued_at_ms": now_ms,
            "valid_for_s": self._valid_for_s,
            "mode": mode,
            "fallback": regulation.fallback,
            "power_kw": limited.power_kw,
            "positions": limited.positions,
            "reason": reason_text(reasons)[:REASON_MAX],
            "reason_codes": codes(reasons),
        }
        return topics.SETPOINT, Setpoint, fields


def _differ(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> bool:
    if before.keys() != after.keys():
        return True
    for name, value in after.items():
        other = before[name]
        if (value is None) != (other is None):
            return True
        if value is not None and other is not None and abs(value - other) > CHANGE_KW:
            return True
    return False
