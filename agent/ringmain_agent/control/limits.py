"""The last check of every setpoint, independent of solver and plan; nothing bypasses it.

The range of each kind of equipment is implemented here a second time, on purpose: a fault in `equipment/` must not pass its
own guard. The shared parts are data and formulas: nameplates with their `failsafe_kw`, measurements,
`Site.transformer_shares` and `active_kw`.

Every setpoint is finite, inside the nameplate, inside the ramp from the last one, and safe for the energy of the battery
even over its whole validity. A position exists, is at most one from the present position, and needs a remaining operation.
Unsafe equipment is released at a site that its equipment cannot bring beyond a limit; else it gets its `failsafe_kw`, as a
plant does that would be released without a meter. Power above the highest rating of a transformer, in either direction, is
taken from the equipment that causes it; without a meter the worst uncontrolled load counts.
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple, assert_never

from msgspec import Struct

from ringmain_agent.equipment.failsafe_power import failsafe_powers_kw
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
"""Highest plausible reactive power, in either direction."""


class Limited(Struct, frozen=True, kw_only=True):
    """Setpoints that may leave the agent (`None` releases), and a reason for each change.

    Invariants:
        * where equipment can break a limit, no battery or load is released, and no plant without a meter;
        * every setpoint is finite and inside the nameplate, for any request;
        * a setpoint that is followed for its whole validity keeps the energy inside its band, or moves it no further out;
        * every position exists, and is at most one from the present position.
    """

    power_kw: dict[str, float | None]
    reasons: tuple[Reason, ...] = ()
    positions: dict[str, int | None] = {}


class PowerRange(NamedTuple):
    """Possible setpoints of an equipment; 0 is possible even below `least_on_kw`."""

    least_kw: float
    most_kw: float
    least_on_kw: float = 0.0

    def clip(self, power_kw: float) -> float:
        """The nearest possible setpoint; a power below `least_on_kw` becomes 0."""
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
    """The setpoints that may leave the agent.

    Args:
        setpoints: Requested power of each equipment; `None` releases. Unknown equipment is dropped.
        site: Nameplates and settings.
        measurements: Energies of batteries, powers, positions and remaining operations.
        previous: Last sent setpoints.
        positions: Requested positions; `None` leaves a position unchanged.
    """
    equipment = {e.name: e for e in site.powered}
    failsafe_kw = failsafe_powers_kw(site) if _is_limited(site, measurements) else {}
    power_kw: dict[str, float | None] = {}
    reasons: list[Reason] = []
    for name, requested in setpoints.items():
        if name not in equipment:
            reasons.append(Reason(ReasonCode.UNKNOWN_EQUIPMENT, f"{name} is not equipment of this site", name))
            continue
        allowed = _allowed(equipment[name], site, measurements, previous)
        safe_kw = failsafe_kw.get(name)
        if requested is None and isinstance(equipment[name], Generator) and _meter_kw(site, measurements) is not None:
            power_kw[name] = None  # the meter shows that no curtailment is needed
        elif requested is None or not math.isfinite(requested):
            power_kw[name] = safe_kw if allowed is None or safe_kw is None else allowed.clip(safe_kw)
            state = "released" if safe_kw is None else f"at {power_kw[name]:.1f} kW"
            if requested is not None:
                text = f"{name} {state}: setpoint is {requested}"
                reasons.append(Reason(ReasonCode.SETPOINT_NOT_FINITE, text, name))
            elif safe_kw is not None:
                text = f"{name} {state}: its release could break a limit"
                reasons.append(Reason(ReasonCode.SETPOINT_LIMITED, text, name))
        elif allowed is None and (safe_kw is None or not min(safe_kw, 0.0) <= requested <= max(safe_kw, 0.0)):
            power_kw[name] = safe_kw
            state = "released" if safe_kw is None else f"at {safe_kw:.1f} kW"
            reasons.append(Reason(ReasonCode.ENERGY_UNKNOWN, f"{name} {state}: its energy is not known", name))
        elif allowed is None:
            power_kw[name] = requested
        else:
            power_kw[name] = granted = allowed.clip(requested)
            if abs(granted - requested) > ROUNDING_KW:
                text = f"{name} limited from {requested:.1f} to {granted:.1f} kW"
                reasons.append(Reason(ReasonCode.SETPOINT_LIMITED, text, name))
    power_kw, unloading = _unload_transformers(power_kw, site, measurements, previous)
    granted_positions, positioning = _positions(positions or {}, site, measurements)
    return Limited(power_kw=power_kw, reasons=(*reasons, *unloading, *positioning), positions=granted_positions)


def _allowed(
    equipment: PoweredEquipment, site: Site, measurements: Measurements, previous: Mapping[str, SentSetpoint]
) -> PowerRange | None:
    """Possible setpoints of an equipment; `None` if unknown."""
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
    """Nameplate, ramp, and the energy for a setpoint's validity. Energy has priority over the ramp: empty stops at once."""
    soc_kwh = measurements.fresh(battery.soc_signal)
    if soc_kwh is None:
        return None
    soc_kwh = _clip(soc_kwh, 0.0, battery.capacity_kwh)
    least, most = -battery.discharge_max_kw, battery.charge_max_kw
    base = _ramp_base(battery, site, measurements, last)
    if base is not None:
        ramp_kw = battery.ramp_kw_per_min * max(measurements.now_ms - base.at_ms, 1000) / 60_000
        power_kw = base.power_kw if base.power_kw is not None else 0.0
        least, most = _clip(power_kw - ramp_kw, least, most), _clip(power_kw + ramp_kw, least, most)
    validity_h = site.regulator.valid_for_s / 3600
    room_kwh = max(battery.soc_max_pu * battery.capacity_kwh - soc_kwh, 0.0)
    left_kwh = max(soc_kwh - battery.soc_min_pu * battery.capacity_kwh, 0.0)
    highest = room_kwh / battery.charge_efficiency / validity_h
    lowest = -left_kwh * battery.discharge_efficiency / validity_h
    return PowerRange(_clip(least, lowest, highest), _clip(most, lowest, highest))


