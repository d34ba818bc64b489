"""Block of a charging station: the energy of each vehicle is due at its departure."""

from ringmain_agent.equipment.horizon_hours import steps_of_session
from ringmain_agent.planning.dispatch.energy_block import DUE_MIN_KWH, EnergyBlock
from ringmain_agent.planning.dispatch.energy_due import Requirement
from ringmain_agent.planning.dispatch.linear_program import LinearProgram
from ringmain_agent.planning.dispatch.problem import LARGEST
from ringmain_agent.site.nameplates import ChargingStation
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot


class ChargingStationBlock(EnergyBlock):
    """Requirements of a charging station: the energy of each session."""

    def __init__(self, program: LinearProgram, station: ChargingStation, site: Site) -> None:
        super().__init__(program, station, site, efficiency=station.efficiency)
        self._station = station

    def _requirements(self, snapshot: Snapshot) -> list[Requirement]:
        requirements: list[Requirement] = []
        free_from = 0
        for session in sorted(snapshot.visits.get(self._station.name, ()), key=lambda session: session.from_ms):
            present = steps_of_session(session, snapshot.issued_at_ms, self._site)
            steps = [step for step in present.steps if step >= free_from]  # one vehicle at a time
            if not steps or not 0 < session.energy_kwh <= LARGEST:
                continue
            requirement = self._due(present._replace(steps=steps), session.energy_kwh)
            if requirement.amount >= DUE_MIN_KWH:
                requirements.append(requirement)
                free_from = steps[-1] + 1
        return requirements
