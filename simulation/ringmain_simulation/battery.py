"""A simulated battery: it follows its nameplate, and returns to 0 kW when its setpoint expires.

Invariants:
- The stored energy stays between `soc_min_pu` and `soc_max_pu` of the capacity, for any setpoint.
- Energy stored = charge x charge efficiency - discharge / discharge efficiency, over any time.
- The power is 0 kW `valid_for_s` after the receipt of a setpoint.
"""

from typing import Annotated

from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]
Efficiency = Annotated[float, Meta(gt=0, le=1)]


class BatteryDesign(Struct, frozen=True, kw_only=True):
    """Nameplate of a battery."""

    capacity_kwh: Annotated[float, Meta(gt=0)]
    charge_max_kw: Annotated[float, Meta(gt=0)]
    discharge_max_kw: Annotated[float, Meta(gt=0)]
    charge_efficiency: Efficiency = 0.95
    discharge_efficiency: Efficiency = 0.95
    soc_min_pu: Share = 0.05
    soc_max_pu: Share = 0.95
    soc_start_pu: Share = 0.7


class Command(Struct, frozen=True):
    """A setpoint in force until it expires; `power_kw` is a power for a battery and a lower bound for PV."""

    power_kw: float
    expires_ms: int


class Battery:
    """State of one battery."""

    def __init__(self, design: BatteryDesign) -> None:
        self.design = design
        self.soc_kwh = design.soc_start_pu * design.capacity_kwh
        self.power_kw = 0.0
        self.command: Command | None = None

    def accepts(self, power_kw: float) -> bool:
        """Whether a setpoint is within the nameplate; otherwise it is refused as a whole."""
        return -self.design.discharge_max_kw <= power_kw <= self.design.charge_max_kw

    def advance(self, since_ms: int, until_ms: int, *, stuck: bool = False) -> float:
        """Mean power between two instants; the state of charge is that of `until_ms` afterwards.

        A stuck battery keeps its power and ignores setpoints and their expiry.
        """
        command = self.command
        if stuck:
            return self._deliver(self.power_kw, since_ms, until_ms)
        if command is None or command.expires_ms <= since_ms:
            self.command = None
            return self._deliver(0.0, since_ms, until_ms)
        if command.expires_ms >= until_ms:
            return self._deliver(command.power_kw, since_ms, until_ms)
        in_force_ms = command.expires_ms - since_ms
        in_force_kw = self._deliver(command.power_kw, since_ms, command.expires_ms)
        self.command, self.power_kw = None, 0.0
        return in_force_kw * in_force_ms / (until_ms - since_ms)

    def _deliver(self, power_kw: float, since_ms: int, until_ms: int) -> float:
        """Mean power within the energy limits; once full or empty, the rest of the time passes at 0 kW."""
        hours, design = (until_ms - since_ms) / 3_600_000, self.design
        if power_kw >= 0:
            room_kwh = max(design.soc_max_pu * design.capacity_kwh - self.soc_kwh, 0.0)
            mean_kw = min(power_kw, room_kwh / design.charge_efficiency / hours)
            self.soc_kwh += mean_kw * design.charge_efficiency * hours
        else:
            left_kwh = max(self.soc_kwh - design.soc_min_pu * design.capacity_kwh, 0.0)
            mean_kw = -min(-power_kw, left_kwh * design.discharge_efficiency / hours)
            self.soc_kwh += mean_kw / design.discharge_efficiency * hours
        self.power_kw = power_kw if mean_kw == power_kw else 0.0
        return mean_kw