def _ramp_base(battery: Battery, site: Site, measurements: Measurements, last: SentSetpoint | None) -> SentSetpoint | None:
    """Start of the ramp: the last setpoint in force, else the measured power, else `None`."""
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
    power_kw: Mapping[str, float | None], site: Site, measurements: Measurements, previous: Mapping[str, SentSetpoint]
) -> tuple[dict[str, float | None], list[Reason]]:
    """The powers, reduced to the highest ratings of the transformers, in the order of the equipment of the site.

    Drawing equipment gives way to power from the network; discharging batteries, then plants, to power into it.
    """
    granted_kw, reasons = dict(power_kw), list[Reason]()
    if not site.transformers:
        return granted_kw, reasons
    most_kw = _emergency_kw(site, measurements)
    lowest_kw, highest_kw = _expected_pcc_kw(power_kw, site, measurements, previous)
    import_excess_kw, export_excess_kw = highest_kw - most_kw, -most_kw - lowest_kw
    least_on_kw = {load.name: getattr(load, "power_min_kw", 0.0) for load in site.controllable_loads}
    least_on_kw |= {load.name: load.power_kw for load in site.on_off_loads}
    for equipment in (*site.batteries, *site.controllable_loads):
        drawn_kw = power_kw.get(equipment.name)
        if drawn_kw is None or drawn_kw <= 0 or import_excess_kw <= ROUNDING_KW:
            continue
        granted = PowerRange(0.0, drawn_kw, least_on_kw.get(equipment.name, 0.0)).clip(drawn_kw - import_excess_kw)
        granted_kw[equipment.name] = granted
        import_excess_kw -= drawn_kw - granted
        text = f"{equipment.name} limited from {drawn_kw:.1f} to {granted:.1f} kW for the transformers"
        reasons.append(Reason(ReasonCode.TRANSFORMER_LIMIT, text, equipment.name))
    sources: list[Battery | Generator] = [*site.batteries, *(plant for plant in site.generators if plant.curtailable)]
    for source in sources:
        given_kw = _given_kw(source, power_kw, measurements)
        if given_kw >= 0 or export_excess_kw <= ROUNDING_KW:
            continue
        granted_kw[source.name] = granted = min(given_kw + export_excess_kw, 0.0)
        export_excess_kw -= granted - given_kw
        text = f"{source.name} limited from {given_kw:.1f} to {granted:.1f} kW for the transformers"
        reasons.append(Reason(ReasonCode.TRANSFORMER_LIMIT, text, source.name))
    return granted_kw, reasons


