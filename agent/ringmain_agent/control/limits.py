"""The last thing before equipment: no solver, no plan, no way round.

The range of each kind of equipment stands here a second time, on purpose: a fault in `equipment/` must not pass its own
guard. Shared with the guarded code are data and two formulas: nameplates, measurements, the shares of the transformers
(`Site.transformer_shares`) and `active_kw`.

Every setpoint is finite, inside the nameplate, inside the ramp from the last one, and safe for the energy in the battery
even if it stays in force for its whole validity. A position is one that the equipment has, one step from where it is, and
only taken while operations are left. What cannot be made safe is released. What would load a transformer beyond anything
that it is rated for is taken from whatever draws power.
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple, assert_never

from msgspec import Struct

from ringmain_agent.site.nameplates import (
    Battery,
    CapacitorBank,
    ChargingStation,
    FlexibleLoad,
    Generator,
    OnOffLoad,
    TapChanger,
    ThermalLoad,
    active_kw,
)
from ringmain_agent.site.site import PoweredEquipment, Site
from ringmain_agent.snapshot import Measurements, Reason, SentSetpoint
from ringmain_protocol.messages import ReasonCode

ROUNDING_KW: Final = 1e-9
KVAR_MAX: Final = 1e8
"""A measured reactive power beyond is not believed, in either direction."""


class Limited(Struct, frozen=True, kw_only=True):
    """Setpoints that may leave the agent (`None` releases), and what had to be changed for that.

    Invariants:
        * setpoints stay inside limits: finite and inside the nameplate, for whatever was wished;
        * a setpoint that is followed for its whole validity leaves the energy inside its band, or does not move it out;
        * a position is one that the equipment has, and at most one from where it is.
    """

    power_kw: dict[str, float | None]
    reasons: tuple[Reason, ...] = ()
    positions: dict[str, int | None] = {}


class PowerRange(NamedTuple):
    """Powers that an equipment may be set to now; 0 is one of them also below `least_on_kw`."""

    least_kw: float
    most_kw: float
    least_on_kw: float = 0.0

    def clip(self, power_kw: float) -> float:
        """The nearest of them; a power that is too small to run is off."""
        power_kw = min(max(power_kw, self.least_kw), self.most_kw)
        if 0 < power_kw < self.least_on_kw - ROUNDING_KW:
            return 0.0
        return min(max(power_kw, self.least_on_kw), self.most_kw) if power_kw > 0 else power_kw


def limit_setpoints(
    setpoints: Mapping[str, float | None],
    *,
    site: Site,
    measurements: Measurements,
    previous: Mapping[str, SentSetpoint],
    positions: Mapping[str, int | None] | None = None,
) -> Limited:
    """The setpoints as they may leave the agent.

    Args:
        setpoints: What is wished, by equipment; `None` releases. Equipment that the site does not have is dropped.
        site: Nameplates and settings.
        measurements: Energy in the batteries, powers, positions and operations left.
        previous: The last setpoints that were sent.
        positions: What is wished of equipment with positions; `None` leaves it where it is.
    """
    equipment = {e.name: e for e in site.powered}
    power_kw: dict[str, float | None] = {}
    reasons: list[Reason] = []
    for name, wished in setpoints.items():
        if name not in equipment:
            reasons.append(Reason(ReasonCode.UNKNOWN_EQUIPMENT, f"{name} is not equipment of this site", name))
            continue
        allowed = _allowed(equipment[name], site, measurements, previous)
        if wished is None:
            power_kw[name] = None
        elif not math.isfinite(wished):
            power_kw[name] = None
            reasons.append(Reason(ReasonCode.SETPOINT_NOT_FINITE, f"{name} released: setpoint is {wished}", name))
        elif allowed is None:
            power_kw[name] = None
            reasons.append(Reason(ReasonCode.ENERGY_UNKNOWN, f"{name} released: its energy is not known", name))
        else:
            power_kw[name] = granted = allowed.clip(wished)
            if abs(granted - wished) > ROUNDING_KW:
                text = f"{name} limited from {wished:.1f} to {granted:.1f} kW"
                reasons.append(Reason(ReasonCode.SETPOINT_LIMITED, text, name))
    power_kw, unloading = _unload_transformers(power_kw, site, measurements)
    granted_positions, positioning = _positions(positions or {}, site, measurements)
    return Limited(power_kw=power_kw, reasons=(*reasons, *unloading, *positioning), positions=granted_positions)


def _allowed(
    equipment: PoweredEquipment, site: Site, measurements: Measurements, previous: Mapping[str, SentSetpoint]
) -> PowerRange | None:
    """Powers that an equipment may be set to; `None` where they are not known."""
    match equipment:
        case Battery():
            return _battery_range(equipment, site, measurements, previous.get(equipment.name))
        case Generator():
            return PowerRange(-equipment.rated_power_kw, 0.0)
        case OnOffLoad():
            return PowerRange(0.0, equipment.power_kw, equipment.power_kw)
        case ChargingStation() | FlexibleLoad():
            return PowerRange(0.0, equipment.power_max_kw, equipment.power_min_kw)
        case ThermalLoad():
            return PowerRange(0.0, equipment.power_max_kw)
        case _:
            assert_never(equipment)


def _battery_range(battery: Battery, site: Site, measurements: Measurements, last: SentSetpoint | None) -> PowerRange | None:
    """Nameplate, ramp and the energy left over a setpoint's validity. Energy goes before ramp: empty stops at once."""
    soc_kwh = measurements.fresh(battery.soc_signal)
    if soc_kwh is None:
        return None
    soc_kwh = _clip(soc_kwh, 0.0, battery.capacity_kwh)
    least, most = -battery.discharge_max_kw, battery.charge_max_kw
    base = _ramp_base(battery, site, measurements, last)
    if base is not None:
        reach_kw = battery.ramp_kw_per_min * max(measurements.now_ms - base.at_ms, 1000) / 60_000
        power_kw = base.power_kw if base.power_kw is not None else 0.0
        least, most = _clip(power_kw - reach_kw, least, most), _clip(power_kw + reach_kw, least, most)
    validity_h = site.regulator.valid_for_s / 3600
    room_kwh = max(battery.soc_max_pu * battery.capacity_kwh - soc_kwh, 0.0)
    left_kwh = max(soc_kwh - battery.soc_min_pu * battery.capacity_kwh, 0.0)
    highest = room_kwh / battery.charge_efficiency / validity_h
    lowest = -left_kwh * battery.discharge_efficiency / validity_h
    return PowerRange(_clip(least, lowest, highest), _clip(most, lowest, highest))


