"""Generator: a PV or wind plant, curtailable if it takes setpoints. It has no state."""

import math
from types import MappingProxyType

from msgspec.structs import replace

from ringmain_agent.equipment.cost import Cost
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import TOLERANCE_PU, Kind, OutputNeed, PccRoom, PlanReview, ResponseTolerance
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.site.nameplates import Equipment, Generator
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Reason, SentSetpoint, Snapshot


class GeneratorKind(Kind[Generator, None]):
    """A setpoint is an upper bound of its generation; the rule curtails it after all other measures."""

    nameplate = Generator
    site_field = "generators"
    output = OutputNeed.OPTIONAL
    derived_keys = MappingProxyType({"curtailable": "a plant is curtailable if it has an output"})

    def from_table(self, table: Equipment, name: str) -> Equipment:
        """Curtailable if the table has an output."""
        return replace(super().from_table(table, name), curtailable=getattr(table, "output", None) is not None)

    def feeds(self, nameplate: Generator) -> tuple[str, ...]:
        """Power."""
        return (nameplate.power_signal,)

    def powers_kw(self, nameplate: Generator) -> Interval:
        """Generation up to its rated power."""
        return Interval(-nameplate.rated_power_kw, 0.0)

    def response(self, nameplate: Generator) -> ResponseTolerance:
        """Near its setpoint; the plant may generate less."""
        return ResponseTolerance(TOLERANCE_PU * nameplate.rated_power_kw, more_is_fine=True)

    def plausible(self, nameplate: Generator, snapshot: Snapshot) -> tuple[None, tuple[Reason, ...]]:
        """None: it has no state."""
        del nameplate, snapshot
        return None, ()

    def state_now(self, nameplate: Generator, measurements: Measurements) -> None:
        """None: it has no state."""

    def range_now(
        self, nameplate: Generator, measurements: Measurements, last: SentSetpoint | None, site: Site
    ) -> SetpointRange:
        """Its nameplate."""
        del measurements, last, site
        return SetpointRange(self.powers_kw(nameplate))

    def rule(self, nameplate: Generator, state: None, period: Period, room: PccRoom) -> SetpointRange:
        """The lowest generation bound that keeps the pcc at or above the lower end of its range."""
        del state, period
        least_kw = -nameplate.rated_power_kw
        if nameplate.curtailable and math.isfinite(room.least_kw):
            least_kw = min(max(room.least_kw - room.net_kw, least_kw), 0.0)
        return SetpointRange(Interval(least_kw, 0.0))

    def after(self, nameplate: Generator, state: None, power_kw: float, period: Period) -> None:
        """None: it has no state."""

    def costs(self, nameplate: Generator, review: PlanReview) -> list[Cost]:
        """Curtailed energy, which costs nothing."""
        if (curtailed_kw := review.plan.curtailed_kw.get(nameplate.name)) is None:
            return []
        quantity = sum(curtailed_kw) * review.site.step_h
        return [Cost(component=f"curtailed of {nameplate.name}", amount=0.0, quantity=quantity, unit="kWh")]
