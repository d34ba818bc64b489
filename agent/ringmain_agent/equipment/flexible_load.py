"""Flexible load: it needs its energy within its hours, at any power. Its state is its usage in the current hours."""

from collections.abc import Container, Iterator

from ringmain_agent.equipment.cost import Cost, drawn_kwh, missing_energy
from ringmain_agent.equipment.horizon_hours import is_current, steps_of_hours
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import TOLERANCE_PU, Kind, PccRoom, PlanReview, ResponseTolerance
from ringmain_agent.equipment.load_usage import hours_advice, plausible_usage, usage_after
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.hours import holds, hours_left_h
from ringmain_agent.site.nameplates import FlexibleLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Measurements, Reason, SentSetpoint, Snapshot


class FlexibleLoadKind(Kind[FlexibleLoad, LoadUsage]):
    """The rule spreads the missing energy over the remaining hours."""

    nameplate = FlexibleLoad
    site_field = "flexible_loads"
    state_field = "runs"
    urgency = 3

    def feeds(self, nameplate: FlexibleLoad) -> tuple[str, ...]:
        """Power."""
        return (nameplate.power_signal,)

    def powers_kw(self, nameplate: FlexibleLoad) -> Interval:
        """From 0 to its rated power."""
        return Interval(0.0, nameplate.power_max_kw)

    def response(self, nameplate: FlexibleLoad) -> ResponseTolerance:
        """Near its setpoint; the load may draw less."""
        return ResponseTolerance(TOLERANCE_PU * nameplate.power_max_kw, less_is_fine=True)

    def advice(self, nameplate: FlexibleLoad, feeds: Container[str]) -> Iterator[str]:
        """The hours are too short for the energy."""
        del feeds
        return hours_advice(nameplate.name, nameplate.hours, nameplate.energy_kwh / nameplate.power_max_kw)

    def plausible(self, nameplate: FlexibleLoad, snapshot: Snapshot) -> tuple[LoadUsage, tuple[Reason, ...]]:
        """Its usage; an implausible count is 0."""
        return plausible_usage(snapshot.runs.get(nameplate.name, LoadUsage())), ()

    def state_now(self, nameplate: FlexibleLoad, measurements: Measurements) -> LoadUsage:
        """Its usage up to now."""
        return measurements.runs.get(nameplate.name, LoadUsage())

    def range_now(
        self, nameplate: FlexibleLoad, measurements: Measurements, last: SentSetpoint | None, site: Site
    ) -> SetpointRange:
        """Off outside its hours, and once it has its energy."""
        del last
        usage = self.state_now(nameplate, measurements)
        if usage.drawn_kwh >= nameplate.energy_kwh or not holds(nameplate.hours, [measurements.now_ms], site.time_zone)[0]:
            return OFF
        return SetpointRange(Interval(0.0, nameplate.power_max_kw), nameplate.power_min_kw)

    def rule(self, nameplate: FlexibleLoad, state: LoadUsage, period: Period, room: PccRoom) -> SetpointRange:
        """The missing energy, spread over the remaining hours."""
        del room
        missing_kwh = max(nameplate.energy_kwh - state.drawn_kwh, 0.0)
        left_h = hours_left_h(nameplate.hours, period.at_ms, period.time_zone)
        most_kw = min(missing_kwh / period.duration_h, nameplate.power_max_kw)
        if left_h <= 0 or missing_kwh <= 0 or most_kw < nameplate.power_min_kw:
            return OFF
        even_kw = max(missing_kwh / max(left_h, period.duration_h), nameplate.power_min_kw)
        return SetpointRange(Interval(0.0, min(even_kw, most_kw)), nameplate.power_min_kw)

    def after(self, nameplate: FlexibleLoad, state: LoadUsage, power_kw: float, period: Period) -> LoadUsage:
        """Its usage after the period."""
        return usage_after(state, nameplate.hours, power_kw, period)

    def costs(self, nameplate: FlexibleLoad, review: PlanReview) -> list[Cost]:
        """Energy missing at the end of its hours."""
        snapshot, site = review.snapshot, review.site
        windows = steps_of_hours(nameplate.hours, snapshot.issued_at_ms, site)
        requirements = [(hours, nameplate.energy_kwh) for hours in windows]
        if is_current(windows):
            usage, _ = self.plausible(nameplate, snapshot)
            requirements[0] = windows[0], max(nameplate.energy_kwh - usage.drawn_kwh, 0.0)
        energy_kwh = drawn_kwh(review.plan.power_kw.get(nameplate.name, []), site.horizon_steps, site.step_h)
        return [missing_energy(nameplate.name, requirements, energy_kwh, nameplate.missing_per_kwh)]

    def worth_per_kwh(self, nameplate: FlexibleLoad) -> float:
        """Price of missing energy."""
        return nameplate.missing_per_kwh
