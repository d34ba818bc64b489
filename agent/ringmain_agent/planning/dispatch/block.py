"""Interface of the blocks of the program: one for each equipment, and one for each demand of the connection."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ringmain_agent.planning.dispatch.linear_program import Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem

Array = npt.NDArray[np.float64]


class Prices(NamedTuple):
    """Prices of wishes for one problem, each dominating the next.

    `excess_per_kwh` is for limits that must hold; `largest_per_kwh` the largest amount of any price of energy;
    `destroyed_per_kwh` is what destroying a kWh is assumed to bring where throughput is made too dear for it, else 0, and
    `tie_per_kwh` decides between schedules of equal cost.
    """

    excess_per_kwh: float
    largest_per_kwh: float
    destroyed_per_kwh: float
    tie_per_kwh: float = 1e-6


@dataclass(kw_only=True)
class Parts:
    """Values that the blocks read out of a solution; becomes a `Dispatch`."""

    power_kw: dict[str, Array] = field(default_factory=dict)
    soc_kwh: dict[str, Array] = field(default_factory=dict)
    reserve_kwh: dict[str, Array] = field(default_factory=dict)
    curtailed_kw: dict[str, Array] = field(default_factory=dict)
    positions: dict[str, Array] = field(default_factory=dict)
    temperature_degc: dict[str, Array] = field(default_factory=dict)
    hot_spot_degc: dict[str, Array] = field(default_factory=dict)


class Block(Protocol):
    """Declares its columns and rows when it is made, then only writes bounds and costs, and reads its columns.

    `active` are its terms in kW drawn from the network, `reactive` in kvar, one entry of each term's columns a step.
    A block writes whatever the snapshot says, and nothing of it can make the program infeasible.
    """

    active: list[Term]
    reactive: list[Term]

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Bounds and costs of the columns and rows for one problem."""

    def read(self, values: Array, parts: Parts) -> None:
        """Put what the solution says of this block into the parts."""
