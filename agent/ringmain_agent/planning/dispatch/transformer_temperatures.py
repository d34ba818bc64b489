"""Temperatures of the transformers with a schedule, by the exact thermal model, and their excess over limits."""

from typing import NamedTuple

import numpy as np

from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.transformer import assumed_state, firm_capacity_kva
from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.site.hours import step_starts_ms
from ringmain_agent.site.nameplates import Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ThermalState


class SimulatedTemperatures(NamedTuple):
    """Loading in each step, and temperatures at its END."""

    loading_pu: list[float]
    top_oil_degc: list[float]
    hot_spot_degc: list[float]


def simulate_temperatures(
    transformer: Transformer, site_kva: Array, problem: DispatchProblem, site: Site
) -> SimulatedTemperatures:
    """Temperatures of one transformer with its share of the apparent power at the pcc."""
    constants = thermal.constants(transformer)
    share = site.transformer_shares()[transformer.name]
    loading_pu = (share * site_kva / transformer.rated_power_kva).tolist()
    state = state_at_start(transformer, problem, site)
    top_oil_degc, hot_spot_degc = [], []
    for loading, ambient_degc in zip(loading_pu, ambients_degc(transformer, problem).tolist(), strict=True):
        state = thermal.after(state, loading, ambient_degc, site.step_s / 60, constants)
        top_oil_degc.append(state.top_oil_degc)
        hot_spot_degc.append(thermal.hot_spot_degc(state))
    return SimulatedTemperatures(loading_pu, top_oil_degc, hot_spot_degc)


def ambients_degc(transformer: Transformer, problem: DispatchProblem) -> Array:
    """Ambient temperature in each step."""
    return problem.ambient_degc.get(transformer.name, np.full(len(problem.load_kw), transformer.ambient_degc))


def state_at_start(transformer: Transformer, problem: DispatchProblem, site: Site) -> ThermalState:
    """Initial temperatures: as tracked, else the steady state of load and generation in the first step."""
    net_kw = float(problem.load_kw[0]) + sum(float(values[0]) for values in problem.available_kw.values())
    share = site.transformer_shares()[transformer.name]
    return assumed_state(
        problem.snapshot.thermal.get(transformer.name),
        loading_pu=transformer.loading_pu(share * net_kw, share * float(problem.load_kvar[0])),
        ambient_degc=float(ambients_degc(transformer, problem)[0]),
        transformer=transformer,
    )


def limits_matter(site_kva: Array, problem: DispatchProblem, site: Site) -> bool:
    """True if a schedule exceeds a limit of the transformers."""
    if float(site_kva.max()) > firm_capacity_kva(site):
        return True
    return any(
        (
            excess_over_limits(transformer, simulate_temperatures(transformer, site_kva, problem, site), problem, site) > 0
        ).any()
        for transformer in site.transformers
    )


def excess_over_limits(
    transformer: Transformer, simulated: SimulatedTemperatures, problem: DispatchProblem, site: Site
) -> Array:
    """Excess of loading, top oil and hot spot over their limits in each step; shape `(n_steps, 3)`."""
    starts_ms = step_starts_ms(problem.snapshot.issued_at_ms, site.step_s, site.horizon_steps)
    loading_pu, hot_spot_degc, top_oil_degc = np.array(thermal.limits_at(transformer, starts_ms, site.time_zone)).T
    limits = np.stack([loading_pu, top_oil_degc, hot_spot_degc], axis=1)
    excess: Array = np.array(simulated).T - limits
    return excess


def aging_matters(site: Site) -> bool:
    """True if a transformer's aging is priced or limited."""
    return any(t.ageing_cost_per_h > 0 or t.ageing_max_h_per_day is not None for t in site.transformers)
