"""Nameplate of a PV or wind plant."""

from ringmain_agent.site.nameplates.equipment import Equipment, Positive, Power


class Generator(Equipment, frozen=True, kw_only=True):
    """A PV or wind plant: its power is between minus the rated power and 0; curtailable if it takes setpoints.

    `failsafe_kw` is its bound while the connection is unmeasured or nobody controls it; by default its share, by rating, of
    what the export limit leaves.
    """

    rated_power_kw: Positive
    curtailable: bool = True
    failsafe_kw: Power | None = None

    def __post_init__(self) -> None:
        if not self.rated_power_kw > 0:
            raise ValueError(f"rated_power_kw is {self.rated_power_kw}; it must be above 0")
        if self.failsafe_kw is not None and not -self.rated_power_kw <= self.failsafe_kw <= 0:
            raise ValueError(f"failsafe_kw {self.failsafe_kw:g} is not between -{self.rated_power_kw:g} and 0")
