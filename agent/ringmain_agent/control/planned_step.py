"""The present step of a plan and its fallback level: that of a fresh plan, or shifted for an older one. Pure.

The lower levels need no plan: the rule works on measurements, and `regulate` releases if these are missing.
"""

import math
from typing import Final

from msgspec import Struct

from ringmain_agent.site.hours import holds, step_starts_ms
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan, Reason
from ringmain_protocol.messages import Fallback, ReasonCode

FRESH_S: Final = 60.0
"""Time of the second step in which a plan still counts as fresh, until its successor arrives."""


class PlannedStep(Struct, frozen=True, kw_only=True):
    """The present step of a plan, and its fallback level."""

    fallback: Fallback
    reasons: tuple[Reason, ...]
    power_kw: dict[str, float]
    """Of batteries and loads."""
    available_kw: dict[str, float]
    """Median forecast of each PV plant before curtailment."""
    curtailed_kw: dict[str, float]
    positions: dict[str, int]
    pcc_kw: float
    peak_kw: dict[str, float]
    """Highest planned import in the hours of each demand charge."""


def present_step(plan: Plan | None, *, now_ms: int, site: Site) -> PlannedStep | None:
    """The step of the plan at `now_ms`, or `None` if the plan is not usable.

    Not usable are plans from the future (the clock was set back), past their horizon, older than `plan_age_max_s`, or with a
    power that is not finite. A plan by the rule is not usable either: the rule on measurements is better.
    """
    if plan is None or plan.fallback in {Fallback.RULE, Fallback.RELEASE}:
        return None
    age_ms = now_ms - plan.issued_at_ms
    index = age_ms // (1000 * plan.step_s)
    steps = min((len(power_kw) for power_kw in plan.power_kw.values()), default=0)
    if not 0 <= index < steps or age_ms > 1000 * site.regulator.plan_age_max_s:
        return None
    planned_kw = {name: power_kw[index] for name, power_kw in plan.power_kw.items()}
    curtailed_kw = {name: values[index] for name, values in plan.curtailed_kw.items() if index < len(values)}
    pcc_kw = plan.pcc_kw[index] if index < len(plan.pcc_kw) else 0.0
    if not all(math.isfinite(value) for value in (*planned_kw.values(), *curtailed_kw.values(), pcc_kw)):
        return None
    fresh = age_ms < 1000 * (plan.step_s + FRESH_S)
    plants = [plant.name for plant in site.generators if plant.name in planned_kw]
    return PlannedStep(
        fallback=plan.fallback if fresh else Fallback.SHIFTED,
        reasons=tuple(plan.reasons) if fresh else (Reason(ReasonCode.PLAN_OLD, f"plan is {age_ms // 60_000} min old"),),
        power_kw={name: power_kw for name, power_kw in planned_kw.items() if name not in plants},
        available_kw={name: planned_kw[name] - curtailed_kw.get(name, 0.0) for name in plants},
        curtailed_kw={name: curtailed_kw.get(name, 0.0) for name in plants},
        positions={name: values[index] for name, values in plan.positions.items() if index < len(values)},
        pcc_kw=pcc_kw,
        peak_kw=_peaks_kw(plan, index, site),
    )


def _peaks_kw(plan: Plan, index: int, site: Site) -> dict[str, float]:
    starts_ms = step_starts_ms(plan.issued_at_ms, plan.step_s, len(plan.pcc_kw))[index:]
    peaks_kw = {}
    for charge in site.tariff.demand_charges:
        counts = holds(charge.hours, starts_ms, site.time_zone)
        planned_kw = (pcc_kw for pcc_kw, count in zip(plan.pcc_kw[index:], counts, strict=True) if count)
        peaks_kw[charge.name] = max(planned_kw, default=0.0)
    return peaks_kw
