"""Charging station: a charger for one vehicle at a time. Its state is its sessions: those present and those expected."""

from collections.abc import Container, Iterator

from msgspec.structs import replace

from ringmain_agent.equipment.charging_sessions import WANTED_MAX_KWH, wanted_kwh
from ringmain_agent.equipment.cost import Cost, drawn_kwh, missing_energy
from ringmain_agent.equipment.horizon_hours import steps_of_session
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import TOLERANCE_PU, Kind, PccRoom, PlanReview, ResponseTolerance
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.nameplates import ChargingStation
from ringmain_agent.site.site import DAY_S, Site
from ringmain_agent.snapshot import ChargingSession, Measurements, Reason, SentSetpoint, Snapshot

Sessions = list[ChargingSession]


class ChargingStationKind(Kind[ChargingStation, Sessions]):
    """The rule charges at once."""

    nameplate = ChargingStation
    site_field = "charging_stations"
    state_field = "visits"
    urgency = 2

    def feeds(self, nameplate: ChargingStation) -> tuple[str, ...]:
        """Power, and the energy that the vehicle still wants."""
        return nameplate.power_signal, nameplate.energy_signal

    def powers_kw(self, nameplate: ChargingStation) -> Interval:
        """From 0 to its rated power."""
        return Interval(0.0, nameplate.power_max_kw)

    def response(self, nameplate: ChargingStation) -> ResponseTolerance:
        """Near its setpoint; the vehicle may draw less."""
        return ResponseTolerance(TOLERANCE_PU * nameplate.power_max_kw, less_is_fine=True)

    def advice(self, nameplate: ChargingStation, feeds: Container[str]) -> Iterator[str]:
        """The feed of the departure is missing."""
        signal = nameplate.departure_signal
        if signal not in feeds:
            yield f"feeds.{signal} is missing: every vehicle is assumed to leave at {nameplate.departure}"

    def plausible(self, nameplate: ChargingStation, snapshot: Snapshot) -> tuple[Sessions, tuple[Reason, ...]]:
        """Sessions with a plausible energy."""
        sessions = snapshot.visits.get(nameplate.name, [])
        return [session for session in sessions if 0 < session.energy_kwh <= WANTED_MAX_KWH], ()

    def state_now(self, nameplate: ChargingStation, measurements: Measurements) -> Sessions:
        """The session of the present vehicle, without an end."""
        energy_kwh = wanted_kwh(nameplate, measurements)
        if energy_kwh is None:
            return []
        from_ms = measurements.now_ms
        return [ChargingSession(from_ms=from_ms, to_ms=from_ms + 1000 * DAY_S, energy_kwh=energy_kwh)]

    def range_now(
        self, nameplate: ChargingStation, measurements: Measurements, last: SentSetpoint | None, site: Site
    ) -> SetpointRange:
        """Off, unless a vehicle wants energy."""
        del last, site
        if not self.state_now(nameplate, measurements):
            return OFF
        return SetpointRange(Interval(0.0, nameplate.power_max_kw), nameplate.power_min_kw)

    def rule(self, nameplate: ChargingStation, state: Sessions, period: Period, room: PccRoom) -> SetpointRange:
        """Full power at once; in a schedule at most the energy that the vehicle still wants."""
        del room
        session = _present(state, period)
        if session is None:
            return OFF
        most_kw = nameplate.power_max_kw
        if not period.valid_h:
            most_kw = min(most_kw, max(session.energy_kwh, 0.0) / nameplate.efficiency / period.duration_h)
        if most_kw < nameplate.power_min_kw:
            return OFF
        return SetpointRange(Interval(0.0, most_kw), nameplate.power_min_kw)

    def after(self, nameplate: ChargingStation, state: Sessions, power_kw: float, period: Period) -> Sessions:
        """The sessions, with the energy of the present one reduced by the energy that has arrived."""
        present = _present(state, period)
        if present is None:
            return state
        left_kwh = max(present.energy_kwh - power_kw * nameplate.efficiency * period.duration_h, 0.0)
        return [replace(session, energy_kwh=left_kwh) if session is present else session for session in state]

    def costs(self, nameplate: ChargingStation, review: PlanReview) -> list[Cost]:
        """Energy missing at the departures."""
        snapshot, site, name = review.snapshot, review.site, nameplate.name
        sessions, _ = self.plausible(nameplate, snapshot)
        requirements = [(steps_of_session(session, snapshot.issued_at_ms, site), session.energy_kwh) for session in sessions]
        drawn = drawn_kwh(review.plan.power_kw.get(name, []), site.horizon_steps, site.step_h)
        arrived_kwh = [nameplate.efficiency * energy_kwh for energy_kwh in drawn]
        return [missing_energy(name, requirements, arrived_kwh, nameplate.missing_per_kwh)]

    def worth_per_kwh(self, nameplate: ChargingStation) -> float:
        """Price of missing energy."""
        return nameplate.missing_per_kwh


def _present(sessions: Sessions, period: Period) -> ChargingSession | None:
    """The session that covers the whole period."""
    return next((s for s in sessions if s.from_ms <= period.at_ms and period.end_ms <= s.to_ms), None)
