"""Replaces implausible values of a snapshot by safe ones and lists each replacement. Pure.

A measurement that is no number is a missing one; a limit that is no number is the site's own. The plausible state of
equipment is that of its kind.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from ringmain_agent.equipment.registry import KINDS, kind_of
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Reason, Snapshot
from ringmain_protocol.messages import ReasonCode

POWER_MAX_KW: Final = 1e8
BREACH_MAX_PER_KWH: Final = 1e3
VOLTAGE_MIN_PU: Final = 0.5
VOLTAGE_MAX_PU: Final = 1.5


def plausible_snapshot(snapshot: Snapshot, site: Site) -> tuple[Snapshot, list[Reason]]:
    """The snapshot that is planned with, and a reason for each replacement."""
    states, state_reasons = _states(snapshot, site)
    breach_per_kwh, breach_reasons = _breach_per_kwh(snapshot.breach_per_kwh)
    connection, steps = site.grid_connection, site.horizon_steps
    import_kw, import_reasons = _limits_kw("import", snapshot.import_limit_kw, connection.import_limit_kw)
    export_kw, export_reasons = _limits_kw("export", snapshot.export_limit_kw, connection.export_limit_kw)
    plausible = replace(
        snapshot,
        import_limit_kw=import_kw,
        export_limit_kw=export_kw,
        wished_import_kw=[_within(value, 0.0, POWER_MAX_KW) for value in snapshot.wished_import_kw[:steps]],
        wished_export_kw=[_within(value, 0.0, POWER_MAX_KW) for value in snapshot.wished_export_kw[:steps]],
        breach_per_kwh=breach_per_kwh,
        billing_peak_kw=_kept(snapshot.billing_peak_kw, -POWER_MAX_KW, POWER_MAX_KW),
        voltage_pu=_within(snapshot.voltage_pu, VOLTAGE_MIN_PU, VOLTAGE_MAX_PU),
        pcc_kw=_within(snapshot.pcc_kw, -POWER_MAX_KW, POWER_MAX_KW),
        pcc_kvar=_within(snapshot.pcc_kvar, -POWER_MAX_KW, POWER_MAX_KW),
        unresponsive_kw=_unresponsive_kw(snapshot, site),
        **states,
    )
    return plausible, [*state_reasons, *breach_reasons, *import_reasons, *export_reasons]


def _states(snapshot: Snapshot, site: Site) -> tuple[dict[str, Any], list[Reason]]:
    """Plausible states of all equipment, by the field of the snapshot that they go into; and the replacements."""
    states: dict[str, dict[str, Any]] = {kind.state_field: {} for kind in KINDS.values() if kind.state_field is not None}
    reasons: list[Reason] = []
    for equipment in site.equipment:
        kind = kind_of(equipment)
        state, own_reasons = kind.plausible(equipment, snapshot)
        reasons += own_reasons
        if kind.state_field is not None and state is not None:
            states[kind.state_field][equipment.name] = state
    return states, reasons


def _unresponsive_kw(snapshot: Snapshot, site: Site) -> dict[str, float]:
    """Powers of unresponsive equipment, as far as its nameplate allows them."""
    powers = {equipment.name: kind_of(equipment).powers_kw(equipment) for equipment in site.powered}
    return {
        name: powers[name].clamp(power_kw)
        for name, power_kw in snapshot.unresponsive_kw.items()
        if name in powers and math.isfinite(power_kw)
    }


def _breach_per_kwh(price: float) -> tuple[float, list[Reason]]:
    if 0 <= price <= BREACH_MAX_PER_KWH:
        return price, []
    used = BREACH_MAX_PER_KWH if price > BREACH_MAX_PER_KWH else 0.0
    text = f"breach_per_kwh {price:g} is outside 0 to {BREACH_MAX_PER_KWH:g}; using {used:g}"
    return used, [Reason(ReasonCode.IMPLAUSIBLE, text, "breach_per_kwh")]


def _limits_kw(side: str, limits_kw: list[float], own_kw: float) -> tuple[list[float], list[Reason]]:
    plausible_kw = [min(max(limit if math.isfinite(limit) else own_kw, 0.0), POWER_MAX_KW) for limit in limits_kw]
    if all(math.isfinite(limit) for limit in limits_kw):
        return plausible_kw, []
    text = f"{side} limit is not a number; using the site's own limit"
    return plausible_kw, [Reason(ReasonCode.IMPLAUSIBLE, text, f"{side}_limit_kw")]


def _within(value: float | None, lowest: float, highest: float) -> float | None:
    return value if value is not None and lowest <= value <= highest else None


def _kept(values: Mapping[str, float | None], lowest: float, highest: float) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None and lowest <= value <= highest}
