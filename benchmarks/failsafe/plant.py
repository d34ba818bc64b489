"""The true plant: recorded load and sun, a battery, a PV plant and two chargers that follow their setpoints, or do not.

It knows no agent. Each second it takes the setpoints in force, lets one second pass, and knows the true power at the
connection and the range of powers that an all-knowing controller could have reached with the equipment that still obeys.

Invariants:
- pcc = load + battery + PV + chargers in every second; positive is drawn from the network.
- A setpoint ends `valid_for_s` after its receipt; the equipment then does what its output calls `when_silent`.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from benchmarks.failsafe.site import BATTERY, CHARGERS, PV, SiteDesign
from ringmain_simulation.replay import MINUTE_MS, Replay

SECOND_MS: Final = 1000
_HOUR_S: Final = 3600.0
EFFICIENCY: Final = 0.95
SOC_LEAST_PU: Final = 0.05
SOC_MOST_PU: Final = 0.95


class Manner(StrEnum):
    """Manner in which an equipment takes its setpoints."""

    FOLLOWS = "follows"
    STAYS = "stays"
    """It keeps the power that it has."""
    OPPOSES = "opposes"
    """A battery that charges where it is told to discharge."""
    SILENT = "silent"
    """It hears no setpoint, and its sensors say nothing."""


class Command(NamedTuple):
    """A setpoint in force; no power means free."""

    power_kw: float | None
    until_ms: float


class PowerRange(NamedTuple):
    """Lowest and highest power of the connection that the obeying equipment could have reached."""

    least_kw: float
    most_kw: float


class Second(NamedTuple):
    """One second of truth."""

    at_ms: int
    pcc_kw: float
    load_kw: float
    powers_kw: dict[str, float]
    reachable: PowerRange


class Plant:
    """One substation; `receive` takes a setpoint, `advance` lets a second pass."""

    def __init__(self, design: SiteDesign, record: Replay, *, load_scale: float, sun_scale: float) -> None:
        self.design = design
        self.now_ms = record.start_ms
        self.soc_kwh = 0.6 * design.battery_kwh
        self.wanted_kwh = dict.fromkeys(CHARGERS, 60.0)
        self.manner: dict[str, Manner] = dict.fromkeys((BATTERY, PV, *CHARGERS), Manner.FOLLOWS)
        self.energy_known = True
        """A battery whose energy nobody knows must not be used, not even by an all-knowing controller's rules."""
        self.commands: dict[str, Command] = {}
        self.powers_kw: dict[str, float] = dict.fromkeys((BATTERY, PV, *CHARGERS), 0.0)
        self._record, self._scales = record, (load_scale, sun_scale)

    def receive(self, equipment: str, power_kw: float | None, valid_for_s: float) -> None:
        """A setpoint for an equipment; `None` frees it."""
        if self.manner[equipment] is not Manner.SILENT:
            self.commands[equipment] = Command(power_kw, self.now_ms + 1000 * valid_for_s)

    def advance(self) -> Second:
        """Let one second pass."""
        minute = (self.now_ms - self._record.start_ms) // MINUTE_MS
        load_kw = float(self._record.load_kw[minute]) * self._scales[0]
        sun_kw = max(float(self._record.pv_available_kw[minute]) * self._scales[1], -self.design.pv_kw)
        self.now_ms += SECOND_MS
        usable = [name for name, manner in self.manner.items() if manner is Manner.FOLLOWS]
        if not self.energy_known and BATTERY in usable:
            usable.remove(BATTERY)
        obeying = {name: self._range(name, sun_kw) for name in usable}
        self.powers_kw = {name: self._power_kw(name, sun_kw) for name in self.powers_kw}
        self._store()
        stuck_kw = sum(kw for name, kw in self.powers_kw.items() if name not in obeying)
        return Second(
            at_ms=self.now_ms,
            pcc_kw=load_kw + sum(self.powers_kw.values()),
            load_kw=load_kw,
            powers_kw=dict(self.powers_kw),
            reachable=PowerRange(
                load_kw + stuck_kw + sum(least for least, _ in obeying.values()),
                load_kw + stuck_kw + sum(most for _, most in obeying.values()),
            ),
        )

    def _range(self, name: str, sun_kw: float) -> tuple[float, float]:
        """Powers that an obeying equipment can take in this second."""
        if name == PV:
            return sun_kw, 0.0
        if name in CHARGERS:
            return 0.0, self.design.charger_kw if self.wanted_kwh[name] > 0 else 0.0
        soc_pu = self.soc_kwh / self.design.battery_kwh
        return (
            -self.design.battery_kw if soc_pu > SOC_LEAST_PU else 0.0,
            self.design.battery_kw if soc_pu < SOC_MOST_PU else 0.0,
        )

    def _power_kw(self, name: str, sun_kw: float) -> float:
        least_kw, most_kw = self._range(name, sun_kw)
        manner = self.manner[name]
        if manner is Manner.STAYS:
            wanted_kw: float | None = self.powers_kw[name]
        else:
            wanted_kw = self._commanded_kw(name)
        if wanted_kw is None:  # free: the sun's power, the vehicle's wish, a battery at rest
            wanted_kw = {PV: sun_kw, BATTERY: 0.0}.get(name, most_kw)
        if manner is Manner.OPPOSES:
            wanted_kw = least_kw + most_kw - wanted_kw
        return min(max(wanted_kw, least_kw), most_kw)

    def _commanded_kw(self, name: str) -> float | None:
        command = self.commands.get(name)
        if command is None or command.until_ms < self.now_ms:
            return self.design.when_silent_kw[name]
        return command.power_kw

    def _store(self) -> None:
        battery_kw = self.powers_kw[BATTERY]
        inside_kw = battery_kw * EFFICIENCY if battery_kw > 0 else battery_kw / EFFICIENCY
        self.soc_kwh += inside_kw / _HOUR_S
        for name in CHARGERS:
            self.wanted_kwh[name] = max(self.wanted_kwh[name] - self.powers_kw[name] * 0.92 / _HOUR_S, 0.0)
            if not self.wanted_kwh[name]:
                self.wanted_kwh[name] = 60.0  # the next vehicle
