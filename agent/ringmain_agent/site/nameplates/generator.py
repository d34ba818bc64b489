"""Nameplate of a PV or wind plant."""

from ringmain_agent.site.nameplates.equipment import Equipment, Positive


class Generator(Equipment, frozen=True, kw_only=True):
    """A PV or wind plant: its power is between minus the rated power and 0; curtailable if it takes setpoints."""

    rated_power_kw: Positive
    curtailable: bool = True

    def __post_init__(self) -> None:
        if not self.rated_power_kw > 0:
            raise ValueError(f"rated_power_kw is {self.rated_power_kw}; it must be above 0")
