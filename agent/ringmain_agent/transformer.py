"""What transformers carry: plan and regulator ask here, and so get one answer. Plain floats, no NumPy. Pure."""

import math

from ringmain_agent.nameplate import Transformer
from ringmain_agent.site import Site


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
