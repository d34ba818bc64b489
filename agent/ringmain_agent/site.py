"""Nameplates of a site: what stands there, what it can do, what energy costs. Pure data and its physics.

Fields carry the names of the site's TOML. `BatteryNameplate` and `PhotovoltaicsNameplate` are the tables without their
name, so that the configuration can add an output to them; the calculations use the named ones in `Site`.
"""

import math
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta, Struct

from ringmain_protocol.messages import Name

DAY_S: Final = 86400
BILLING_PERIOD_S: Final = 900
"""Limits and demand charges hold for the mean over a quarter of an hour by the clock."""
LOAD: Final = "load_kw"
PCC: Final = "pcc_kw"

Positive = Annotated[float, Meta(gt=0, lt=1e9)]
NotNegative = Annotated[float, Meta(ge=0, lt=1e9)]
Price = Annotated[float, Meta(gt=-1e3, lt=1e3)]
Share = Annotated[float, Meta(ge=0, le=1)]
Efficiency = Annotated[float, Meta(gt=0, le=1)]


class BatteryNameplate(Struct, frozen=True, kw_only=True):
    """What a battery can do. Powers are at its connection to the grid, energy is inside; charging is positive.

    `wear_per_kwh` is charged for each kWh in either direction, `soc_target_pu` is wished at the end of the horizon.
    `soc_reserve_pu` is kept for holding limits when the forecast is wrong: price alone does not use it.
    """

    capacity_kwh: Positive
    charge_max_kw: NotNegative
    discharge_max_kw: NotNegative
    charge_efficiency: Efficiency = 0.95
    discharge_efficiency: Efficiency = 0.95
    soc_min_pu: Share = 0.05
    soc_max_pu: Share = 0.95
    soc_reserve_pu: Share = 0.0
    soc_target_pu: Share = 0.5
    wear_per_kwh: Annotated[float, Meta(ge=0, lt=1e3)] = 0.002
    ramp_kw_per_min: Positive = 10_000.0

    def __post_init__(self) -> None:
        if not self.capacity_kwh > 0:
            raise ValueError(f"capacity_kwh is {self.capacity_kwh}; a battery holds energy")
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

    @property
    def soc_min_kwh(self) -> float:
        """Least energy that setpoints may leave in the battery."""
        return self.soc_min_pu * self.capacity_kwh

    @property
    def soc_max_kwh(self) -> float:
        """Most energy that setpoints may put into the battery."""
        return self.soc_max_pu * self.capacity_kwh

    def soc_after_kwh(self, soc_kwh: float, power_kw: float, duration_h: float) -> float:
        """Energy in the battery after a constant power; not limited to what it can hold."""
        inside_kw = power_kw * self.charge_efficiency if power_kw > 0 else power_kw / self.discharge_efficiency
        return soc_kwh + inside_kw * duration_h


class Battery(BatteryNameplate, frozen=True, kw_only=True):
    """A battery of the site; its signals are `<name>_kw` and `<name>_soc_kwh`."""

    name: Name

    @property
    def power_signal(self) -> str:
        """Signal of its power."""
        return f"{self.name}_kw"

    @property
    def soc_signal(self) -> str:
        """Signal of its energy."""
        return f"{self.name}_soc_kwh"


class PhotovoltaicsNameplate(Struct, frozen=True, kw_only=True):
    """Peak power of a PV plant, as a positive number; its power is between minus that and 0."""

    rated_power_kw: Positive

    def __post_init__(self) -> None:
        if not self.rated_power_kw > 0:
            raise ValueError(f"rated_power_kw is {self.rated_power_kw}; it must be above 0")


class Photovoltaics(PhotovoltaicsNameplate, frozen=True, kw_only=True):
    """A PV plant of the site; its signal is `<name>_kw`."""

    name: Name

    @property
    def power_signal(self) -> str:
        """Signal of its power."""
        return f"{self.name}_kw"


class Transformer(Struct, frozen=True, kw_only=True):
    """Apparent power on the nameplate of a transformer that carries all of the site."""

    rated_power_kva: Positive

    def loading_pu(self, active_kw: float, reactive_kvar: float = 0.0) -> float:
        """Apparent power over rated power; the signs do not matter.

        Source: IEC 60076-7, load factor K.
        """
        return math.hypot(active_kw, reactive_kvar) / self.rated_power_kva


