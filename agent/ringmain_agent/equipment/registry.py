"""Every kind of equipment, by the name of its tables in the site's TOML."""

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from ringmain_agent.equipment.battery import BatteryKind
from ringmain_agent.equipment.capacitor_bank import CapacitorBankKind
from ringmain_agent.equipment.charging_station import ChargingStationKind
from ringmain_agent.equipment.flexible_load import FlexibleLoadKind
from ringmain_agent.equipment.generator import GeneratorKind
from ringmain_agent.equipment.kind import Kind
from ringmain_agent.equipment.on_off_load import OnOffLoadKind
from ringmain_agent.equipment.tap_changer import TapChangerKind
from ringmain_agent.equipment.thermal_load import ThermalLoadKind
from ringmain_agent.equipment.transformer import TransformerKind
from ringmain_agent.site.nameplates import Equipment
from ringmain_agent.site.site import Site

AnyKind = Kind[Any, Any]
"""A kind of unknown nameplate and state types; they are internal to the module of the kind."""

_GENERATOR: Final = GeneratorKind()

KINDS: Mapping[str, AnyKind] = MappingProxyType(
    {
        "battery": BatteryKind(),
        "photovoltaics": _GENERATOR,
        "wind": _GENERATOR,
        "flexible_load": FlexibleLoadKind(),
        "on_off_load": OnOffLoadKind(),
        "charging_station": ChargingStationKind(),
        "thermal_load": ThermalLoadKind(),
        "transformer": TransformerKind(),
        "capacitor_bank": CapacitorBankKind(),
        "tap_changer": TapChangerKind(),
    }
)
"""Costs and limits of a plan are listed in this order."""
_BY_NAMEPLATE: Final[Mapping[type[Equipment], AnyKind]] = {kind.nameplate: kind for kind in KINDS.values()}


def kind_of(equipment: Equipment) -> AnyKind:
    """The kind of an equipment, by its nameplate.

    Raises:
        KeyError: If no kind has this nameplate: a bug of the caller.
    """
    nameplate = type(equipment)
    if (kind := _BY_NAMEPLATE.get(nameplate)) is not None:
        return kind
    for kind in KINDS.values():  # a kind added to the registry later
        if kind.nameplate is nameplate:
            return kind
    raise KeyError(f"{nameplate.__name__} is not the nameplate of a kind of equipment")


def equipment_by_kind(site: Site) -> Iterator[tuple[AnyKind, Equipment]]:
    """Equipment of the site with its kind, in the order of the registry."""
    order = {kind.nameplate: place for place, kind in enumerate(dict.fromkeys(KINDS.values()))}
    for equipment in sorted(site.equipment, key=lambda equipment: order[type(equipment)]):
        yield kind_of(equipment), equipment


def within_nameplates_kw(measured_kw: Mapping[str, float], site: Site) -> dict[str, float]:
    """Powers of unresponsive equipment, clamped to the nameplates; powers that are not finite are dropped."""
    if not measured_kw:
        return {}
    powers = {equipment.name: kind_of(equipment).powers_kw(equipment) for equipment in site.powered}
    return {
        name: powers[name].clamp(power_kw)
        for name, power_kw in measured_kw.items()
        if name in powers and math.isfinite(power_kw)
    }
