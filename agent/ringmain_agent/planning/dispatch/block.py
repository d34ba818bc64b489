"""Interface of the blocks of the program: one for each equipment, and one for each requirement of the connection."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch.linear_program import Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem


class Prices(NamedTuple):
    """Prices of soft limits in one problem; each dominates the next.

    `excess_per_kwh` is the price of exceeding a limit; `largest_per_kwh` is the largest absolute price of energy.
    `destroyed_per_kwh` is the assumed gain from destroying a kWh, against which throughput is priced, else 0. `tie_per_kwh`
    decides between schedules of equal cost.
    """

    excess_per_kwh: float
    largest_per_kwh: float
    destroyed_per_kwh: float
    tie_per_kwh: float = 1e-6


@dataclass(kw_only=True)
class Parts:
    """Values that the blocks read from a solution; they become a `Dispatch`."""

    power_kw: dict[str, Array] = field(default_factory=dict)
    soc_kwh: dict[str, Array] = field(default_factory=dict)
    reserve_kwh: dict[str, Array] = field(default_factory=dict)
    curtailed_kw: dict[str, Array] = field(default_factory=dict)
    positions: dict[str, Array] = field(default_factory=dict)
    temperature_degc: dict[str, Array] = field(default_factory=dict)
    hot_spot_degc: dict[str, Array] = field(default_factory=dict)


class Block(Protocol):
    """A block declares its columns and rows on creation; then it writes bounds and costs, and reads its columns.

    `active` are its terms in kW drawn from the network, `reactive` its terms in kvar, with one column per step.
    For any snapshot a block leaves the program feasible.
    """

    active: list[Term]
    reactive: list[Term]

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Write bounds and costs of the columns and rows for one problem."""

    def read(self, values: Array, parts: Parts) -> None:
        """Add the values of this block to the parts."""