class GridConnection(Struct, frozen=True, kw_only=True):
    """Limits at the point of common coupling, both non-negative; plan and regulator stay `margin_kw` inside them."""

    import_limit_kw: NotNegative
    export_limit_kw: NotNegative
    margin_kw: NotNegative = 0.0


class Tariff(Struct, frozen=True, kw_only=True):
    """What energy costs.

    Import costs the price series plus `import_surcharge_per_kwh`, export earns the price series; where the series has
    nothing, the fixed prices stand in for it. The demand charge is for the highest quarter-hour mean of the billing month.
    """

    currency: Annotated[str, Meta(min_length=1, max_length=8)] = "EUR"
    import_price_per_kwh: Price = 0.0
    export_price_per_kwh: Price = 0.0
    price_series: Name | None = None
    import_surcharge_per_kwh: Price = 0.0
    demand_charge_per_kw: Annotated[float, Meta(ge=0, lt=1e6)] = 0.0

    def __post_init__(self) -> None:
        if self.price_series is not None and not self.price_series.endswith(("_per_mwh", "_per_kwh")):
            raise ValueError(f"price_series {self.price_series!r} must end in _per_mwh or _per_kwh")

    @property
    def series_factor(self) -> float:
        """What turns a value of the price series into a price per kWh."""
        return 0.001 if self.price_series is not None and self.price_series.endswith("_per_mwh") else 1.0


class RegulatorSettings(Struct, frozen=True, kw_only=True):
    """How old things may be that the regulator uses, and how long its setpoints stay in force.

    `valid_for_s` is the longest validity that an output gives a setpoint: a setpoint is safe for all of it.
    """

    stale_after_s: Positive = 300.0
    plan_age_max_s: Positive = 14_400.0
    valid_for_s: Positive = 600.0


class Site(Struct, frozen=True, kw_only=True):
    """All that forecast, dispatch, regulator and limits know of a site."""

    site: str
    grid_connection: GridConnection
    time_zone: str = "UTC"
    step_s: Annotated[int, Meta(gt=0, le=3600)] = 900
    horizon_steps: Annotated[int, Meta(gt=0, le=2000)] = 96
    history_steps: Annotated[int, Meta(gt=0, le=20_000)] = 768
    batteries: tuple[Battery, ...] = ()
    photovoltaics: tuple[Photovoltaics, ...] = ()
    tariff: Tariff = Tariff()
    regulator: RegulatorSettings = RegulatorSettings()

    def __post_init__(self) -> None:
        if self.step_s <= 0 or DAY_S % self.step_s:
            raise ValueError(f"step_s {self.step_s} does not divide a day")
        names = [*(battery.name for battery in self.batteries), *(plant.name for plant in self.photovoltaics)]
        if len(set(names)) != len(names):
            raise ValueError(f"equipment names must differ: {', '.join(names)}")
        if taken := {"load", "pcc"} & set(names):
            raise ValueError(f"equipment cannot be named {', '.join(sorted(taken))}: that is a signal of the site")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"time_zone {self.time_zone!r} is not an IANA time zone") from error

    @property
    def step_h(self) -> float:
        """Length of a step in hours."""
        return self.step_s / 3600

    @property
    def forecast_signals(self) -> tuple[str, ...]:
        """Signals that a plan needs a forecast of: the load and each PV plant."""
        return (LOAD, *(pv.power_signal for pv in self.photovoltaics))


def named_battery(name: str, nameplate: BatteryNameplate) -> Battery:
    """The battery of that name with the fields of a nameplate (or of a configuration table that extends one)."""
    fields = {field: getattr(nameplate, field) for field in BatteryNameplate.__struct_fields__}
    return Battery(name=name, **fields)


def named_photovoltaics(name: str, nameplate: PhotovoltaicsNameplate) -> Photovoltaics:
    """The PV plant of that name with the fields of a nameplate (or of a configuration table that extends one)."""
    fields = {field: getattr(nameplate, field) for field in PhotovoltaicsNameplate.__struct_fields__}
    return Photovoltaics(name=name, **fields)
