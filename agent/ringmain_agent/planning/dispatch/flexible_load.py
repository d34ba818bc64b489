"""Block of a flexible load: its energy is due within each of its hours."""

import math

from ringmain_agent.equipment.horizon_hours import is_current, steps_of_hours
from ringmain_agent.planning.dispatch.energy_block import DUE_MIN_KWH, EnergyBlock
from ringmain_agent.planning.dispatch.energy_due import Requirement
from ringmain_agent.planning.dispatch.linear_program import LinearProgram
from ringmain_agent.site.nameplates import FlexibleLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Snapshot


class FlexibleLoadBlock(EnergyBlock):
    """Requirements of a flexible load: its energy within each of its hours, less the energy drawn in the current ones."""

    def __init__(self, program: LinearProgram, load: FlexibleLoad, site: Site) -> None:
        super().__init__(program, load, site, efficiency=1.0)
        self._flexible = load

    def _requirements(self, snapshot: Snapshot) -> list[Requirement]:
        load, usage = self._flexible, snapshot.runs.get(self._flexible.name, LoadUsage())
        windows = steps_of_hours(load.hours, snapshot.issued_at_ms, self._site)
        left_kwh = [load.energy_kwh] * len(windows)
        if is_current(windows) and math.isfinite(usage.drawn_kwh):
            left_kwh[0] = max(load.energy_kwh - max(usage.drawn_kwh, 0.0), 0.0)
        requirements = [self._due(hours, kwh) for hours, kwh in zip(windows, left_kwh, strict=True)]
        return [requirement for requirement in requirements if requirement.amount >= DUE_MIN_KWH]
