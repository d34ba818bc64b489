"""The interface of every kind of equipment.

Each kind implements it in a module of its own, in plain floats and pure; its block in the optimizer has the same name in
`planning/dispatch/`. The guard `control/limits.py` does not use it: it has its own range for each kind.
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
"""Allowed distance of a measured power from its setpoint, as a share of the rating."""


class OutputNeed(StrEnum):
    """Requirement of an `output` in the table of an equipment."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


class PccRoom(NamedTuple):
    """Power at the pcc without the equipment itself, and the allowed range of the power at the pcc."""

    net_kw: float
    least_kw: float
    most_kw: float


class ResponseTolerance(NamedTuple):
    """Allowed deviation from a setpoint; some equipment may stay below it (`less_is_fine`) or above it (`more_is_fine`)."""

    tolerance: float
    less_is_fine: bool = False
    more_is_fine: bool = False


class PlanReview(NamedTuple):
    """A plan with its snapshot and site; the price is the largest absolute price of energy in the horizon."""

    plan: Plan
    snapshot: Snapshot
    site: Site
    largest_price_per_kwh: float = 0.0


class Kind(ABC, Generic[Nameplate, State]):
    """A kind of equipment. Its state is the part of a snapshot that its own power changes.

    Invariants:
        * every range and every power of the rule lies inside the nameplate;
        * a state is finite for any measurement, or `None` without a plausible one.
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
    """Order in which the rule serves loads: comfort first, then runs without interruption, then energy that can wait."""

    derived_keys: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Fields of the nameplate that no table may set, each with the reason."""

    def from_table(self, table: Equipment, name: str) -> Equipment:
        """The nameplate in a table of the configuration; other keys of the table are ignored."""
        return self.nameplate(**{key: getattr(table, key) for key in self.nameplate.__struct_fields__} | {"name": name})

    @abstractmethod
    def feeds(self, nameplate: Nameplate) -> tuple[str, ...]:
        """Signals that its operation requires."""

    @abstractmethod
    def powers_kw(self, nameplate: Nameplate) -> Interval:
        """Powers that the nameplate allows; 0 for equipment that takes no power setpoint."""

    @abstractmethod
    def response(self, nameplate: Nameplate) -> ResponseTolerance:
        """Deviation from a setpoint that still counts as following it."""

    def advice(self, nameplate: Nameplate, feeds: Container[str]) -> Iterator[str]:  # noqa: ARG002  most have none
        """Valid settings of its table that are probably mistakes, given the configured feeds."""
        yield from ()

    @abstractmethod
    def plausible(self, nameplate: Nameplate, snapshot: Snapshot) -> tuple[State, tuple[Reason, ...]]:
        """Its plausible state in a snapshot, and a reason for each replacement."""

    @abstractmethod
    def state_now(self, nameplate: Nameplate, measurements: Measurements) -> State:
        """Its state by the measurements of the cycle."""

    @abstractmethod
    def range_now(
        self, nameplate: Nameplate, measurements: Measurements, last: SentSetpoint | None, site: Site
    ) -> SetpointRange | None:
        """Possible setpoints of this cycle, given the last one; `None` if too little is known."""

    @abstractmethod
    def rule(self, nameplate: Nameplate, state: State, period: Period, room: PccRoom) -> SetpointRange:
        """Powers by the rule: for a load the range that shares the room, for a battery a single power."""

    @abstractmethod
    def after(self, nameplate: Nameplate, state: State, power_kw: float, period: Period) -> State:
        """Its state after a constant power."""

    @abstractmethod
    def costs(self, nameplate: Nameplate, review: PlanReview) -> list[Cost]:
        """Its components of the cost of a plan."""

    def binding(self, nameplate: Nameplate, review: PlanReview) -> list[Binding]:  # noqa: ARG002  many have none
        """Its limits, and the spans in which each binds in a plan."""
        return []

    def worth_per_kwh(self, nameplate: Nameplate) -> float:  # noqa: ARG002  most have no price
        """Price of a kWh that it lacks; 0 if missing energy has no price."""
        return 0.0
