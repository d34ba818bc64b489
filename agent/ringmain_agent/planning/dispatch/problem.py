"""Input and output of the dispatcher. All arrays have the shape `(horizon_steps,)`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ringmain_agent.planning.arrays import Array
from ringmain_agent.snapshot import Snapshot

LARGEST: Final = 1e9
"""Bound of powers and prices; a larger one is an error upstream."""


@dataclass(frozen=True, kw_only=True)
class DispatchProblem:
    """One horizon. All arrays are finite; NaN is refused. The snapshot holds the measurements.

    `available_kw` is the median forecast of each generator (negative), `net_high_kw` load and generation together at the
    site's upper quantile. The ceilings are the limits less the margin. Prices include CO2. `ambient_degc` holds the
    ambient temperature of each transformer and thermal load by name.
    """

    snapshot: Snapshot
    load_kw: Array
    load_kvar: Array
    available_kw: dict[str, Array]
    net_high_kw: Array
    import_ceiling_kw: Array
    export_ceiling_kw: Array
    import_price_per_kwh: Array
    export_price_per_kwh: Array
    ambient_degc: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """The schedule; energies and temperatures at the END of each step. The excesses exceed the ceilings.

    `gap` is an upper bound of the relative extra cost over the optimum; 0 when optimal.
    """

    optimal: bool
    objective: float
    gap: float
    solve_ms: float
    power_kw: dict[str, Array]
    """Of batteries and loads; the power of a generator is its available power plus `curtailed_kw`."""
    soc_kwh: dict[str, Array]
    reserve_kwh: dict[str, Array]
    curtailed_kw: dict[str, Array]
    positions: dict[str, Array]
    temperature_degc: dict[str, Array]
    hot_spot_degc: dict[str, Array]
    pcc_kw: Array
    import_excess_kw: Array
    export_excess_kw: Array
    note: str = ""
    """Simplification of prices or limits in this schedule."""
