"""Nameplate of a load that needs energy within its hours, at any power."""

from ringmain_agent.site.hours import ALWAYS, LocalHours
from ringmain_agent.site.nameplates.equipment import Equipment, NotNegative, Positive


class FlexibleLoad(Equipment, frozen=True, kw_only=True):
    """A load that needs `energy_kwh` within each of its hours, at any power up to `power_max_kw`.

    Energy that is not delivered by the end of the hours costs `missing_per_kwh`; while on, it draws at least `power_min_kw`.
    """

    power_max_kw: Positive
    energy_kwh: NotNegative
    power_min_kw: NotNegative = 0.0
    hours: LocalHours = ALWAYS
    missing_per_kwh: NotNegative = 1.0
    failsafe_kw: NotNegative = 0.0

    def __post_init__(self) -> None:
        if self.failsafe_kw > self.power_max_kw:
            raise ValueError(f"failsafe_kw {self.failsafe_kw:g} is above power_max_kw {self.power_max_kw:g}")
        if self.power_min_kw > self.power_max_kw:
            raise ValueError(f"power_min_kw {self.power_min_kw:g} is above power_max_kw {self.power_max_kw:g}")