def _given_kw(equipment: Battery | Generator, power_kw: Mapping[str, float | None], measurements: Measurements) -> float:
    """Power of a battery by its setpoint, or of a plant by its bound and its measured generation; 0 if nothing is asked."""
    setpoint_kw = power_kw.get(equipment.name)
    if isinstance(equipment, Battery):
        return setpoint_kw or 0.0
    if equipment.name not in power_kw:
        return 0.0
    bound_kw = -equipment.rated_power_kw if setpoint_kw is None else setpoint_kw
    measured_kw = measurements.fresh(equipment.power_signal)
    return bound_kw if measured_kw is None else _clip(measured_kw, bound_kw, 0.0)


def _emergency_kw(site: Site, measurements: Measurements) -> float:
    """Highest power at the pcc within the highest rating of each transformer."""
    kvar = measurements.fresh("pcc_kvar")
    kvar = kvar if kvar is not None and abs(kvar) <= KVAR_MAX else 0.0
    shares, most_kw = site.transformer_shares(), math.inf
    for transformer in site.transformers:
        ratings = [rating.loading_max_pu for rating in transformer.rating if rating.loading_max_pu is not None]
        apparent_kva = max([transformer.loading_max_pu, *ratings]) * transformer.rated_power_kva
        apparent_kva /= max(shares[transformer.name], 1e-6)
        most_kw = min(most_kw, active_kw(apparent_kva, kvar))
    return most_kw


def _expected_pcc_kw(
    power_kw: Mapping[str, float | None], site: Site, measurements: Measurements, previous: Mapping[str, SentSetpoint]
) -> tuple[float, float]:
    """Lowest and highest power at the pcc once all equipment follows its setpoints.

    By the meter while it is there; equipment that is not measured is then at most at its last setpoint. Without a meter, for
    the worst uncontrolled load, with full generation or none.
    """
    pcc_kw = _meter_kw(site, measurements)
    if pcc_kw is not None:
        changes = [_change_kw(e, power_kw.get(e.name), measurements, previous.get(e.name)) for e in site.powered]
        return pcc_kw + math.fsum(least for least, _ in changes), pcc_kw + math.fsum(most for _, most in changes)
    lowest_kw, highest_kw = _load_range_kw(site, measurements)
    for equipment in site.powered:
        least, most = _nameplate_kw(equipment)
        setpoint_kw = power_kw.get(equipment.name)
        if setpoint_kw is not None:
            least, most = (
                (setpoint_kw, setpoint_kw)
                if isinstance(equipment, Battery)
                else (
                    min(setpoint_kw, 0.0),
                    max(setpoint_kw, 0.0),
                )
            )
        lowest_kw, highest_kw = lowest_kw + least, highest_kw + most
    return lowest_kw, highest_kw


def _change_kw(
    equipment: PoweredEquipment, setpoint_kw: float | None, measurements: Measurements, last: SentSetpoint | None
) -> tuple[float, float]:
    """Lowest and highest change of its power by a setpoint; a plant that is released may do as it does now."""
    if setpoint_kw is None:
        return 0.0, 0.0
    measured_kw = measurements.fresh(equipment.power_signal)
    if isinstance(equipment, Generator):
        change_kw = 0.0 if measured_kw is None else max(setpoint_kw - measured_kw, 0.0)
        return change_kw, change_kw
    if measured_kw is not None:
        return setpoint_kw - measured_kw, setpoint_kw - measured_kw
    least, most = _nameplate_kw(equipment)
    if last is not None and last.power_kw is not None:
        least, most = min(last.power_kw, 0.0), max(last.power_kw, 0.0)
    return setpoint_kw - most, setpoint_kw - least


def _meter_kw(site: Site, measurements: Measurements) -> float | None:
    """The power at the pcc; `None` once the meter is lost. A site without a pcc feed has `load_kw` for a meter."""
    name = "pcc_kw" if site.pcc_feed or "pcc_kw" in measurements.newest else "load_kw"
    value, measured = measurements.fresh(name), measurements.newest.get(name)
    if value is None or measured is None:
        return None
    if measurements.now_ms - measured.at_ms > 1000 * site.grid_connection.meter_lost_after_s:
        return None
    if name == "pcc_kw":
        return value
    powers_kw = [measurements.fresh(equipment.power_signal) for equipment in site.powered]
    return math.fsum((value, *(power_kw or 0.0 for power_kw in powers_kw)))


