"""On/off load: it is on at its rated power or off, and has hours to run. Its state is its usage in the current hours."""

from collections.abc import Container, Iterator
from typing import Final

from ringmain_agent.equipment.cost import Cost, drawn_kwh, missing_energy
from ringmain_agent.equipment.horizon_hours import is_current, steps_of_hours
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import TOLERANCE_PU, Kind, PccRoom, PlanReview, ResponseTolerance
from ringmain_agent.equipment.load_usage import hours_advice, plausible_usage, usage_after
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.hours import MS_PER_H, holds
from ringmain_agent.site.nameplates import OnOffLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Measurements, Reason, SentSetpoint, Snapshot

ROUNDING_H: Final = 1e-6


class OnOffLoadKind(Kind[OnOffLoad, LoadUsage]):
    """The rule switches it on as early as allowed, until its run hours are complete."""

    nameplate = OnOffLoad
    site_field = "on_off_loads"
    state_field = "runs"
    urgency = 1

    def feeds(self, nameplate: OnOffLoad) -> tuple[str, ...]:
        """Power."""
        return (nameplate.power_signal,)

    def powers_kw(self, nameplate: OnOffLoad) -> Interval:
        """From 0 to its rated power."""
        return Interval(0.0, nameplate.power_kw)

    def response(self, nameplate: OnOffLoad) -> ResponseTolerance:
        """Near its setpoint, in either direction."""
        return ResponseTolerance(TOLERANCE_PU * nameplate.power_kw)

    def advice(self, nameplate: OnOffLoad, feeds: Container[str]) -> Iterator[str]:
        """The hours are too short for the run hours."""
        del feeds
        return hours_advice(nameplate.name, nameplate.hours, nameplate.run_h)

    def plausible(self, nameplate: OnOffLoad, snapshot: Snapshot) -> tuple[LoadUsage, tuple[Reason, ...]]:
        """Its usage; an implausible count is 0."""
        return plausible_usage(snapshot.runs.get(nameplate.name, LoadUsage())), ()

    def state_now(self, nameplate: OnOffLoad, measurements: Measurements) -> LoadUsage:
        """Its usage up to now."""
        return measurements.runs.get(nameplate.name, LoadUsage())

    def range_now(
        self, nameplate: OnOffLoad, measurements: Measurements, last: SentSetpoint | None, site: Site
    ) -> SetpointRange:
        """On, off or both, by its usage and its hours."""
        del last
        return _range(nameplate, self.state_now(nameplate, measurements), measurements.now_ms, site.time_zone)

    def rule(self, nameplate: OnOffLoad, state: LoadUsage, period: Period, room: PccRoom) -> SetpointRange:
        """On as early as allowed, until its run hours are complete; a started run is finished."""
        del room
        possible = _range(nameplate, state, period.at_ms, period.time_zone)
        unfinished = state.run_h < nameplate.run_h - ROUNDING_H
        return possible if unfinished or possible.interval.least > 0 else OFF

    def after(self, nameplate: OnOffLoad, state: LoadUsage, power_kw: float, period: Period) -> LoadUsage:
        """Its usage after the period."""
        return usage_after(state, nameplate.hours, power_kw, period)

    def costs(self, nameplate: OnOffLoad, review: PlanReview) -> list[Cost]:
        """Energy of the run hours missing at the end of its hours."""
        snapshot, site = review.snapshot, review.site
        windows = steps_of_hours(nameplate.hours, snapshot.issued_at_ms, site)
        requirements = [(hours, nameplate.power_kw * nameplate.run_h) for hours in windows]
        if is_current(windows):
            usage, _ = self.plausible(nameplate, snapshot)
            requirements[0] = windows[0], nameplate.power_kw * max(nameplate.run_h - usage.run_h, 0.0)
        energy_kwh = drawn_kwh(review.plan.power_kw.get(nameplate.name, []), site.horizon_steps, site.step_h)
        return [missing_energy(nameplate.name, requirements, energy_kwh, nameplate.missing_per_kwh)]

    def worth_per_kwh(self, nameplate: OnOffLoad) -> float:
        """Price of missing energy."""
        return nameplate.missing_per_kwh


def _range(load: OnOffLoad, usage: LoadUsage, at_ms: int, time_zone: str) -> SetpointRange:
    """On or off; on only until its minimum run time is over; off only outside its hours and without remaining starts."""
    if usage.on and 0 <= at_ms - usage.since_ms < load.run_min_h * MS_PER_H:
        return SetpointRange(Interval(load.power_kw, load.power_kw), load.power_kw)
    no_start_left = not usage.on and load.starts_max is not None and usage.starts >= load.starts_max
    if no_start_left or not holds(load.hours, [at_ms], time_zone)[0]:
        return OFF
    return SetpointRange(Interval(0.0, load.power_kw), load.power_kw)
