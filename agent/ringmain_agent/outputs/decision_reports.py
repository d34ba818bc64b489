"""Reports of the agent's decisions for upstream: forecasts, schedules, setpoints."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from ringmain_agent.control.limits import Limited
from ringmain_agent.control.regulate import Regulation
from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan, Reason, reason_text
from ringmain_protocol import topics
from ringmain_protocol.messages import Fallback, Forecast, Mode, ReasonCode, Schedule, Setpoint

REASON_MAX: Final = 2000
REPEAT_S: Final = 60
BETWEEN_S: Final = 10
"""Shortest time between two reports of setpoints: a full outbox must hold weeks of measurements."""
CHANGE_PU: Final = 0.01
"""Reported change of a power, as a share of the rating."""

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
    """Reports of setpoints: on a change, at most every 10 s, and at least once a minute.

    A change is another mode, fallback level or position, or a power that differs by a share of the rating.
    """

    def __init__(self, site: Site) -> None:
        """No report so far."""
        self._valid_for_s = site.regulator.valid_for_s
        ratings = {equipment.name: kind_of(equipment).powers_kw(equipment) for equipment in site.powered}
        self._change_kw = {name: CHANGE_PU * max(-powers.least, powers.most) for name, powers in ratings.items()}
        self._at_ms = 0
        self._before: tuple[Mode, Fallback, Mapping[str, float | None]] | None = None

    def report(self, regulation: Regulation, limited: Limited, mode: Mode, now_ms: int) -> Report | None:
        """The report of this cycle, if it is due."""
        values: dict[str, float | None] = {**limited.power_kw, **limited.positions}
        if self._before is not None and 0 <= now_ms - self._at_ms < 1000 * REPEAT_S:  # negative after the clock was set back
            before_mode, before_fallback, before = self._before
            is_unchanged = before_mode is mode and before_fallback is regulation.fallback
            is_unchanged = is_unchanged and not self._differ(before, values)
            if is_unchanged or now_ms - self._at_ms < 1000 * BETWEEN_S:
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

    def _differ(self, before: Mapping[str, float | None], after: Mapping[str, float | None]) -> bool:
        if before.keys() != after.keys():
            return True
        for name, value in after.items():
            other = before[name]
            if (value is None) != (other is None):
                return True
            if value is not None and other is not None and abs(value - other) > self._change_kw.get(name, 0.0):
                return True
        return False
