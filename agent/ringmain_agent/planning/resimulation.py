"""Re-simulation of a schedule with the exact equations, before it is used. Planner process only.

The linear program predicts. The plan contains exact results: the sum of powers at the pcc, energies with losses,
temperatures of the non-linear thermal model. A schedule that breaks a limit which the program keeps is not used.
"""

from typing import Final

import numpy as np

from ringmain_agent.equipment.battery import follow
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch import Dispatch, DispatchProblem
from ringmain_agent.planning.dispatch.battery import usable_kwh
from ringmain_agent.planning.dispatch.switched import voltage_pu
from ringmain_agent.planning.dispatch.transformer_temperatures import (
    SimulatedTemperatures,
    excess_over_limits,
    simulate_temperatures,
)
from ringmain_agent.site.nameplates import Battery, Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan, Reason
from ringmain_protocol.messages import Fallback, ReasonCode

POWER_TOLERANCE_KW: Final = 0.1
"""Allowed excess over a limit beyond the predicted excess."""
LOADING_TOLERANCE_PU: Final = 0.005
TEMPERATURE_TOLERANCE_K: Final = 0.5
VOLTAGE_TOLERANCE_PU: Final = 0.0005
"""Smaller excesses are not reported."""
ENERGY_TOLERANCE_SHARE: Final = 1e-3
"""Allowed distance of a battery's energy from the predicted one, as a share of its capacity."""


def resimulate(dispatch: Dispatch, problem: DispatchProblem, site: Site) -> tuple[Plan, list[Reason]]:
    """The plan of a schedule, without forecasts, and a reason for each limit that it cannot keep.

    Raises:
        DispatchError: If the exact results differ from the prediction; the rule takes over.
    """
    for name, values in dispatch.power_kw.items():
        if not np.isfinite(values).all():
            raise DispatchError("re-simulation", f"{name} has a power that is not finite")
    followed = {battery.name: _follow(battery, dispatch, problem, site) for battery in site.batteries}
    power_kw = {name: power for name, (power, _) in followed.items()}
    for name, available_kw in problem.available_kw.items():
        power_kw[name] = np.minimum(available_kw + dispatch.curtailed_kw[name], 0.0)
    for load in site.controllable_loads:
        power_kw[load.name] = np.maximum(dispatch.power_kw.get(load.name, np.zeros(site.horizon_steps)), 0.0)
    pcc_kw = problem.load_kw + sum(power_kw.values(), np.zeros(site.horizon_steps))
    pcc_kvar = problem.load_kvar - _capacitors_kvar(dispatch, problem, site)
    site_kva = np.hypot(pcc_kw, pcc_kvar)
    simulated = {
        transformer.name: simulate_temperatures(transformer, site_kva, problem, site) for transformer in site.transformers
    }
    plan = Plan(
        issued_at_ms=problem.snapshot.issued_at_ms,
        step_s=site.step_s,
        fallback=Fallback.OPTIMAL if dispatch.optimal else Fallback.INCUMBENT,
        power_kw={name: values.tolist() for name, values in power_kw.items()},
        curtailed_kw={name: values.tolist() for name, values in dispatch.curtailed_kw.items()},
        soc_kwh={name: energy_kwh for name, (_, energy_kwh) in followed.items() if energy_kwh},
        reserve_kwh={name: values.tolist() for name, values in dispatch.reserve_kwh.items()},
        pcc_kw=pcc_kw.tolist(),
        pcc_kvar=pcc_kvar.tolist() if site.capacitor_banks or problem.load_kvar.any() else [],
        positions={name: [round(value) for value in values.tolist()] for name, values in dispatch.positions.items()},
        voltage_pu=[] if (voltage := voltage_pu(pcc_kw, dispatch.positions, problem, site)) is None else voltage.tolist(),
        temperature_degc=_temperatures_degc(power_kw, problem, site),
        loading_pu={name: course.loading_pu for name, course in simulated.items()},
        top_oil_degc={name: course.top_oil_degc for name, course in simulated.items()},
        hot_spot_degc={name: course.hot_spot_degc for name, course in simulated.items()},
        gap=dispatch.gap,
        solve_ms=dispatch.solve_ms,
    )
    reasons = _limits(pcc_kw, dispatch, problem)
    for transformer in site.transformers:
        reasons += _transformer_limits(transformer, simulated[transformer.name], problem, site)
    return plan, reasons + _voltage_limits(plan, site)


