"""Nameplate of a capacitor bank."""

from typing import Annotated

from msgspec import Meta

from ringmain_agent.site.nameplates.equipment import Positive
from ringmain_agent.site.nameplates.switched import Switched


class CapacitorBank(Switched, frozen=True, kw_only=True):
    """Capacitors at the busbar, `steps` of `step_kvar` each; position n has n steps in service."""

    step_kvar: Positive
    steps: Annotated[int, Meta(ge=1, le=50)] = 1

    @property
    def positions(self) -> tuple[int, int]:
        """Lowest and highest position."""
        return 0, self.steps