def _ramp_base(battery: Battery, site: Site, measurements: Measurements, last: SentSetpoint | None) -> SentSetpoint | None:
    """Where the ramp starts: the last setpoint while it is in force, else the measured power, else nowhere."""
    if (
        last is not None
        and last.power_kw is not None
        and 0 <= measurements.now_ms - last.at_ms <= 1000 * site.regulator.valid_for_s
    ):
        return last
    power_kw = measurements.fresh(battery.power_signal)
    if power_kw is None:
        return None
    return SentSetpoint(power_kw, measurements.newest[battery.power_signal].at_ms)


def _unload_transformers(
    power_kw: Mapping[str, float | None], site: Site, measurements: Measurements
) -> tuple[dict[str, float | None], list[Reason]]:
    """The powers less what no rating of a transformer allows, taken from what draws power in the order of the site."""
    granted_kw, reasons = dict(power_kw), list[Reason]()
    if not site.transformers:
        return granted_kw, reasons
    most_kw = _emergency_kw(site, measurements)
    expected_kw = _expected_pcc_kw(power_kw, site, measurements)
    if expected_kw is None or expected_kw <= most_kw:
        return granted_kw, reasons
    excess_kw = expected_kw - most_kw
    least_on_kw = {load.name: getattr(load, "power_min_kw", 0.0) for load in site.controllable_loads}
    least_on_kw |= {load.name: load.power_kw for load in site.on_off_loads}
    for equipment in (*site.batteries, *site.controllable_loads):
        drawn_kw = power_kw.get(equipment.name)
        if drawn_kw is None or drawn_kw <= 0 or excess_kw <= ROUNDING_KW:
            continue
        granted = PowerRange(0.0, drawn_kw, least_on_kw.get(equipment.name, 0.0)).clip(drawn_kw - excess_kw)
        granted_kw[equipment.name] = granted
        excess_kw -= drawn_kw - granted
        text = f"{equipment.name} limited from {drawn_kw:.1f} to {granted:.1f} kW for the transformers"
        reasons.append(Reason(ReasonCode.TRANSFORMER_LIMIT, text, equipment.name))
    return granted_kw, reasons


