"""The questions that the agent asks of every kind of equipment.

One module a kind answers them, in plain floats and pure; the block of a kind in the optimizer stands under the same name in
`planning/dispatch/`. The guard `control/limits.py` asks none of this: it has a ladder of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Final, Generic, NamedTuple, TypeVar

from ringmain_agent.equipment.binding_limit import Binding
from ringmain_agent.equipment.cost import Cost
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.site.nameplates import Equipment
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Plan, Reason, SentSetpoint, Snapshot

Nameplate = TypeVar("Nameplate", bound=Equipment)
State = TypeVar("State")

TOLERANCE_PU: Final = 0.05
"""Of the rating: how far a measured power may be from its setpoint."""


class OutputNeed(StrEnum):
    """Need of an output for setpoints in the table of an equipment."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


class PccRoom(NamedTuple):
    """Power at the pcc without the equipment that is asked, and the range inside which the pcc shall stay."""

    net_kw: float
    least_kw: float
    most_kw: float


class ResponseTolerance(NamedTuple):
    """Allowed deviation from a setpoint; some equipment may stay below it (`less_is_fine`) or above it (`more_is_fine`)."""

    tolerance: float
    less_is_fine: bool = False
    more_is_fine: bool = False


class PlanReview(NamedTuple):
    """A plan with the snapshot and the site that it was made for; the price is the largest amount of any price of energy."""

    plan: Plan
    snapshot: Snapshot
    site: Site
    largest_price_per_kwh: float = 0.0


class Kind(ABC, Generic[Nameplate, State]):
    """A kind of equipment. Its state is the part of a snapshot that its own power changes.

    Invariants:
        * every range and every power of the rule lies inside the nameplate;
        * a state is finite, whatever was measured, or `None` where nothing plausible is known.
    """

    nameplate: ClassVar[type[Equipment]]
    site_field: ClassVar[str]
    """Field of `Site` with the nameplates of this kind."""
    state_field: ClassVar[str | None] = None
    """Field of `Snapshot` with the states of this kind, by name."""
    plan_field: ClassVar[str | None] = None
    """Field of `Plan` with the states at the END of each step, by name."""
    output: ClassVar[OutputNeed] = OutputNeed.REQUIRED
    urgency: ClassVar[int] = 0
    """Order in which the rule serves loads: comfort and runs without a break first, energy that can wait last."""

    derived_keys: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Fields of the nameplate that no table may set, and why."""

    def from_table(self, table: Equipment, name: str) -> Equipment:
        """The nameplate in a table of the configuration, which may hold more."""
        return self.nameplate(**{key: getattr(table, key) for key in self.nameplate.__struct_fields__} | {"name": name})

    @abstractmethod
    def feeds(self, nameplate: Nameplate) -> tuple[str, ...]:
        """Signals without which it cannot be run."""

    @abstractmethod
    def powers_kw(self, nameplate: Nameplate) -> Interval:
        """Powers that the nameplate allows; 0 for equipment that takes no power setpoint."""

    @abstractmethod
    def response(self, nameplate: Nameplate) -> ResponseTolerance:
        """Deviation from its setpoint that still counts as following it."""

    def advice(self, nameplate: Nameplate, feeds: Container[str]) -> Iterator[str]:  # noqa: ARG002  most have none
        """Settings of its table that are valid and yet hardly meant, with the configured feeds."""
        yield from ()

    @abstractmethod
    def plausible(self, nameplate: Nameplate, snapshot: Snapshot) -> tuple[State, tuple[Reason, ...]]:
        """Its state as far as the snapshot can be true, and a reason for each replacement."""

    @abstractmethod
    def state_now(self, nameplate: Nameplate, measurements: Measurements) -> State:
        """Its state by the measurements of the cycle."""

    @abstractmethod
    def range_now(
        self, nameplate: Nameplate, measurements: Measurements, last: SentSetpoint | None, site: Site
    ) -> SetpointRange | None:
        """Powers that it can be set to in this cycle after its last setpoint; `None` where too little is known."""

    @abstractmethod
    def rule(self, nameplate: Nameplate, state: State, period: Period, room: PccRoom) -> SetpointRange:
        """Powers that the rule wants of it: a load any of these within the room, a battery this one."""

    @abstractmethod
    def after(self, nameplate: Nameplate, state: State, power_kw: float, period: Period) -> State:
        """Its state after a constant power."""

    @abstractmethod
    def costs(self, nameplate: Nameplate, review: PlanReview) -> list[Cost]:
        """Components of the cost of a plan that are its own."""

    def binding(self, nameplate: Nameplate, review: PlanReview) -> list[Binding]:  # noqa: ARG002  many have none
        """Limits of its own, and when each binds in a plan."""
        return []

    def worth_per_kwh(self, nameplate: Nameplate) -> float:  # noqa: ARG002  most have no wish
        """Price of a kWh that it wishes and does not get; 0 without a wish."""
        return 0.0
