"""Nameplates: what each kind of equipment can do. Pure data and the plainest of its physics.

Fields carry the names of the site's TOML, `[<kind>.<name>]`. Powers are non-negative magnitudes here; in plans and
setpoints positive power is drawn from the network.
"""

import math
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from ringmain_agent.site.hours import ALWAYS, ClockTime, LocalHours
from ringmain_protocol.messages import Name

Positive = Annotated[float, Meta(gt=0, lt=1e9)]
NotNegative = Annotated[float, Meta(ge=0, lt=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Efficiency = Annotated[float, Meta(gt=0, le=1)]
Temperature = Annotated[float, Meta(ge=-100, le=400)]


class Equipment(Struct, frozen=True, kw_only=True):
    """Anything with a name at the site; the signal of its power is `<name>_kw`."""

    name: Name

    @property
    def power_signal(self) -> str:
        """Signal of its power."""
        return f"{self.name}_kw"


class Battery(Equipment, frozen=True, kw_only=True):
    """What a battery can do. Powers are at its connection to the grid, energy is inside; its energy is `<name>_soc_kwh`.

    `wear_per_kwh` is charged for each kWh in either direction. The end of the horizon: energy below `soc_target_pu` costs
    what it would take to buy it; with `end_value_per_kwh` every kWh that is left is worth that instead; with
    `target_miss_per_kwh` missing the target in either direction costs that. `soc_reserve_pu` is kept for holding limits when
    the forecast is wrong: price alone does not use it. `self_discharge_per_h` is the share of its energy lost in an hour.
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
        if self.end_value_per_kwh is not None and self.target_miss_per_kwh is not None:
            raise ValueError("end_value_per_kwh and target_miss_per_kwh exclude each other")

    @property
    def soc_signal(self) -> str:
        """Signal of its energy."""
        return f"{self.name}_soc_kwh"

    @property
    def soc_min_kwh(self) -> float:
        """Least energy that setpoints may leave in the battery."""
        return self.soc_min_pu * self.capacity_kwh

    @property
    def soc_max_kwh(self) -> float:
        """Most energy that setpoints may put into the battery."""
        return self.soc_max_pu * self.capacity_kwh

    def kept_pu(self, duration_h: float) -> float:
        """Share of its energy that is left after a time at rest."""
        return float((1 - self.self_discharge_per_h) ** duration_h)

    def soc_after_kwh(self, soc_kwh: float, power_kw: float, duration_h: float) -> float:
        """Energy in the battery after a constant power; not limited to what it can hold."""
        inside_kw = power_kw * self.charge_efficiency if power_kw > 0 else power_kw / self.discharge_efficiency
        return soc_kwh * self.kept_pu(duration_h) + inside_kw * duration_h


class Generator(Equipment, frozen=True, kw_only=True):
    """A PV or wind plant: its power is between minus the rated power and 0; curtailable if it takes setpoints."""

    rated_power_kw: Positive
    curtailable: bool = True

    def __post_init__(self) -> None:
        if not self.rated_power_kw > 0:
            raise ValueError(f"rated_power_kw is {self.rated_power_kw}; it must be above 0")


class FlexibleLoad(Equipment, frozen=True, kw_only=True):
    """A load that needs `energy_kwh` within each of its hours, at any power up to `power_max_kw`.

    Energy that is not delivered by the end of the hours costs `missing_per_kwh`; while on, it draws at least `power_min_kw`.
    """

    power_max_kw: Positive
    energy_kwh: NotNegative
    power_min_kw: NotNegative = 0.0
    hours: LocalHours = ALWAYS
    missing_per_kwh: NotNegative = 1.0

    def __post_init__(self) -> None:
        if self.power_min_kw > self.power_max_kw:
            raise ValueError(f"power_min_kw {self.power_min_kw:g} is above power_max_kw {self.power_max_kw:g}")


class OnOffLoad(Equipment, frozen=True, kw_only=True):
    """A load that is on at `power_kw` or off, and must run `run_h` within each of its hours.

    Once on it stays on for `run_min_h`; it starts at most `starts_max` times within its hours; a missing hour costs
    `missing_per_kwh` for its energy.
    """

    power_kw: Positive
    run_h: Annotated[float, Meta(ge=0, le=24)]
    run_min_h: Annotated[float, Meta(ge=0, le=24)] = 0.0
    starts_max: Annotated[int, Meta(ge=1, le=96)] | None = None
    hours: LocalHours = ALWAYS
    missing_per_kwh: NotNegative = 1.0


class ExpectedVisit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[charging_station.<name>.expected]]`: a vehicle that comes on most days; planned for, not promised."""

    arrival: ClockTime
    departure: ClockTime
    energy_kwh: Positive
    weekdays: tuple[Annotated[int, Meta(ge=1, le=7)], ...] = ()


class ChargingStation(Equipment, frozen=True, kw_only=True):
    """A charger for one vehicle at a time.

    `<name>_energy_kwh` is the energy that the vehicle there still wants, missing or 0 without one; `<name>_departure_s` how
    long it stays (without it: until `departure`). Power is at the grid side, `efficiency` of it arrives. A charger that is
    on draws at least `power_min_kw`. Energy not delivered by the departure costs `missing_per_kwh`.
    """

    power_max_kw: Positive
    power_min_kw: NotNegative = 0.0
    efficiency: Efficiency = 0.92
    departure: ClockTime = "07:00"
    expected: tuple[ExpectedVisit, ...] = ()
    missing_per_kwh: NotNegative = 2.0

    def __post_init__(self) -> None:
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


class ThermalLoad(Equipment, frozen=True, kw_only=True):
    """A heat pump, boiler or chiller with the room, tank or cold store behind it: one heat capacity.

    Its temperature is `<name>_degc`. `performance` is heat (or cold) per electric power. Leaving the band costs
    `discomfort_per_k_h`. The surroundings have `ambient_degc`, or the series `ambient_series`.
    """

    power_max_kw: Positive
    capacity_kwh_per_k: Positive
    loss_kw_per_k: NotNegative
    temperature_min_degc: Temperature
    temperature_max_degc: Temperature
    performance: Annotated[float, Meta(gt=0, le=20)] = 1.0
    cools: bool = False
    ambient_degc: Temperature = 10.0
    ambient_series: Name | None = None
    discomfort_per_k_h: NotNegative = 1.0

    def __post_init__(self) -> None:
        if not self.temperature_min_degc < self.temperature_max_degc:
            raise ValueError("temperature_min_degc must be below temperature_max_degc")

    @property
    def temperature_signal(self) -> str:
        """Signal of its temperature."""
        return f"{self.name}_degc"

    def decay(self, duration_h: float) -> float:
        """Share of a difference to its surroundings that is left after a time at rest."""
        return math.exp(-duration_h * self.loss_kw_per_k / self.capacity_kwh_per_k)

    def rise_k_per_kw(self, duration_h: float) -> float:
        """What a constant power of 1 kW for that long changes the temperature by, with its sign."""
        time_h = self.capacity_kwh_per_k / self.loss_kw_per_k if self.loss_kw_per_k > 0 else math.inf
        gain_h = time_h * -math.expm1(-duration_h / time_h) if math.isfinite(time_h) else duration_h
        return (-1 if self.cools else 1) * self.performance * gain_h / self.capacity_kwh_per_k

    def after_degc(self, temperature_degc: float, power_kw: float, ambient_degc: float, duration_h: float) -> float:
        """Temperature after a constant power."""
        decay = self.decay(duration_h)
        return decay * temperature_degc + (1 - decay) * ambient_degc + self.rise_k_per_kw(duration_h) * power_kw


class Switched(Equipment, frozen=True, kw_only=True):
    """Equipment with positions, whose operations wear it: `<name>_position` says where it is."""

    operations_per_day: Annotated[int, Meta(ge=1, le=1000)] = 10
    operation_cost: NotNegative = 0.1

    @property
    def position_signal(self) -> str:
        """Signal of its position."""
        return f"{self.name}_position"


class CapacitorBank(Switched, frozen=True, kw_only=True):
    """Capacitors at the busbar, `steps` of `step_kvar` each; position n has n steps in service."""

    step_kvar: Positive
    steps: Annotated[int, Meta(ge=1, le=50)] = 1

    @property
    def positions(self) -> tuple[int, int]:
        """Lowest and highest position."""
        return 0, self.steps


class TapChanger(Switched, frozen=True, kw_only=True):
    """An on-load tap changer: each position upwards raises the busbar's voltage by `step_pu` (negative if it lowers it)."""

    position_min: Annotated[int, Meta(ge=-100, le=100)]
    position_max: Annotated[int, Meta(ge=-100, le=100)]
    step_pu: Annotated[float, Meta(gt=-0.1, lt=0.1)] = 0.0125

    def __post_init__(self) -> None:
        if not self.position_min < self.position_max:
            raise ValueError(f"position_min {self.position_min} must be below position_max {self.position_max}")
        if self.step_pu == 0:
            raise ValueError("step_pu is 0; a tap changer changes the voltage")

    @property
    def positions(self) -> tuple[int, int]:
        """Lowest and highest position."""
        return self.position_min, self.position_max


class Cooling(StrEnum):
    """Kind of transformer and its cooling: which thermal constants hold."""

    DISTRIBUTION_ONAN = "distribution_onan"
    ONAN = "onan"
    ONAF = "onaf"
    OF = "of"
    OD = "od"


class Paper(StrEnum):
    """Insulation of the winding: which ageing law holds."""

    NORMAL = "normal"
    UPGRADED = "upgraded"


class Rating(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[transformer.<name>.rating]]`: other limits for some hours, such as a cyclic or an emergency rating."""

    hours: LocalHours = ALWAYS
    loading_max_pu: Annotated[float, Meta(gt=0, le=3)] | None = None
    hot_spot_max_degc: Temperature | None = None
    top_oil_max_degc: Temperature | None = None


class Transformer(Equipment, frozen=True, kw_only=True):
    """A transformer that carries `share` of the site's power (without it: in proportion to its rating).

    The limits are those of normal cyclic loading of IEC 60076-7, narrowed or widened by `rating`; exceeding them costs more
    than any energy. `ageing_cost_per_h` is the price of one hour of rated insulation life, `ageing_max_h_per_day` the most
    that a day may use. Thermal constants without a value come from `cooling`. The air around it has `ambient_degc` or the
    series `ambient_series`, `indoor_rise_k` warmer in a compact station. `<name>_top_oil_degc`, if measured, corrects the
    model.
    """

    rated_power_kva: Positive
    share: Annotated[float, Meta(gt=0, le=1)] | None = None
    cooling: Cooling = Cooling.DISTRIBUTION_ONAN
    paper: Paper = Paper.NORMAL
    loading_max_pu: Annotated[float, Meta(gt=0, le=3)] = 1.5
    hot_spot_max_degc: Temperature = 120.0
    top_oil_max_degc: Temperature = 105.0
    rating: tuple[Rating, ...] = ()
    ageing_cost_per_h: NotNegative = 0.0
    ageing_max_h_per_day: Positive | None = None
    loss_ratio: Positive | None = None
    top_oil_rise_k: Positive | None = None
    winding_gradient_k: Positive | None = None
    hot_spot_factor: Positive | None = None
    ambient_degc: Temperature = 20.0
    ambient_series: Name | None = None
    indoor_rise_k: Annotated[float, Meta(ge=0, le=30)] = 0.0

    @property
    def top_oil_signal(self) -> str:
        """Signal of its top-oil temperature."""
        return f"{self.name}_top_oil_degc"

    def loading_pu(self, active_kw: float, reactive_kvar: float = 0.0) -> float:
        """Apparent power over rated power; the signs do not matter.

        Source: IEC 60076-7, load factor K.
        """
        return math.hypot(active_kw, reactive_kvar) / self.rated_power_kva


def active_kw(apparent_kva: float, reactive_kvar: float) -> float:
    """Most active power beside a reactive power within an apparent power; 0 if there is no room. Never raises."""
    return math.sqrt(max((apparent_kva - abs(reactive_kvar)) * (apparent_kva + abs(reactive_kvar)), 0.0))
