"""Common base of capacitor banks and tap changers. Their state is their position."""

from itertools import pairwise
from typing import Final, TypeVar

from ringmain_agent.equipment.binding_limit import Binding, spans
from ringmain_agent.equipment.cost import Cost
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import Kind, PccRoom, PlanReview, ResponseTolerance
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.nameplates import CapacitorBank, TapChanger
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Plan, Reason, SentSetpoint, Snapshot

HALF_A_POSITION: Final = 0.5

Nameplate = TypeVar("Nameplate", bound=CapacitorBank | TapChanger)


class SwitchedKind(Kind[Nameplate, int | None]):
    """Its setpoints are positions; the rule leaves the position unchanged."""

    state_field = "positions"

    def feeds(self, nameplate: Nameplate) -> tuple[str, ...]:
        """Position."""
        return (nameplate.position_signal,)

    def powers_kw(self, nameplate: Nameplate) -> Interval:
        """0: it takes no power setpoint."""
        del nameplate
        return Interval(0.0, 0.0)

    def response(self, nameplate: Nameplate) -> ResponseTolerance:
        """At the position of its setpoint."""
        del nameplate
        return ResponseTolerance(HALF_A_POSITION)

    def plausible(self, nameplate: Nameplate, snapshot: Snapshot) -> tuple[int | None, tuple[Reason, ...]]:
        """The reported position, if it exists."""
        return _existing(nameplate, snapshot.positions.get(nameplate.name)), ()

    def state_now(self, nameplate: Nameplate, measurements: Measurements) -> int | None:
        """The measured position, if it exists."""
        measured = measurements.fresh(nameplate.position_signal)
        return _existing(nameplate, None if measured is None else round(measured))

    def range_now(
        self, nameplate: Nameplate, measurements: Measurements, last: SentSetpoint | None, site: Site
    ) -> SetpointRange | None:
        """None: it takes no power setpoint."""
        del nameplate, measurements, last, site
        return None

    def rule(self, nameplate: Nameplate, state: int | None, period: Period, room: PccRoom) -> SetpointRange:
        """No power."""
        del nameplate, state, period, room
        return OFF

    def after(self, nameplate: Nameplate, state: int | None, power_kw: float, period: Period) -> int | None:
        """The same position."""
        del nameplate, power_kw, period
        return state

    def costs(self, nameplate: Nameplate, review: PlanReview) -> list[Cost]:
        """Wear of its operations."""
        moves = operations(nameplate.name, review.plan, review.snapshot)
        amount = nameplate.operation_cost * moves
        return [Cost(component=f"operations of {nameplate.name}", amount=amount, quantity=moves, unit="operations")]

    def binding(self, nameplate: Nameplate, review: PlanReview) -> list[Binding]:
        """The daily limit of operations, if the plan uses all of them."""
        plan, name = review.plan, nameplate.name
        left = review.snapshot.operations_left.get(name, nameplate.operations_per_day)
        if not plan.positions.get(name) or operations(name, plan, review.snapshot) < left:
            return []
        when = spans([True] * len(plan.pcc_kw), plan)
        return [Binding(limit=f"operations of {name}", value=left, unit="operations", when=when)]


def operations(name: str, plan: Plan, snapshot: Snapshot) -> int:
    """Number of operations of switched equipment in a plan."""
    now = snapshot.positions.get(name)
    path = [*([] if now is None else [now]), *plan.positions.get(name, [])]
    return sum(abs(after - before) for before, after in pairwise(path))


def _existing(nameplate: CapacitorBank | TapChanger, position: int | None) -> int | None:
    lowest, highest = nameplate.positions
    return position if position is not None and lowest <= position <= highest else None
