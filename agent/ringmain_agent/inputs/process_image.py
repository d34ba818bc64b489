"""What the agent knows of its site at an instant: the measurements of a cycle, and the snapshot that a plan is made from."""

import math
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from ringmain_agent.equipment import charging_sessions as vehicles
from ringmain_agent.equipment import plausible
from ringmain_agent.inputs.equipment_state import EquipmentState, update_equipment_state
from ringmain_agent.inputs.series_and_envelopes import SeriesAndEnvelopes, step_starts_ms
from ringmain_agent.inputs.step_history import StepHistory
from ringmain_agent.site.site import PCC, REACTIVE, VOLTAGE, Site
from ringmain_agent.snapshot import Measured, Measurements, Snapshot
from ringmain_protocol.steps import step_start_ms


class Situation:
    """Puts history, upstream inputs and what is tracked together; one thread owns it."""

    def __init__(self, site: Site, history: StepHistory, upstream: SeriesAndEnvelopes) -> None:
        """Nothing tracked yet."""
        self.equipment_state = EquipmentState()
        self._site, self._history, self._upstream = site, history, upstream

    def advance(self, now_ms: int) -> None:
        """Follow runs, temperatures, operations and visits up to now."""
        self.equipment_state = update_equipment_state(self.equipment_state, self.measurements(now_ms), self._site, now_ms)

    def measurements(self, now_ms: int, not_followed: Sequence[str] = ()) -> Measurements:
        """What a cycle works on; equipment that does not follow is taken to stay at its measured power."""
        site = self._site
        imports, exports = self._upstream.limits_kw(site, [now_ms], now_ms=now_ms)
        wishes = self._upstream.wishes([now_ms], now_ms=now_ms)
        measured = Measurements(
            newest={signal: Measured(r.value, r.at_ms, r.quality) for signal, r in self._history.newest.items()},
            import_limit_kw=imports[0],
            export_limit_kw=exports[0],
            wished_import_kw=wishes.import_kw[0],
            wished_export_kw=wishes.export_kw[0],
            runs=self.equipment_state.runs_at(site, now_ms),
            thermal=self.equipment_state.thermal,
            ambient_degc=self._ambient_degc(now_ms),
            operations_left=self.equipment_state.operations_left(site),
        )
        return measured if not not_followed else _holding(measured, not_followed, site, now_ms)

    def snapshot(
        self,
        now_ms: int,
        *,
        signals: Iterable[str],
        billing_peak_kw: Mapping[str, float],
        models: Mapping[str, str],
        not_followed: Sequence[str],
    ) -> Snapshot:
        """All that a plan from the present step on is made from."""
        site, measured = self._site, self.measurements(now_ms, not_followed)
        start_ms = step_start_ms(now_ms, site.step_s)
        starts = list(step_starts_ms(start_ms, site.step_s, site.horizon_steps))
        imports, exports = self._upstream.limits_kw(site, starts, now_ms=now_ms)
        wishes = self._upstream.wishes(starts, now_ms=now_ms)

        def fresh(signal: str) -> float | None:
            value = measured.fresh(signal, now_ms, site.regulator.stale_after_s)
            return value if value is not None and math.isfinite(value) else None

        positions = {switched.name: fresh(switched.position_signal) for switched in site.switched}
        return Snapshot(
            issued_at_ms=start_ms,
            step_s=site.step_s,
            history={signal: self._history.window(signal, site.history_steps) for signal in signals},
            known_future=self._upstream.known_future(start_ms=start_ms, step_s=site.step_s, steps=site.horizon_steps),
            import_limit_kw=imports,
            export_limit_kw=exports,
            wished_import_kw=wishes.import_kw,
            wished_export_kw=wishes.export_kw,
            breach_per_kwh=wishes.breach_per_kwh,
            soc_kwh={battery.name: fresh(battery.soc_signal) for battery in site.batteries},
            billing_peak_kw=dict(billing_peak_kw),
            runs=self.equipment_state.runs_at(site, start_ms),
            visits={
                station.name: vehicles.charging_sessions(
                    station,
                    measured,
                    site=site,
                    now_ms=now_ms,
                    last_there_ms=self.equipment_state.last_there_ms.get(station.name),
                )
                for station in site.charging_stations
            },
            temperature_degc={load.name: fresh(load.temperature_signal) for load in site.thermal_loads},
            thermal=self.equipment_state.thermal,
            positions={name: None if position is None else round(position) for name, position in positions.items()},
            operations_left=self.equipment_state.operations_left(site),
            voltage_pu=fresh(VOLTAGE),
            pcc_kw=fresh(PCC),
            pcc_kvar=fresh(REACTIVE),
            held_kw=measured.held_kw,
            models=dict(models),
        )

    def _ambient_degc(self, now_ms: int) -> dict[str, float]:
        """Air around each transformer and thermal load now."""
        start_ms = step_start_ms(now_ms, self._site.step_s)
        known = self._upstream.known_future(start_ms=start_ms, step_s=self._site.step_s, steps=1)
        return {equipment.name: plausible.ambient_at_degc(equipment, known, 0) for equipment in self._site.surrounded}


def _holding(measured: Measurements, names: Sequence[str], site: Site, now_ms: int) -> Measurements:
    held_kw = {}
    for equipment in site.powered:
        power_kw = measured.fresh(equipment.power_signal, now_ms, site.regulator.stale_after_s)
        if equipment.name in names and power_kw is not None and math.isfinite(power_kw):
            held_kw[equipment.name] = power_kw
    return replace(measured, held_kw=held_kw)
