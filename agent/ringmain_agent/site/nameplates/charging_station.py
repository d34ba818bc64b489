"""Nameplate of a vehicle charger, and the visits that it expects."""

from typing import Annotated

from msgspec import Meta, Struct

from ringmain_agent.site.hours import ClockTime
from ringmain_agent.site.nameplates.equipment import Efficiency, Equipment, NotNegative, Positive


class ExpectedVisit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[charging_station.<name>.expected]]`: a vehicle that usually comes; the plan provides for it."""

    arrival: ClockTime
    departure: ClockTime
    energy_kwh: Positive
    weekdays: tuple[Annotated[int, Meta(ge=1, le=7)], ...] = ()


class ChargingStation(Equipment, frozen=True, kw_only=True):
    """A charger for one vehicle at a time.

    `<name>_energy_kwh` is the energy that the present vehicle still wants; it is missing or 0 without a vehicle.
    `<name>_departure_s` is the time until it leaves (default: at `departure`). Power is measured at the grid side, and
    `efficiency` of it arrives. A charger that is on draws at least `power_min_kw`. Energy not delivered by the departure
    costs `missing_per_kwh`.
    """

    power_max_kw: Positive
    power_min_kw: NotNegative = 0.0
    efficiency: Efficiency = 0.92
    departure: ClockTime = "07:00"
    expected: tuple[ExpectedVisit, ...] = ()
    missing_per_kwh: NotNegative = 2.0
    failsafe_kw: NotNegative = 0.0

    def __post_init__(self) -> None:
        if self.failsafe_kw > self.power_max_kw:
            raise ValueError(f"failsafe_kw {self.failsafe_kw:g} is above power_max_kw {self.power_max_kw:g}")
        if self.power_min_kw > self.power_max_kw:
            raise ValueError(f"power_min_kw {self.power_min_kw:g} is above power_max_kw {self.power_max_kw:g}")

    @property
    def energy_signal(self) -> str:
        """Signal of the energy that the vehicle still wants."""
        return f"{self.name}_energy_kwh"

    @property
    def departure_signal(self) -> str:
        """Signal of the time until the vehicle leaves."""
        return f"{self.name}_departure_s"
