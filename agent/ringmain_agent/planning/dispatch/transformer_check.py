"""What a schedule does to the transformers by the exact thermal model, and whether that is near a limit of theirs."""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.planning.dispatch.transformer import firm_capacity_kva
from ringmain_agent.site.nameplates import Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ThermalState

HOTTEST_DEGC: Final = 300.0
"""A state with a term beyond is not believed."""

Array = npt.NDArray[np.float64]


class SimulatedTemperatures(NamedTuple):
    """Loading in each step, temperatures at the END of it."""

    loading_pu: list[float]
    top_oil_degc: list[float]
    hot_spot_degc: list[float]


def simulate_temperatures(
    transformer: Transformer, site_kva: Array, problem: DispatchProblem, site: Site
) -> SimulatedTemperatures:
    """Of one transformer that carries its share of the apparent power at the pcc."""
    constants = thermal.constants(transformer)
    share = site.transformer_shares()[transformer.name]
    loading_pu = (share * site_kva / transformer.rated_power_kva).tolist()
    ambients = problem.ambient_degc.get(transformer.name, np.full(len(site_kva), transformer.ambient_degc)).tolist()
    state = problem.snapshot.thermal.get(transformer.name)
    if state is None or not _is_believable(state):
        # As the program has it: where the load would lead, not what the schedule does in its first step.
        net_kw = float(problem.load_kw[0]) + sum(float(values[0]) for values in problem.available_kw.values())
        loading = share * math.hypot(net_kw, float(problem.load_kvar[0])) / transformer.rated_power_kva
        told = [rating.loading_max_pu for rating in transformer.rating if rating.loading_max_pu is not None]
        state = thermal.steady_state(min(loading, max(1.0, transformer.loading_max_pu, *told)), ambients[0], constants)
    top_oil_degc, hot_spot_degc = [], []
    for loading, ambient_degc in zip(loading_pu, ambients, strict=True):
        state = thermal.after(state, loading, ambient_degc, site.step_s / 60, constants)
        top_oil_degc.append(state.top_oil_degc)
        hot_spot_degc.append(thermal.hot_spot_degc(state))
    return SimulatedTemperatures(loading_pu, top_oil_degc, hot_spot_degc)


def limits_matter(site_kva: Array, problem: DispatchProblem, site: Site) -> bool:
    """Whether a schedule exceeds what the transformers may carry."""
    if float(site_kva.max()) > firm_capacity_kva(site):
        return True
    return any(
        (beyond(transformer, simulate_temperatures(transformer, site_kva, problem, site), problem, site) > 0).any()
        for transformer in site.transformers
    )


def beyond(transformer: Transformer, heated: SimulatedTemperatures, problem: DispatchProblem, site: Site) -> Array:
    """What loading, top oil and hot spot exceed their limits by in each step; shape `(n_steps, 3)`."""
    step_ms = 1000 * site.step_s
    starts_ms = [problem.snapshot.issued_at_ms + step_ms * index for index in range(site.horizon_steps)]
    loading_pu, hot_spot_degc, top_oil_degc = np.array(thermal.limits_at(transformer, starts_ms, site.time_zone)).T
    limits = np.stack([loading_pu, top_oil_degc, hot_spot_degc], axis=1)
    exceeded: Array = np.array(heated).T - limits
    return exceeded


def ageing_matters(site: Site) -> bool:
    """Whether a transformer's ageing is priced or limited."""
    return any(t.ageing_cost_per_h > 0 or t.ageing_max_h_per_day is not None for t in site.transformers)


def _is_believable(state: ThermalState) -> bool:
    terms = (state.top_oil_degc, state.winding_k, state.oil_lag_k)
    return all(math.isfinite(term) and abs(term) <= HOTTEST_DEGC for term in terms)
