"""Replaces implausible values of a snapshot by safe ones and lists each replacement. Pure.

A measurement that is not a number becomes missing; a limit that is not a number becomes the site's own. The kind of an
equipment decides about its state.
"""

import math
from typing import Any, Final

from msgspec.structs import replace

from ringmain_agent.equipment import plausible_values as plausible
from ringmain_agent.equipment.registry import KINDS, kind_of, within_nameplates_kw
from ringmain_agent.site.hours import step_starts_ms
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Reason, Snapshot
from ringmain_protocol.messages import ReasonCode

BREACH_MAX_PER_KWH: Final = 1e3
VOLTAGE_MIN_PU: Final = 0.5
VOLTAGE_MAX_PU: Final = 1.5


def plausible_snapshot(snapshot: Snapshot, site: Site) -> tuple[Snapshot, list[Reason]]:
    """The snapshot with plausible values, and a reason for each replacement."""
    states, state_reasons = _states(snapshot, site)
    breach_price_per_kwh, breach_reasons = _breach_price_per_kwh(snapshot.breach_price_per_kwh)
    steps = site.horizon_steps
    own_import_kw, own_export_kw = site.own_limits_kw(step_starts_ms(snapshot.issued_at_ms, site.step_s, steps))
    import_kw, import_reasons = _limits_kw("import", snapshot.import_limit_kw, own_import_kw)
    export_kw, export_reasons = _limits_kw("export", snapshot.export_limit_kw, own_export_kw)
    replaced = replace(
        snapshot,
        import_limit_kw=import_kw,
        export_limit_kw=export_kw,
        requested_import_kw=[plausible.requested_limit_kw(value) for value in snapshot.requested_import_kw[:steps]],
        requested_export_kw=[plausible.requested_limit_kw(value) for value in snapshot.requested_export_kw[:steps]],
        controllable_import_kw=[plausible.requested_limit_kw(value) for value in snapshot.controllable_import_kw[:steps]],
        controllable_export_kw=[plausible.requested_limit_kw(value) for value in snapshot.controllable_export_kw[:steps]],
        breach_price_per_kwh=breach_price_per_kwh,
        billing_peak_kw={
            name: peak_kw
            for name, value in snapshot.billing_peak_kw.items()
            if (peak_kw := plausible.power_kw(value)) is not None
        },
        voltage_pu=plausible.within(snapshot.voltage_pu, VOLTAGE_MIN_PU, VOLTAGE_MAX_PU),
        pcc_kw=plausible.power_kw(snapshot.pcc_kw),
        pcc_kvar=plausible.power_kw(snapshot.pcc_kvar),
        unresponsive_kw=within_nameplates_kw(snapshot.unresponsive_kw, site),
        **states,
    )
    return replaced, [*state_reasons, *breach_reasons, *import_reasons, *export_reasons]


def _states(snapshot: Snapshot, site: Site) -> tuple[dict[str, Any], list[Reason]]:
    """Plausible states of all equipment, by field of the snapshot, and a reason for each replacement."""
    states: dict[str, dict[str, Any]] = {kind.state_field: {} for kind in KINDS.values() if kind.state_field is not None}
    reasons: list[Reason] = []
    for equipment in site.equipment:
        kind = kind_of(equipment)
        state, own_reasons = kind.plausible(equipment, snapshot)
        reasons += own_reasons
        if kind.state_field is not None and state is not None:
            states[kind.state_field][equipment.name] = state
    return states, reasons


def _breach_price_per_kwh(price: float) -> tuple[float, list[Reason]]:
    if 0 <= price <= BREACH_MAX_PER_KWH:
        return price, []
    used = BREACH_MAX_PER_KWH if price > BREACH_MAX_PER_KWH else 0.0
    text = f"breach_price_per_kwh {price:g} is outside 0 to {BREACH_MAX_PER_KWH:g}; using {used:g}"
    return used, [Reason(ReasonCode.IMPLAUSIBLE, text, "breach_price_per_kwh")]


def _limits_kw(side: str, limits_kw: list[float], own_kw: list[float]) -> tuple[list[float], list[Reason]]:
    plausible_kw = [plausible.limit_kw(limit, own) for limit, own in zip(limits_kw, own_kw, strict=True)]
    if all(math.isfinite(limit) for limit in limits_kw):
        return plausible_kw, []
    text = f"{side} limit is not a number; using the site's own limit"
    return plausible_kw, [Reason(ReasonCode.IMPLAUSIBLE, text, f"{side}_limit_kw")]
