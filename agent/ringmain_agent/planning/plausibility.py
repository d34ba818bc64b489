"""Replaces implausible values of a snapshot by safe ones and names each replacement once. Pure.

A measurement that is no number is a missing one; energy outside what a battery can hold is the nearest that it can; a limit
that is no number is the site's own.
"""

import math
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Reason, Snapshot, ThermalState
from ringmain_protocol.messages import ReasonCode

POWER_MAX_KW: Final = 1e8
BREACH_MAX_PER_KWH: Final = 1e3
TEMPERATURE_MAX_DEGC: Final = 300.0
VOLTAGE_PU: Final = (0.5, 1.5)


def plausible_snapshot(snapshot: Snapshot, site: Site) -> tuple[Snapshot, list[Reason]]:
    """The snapshot with implausible values replaced by safe ones, and a reason for each replacement."""
    connection = site.grid_connection
    soc_kwh, energies = _soc_kwh(snapshot, site)
    breach, prices = _breach_per_kwh(snapshot.breach_per_kwh)
    imports_kw, imports = _limits_kw("import", snapshot.import_limit_kw, connection.import_limit_kw)
    exports_kw, exports = _limits_kw("export", snapshot.export_limit_kw, connection.export_limit_kw)
    return (
        replace(
            snapshot,
            import_limit_kw=imports_kw,
            export_limit_kw=exports_kw,
            wished_import_kw=[
                _within(value, 0.0, POWER_MAX_KW) for value in snapshot.wished_import_kw[: site.horizon_steps]
            ],
            wished_export_kw=[
                _within(value, 0.0, POWER_MAX_KW) for value in snapshot.wished_export_kw[: site.horizon_steps]
            ],
            breach_per_kwh=breach,
            soc_kwh=soc_kwh,
            billing_peak_kw=_kept(snapshot.billing_peak_kw, -POWER_MAX_KW, POWER_MAX_KW),
            temperature_degc=_kept(snapshot.temperature_degc, -TEMPERATURE_MAX_DEGC, TEMPERATURE_MAX_DEGC),
            thermal={name: state for name, state in snapshot.thermal.items() if _is_state(state)},
            positions=_positions(snapshot, site),
            voltage_pu=_within(snapshot.voltage_pu, *VOLTAGE_PU),
            pcc_kw=_within(snapshot.pcc_kw, -POWER_MAX_KW, POWER_MAX_KW),
            pcc_kvar=_within(snapshot.pcc_kvar, -POWER_MAX_KW, POWER_MAX_KW),
            held_kw=_held_kw(snapshot, site),
        ),
        [*energies, *prices, *imports, *exports],
    )


def _breach_per_kwh(price: float) -> tuple[float, list[Reason]]:
    if 0 <= price <= BREACH_MAX_PER_KWH:
        return price, []
    used = BREACH_MAX_PER_KWH if price > BREACH_MAX_PER_KWH else 0.0
    text = f"breach_per_kwh {price:g} is outside 0 to {BREACH_MAX_PER_KWH:g}; using {used:g}"
    return used, [Reason(ReasonCode.IMPLAUSIBLE, text, "breach_per_kwh")]


def _soc_kwh(snapshot: Snapshot, site: Site) -> tuple[dict[str, float | None], list[Reason]]:
    found: dict[str, float | None] = {}
    reasons = []
    for battery in site.batteries:
        soc_kwh = snapshot.soc_kwh.get(battery.name)
        if soc_kwh is not None and math.isfinite(soc_kwh):
            found[battery.name] = inside = min(max(soc_kwh, 0.0), battery.capacity_kwh)
            if abs(inside - soc_kwh) > 0.01 * battery.capacity_kwh:
                text = f"{battery.name} reports {soc_kwh:g} kWh of {battery.capacity_kwh:g}; using {inside:g}"
                reasons.append(Reason(ReasonCode.IMPLAUSIBLE, text, battery.name))
    return found, reasons


def _held_kw(snapshot: Snapshot, site: Site) -> dict[str, float]:
    """Powers of equipment that does not follow, as far as its nameplate allows them."""
    ranges = {battery.name: (-battery.discharge_max_kw, battery.charge_max_kw) for battery in site.batteries}
    ranges |= {generator.name: (-generator.rated_power_kw, 0.0) for generator in site.generators}
    ranges |= {on_off.name: (0.0, on_off.power_kw) for on_off in site.on_off_loads}
    for loads in (site.flexible_loads, site.charging_stations, site.thermal_loads):
        ranges |= {load.name: (0.0, load.power_max_kw) for load in loads}
    return {
        name: min(max(held_kw, ranges[name][0]), ranges[name][1])
        for name, held_kw in snapshot.held_kw.items()
        if name in ranges and math.isfinite(held_kw)
    }


def _positions(snapshot: Snapshot, site: Site) -> dict[str, int | None]:
    """Positions that the equipment has; it stays where it is when that is not known."""
    found: dict[str, int | None] = {}
    for switched in site.switched:
        position, (lowest, highest) = snapshot.positions.get(switched.name), switched.positions
        found[switched.name] = position if position is not None and lowest <= position <= highest else None
    return found


def _limits_kw(side: str, limits_kw: list[float], own_kw: float) -> tuple[list[float], list[Reason]]:
    reasons = []
    if not all(math.isfinite(limit) for limit in limits_kw):
        text = f"{side} limit is not a number; using the site's own limit"
        reasons.append(Reason(ReasonCode.IMPLAUSIBLE, text, f"{side}_limit_kw"))
    return [min(max(limit if math.isfinite(limit) else own_kw, 0.0), POWER_MAX_KW) for limit in limits_kw], reasons


def _within(value: float | None, lowest: float, highest: float) -> float | None:
    return value if value is not None and lowest <= value <= highest else None


def _kept(values: Mapping[str, float | None], lowest: float, highest: float) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None and lowest <= value <= highest}


def _is_state(state: ThermalState) -> bool:
    return all(abs(t) <= TEMPERATURE_MAX_DEGC for t in (state.top_oil_degc, state.winding_k, state.oil_lag_k))