def _follow(battery: Battery, dispatch: Dispatch, problem: DispatchProblem, site: Site) -> tuple[Array, list[float]]:
    """Feasible power of a battery with its schedule, and its energy at the END of each step; empty if unknown."""
    soc_kwh, schedule_kw = usable_kwh(problem, battery), dispatch.power_kw[battery.name]
    if soc_kwh is None:
        return schedule_kw, []
    unresponsive = problem.snapshot.unresponsive_kw.get(battery.name) is not None
    power_kw, energy_kwh = follow(battery, schedule_kw.tolist(), soc_kwh, site.step_h, whole=unresponsive)
    error_kwh = float(np.abs(np.array(energy_kwh) - dispatch.soc_kwh[battery.name]).max())
    if error_kwh > max(ENERGY_TOLERANCE_SHARE * battery.capacity_kwh, 0.01):
        raise DispatchError(
            "re-simulation", f"{battery.name} would deviate by {error_kwh:.2f} kWh from its predicted energy"
        )
    return np.array(power_kw), energy_kwh


def _capacitors_kvar(dispatch: Dispatch, problem: DispatchProblem, site: Site) -> Array:
    """Reactive power of the capacitors; without planned positions they stay unchanged."""
    supplied_kvar = np.zeros(site.horizon_steps)
    for bank in site.capacitor_banks:
        unchanged = np.full(site.horizon_steps, problem.snapshot.positions.get(bank.name) or 0)
        supplied_kvar += bank.step_kvar * dispatch.positions.get(bank.name, unchanged)
    return supplied_kvar


def _temperatures_degc(power_kw: dict[str, Array], problem: DispatchProblem, site: Site) -> dict[str, list[float]]:
    """Temperature of each thermal load at the END of each step, if its measured temperature is known."""
    courses: dict[str, list[float]] = {}
    for load in site.controllable_loads:
        kind = kind_of(load)
        state, _ = kind.plausible(load, problem.snapshot)
        if kind.plan_field != "temperature_degc" or state is None:
            continue
        courses[load.name] = []
        for step, power in enumerate(power_kw[load.name].tolist()):
            period = Period(
                at_ms=problem.snapshot.issued_at_ms + 1000 * site.step_s * step,
                duration_h=site.step_h,
                time_zone=site.time_zone,
                ambient_degc={name: float(values[step]) for name, values in problem.ambient_degc.items()},
            )
            state = kind.after(load, state, power, period)
            courses[load.name].append(state)
    return courses


def _limits(pcc_kw: Array, dispatch: Dispatch, problem: DispatchProblem) -> list[Reason]:
    reasons = []
    for side, code, excess_kw, predicted_kw in (
        ("import", ReasonCode.IMPORT_LIMIT_EXCEEDED, pcc_kw - problem.import_ceiling_kw, dispatch.import_excess_kw),
        ("export", ReasonCode.EXPORT_LIMIT_EXCEEDED, -pcc_kw - problem.export_ceiling_kw, dispatch.export_excess_kw),
    ):
        if float((excess_kw - predicted_kw).max()) > POWER_TOLERANCE_KW:
            raise DispatchError("re-simulation", f"{side} would exceed its limit by {excess_kw.max():.1f} kW")
        if (most_kw := float(predicted_kw.max())) > POWER_TOLERANCE_KW:
            reasons.append(Reason(code, f"{side} limit less margin is exceeded by up to {most_kw:.0f} kW"))
    return reasons


def _transformer_limits(
    transformer: Transformer, simulated: SimulatedTemperatures, problem: DispatchProblem, site: Site
) -> list[Reason]:
    loading_pu, top_oil_k, hot_spot_k = excess_over_limits(transformer, simulated, problem, site).max(axis=0).tolist()
    name, reasons = transformer.name, []
    if loading_pu > LOADING_TOLERANCE_PU:
        text = f"loading of {name} exceeds its limit by up to {loading_pu:.2f} pu"
        reasons.append(Reason(ReasonCode.LOADING_EXCEEDED, text, name))
    for quantity, code, excess_k in (
        ("top oil", ReasonCode.TOP_OIL_EXCEEDED, top_oil_k),
        ("hot spot", ReasonCode.HOT_SPOT_EXCEEDED, hot_spot_k),
    ):
        if excess_k > TEMPERATURE_TOLERANCE_K:
            reasons.append(Reason(code, f"{quantity} of {name} exceeds its limit by up to {excess_k:.0f} K", name))
    return reasons


def _voltage_limits(plan: Plan, site: Site) -> list[Reason]:
    if site.busbar is None or not plan.voltage_pu:
        return []
    low_pu, high_pu = site.busbar.voltage_min_pu - min(plan.voltage_pu), max(plan.voltage_pu) - site.busbar.voltage_max_pu
    sides = (("below", ReasonCode.VOLTAGE_LOW, low_pu), ("above", ReasonCode.VOLTAGE_HIGH, high_pu))
    return [
        Reason(code, f"voltage is up to {excess_pu:.3f} pu {side} its band")
        for side, code, excess_pu in sides
        if excess_pu > VOLTAGE_TOLERANCE_PU
    ]
