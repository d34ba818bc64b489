"""Nameplate of a heat pump, boiler or chiller, with the heat capacity behind it."""

import math
from typing import Annotated

from msgspec import Meta

from ringmain_agent.site.nameplates.equipment import Equipment, NotNegative, Positive, Temperature
from ringmain_protocol.messages import Name


class ThermalLoad(Equipment, frozen=True, kw_only=True):
    """A heat pump, boiler or chiller with the room, tank or cold store behind it: one heat capacity.

    Its temperature is `<name>_degc`. `performance` is heat (or cold) per electric power. Leaving the temperature
    band costs `discomfort_per_k_h`. The ambient temperature is `ambient_degc`, or the series `ambient_series`.
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
    failsafe_kw: NotNegative = 0.0

    def __post_init__(self) -> None:
        if self.failsafe_kw > self.power_max_kw:
            raise ValueError(f"failsafe_kw {self.failsafe_kw:g} is above power_max_kw {self.power_max_kw:g}")
        if not self.temperature_min_degc < self.temperature_max_degc:
            raise ValueError(
                f"temperature_min_degc {self.temperature_min_degc} must be below "
                f"temperature_max_degc {self.temperature_max_degc}"
            )

    @property
    def temperature_signal(self) -> str:
        """Signal of its temperature."""
        return f"{self.name}_degc"

    def decay(self, duration_h: float) -> float:
        """Share of the temperature difference to the surroundings that is left after a time at rest."""
        return math.exp(-duration_h * self.loss_kw_per_k / self.capacity_kwh_per_k)

    def rise_k_per_kw(self, duration_h: float) -> float:
        """Change of the temperature by 1 kW over the duration; negative for cooling."""
        time_h = self.capacity_kwh_per_k / self.loss_kw_per_k if self.loss_kw_per_k > 0 else math.inf
        gain_h = time_h * -math.expm1(-duration_h / time_h) if math.isfinite(time_h) else duration_h
        return (-1 if self.cools else 1) * self.performance * gain_h / self.capacity_kwh_per_k

    def after_degc(self, temperature_degc: float, power_kw: float, ambient_degc: float, duration_h: float) -> float:
        """Temperature after a constant power."""
        decay = self.decay(duration_h)
        return decay * temperature_degc + (1 - decay) * ambient_degc + self.rise_k_per_kw(duration_h) * power_kw
