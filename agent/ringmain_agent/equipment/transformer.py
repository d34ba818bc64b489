"""What transformers carry: plan and regulator ask here, and so get one answer. Plain floats, no NumPy. Pure."""

import math

from ringmain_agent.equipment import plausible
from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.site.nameplates import Transformer
from ringmain_agent.site.site import PCC, REACTIVE, Site
from ringmain_agent.snapshot import Measurements, ThermalState


def firm_capacity_kva(site: Site) -> float:
    """Most apparent power at the pcc within the firm loading when the largest transformer is out; infinite without one.

    The others then share it as they share the rest now; those that carry nothing now, in proportion to their ratings. Of
    several that are the largest, the one counts whose outage leaves least.
    """
    if site.grid_connection.firm_loading_max_pu is None or len(site.transformers) < 2:
        return math.inf
    largest_kva = max(transformer.rated_power_kva for transformer in site.transformers)
    return site.grid_connection.firm_loading_max_pu * min(
        _rated_without_kva(transformer, site)
        for transformer in site.transformers
        if transformer.rated_power_kva == largest_kva
    )


def _rated_without_kva(out: Transformer, site: Site) -> float:
    """Apparent power at the pcc at which the first of the others reaches its rated power."""
    shares = site.transformer_shares()
    others = [transformer for transformer in site.transformers if transformer is not out]
    carried = math.fsum(shares[transformer.name] for transformer in others)
    if carried <= 0:
        return math.fsum(transformer.rated_power_kva for transformer in others)
    carrying = [transformer for transformer in others if shares[transformer.name] > 0]
    return min(t.rated_power_kva * carried / shares[t.name] for t in carrying)


def carried_kva(transformer: Transformer, loading_pu: float, site: Site) -> float:
    """Apparent power at the pcc at which a transformer has a loading; infinite for one that carries nothing."""
    share = site.transformer_shares()[transformer.name]
    return loading_pu * transformer.rated_power_kva / share if share > 0 else math.inf


def highest_loading_pu(transformer: Transformer) -> float:
    """Highest loading that any of its ratings allows, at least the rated one."""
    ratings = [rating.loading_max_pu for rating in transformer.rating if rating.loading_max_pu is not None]
    return max(1.0, transformer.loading_max_pu, *ratings)


def is_believable(state: ThermalState) -> bool:
    """Whether a transformer can have these temperatures."""
    terms = (state.top_oil_degc, state.winding_k, state.oil_lag_k, thermal.hot_spot_degc(state))
    return all(plausible.temperature_degc(term) is not None for term in terms)


def believed_state(
    tracked: ThermalState | None, *, loading_pu: float, ambient_degc: float, transformer: Transformer
) -> ThermalState:
    """As tracked; without it, or where it cannot be, as the loading would make it in the end."""
    if tracked is not None and is_believable(tracked):
        return tracked
    loading_pu = min(loading_pu, highest_loading_pu(transformer))
    return thermal.steady_state(loading_pu, ambient_degc, thermal.constants(transformer))


def loadings_pu(measurements: Measurements, site: Site) -> dict[str, float]:
    """Loading of each transformer by its share of what the pcc measures; empty when that is not known."""
    pcc_kw = plausible.power_kw(measurements.fresh(PCC))
    if pcc_kw is None:
        return {}
    kvar, shares = pcc_kvar(measurements), site.transformer_shares()
    return {t.name: t.loading_pu(shares[t.name] * pcc_kw, shares[t.name] * kvar) for t in site.transformers}


def pcc_kvar(measurements: Measurements) -> float:
    """Reactive power at the pcc; none where it is not known."""
    return plausible.power_kw(measurements.fresh(REACTIVE)) or 0.0
