"""Thermal load: a heat pump, boiler or chiller that keeps a temperature. Its state is the temperature."""

import math
from typing import Final

from ringmain_agent.equipment import plausible_values as plausible
from ringmain_agent.equipment.cost import Cost
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import TOLERANCE_PU, Kind, PccRoom, PlanReview, ResponseTolerance
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.nameplates import ThermalLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Reason, SentSetpoint, Snapshot

COMFORT_PU: Final = 0.1
"""The rule keeps this distance from the end of the band, as a share of the band."""


class ThermalLoadKind(Kind[ThermalLoad, float | None]):
    """A thermal load of unknown temperature is released, and idle in a plan."""

    nameplate = ThermalLoad
    site_field = "thermal_loads"
    state_field = "temperature_degc"
    plan_field = "temperature_degc"
    urgency = 0

    def feeds(self, nameplate: ThermalLoad) -> tuple[str, ...]:
        """Power and temperature."""
        return nameplate.power_signal, nameplate.temperature_signal

    def powers_kw(self, nameplate: ThermalLoad) -> Interval:
        """From 0 to its rated power."""
        return Interval(0.0, nameplate.power_max_kw)

    def response(self, nameplate: ThermalLoad) -> ResponseTolerance:
        """Near its setpoint; its own thermostat may draw less."""
        return ResponseTolerance(TOLERANCE_PU * nameplate.power_max_kw, less_is_fine=True)

    def plausible(self, nameplate: ThermalLoad, snapshot: Snapshot) -> tuple[float | None, tuple[Reason, ...]]:
        """The temperature, if plausible."""
        return plausible.temperature_degc(snapshot.temperature_degc.get(nameplate.name)), ()

    def state_now(self, nameplate: ThermalLoad, measurements: Measurements) -> float | None:
        """The measured temperature, if plausible."""
        return plausible.temperature_degc(measurements.fresh(nameplate.temperature_signal))

    def range_now(
        self,
        nameplate: ThermalLoad,
        measurements: Measurements,
        last: SentSetpoint | None,
        site: Site,
    ) -> SetpointRange | None:
        """Off once it is too warm, or too cold if it cools."""
        del last, site
        degc = self.state_now(nameplate, measurements)
        if degc is None:
            return None
        beyond = degc <= nameplate.temperature_min_degc if nameplate.cools else degc >= nameplate.temperature_max_degc
        return OFF if beyond else SetpointRange(Interval(0.0, nameplate.power_max_kw))

    def rule(self, nameplate: ThermalLoad, state: float | None, period: Period, room: PccRoom) -> SetpointRange:
        """The power that keeps the temperature slightly inside the end of its band with the lower consumption."""
        del room
        if state is None:
            return OFF
        inside_k = COMFORT_PU * (nameplate.temperature_max_degc - nameplate.temperature_min_degc)
        aim_degc = (
            nameplate.temperature_max_degc - inside_k if nameplate.cools else nameplate.temperature_min_degc + inside_k
        )
        at_rest_degc = nameplate.after_degc(state, 0.0, _ambient_degc(nameplate, period), period.duration_h)
        aim_kw = (aim_degc - at_rest_degc) / nameplate.rise_k_per_kw(period.duration_h)
        return SetpointRange(Interval(0.0, min(max(aim_kw, 0.0), nameplate.power_max_kw)))

    def after(self, nameplate: ThermalLoad, state: float | None, power_kw: float, period: Period) -> float | None:
        """The temperature after heat input and losses to the surroundings."""
        if state is None:
            return None
        return nameplate.after_degc(state, power_kw, _ambient_degc(nameplate, period), period.duration_h)

    def costs(self, nameplate: ThermalLoad, review: PlanReview) -> list[Cost]:
        """Degree hours outside the band."""
        degree_hours = review.site.step_h * math.fsum(
            max(nameplate.temperature_min_degc - degc, degc - nameplate.temperature_max_degc, 0.0)
            for degc in review.plan.temperature_degc.get(nameplate.name, [])
        )
        amount = nameplate.discomfort_per_k_h * degree_hours
        return [Cost(component=f"discomfort at {nameplate.name}", amount=amount, quantity=degree_hours, unit="K h")]


def _ambient_degc(load: ThermalLoad, period: Period) -> float:
    return plausible.ambient_degc(load, period.ambient_degc.get(load.name))