def _emergency_kw(site: Site, measurements: Measurements) -> float:
    """Most power through the pcc that the highest rating of each transformer allows."""
    kvar = measurements.fresh("pcc_kvar")
    kvar = kvar if kvar is not None and abs(kvar) <= KVAR_MAX else 0.0
    shares, most_kw = site.transformer_shares(), math.inf
    for transformer in site.transformers:
        ratings = [rating.loading_max_pu for rating in transformer.rating if rating.loading_max_pu is not None]
        apparent_kva = max([transformer.loading_max_pu, *ratings]) * transformer.rated_power_kva
        apparent_kva /= max(shares[transformer.name], 1e-6)
        most_kw = min(most_kw, active_kw(apparent_kva, kvar))
    return most_kw


def _expected_pcc_kw(power_kw: Mapping[str, float | None], site: Site, measurements: Measurements) -> float | None:
    """Power at the pcc once batteries and loads have followed; `None` where it is not known."""
    parts_kw = [measurements.fresh("pcc_kw")]
    for equipment in (*site.batteries, *site.controllable_loads):
        setpoint_kw = power_kw.get(equipment.name)
        if setpoint_kw is not None:
            measured_kw = measurements.fresh(equipment.power_signal)
            parts_kw += [setpoint_kw, None if measured_kw is None else -measured_kw]
    known_kw = [part for part in parts_kw if part is not None]
    return math.fsum(known_kw) if len(known_kw) == len(parts_kw) else None


def _positions(
    wished: Mapping[str, int | None], site: Site, measurements: Measurements
) -> tuple[dict[str, int | None], list[Reason]]:
    """Each position, or `None` where the equipment stays as it is."""
    switched = {equipment.name: equipment for equipment in site.switched}
    granted: dict[str, int | None] = {}
    reasons: list[Reason] = []
    for name, position in wished.items():
        if name not in switched:
            reasons.append(Reason(ReasonCode.UNKNOWN_EQUIPMENT, f"{name} is not equipment of this site", name))
            continue
        granted[name], reason = (None, None) if position is None else _position(switched[name], position, measurements)
        reasons += [] if reason is None else [reason]
    return granted, reasons


def _position(
    switched: CapacitorBank | TapChanger, wished: int, measurements: Measurements
) -> tuple[int | None, Reason | None]:
    name, measured = switched.name, measurements.fresh(switched.position_signal)
    if measured is None:
        return None, Reason(ReasonCode.POSITION_UNKNOWN, f"{name} keeps its position: it is not known", name)
    at = round(measured)
    lowest, highest = switched.positions
    granted = min(max(wished, at - 1, lowest), at + 1, highest)
    if not lowest <= at <= highest:
        text = f"{name} keeps its position: reported position {at} is outside {lowest} to {highest}"
        return None, Reason(ReasonCode.IMPLAUSIBLE, text, name)
    if granted != at and measurements.operations_left.get(name, 1) <= 0:
        return None, Reason(ReasonCode.NO_OPERATION_LEFT, f"{name} keeps its position: no operation is left today", name)
    if granted != wished:
        text = f"{name} limited from position {wished} to {granted}"
        return granted, Reason(ReasonCode.SETPOINT_LIMITED, text, name)
    return granted, None


def _clip(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
