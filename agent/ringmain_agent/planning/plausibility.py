"""What a plan believes of its snapshot: anything else is replaced by what is safe, and named once. Pure.

A measurement that is no number is a missing one; energy outside what a battery can hold is the nearest that it can; a limit
that is no number is the site's own.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from ringmain_agent.equipment import plausible
from ringmain_agent.equipment.transformer import is_believable
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot

BREACH_MAX_PER_KWH: Final = 1e3
VOLTAGE_PU: Final = (0.5, 1.5)


def plausible_snapshot(snapshot: Snapshot, site: Site) -> tuple[Snapshot, list[str]]:
    """The snapshot that is planned with, and what of the given one was not believed."""
    notes: list[str] = []
    step_ms = 1000 * site.step_s
    own_kw = site.own_limits_kw([snapshot.issued_at_ms + step_ms * step for step in range(site.horizon_steps)])
    soc_kwh = _soc_kwh(snapshot, site, notes)
    breach = snapshot.breach_per_kwh
    if not 0 <= breach <= BREACH_MAX_PER_KWH:
        notes.append(f"breach_per_kwh {breach:g} is not believed")
        breach = BREACH_MAX_PER_KWH if breach > BREACH_MAX_PER_KWH else 0.0
    return (
        replace(
            snapshot,
            import_limit_kw=_limits_kw("import", snapshot.import_limit_kw, own_kw[0], notes),
            export_limit_kw=_limits_kw("export", snapshot.export_limit_kw, own_kw[1], notes),
            wished_import_kw=[plausible.wished_kw(value) for value in snapshot.wished_import_kw[: site.horizon_steps]],
            wished_export_kw=[plausible.wished_kw(value) for value in snapshot.wished_export_kw[: site.horizon_steps]],
            breach_per_kwh=breach,
            soc_kwh=soc_kwh,
            billing_peak_kw=_kept(snapshot.billing_peak_kw, plausible.power_kw),
            temperature_degc=_kept(snapshot.temperature_degc, plausible.temperature_degc),
            thermal={name: state for name, state in snapshot.thermal.items() if is_believable(state)},
            positions=_positions(snapshot, site),
            voltage_pu=plausible.within(snapshot.voltage_pu, *VOLTAGE_PU),
            pcc_kw=plausible.power_kw(snapshot.pcc_kw),
            pcc_kvar=plausible.power_kw(snapshot.pcc_kvar),
            held_kw=plausible.held_kw(snapshot.held_kw, site),
        ),
        notes,
    )


def _soc_kwh(snapshot: Snapshot, site: Site, notes: list[str]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for battery in site.batteries:
        soc_kwh = snapshot.soc_kwh.get(battery.name)
        inside = plausible.soc_kwh(battery, soc_kwh)
        if soc_kwh is not None and inside is not None:
            found[battery.name] = inside
            if abs(inside - soc_kwh) > 0.01 * battery.capacity_kwh:
                notes.append(f"{battery.name} reports {soc_kwh:g} kWh of {battery.capacity_kwh:g}: taken for {inside:g}")
    return found


def _positions(snapshot: Snapshot, site: Site) -> dict[str, int | None]:
    """Positions that the equipment has; it stays where it is when that is not known."""
    found: dict[str, int | None] = {}
    for switched in site.switched:
        position, (lowest, highest) = snapshot.positions.get(switched.name), switched.positions
        found[switched.name] = position if position is not None and lowest <= position <= highest else None
    return found


def _limits_kw(side: str, limits_kw: list[float], own_kw: list[float], notes: list[str]) -> list[float]:
    if not all(math.isfinite(limit) for limit in limits_kw):
        notes.append(f"a limit of the {side} is not a number: that of the site holds")
    return [plausible.limit_kw(limit, own) for limit, own in zip(limits_kw, own_kw, strict=True)]


def _kept(values: Mapping[str, float | None], plausible_value: Callable[[float | None], float | None]) -> dict[str, float]:
    return {name: kept for name, value in values.items() if (kept := plausible_value(value)) is not None}
