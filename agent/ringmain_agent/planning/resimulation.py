"""A schedule with the exact equations, before anything is done with it. Planner process only.

The linear program predicts; what is published is what the equipment really does with the powers: their sum at the pcc,
energies with losses, temperatures of the non-linear thermal model. Where that breaks a limit that the program promised to
hold, the schedule is not used.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from ringmain_agent.equipment import plausible
from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.dispatch import Dispatch, DispatchProblem
from ringmain_agent.planning.dispatch.battery import follow, usable_kwh
from ringmain_agent.planning.dispatch.switched import voltage_pu
from ringmain_agent.planning.dispatch.transformer_check import SimulatedTemperatures, beyond, simulate_temperatures
from ringmain_agent.site.nameplates import Battery, ThermalLoad, Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan
from ringmain_protocol.messages import Fallback

LIMIT_KW: Final = 0.1
"""How much more than predicted the exact simulation may exceed a limit."""
LOADING_PU: Final = 0.005
TEMPERATURE_K: Final = 0.5
VOLTAGE_PU: Final = 0.0005
"""What else exceeds its limit by less is not worth a word."""
ENERGY_SHARE: Final = 1e-3
"""How far, of its capacity, a battery's energy may be from the predicted one."""

Array = npt.NDArray[np.float64]


def resimulate(dispatch: Dispatch, problem: DispatchProblem, site: Site) -> tuple[Plan, list[str]]:
    """The plan that the schedule makes, without forecasts, and where it cannot keep a limit.

    Raises:
        DispatchError: If what would happen is not what the linear program said; the fallback rule decides.
    """
    for name, values in dispatch.power_kw.items():
        if not np.isfinite(values).all():
            raise DispatchError("re-simulation", f"{name} has a power that is not finite")
    power_kw: dict[str, Array] = {}
    soc_kwh: dict[str, list[float]] = {}
    for battery in site.batteries:
        power_kw[battery.name] = _battery(battery, dispatch, problem, site, soc_kwh)
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
        soc_kwh=soc_kwh,
        reserve_kwh={name: values.tolist() for name, values in dispatch.reserve_kwh.items()},
        pcc_kw=pcc_kw.tolist(),
        pcc_kvar=pcc_kvar.tolist() if site.capacitor_banks or problem.load_kvar.any() else [],
        positions={name: [round(value) for value in values.tolist()] for name, values in dispatch.positions.items()},
        voltage_pu=[] if (voltage := voltage_pu(pcc_kw, dispatch.positions, problem, site)) is None else voltage.tolist(),
        temperature_degc={load.name: t for load in site.thermal_loads if (t := _temperature(load, power_kw, problem, site))},
        loading_pu={name: of.loading_pu for name, of in heated.items()},
        top_oil_degc={name: of.top_oil_degc for name, of in heated.items()},
        hot_spot_degc={name: of.hot_spot_degc for name, of in heated.items()},
        gap=dispatch.gap,
        solve_ms=dispatch.solve_ms,
    )
    notes = _limits(pcc_kw, dispatch, problem)
    for transformer in site.transformers:
        notes += _transformer_limits(transformer, heated[transformer.name], problem, site)
    return plan, notes + _voltage_limits(plan, site)


def _battery(
    battery: Battery, dispatch: Dispatch, problem: DispatchProblem, site: Site, soc_kwh: dict[str, list[float]]
) -> Array:
    held, wished = usable_kwh(problem, battery), dispatch.power_kw[battery.name]
    if held is None:
        return wished
    stuck = problem.snapshot.held_kw.get(battery.name) is not None
    power_kw, energy_kwh = follow(battery, wished.tolist(), held, site.step_h, whole=stuck)
    error_kwh = float(np.abs(np.array(energy_kwh) - dispatch.soc_kwh[battery.name]).max())
    if error_kwh > max(ENERGY_SHARE * battery.capacity_kwh, 0.01):
        raise DispatchError("re-simulation", f"{battery.name} would hold {error_kwh:.2f} kWh more or less than predicted")
    soc_kwh[battery.name] = energy_kwh
    return np.array(power_kw)


def _capacitors_kvar(dispatch: Dispatch, problem: DispatchProblem, site: Site) -> Array:
    """What the capacitors give; without a plan for them they stay where they are."""
    given_kvar = np.zeros(site.horizon_steps)
    for bank in site.capacitor_banks:
        stays = np.full(site.horizon_steps, problem.snapshot.positions.get(bank.name) or 0)
        given_kvar += bank.step_kvar * dispatch.positions.get(bank.name, stays)
    return given_kvar


def _temperature(load: ThermalLoad, power_kw: dict[str, Array], problem: DispatchProblem, site: Site) -> list[float]:
    """Temperature at the END of each step; empty without a measured one to begin with."""
    degc = plausible.temperature_degc(problem.snapshot.temperature_degc.get(load.name))
    if degc is None:
        return []
    found = []
    for power, ambient_degc in zip(power_kw[load.name].tolist(), problem.ambient_degc[load.name].tolist(), strict=True):
        degc = load.after_degc(degc, power, ambient_degc, site.step_h)
        found.append(degc)
    return found


def _limits(pcc_kw: Array, dispatch: Dispatch, problem: DispatchProblem) -> list[str]:
    notes = []
    for side, excess_kw, predicted_kw in (
        ("import", pcc_kw - problem.import_ceiling_kw, dispatch.import_excess_kw),
        ("export", -pcc_kw - problem.export_ceiling_kw, dispatch.export_excess_kw),
    ):
        if float((excess_kw - predicted_kw).max()) > LIMIT_KW:
            raise DispatchError("re-simulation", f"{side} would exceed its limit by {excess_kw.max():.1f} kW")
        if (most_kw := float(predicted_kw.max())) > LIMIT_KW:
            notes.append(f"{side} limit less margin is exceeded by up to {most_kw:.0f} kW")
    return notes


def _transformer_limits(
    transformer: Transformer, heated: SimulatedTemperatures, problem: DispatchProblem, site: Site
) -> list[str]:
    loading_pu, top_oil_k, hot_spot_k = beyond(transformer, heated, problem, site).max(axis=0).tolist()
    notes = []
    if loading_pu > LOADING_PU:
        notes.append(f"loading of {transformer.name} exceeds its limit by up to {loading_pu:.2f} pu")
    for what, excess_k in (("top oil", top_oil_k), ("hot spot", hot_spot_k)):
        if excess_k > TEMPERATURE_K:
            notes.append(f"{what} of {transformer.name} exceeds its limit by up to {excess_k:.0f} K")
    return notes


def _voltage_limits(plan: Plan, site: Site) -> list[str]:
    if site.busbar is None or not plan.voltage_pu:
        return []
    low_pu, high_pu = site.busbar.voltage_min_pu - min(plan.voltage_pu), max(plan.voltage_pu) - site.busbar.voltage_max_pu
    sides = (("below", low_pu), ("above", high_pu))
    return [f"voltage is up to {beyond_pu:.3f} pu {side} its band" for side, beyond_pu in sides if beyond_pu > VOLTAGE_PU]
