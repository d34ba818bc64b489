"""A schedule with the exact equations, before anything is done with it. Planner process only.

The linear program predicts; what is published is what the equipment really does with the powers: their sum at the pcc,
energies with losses, temperatures of the non-linear thermal model. Where that breaks a limit that the program promised to
hold, the schedule is not used.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from ringmain_agent.equipment.battery import follow
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.dispatch import Dispatch, DispatchProblem
from ringmain_agent.planning.dispatch.battery import usable_kwh
from ringmain_agent.planning.dispatch.switched import voltage_pu
from ringmain_agent.planning.dispatch.transformer_temperatures import SimulatedTemperatures, beyond, simulate_temperatures
from ringmain_agent.site.nameplates import Battery, Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan, Reason
from ringmain_protocol.messages import Fallback, ReasonCode

LIMIT_KW: Final = 0.1
"""Excess over a limit that the exact simulation may have more than was predicted."""
LOADING_PU: Final = 0.005
TEMPERATURE_K: Final = 0.5
VOLTAGE_PU: Final = 0.0005
"""Smaller excesses are not named."""
ENERGY_SHARE: Final = 1e-3
"""Allowed distance of a battery's energy from the predicted one, as a share of its capacity."""

Array = npt.NDArray[np.float64]


def resimulate(dispatch: Dispatch, problem: DispatchProblem, site: Site) -> tuple[Plan, list[Reason]]:
    """The plan that the schedule makes, without forecasts, and where it cannot keep a limit.

    Raises:
        DispatchError: If what would happen is not what the linear program said; the fallback rule decides.
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
    heated = {
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
        loading_pu={name: of.loading_pu for name, of in heated.items()},
        top_oil_degc={name: of.top_oil_degc for name, of in heated.items()},
        hot_spot_degc={name: of.hot_spot_degc for name, of in heated.items()},
        gap=dispatch.gap,
        solve_ms=dispatch.solve_ms,
    )
    reasons = _limits(pcc_kw, dispatch, problem)
    for transformer in site.transformers:
        reasons += _transformer_limits(transformer, heated[transformer.name], problem, site)
    return plan, reasons + _voltage_limits(plan, site)


def _follow(battery: Battery, dispatch: Dispatch, problem: DispatchProblem, site: Site) -> tuple[Array, list[float]]:
    """Real power of a battery with its schedule, and its energy at the END of each step; empty where it is not known."""
    soc_kwh, schedule_kw = usable_kwh(problem, battery), dispatch.power_kw[battery.name]
    if soc_kwh is None:
        return schedule_kw, []
    unresponsive = problem.snapshot.unresponsive_kw.get(battery.name) is not None
    power_kw, energy_kwh = follow(battery, schedule_kw.tolist(), soc_kwh, site.step_h, whole=unresponsive)
    error_kwh = float(np.abs(np.array(energy_kwh) - dispatch.soc_kwh[battery.name]).max())
    if error_kwh > max(ENERGY_SHARE * battery.capacity_kwh, 0.01):
        raise DispatchError("re-simulation", f"{battery.name} would hold {error_kwh:.2f} kWh more or less than predicted")
    return np.array(power_kw), energy_kwh


def _capacitors_kvar(dispatch: Dispatch, problem: DispatchProblem, site: Site) -> Array:
    """Reactive power of the capacitors; without a plan for them they stay where they are."""
    supplied_kvar = np.zeros(site.horizon_steps)
    for bank in site.capacitor_banks:
        stays = np.full(site.horizon_steps, problem.snapshot.positions.get(bank.name) or 0)
        supplied_kvar += bank.step_kvar * dispatch.positions.get(bank.name, stays)
    return supplied_kvar


def _temperatures_degc(power_kw: dict[str, Array], problem: DispatchProblem, site: Site) -> dict[str, list[float]]:
    """Temperature of each thermal load at the END of each step, where there is a measured one to begin with."""
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
        if float((excess_kw - predicted_kw).max()) > LIMIT_KW:
            raise DispatchError("re-simulation", f"{side} would exceed its limit by {excess_kw.max():.1f} kW")
        if (most_kw := float(predicted_kw.max())) > LIMIT_KW:
            reasons.append(Reason(code, f"{side} limit less margin is exceeded by up to {most_kw:.0f} kW"))
    return reasons


def _transformer_limits(
    transformer: Transformer, heated: SimulatedTemperatures, problem: DispatchProblem, site: Site
) -> list[Reason]:
    loading_pu, top_oil_k, hot_spot_k = beyond(transformer, heated, problem, site).max(axis=0).tolist()
    name, reasons = transformer.name, []
    if loading_pu > LOADING_PU:
        text = f"loading of {name} exceeds its limit by up to {loading_pu:.2f} pu"
        reasons.append(Reason(ReasonCode.LOADING_EXCEEDED, text, name))
    for quantity, code, excess_k in (
        ("top oil", ReasonCode.TOP_OIL_EXCEEDED, top_oil_k),
        ("hot spot", ReasonCode.HOT_SPOT_EXCEEDED, hot_spot_k),
    ):
        if excess_k > TEMPERATURE_K:
            reasons.append(Reason(code, f"{quantity} of {name} exceeds its limit by up to {excess_k:.0f} K", name))
    return reasons


def _voltage_limits(plan: Plan, site: Site) -> list[Reason]:
    if site.busbar is None or not plan.voltage_pu:
        return []
    low_pu, high_pu = site.busbar.voltage_min_pu - min(plan.voltage_pu), max(plan.voltage_pu) - site.busbar.voltage_max_pu
    sides = (("below", ReasonCode.VOLTAGE_LOW, low_pu), ("above", ReasonCode.VOLTAGE_HIGH, high_pu))
    return [
        Reason(code, f"voltage is up to {beyond_pu:.3f} pu {side} its band")
        for side, code, beyond_pu in sides
        if beyond_pu > VOLTAGE_PU
    ]