def _load_range_kw(site: Site, measurements: Measurements) -> tuple[float, float]:
    """Lowest and highest uncontrolled load: of the last week, else between 0 and the import limit; and as measured now."""
    least_kw, most_kw = measurements.load_least_kw, measurements.load_most_kw
    if least_kw is None or most_kw is None or not (math.isfinite(least_kw) and math.isfinite(most_kw)):
        least_kw, most_kw = 0.0, site.grid_connection.import_limit_kw
    load_kw = measurements.fresh("load_kw")
    return (least_kw, most_kw) if load_kw is None else (min(least_kw, load_kw), max(most_kw, load_kw))


def _nameplate_kw(equipment: PoweredEquipment) -> tuple[float, float]:
    match equipment:
        case Battery():
            return -equipment.discharge_max_kw, equipment.charge_max_kw
        case Generator():
            return -equipment.rated_power_kw, 0.0
        case OnOffLoad():
            return 0.0, equipment.power_kw
        case ChargingStation() | FlexibleLoad() | ThermalLoad():
            return 0.0, equipment.power_max_kw
        case _:
            assert_never(equipment)


def _is_limited(site: Site, measurements: Measurements) -> bool:
    """True if the equipment can bring the site beyond a limit."""
    lowest_kw, highest_kw = _expected_worst_kw(site, measurements)
    limits = (measurements.import_limit_kw, measurements.export_limit_kw)
    import_kw, export_kw = (limit if math.isfinite(limit) else 0.0 for limit in limits)
    failsafe_import_kw, failsafe_export_kw = site.grid_connection.failsafe_limits_kw
    return highest_kw > min(import_kw, failsafe_import_kw) or lowest_kw < -min(export_kw, failsafe_export_kw)


def _expected_worst_kw(site: Site, measurements: Measurements) -> tuple[float, float]:
    lowest_kw, highest_kw = _load_range_kw(site, measurements)
    powers = [_nameplate_kw(equipment) for equipment in site.powered]
    return lowest_kw + math.fsum(least for least, _ in powers), highest_kw + math.fsum(most for _, most in powers)


def _positions(
    requested: Mapping[str, int | None], site: Site, measurements: Measurements
) -> tuple[dict[str, int | None], list[Reason]]:
    """Each position, or `None` if it stays unchanged."""
    switched = {equipment.name: equipment for equipment in site.switched}
    granted: dict[str, int | None] = {}
    reasons: list[Reason] = []
    for name, position in requested.items():
        if name not in switched:
            reasons.append(Reason(ReasonCode.UNKNOWN_EQUIPMENT, f"{name} is not equipment of this site", name))
            continue
        granted[name], reason = (None, None) if position is None else _position(switched[name], position, measurements)
        reasons += [] if reason is None else [reason]
    return granted, reasons


def _position(
    switched: CapacitorBank | TapChanger, requested: int, measurements: Measurements
) -> tuple[int | None, Reason | None]:
    name, measured = switched.name, measurements.fresh(switched.position_signal)
    if measured is None:
        return None, Reason(ReasonCode.POSITION_UNKNOWN, f"{name} keeps its position: it is not known", name)
    at = round(measured)
    lowest, highest = switched.positions
    granted = min(max(requested, at - 1, lowest), at + 1, highest)
    if not lowest <= at <= highest:
        text = f"{name} keeps its position: reported position {at} is outside {lowest} to {highest}"
        return None, Reason(ReasonCode.IMPLAUSIBLE, text, name)
    if granted != at and measurements.operations_left.get(name, 1) <= 0:
        return None, Reason(ReasonCode.NO_OPERATION_LEFT, f"{name} keeps its position: no operation is left today", name)
    if granted != requested:
        text = f"{name} limited from position {requested} to {granted}"
        return granted, Reason(ReasonCode.SETPOINT_LIMITED, text, name)
    return granted, None


def _clip(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
