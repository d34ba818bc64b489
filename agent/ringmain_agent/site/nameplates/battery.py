"""Nameplate of a battery."""

from typing import Annotated

from msgspec import Meta

from ringmain_agent.site.nameplates.equipment import Efficiency, Equipment, NotNegative, Positive, Power, Share


class Battery(Equipment, frozen=True, kw_only=True):
    """Powers are measured at the grid connection, energy inside; the signal of its energy is `<name>_soc_kwh`.

    `wear_per_kwh` is charged for each kWh in either direction. At the end of the horizon, by default, energy missing below
    `soc_target_pu` is priced at its purchase cost. With `end_value_per_kwh` all remaining energy has that value instead.
    With `target_miss_per_kwh` any deviation from the target has that price. `soc_reserve_pu` is kept for holding limits when
    the forecast is wrong; energy prices alone do not use it. `self_discharge_per_h` is the share of energy lost per hour.
    `failsafe_kw` is its power while the connection is unmeasured or nobody controls it.
    """

    capacity_kwh: Positive
    charge_max_kw: NotNegative
    discharge_max_kw: NotNegative
    charge_efficiency: Efficiency = 0.95
    discharge_efficiency: Efficiency = 0.95
    self_discharge_per_h: Annotated[float, Meta(ge=0, lt=0.5)] = 0.0
    soc_min_pu: Share = 0.05
    soc_max_pu: Share = 0.95
    soc_reserve_pu: Share = 0.0
    soc_target_pu: Share = 0.5
    end_value_per_kwh: Annotated[float, Meta(ge=0, lt=1e3)] | None = None
    target_miss_per_kwh: Annotated[float, Meta(ge=0, lt=1e5)] | None = None
    wear_per_kwh: Annotated[float, Meta(ge=0, lt=1e3)] = 0.002
    ramp_kw_per_min: Positive = 10_000.0
    failsafe_kw: Power = 0.0

    def __post_init__(self) -> None:
        if not self.capacity_kwh > 0:
            raise ValueError(f"capacity_kwh is {self.capacity_kwh}; it must be above 0")
        if not 0 <= self.soc_min_pu < self.soc_max_pu <= 1:
            raise ValueError(f"soc_min_pu {self.soc_min_pu} must be below soc_max_pu {self.soc_max_pu}, both in 0 to 1")
        if not self.soc_min_pu <= self.soc_target_pu <= self.soc_max_pu:
            raise ValueError(f"soc_target_pu {self.soc_target_pu} is not between soc_min_pu and soc_max_pu")
        if not 0 <= self.soc_reserve_pu <= self.soc_max_pu:
            raise ValueError(f"soc_reserve_pu {self.soc_reserve_pu} is above soc_max_pu {self.soc_max_pu}")
        if not (0 < self.charge_efficiency <= 1 and 0 < self.discharge_efficiency <= 1):
            raise ValueError("charge_efficiency and discharge_efficiency must be above 0 and at most 1")
        if not (self.charge_max_kw >= 0 and self.discharge_max_kw >= 0 and self.charge_max_kw + self.discharge_max_kw > 0):
            raise ValueError("charge_max_kw and discharge_max_kw must not be negative, nor both 0")
        if not self.ramp_kw_per_min > 0:
            raise ValueError(f"ramp_kw_per_min is {self.ramp_kw_per_min}; it must be above 0")
        if not -self.discharge_max_kw <= self.failsafe_kw <= self.charge_max_kw:
            raise ValueError(f"failsafe_kw {self.failsafe_kw:g} is not within discharge_max_kw and charge_max_kw")
        if self.end_value_per_kwh is not None and self.target_miss_per_kwh is not None:
            raise ValueError("end_value_per_kwh and target_miss_per_kwh exclude each other")

    @property
    def soc_signal(self) -> str:
        """Signal of its energy."""
        return f"{self.name}_soc_kwh"

    @property
    def soc_min_kwh(self) -> float:
        """Lowest energy to which setpoints may discharge the battery."""
        return self.soc_min_pu * self.capacity_kwh

    @property
    def soc_max_kwh(self) -> float:
        """Highest energy to which setpoints may charge the battery."""
        return self.soc_max_pu * self.capacity_kwh

    def kept_pu(self, duration_h: float) -> float:
        """Share of its energy that self-discharge leaves after a time at rest."""
        return float((1 - self.self_discharge_per_h) ** duration_h)

    def soc_after_kwh(self, soc_kwh: float, power_kw: float, duration_h: float) -> float:
        """Energy in the battery after a constant power; not clamped to its capacity."""
        inside_kw = power_kw * self.charge_efficiency if power_kw > 0 else power_kw / self.discharge_efficiency
        return soc_kwh * self.kept_pu(duration_h) + inside_kw * duration_h
