"""A simulated substation: real load, simulated PV and battery, sensors and faults. It has no network and no clock.

Invariants:
- pcc = load + PV + battery in every interval; positive is drawn from the network.
- A sensor reports the mean over an interval, stamped with the START of the interval; state of charge and temperature are
  the values at its END.
- Every setpoint expires: PV is unlimited and the battery at 0 kW `valid_for_s` of simulated time after receipt.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from ringmain_protocol.steps import Reading
from ringmain_simulation.battery import Battery, BatteryDesign, Command
from ringmain_simulation.replay import Replay

STEP_MS: Final = 900_000
BATTERY: Final = "battery"
PV: Final = "pv"
SIGNALS: Final = ("load_kw", "pv_kw", "battery_kw", "battery_soc_kwh", "pcc_kw", "temperature_degc")


class SiteDesign(Struct, frozen=True, kw_only=True):
    """Equipment of a site, and the limits of its network operator."""

    site: str
    import_limit_kw: float
    export_limit_kw: float
    margin_kw: float
    pv_rated_power_kw: float
    battery: BatteryDesign


class FaultKind(StrEnum):
    """Kinds of faults to simulate."""

    SILENT_SENSOR = "silent_sensor"
    STUCK_BATTERY = "stuck_battery"
    REFUSED_SETPOINT = "refused_setpoint"


class Fault(Struct, frozen=True, kw_only=True):
    """One fault from one instant to another; `signal` names a silent sensor."""

    kind: FaultKind
    from_ms: int
    to_ms: int
    signal: str = ""


class Exchange(Struct, frozen=True):
    """One quarter-hour at the point of common coupling: power with control, and without it."""

    start_ms: int
    pcc_kw: float
    uncontrolled_kw: float


class SimulatedSite:
    """One substation. `advance` lets time pass, `receive` takes a setpoint."""

    def __init__(self, design: SiteDesign, replay: Replay) -> None:
        self.design = design
        self.now_ms = replay.start_ms
        self.battery = Battery(design.battery)
        self.pv_command: Command | None = None
        self.exchanges: list[Exchange] = []
        self.refused = 0
        self.newest: dict[str, float] = {}
        self._replay = replay
        self._faults: list[Fault] = []
        self._energy_kwms = [0.0, 0.0]

    def add_fault(self, fault: Fault) -> None:
        """Simulate a fault for its time."""
        self._faults.append(fault)

    def receive(self, equipment: str, power_kw: float | None, valid_for_s: float) -> bool:
        """Take a setpoint for `valid_for_s` of simulated time from now; `None` releases it. False if the equipment refuses.

        Raises:
            ValueError: If there is no such equipment.
        """
        if equipment not in (BATTERY, PV):
            raise ValueError(f"site {self.design.site} has no equipment {equipment!r}")
        command = None if power_kw is None else Command(power_kw, self.now_ms + round(1000 * valid_for_s))
        fits = power_kw is None or (self.battery.accepts(power_kw) if equipment == BATTERY else power_kw <= 0)
        if not fits or self._broken(FaultKind.REFUSED_SETPOINT, self.now_ms):
            self.refused += 1
            return False
        if equipment == BATTERY:
            self.battery.command = command
        else:
            self.pv_command = command
        return True

    def advance(self, until_ms: int, interval_s: int) -> list[Reading]:
        """Let time pass; returns the readings of the sensors, one of each signal for every interval."""
        readings: list[Reading] = []
        while self.now_ms < until_ms:
            readings += self._interval(min(self.now_ms + 1000 * interval_s, until_ms))
        return readings

    def violations(self, from_ms: int, to_ms: int) -> tuple[int, int]:
        """Quarter-hours that import more than the limit: with control, and without it."""
        shown = [e for e in self.exchanges if from_ms <= e.start_ms < to_ms]
        limit_kw = self.design.import_limit_kw
        return sum(e.pcc_kw > limit_kw for e in shown), sum(e.uncontrolled_kw > limit_kw for e in shown)

    def _interval(self, until_ms: int) -> list[Reading]:
        since_ms = self.now_ms
        minutes = self._replay.span(since_ms, until_ms)
        load_kw = float(self._replay.load_kw[minutes].mean())
        available_kw = float(self._replay.pv_available_kw[minutes].mean())
        pv_kw = self._pv_kw(available_kw, since_ms, until_ms)
        stuck = self._broken(FaultKind.STUCK_BATTERY, since_ms)
        battery_kw = self.battery.advance(since_ms, until_ms, stuck=stuck)
        pcc_kw = load_kw + pv_kw + battery_kw
        self.now_ms = until_ms
        self._account(pcc_kw, load_kw + available_kw, since_ms, until_ms)
        values = (
            load_kw,
            pv_kw,
            battery_kw,
            self.battery.soc_kwh,
            pcc_kw,
            float(self._replay.temperature_degc[minutes.stop - 1]),
        )
        self.newest = dict(zip(SIGNALS, values, strict=True))
        return [
            Reading(signal, since_ms, round(value, 3))
            for signal, value in self.newest.items()
            if not self._silent(signal, since_ms)
        ]

    def _pv_kw(self, available_kw: float, since_ms: int, until_ms: int) -> float:
        command = self.pv_command
        if command is None or command.expires_ms <= since_ms:
            self.pv_command = None
            return available_kw
        share = (min(command.expires_ms, until_ms) - since_ms) / (until_ms - since_ms)
        return share * max(available_kw, command.power_kw) + (1 - share) * available_kw

    def _account(self, pcc_kw: float, uncontrolled_kw: float, since_ms: int, until_ms: int) -> None:
        for i, power_kw in enumerate((pcc_kw, uncontrolled_kw)):
            self._energy_kwms[i] += power_kw * (until_ms - since_ms)
        if until_ms % STEP_MS == 0:
            self.exchanges.append(Exchange(until_ms - STEP_MS, *(energy / STEP_MS for energy in self._energy_kwms)))
            self._energy_kwms = [0.0, 0.0]

    def _silent(self, signal: str, at_ms: int) -> bool:
        gap = signal == "load_kw" and not self._replay.load_known[(at_ms - self._replay.start_ms) // STEP_MS]
        return gap or self._broken(FaultKind.SILENT_SENSOR, at_ms, signal)

    def _broken(self, kind: FaultKind, at_ms: int, signal: str = "") -> bool:
        return any(f.kind == kind and f.from_ms <= at_ms < f.to_ms and f.signal == signal for f in self._faults)
