"""The rungs below a fresh optimal plan: an older plan shifted to now, and the rule that needs none. Pure.

The last rung, release, needs no calculation: `regulate` lets go when the measurements are not there.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from ringmain_agent.site import Site
from ringmain_agent.snapshot import Plan, Snapshot
from ringmain_protocol.messages import Fallback

FRESH_S: Final = 60.0
"""How long into the second step a plan still counts as the newest: its successor is being made."""


class PlannedStep(Struct, frozen=True, kw_only=True):
    """What a plan says about the present step, and which rung of the ladder that is."""

    fallback: Fallback
    reason: str
    battery_kw: dict[str, float]
    available_kw: dict[str, float]
    """Median forecast of each PV plant before curtailment."""
    curtailed_kw: dict[str, float]
    pcc_kw: float
    pcc_max_kw: float
    """Highest import that the plan has for the rest of its horizon."""


class RuleSchedule(Struct, frozen=True, kw_only=True):
    """What the rule would do over the horizon: powers, energies at the END of each step, and the resulting pcc."""

    power_kw: dict[str, list[float]]
    soc_kwh: dict[str, list[float]]
    pcc_kw: list[float]


def present_step(plan: Plan | None, *, now_ms: int, site: Site) -> PlannedStep | None:
    """The step of the plan that holds `now_ms`, or `None` when the plan cannot be used.

    A plan from the future (the clock was set back), past its horizon or older than `plan_age_max_s` is not used, nor is
    one that is only the rule: the regulator knows more than a rule on forecasts.
    """
    if plan is None or plan.fallback in {Fallback.RULE, Fallback.RELEASE}:
        return None
    age_ms = now_ms - plan.issued_at_ms
    index = age_ms // (1000 * plan.step_s)
    steps = min((len(power_kw) for power_kw in plan.power_kw.values()), default=0)
    if not 0 <= index < steps or age_ms > 1000 * site.regulator.plan_age_max_s:
        return None
    fresh = age_ms < 1000 * (plan.step_s + FRESH_S)
    available_kw, curtailed_kw = {}, {}
    for plant in site.generators:
        if plant.name in plan.power_kw:
            curtailed_kw[plant.name] = plan.curtailed_kw[plant.name][index]
            available_kw[plant.name] = plan.power_kw[plant.name][index] - curtailed_kw[plant.name]
    return PlannedStep(
        fallback=plan.fallback if fresh else Fallback.SHIFTED,
        reason=plan.reason if fresh else f"plan is {age_ms // 60_000} min old",
        battery_kw={b.name: plan.power_kw[b.name][index] for b in site.batteries if b.name in plan.power_kw},
        available_kw=available_kw,
        curtailed_kw=curtailed_kw,
        pcc_kw=plan.pcc_kw[index] if index < len(plan.pcc_kw) else 0.0,
        pcc_max_kw=max(plan.pcc_kw[index:], default=0.0),
    )


def rule_schedule(
    *, site: Site, snapshot: Snapshot, load_kw: Sequence[float], pv_kw: Mapping[str, Sequence[float]]
) -> RuleSchedule:
    """The rule over a horizon: batteries take what exceeds the limits, as far as they can, and else rest.

    Args:
        site: Nameplates; `margin_kw` is kept from the limits.
        snapshot: Limits of each step and the energy in each battery now; a battery without it rests.
        load_kw: Median forecast of the load.
        pv_kw: Median forecast of each PV plant by name, negative when generating.
    """
    margin_kw, step_h = site.grid_connection.margin_kw, site.step_h
    soc = {battery.name: snapshot.soc_kwh.get(battery.name) for battery in site.batteries}
    power: dict[str, list[float]] = {battery.name: [] for battery in site.batteries}
    energy: dict[str, list[float]] = {battery.name: [] for battery in site.batteries}
    pcc_kw = []
    for step, load in enumerate(load_kw):
        net = load + sum(plant[step] for plant in pv_kw.values())
        ceiling = max(snapshot.import_limit_kw[step] - margin_kw, 0.0)
        floor = -max(snapshot.export_limit_kw[step] - margin_kw, 0.0)
        for battery in site.batteries:
            held = soc[battery.name]
            wished = min(ceiling - net, 0.0) + max(floor - net, 0.0)
            if held is None:
                power[battery.name].append(0.0)
                continue
            most = max(battery.soc_max_kwh - held, 0.0) / battery.charge_efficiency / step_h
            least = -max(held - battery.soc_min_kwh, 0.0) * battery.discharge_efficiency / step_h
            taken = min(max(wished, -battery.discharge_max_kw, least), battery.charge_max_kw, most)
            soc[battery.name] = held = battery.soc_after_kwh(held, taken, step_h)
            power[battery.name].append(taken)
            energy[battery.name].append(held)
            net += taken
        pcc_kw.append(net)
    plants = {name: list(values) for name, values in pv_kw.items()}
    return RuleSchedule(power_kw=power | plants, soc_kwh={n: e for n, e in energy.items() if e}, pcc_kw=pcc_kw)
