"""State of the equipment derived over many cycles: usage, temperatures, operations, vehicles. Pure.

It is kept over a restart: a transformer does not cool down because the agent was off. After a longer gap its loading in the
meantime is unknown, and the worse assumption counts.
"""

import math
from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from ringmain_agent.equipment import charging_sessions, load_usage
from ringmain_agent.equipment import switching_operations as operations
from ringmain_agent.equipment.load_usage import UsageCount
from ringmain_agent.equipment.stored_energy import StoredEnergy
from ringmain_agent.equipment.switching_operations import Operations
from ringmain_agent.equipment.transformer import loadings_pu, update_thermal_state
from ringmain_agent.site.nameplates import FlexibleLoad, OnOffLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Measured, Measurements, Reason, ThermalState
from ringmain_protocol.messages import AtMs, ReasonCode

GAP_MS: Final = 900_000
"""The loading of a transformer is unknown for longer: its temperatures start from the worse assumption."""
ASSUMED_MS: Final = 3_600_000
"""Time for which the status says that temperatures were assumed."""


class EquipmentState(Struct, frozen=True, kw_only=True):
    """Derived state; `loading_pu` is the last measured loading of each transformer, measured at `loading_at_ms`.

    Temperatures are those of `at_ms`.
    """

    at_ms: AtMs = 0
    loading_at_ms: AtMs = 0
    assumed_at_ms: AtMs | None = None
    """End of the last gap after which temperatures were assumed."""
    usage: dict[str, UsageCount] = field(default_factory=dict, name="runs")
    thermal: dict[str, ThermalState] = {}
    loading_pu: dict[str, float] = {}
    operations: dict[str, Operations] = {}
    last_there_ms: dict[str, AtMs] = {}
    """Last instant with a vehicle at each charging station."""
    stored_energy: dict[str, StoredEnergy] = {}
    """Energy of each battery, calculated from the last value of its feed."""

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
        measurements: Newest value of each signal, and the ambient temperatures.
        site: Nameplates.
    """
    now_ms = measurements.now_ms
    measured_pu = loadings_pu(measurements, site)
    loading_pu = before.loading_pu | measured_pu
    occupied = [s.name for s in site.charging_stations if charging_sessions.is_there(s, measurements)]
    waits = not measured_pu and now_ms - before.at_ms > GAP_MS
    after_gap = bool(measured_pu) and bool(before.thermal) and now_ms - before.loading_at_ms > GAP_MS
    thermal = {
        transformer.name: update_thermal_state(
            transformer,
            before.thermal.get(transformer.name),
            measurements,
            loading_pu=loading_pu.get(transformer.name, 0.0),
            loading_before_pu=before.loading_pu.get(transformer.name, loading_pu.get(transformer.name, 0.0)),
            elapsed_ms=now_ms - before.at_ms,
            after_gap=after_gap,
        )
        for transformer in site.transformers
    }
    return EquipmentState(
        at_ms=before.at_ms if waits else now_ms,
        loading_at_ms=now_ms if measured_pu else before.loading_at_ms,
        assumed_at_ms=now_ms if after_gap else before.assumed_at_ms,
        usage={
            load.name: load_usage.update_usage(
                before.usage.get(load.name, UsageCount()),
                _usable(measurements.newest.get(load.power_signal)),
                load=load,
                site=site,
                now_ms=now_ms,
                clock_trusted=measurements.clock_trusted,
            )
            for load in _counted_loads(site)
        },
        thermal=before.thermal if waits else thermal,
        loading_pu=loading_pu,
        operations={
            switched.name: operations.count_operations(
                before.operations.get(switched.name, Operations()),
                measurements.fresh(switched.position_signal),
                time_zone=site.time_zone,
                now_ms=now_ms,
                clock_trusted=measurements.clock_trusted,
            )
            for switched in site.switched
        },
        last_there_ms=before.last_there_ms | dict.fromkeys(occupied, now_ms),
    )


def move_equipment_state(state: EquipmentState, moved_ms: int) -> EquipmentState:
    """The state after the wall clock was set: temperatures and counts go on by the monotonic clock."""
    return replace(
        state,
        at_ms=state.at_ms + moved_ms,
        loading_at_ms=state.loading_at_ms + moved_ms,
        assumed_at_ms=None if state.assumed_at_ms is None else state.assumed_at_ms + moved_ms,
        usage={name: load_usage.move_count(count, moved_ms) for name, count in state.usage.items()},
        stored_energy={name: known.moved(moved_ms) for name, known in state.stored_energy.items()},
    )


def restored_equipment_state(state: EquipmentState, *, now_ms: int, clock_trusted: bool) -> EquipmentState:
    """The kept state after a restart: without a trusted clock the length of the gap is unknown, and nothing has cooled."""
    if clock_trusted and state.at_ms <= now_ms and state.loading_at_ms <= now_ms:
        return state
    return replace(state, at_ms=now_ms, loading_at_ms=now_ms - GAP_MS - 1, stored_energy={})


def equipment_reasons(state: EquipmentState, now_ms: int) -> Iterator[Reason]:
    """Temperatures that were assumed lately, and not tracked."""
    if state.assumed_at_ms is not None and now_ms - state.assumed_at_ms < ASSUMED_MS:
        for name in state.thermal:
            text = f"{name}: after a gap in the power at the pcc its temperatures start from the worse assumption"
            yield Reason(ReasonCode.TEMPERATURE_ASSUMED, text, name)


def _counted_loads(site: Site) -> tuple[FlexibleLoad | OnOffLoad, ...]:
    return (*site.flexible_loads, *site.on_off_loads)


def _usable(power: Measured | None) -> Measured | None:
    return power if power is not None and power.value is not None and math.isfinite(power.value) else None
