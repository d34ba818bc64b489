"""Power of each equipment while the connection is unmeasured or nobody controls it, and the limits that it must hold."""

import math
from typing import NamedTuple

from ringmain_agent.site.nameplates import Generator
from ringmain_agent.site.site import Site


class LimitsKw(NamedTuple):
    """Highest import and export at the pcc, both non-negative."""

    import_kw: float
    export_kw: float


def narrowest_limits_kw(site: Site) -> LimitsKw:
    """The narrowest limits that may hold at any hour, measured or not."""
    grid = site.grid_connection
    imports = [timed.import_limit_kw for timed in grid.limit if timed.import_limit_kw is not None]
    exports = [timed.export_limit_kw for timed in grid.limit if timed.export_limit_kw is not None]
    import_kw, export_kw = grid.failsafe_limits_kw
    return LimitsKw(min(grid.import_limit_kw, import_kw, *imports), min(grid.export_limit_kw, export_kw, *exports))


def failsafe_powers_kw(site: Site) -> dict[str, float]:
    """`failsafe_kw` of each equipment with a power; a plant without one has its share of what the export limit leaves.

    A plant that takes no setpoint may generate its rated power.
    """
    powers = {equipment.name: _stated_kw(equipment) for equipment in site.powered}
    stated_kw = math.fsum(min(power_kw, 0.0) for power_kw in powers.values() if power_kw is not None)
    sharing = [plant for plant in site.generators if powers[plant.name] is None]
    left_kw = max(site.grid_connection.less_margin_kw(narrowest_limits_kw(site).export_kw) + stated_kw, 0.0)
    share = min(left_kw / math.fsum(plant.rated_power_kw for plant in sharing), 1.0) if sharing else 0.0
    shares = {plant.name: -share * plant.rated_power_kw + 0.0 for plant in sharing}
    return {name: shares.get(name, 0.0) if power_kw is None else power_kw for name, power_kw in powers.items()}


def _stated_kw(equipment: object) -> float | None:
    if isinstance(equipment, Generator) and not equipment.curtailable:
        return -equipment.rated_power_kw
    power_kw: float | None = getattr(equipment, "failsafe_kw", None)
    return power_kw
