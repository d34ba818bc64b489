"""State of the equipment derived over many cycles: usage, temperatures, operations, vehicles. Pure.

It is kept over a restart: a transformer does not cool down because the agent was off.
"""

import math

from msgspec import Struct, field

from ringmain_agent.equipment import charging_sessions, load_usage
from ringmain_agent.equipment import switching_operations as operations
from ringmain_agent.equipment.load_usage import UsageCount
from ringmain_agent.equipment.switching_operations import Operations
from ringmain_agent.equipment.transformer import loadings_pu, update_thermal_state
from ringmain_agent.site.nameplates import FlexibleLoad, OnOffLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Measured, Measurements, ThermalState
from ringmain_protocol.messages import AtMs


class EquipmentState(Struct, frozen=True, kw_only=True):
    """Derived state up to `at_ms`; `loading_pu` is the last measured loading of each transformer."""

    at_ms: AtMs = 0
    usage: dict[str, UsageCount] = field(default_factory=dict, name="runs")
    thermal: dict[str, ThermalState] = {}
    loading_pu: dict[str, float] = {}
    operations: dict[str, Operations] = {}
    last_there_ms: dict[str, AtMs] = {}
    """Last instant with a vehicle at each charging station."""

    def usage_at(self, site: Site, at_ms: int) -> dict[str, LoadUsage]:
        """Usage of each load in its current hours at an instant."""
        return {
            load.name: load_usage.usage_at(self.usage[load.name], load=load, site=site, at_ms=at_ms)
            for load in _counted_loads(site)
            if load.name in self.usage
        }

    def operations_left(self, site: Site) -> dict[str, int]:
        """Operations of each switched equipment that are left today."""
        return {s.name: operations.operations_left(self.operations.get(s.name, Operations()), s) for s in site.switched}


def update_equipment_state(before: EquipmentState, measurements: Measurements, site: Site) -> EquipmentState:
    """The derived state up to now.

    Args:
        before: State of the previous cycle.
        measurements: Newest value of each signal, and the ambient temperatures. After the clock was set back, the
            temperatures of transformers stay unchanged.
        site: Nameplates.
    """
    now_ms = measurements.now_ms
    loading_pu = before.loading_pu | loadings_pu(measurements, site)
    occupied = [s.name for s in site.charging_stations if charging_sessions.is_there(s, measurements)]
    return EquipmentState(
        at_ms=now_ms,
        usage={
            load.name: load_usage.update_usage(
                before.usage.get(load.name, UsageCount()),
                _usable(measurements.newest.get(load.power_signal)),
                load=load,
                site=site,
                now_ms=now_ms,
            )
            for load in _counted_loads(site)
        },
        thermal={
            transformer.name: update_thermal_state(
                transformer,
                before.thermal.get(transformer.name),
                measurements,
                loading_pu=loading_pu.get(transformer.name, 0.0),
                loading_before_pu=before.loading_pu.get(transformer.name, loading_pu.get(transformer.name, 0.0)),
                since_ms=before.at_ms,
            )
            for transformer in site.transformers
        },
        loading_pu=loading_pu,
        operations={
            switched.name: operations.count_operations(
                before.operations.get(switched.name, Operations()),
                measurements.fresh(switched.position_signal),
                time_zone=site.time_zone,
                now_ms=now_ms,
            )
            for switched in site.switched
        },
        last_there_ms=before.last_there_ms | dict.fromkeys(occupied, now_ms),
    )


def _counted_loads(site: Site) -> tuple[FlexibleLoad | OnOffLoad, ...]:
    return (*site.flexible_loads, *site.on_off_loads)


def _usable(power: Measured | None) -> Measured | None:
    return power if power is not None and power.value is not None and math.isfinite(power.value) else None
