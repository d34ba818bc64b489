"""The process image: taken once per cycle after the inputs, and used by every stage of the cycle and by its plan."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from ringmain_agent.equipment import charging_sessions
from ringmain_agent.equipment import plausible_values as plausible
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.stored_energy import StoredEnergy, update_stored_energy, with_stored_energy
from ringmain_agent.inputs.equipment_state import (
    EquipmentState,
    equipment_reasons,
    move_equipment_state,
    restored_equipment_state,
    update_equipment_state,
)
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.limits_in_force import (
    LimitRecord,
    LimitsInForce,
    limit_reasons,
    limits_in_force,
    narrowest_of_parts,
)
from ringmain_agent.inputs.load_last_week import load_last_week_kw
from ringmain_agent.inputs.local_limits import LocalLimits
from ringmain_agent.inputs.series_and_envelopes import SeriesAndEnvelopes
from ringmain_agent.inputs.step_history import StepHistory
from ringmain_agent.site.hours import step_starts_ms
from ringmain_agent.site.nameplates import Battery
from ringmain_agent.site.site import PCC, REACTIVE, VOLTAGE, Site
from ringmain_agent.snapshot import Measured, Measurements, Reason, Snapshot
from ringmain_protocol.messages import Limit
from ringmain_protocol.steps import step_start_ms

FINEST_STEP_S: Final = 300
"""Shortest step of an envelope that a plan follows; the regulator follows any."""
BEFORE_THE_FIRST_CYCLE: Final = Instant(0, 0.0)


class ProcessImage:
    """The measurements of the present cycle, and the state of the equipment that follows from them.

    Invariants:
        * `measurements` and `equipment_state` change in `take` only, and `equipment_state` when the clock is set, before it:
          later inputs belong to the next cycle.
    """

    def __init__(  # noqa: PLR0913  keyword-only, one image
        self,
        site: Site,
        history: StepHistory,
        upstream: SeriesAndEnvelopes,
        *,
        equipment_state: EquipmentState,
        local_limits: LocalLimits | None = None,
        stale_after_s: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Start with the kept state; before the first cycle no measurement is current.

        `stale_after_s` holds the signals whose feed has its own.
        """
        self._stale_after_s = dict(stale_after_s)
        self._site, self._history, self._upstream = site, history, upstream
        self._load_kw: tuple[int, bool, Interval | None] | None = None
        self._local_limits = local_limits or LocalLimits({})
        self._record = LimitRecord()
        self.limits: list[Limit] = []
        """The limits in force in this cycle, for each name the narrowest first."""
        self.limit_reasons: list[Reason] = []
        self.equipment_state = equipment_state
        self._at = BEFORE_THE_FIRST_CYCLE
        self.measurements = self._with_state(self._read(self._at), ())

    def restored(self, now_ms: int, *, clock_trusted: bool) -> None:
        """Begin the first cycle after a restart."""
        self.equipment_state = restored_equipment_state(self.equipment_state, now_ms=now_ms, clock_trusted=clock_trusted)

    def move_clock(self, moved_ms: int) -> None:
        """The wall clock was set: ages stay as they are."""
        self.equipment_state = move_equipment_state(self.equipment_state, moved_ms)
        newest = {s: Measured(m.value, m.at_ms + moved_ms, m.quality) for s, m in self.measurements.newest.items()}
        self.measurements = replace(self.measurements, newest=newest)

    @property
    def reasons(self) -> Iterator[Reason]:
        """What was assumed about the equipment."""
        return equipment_reasons(self.equipment_state, self.measurements.now_ms)

    def take(
        self,
        now_ms: int,
        not_followed: Sequence[str] = (),
        *,
        now_s: float | None = None,
        clock_trusted: bool = True,
        in_force_kw: Mapping[str, float | None] = MappingProxyType({}),
    ) -> Measurements:
        """The image of a new cycle; unresponsive equipment is assumed to keep its measured power.

        The energy of a battery is calculated between two values of its feed, by its power or else its setpoint in force.
        """
        self._at = Instant(now_ms, now_ms / 1000 if now_s is None else now_s, clock_trusted)
        measured = self._read(self._at)
        stored = {
            battery.name: known
            for battery in self._site.batteries
            if (known := self._stored_energy(battery, measured, in_force_kw.get(battery.name))) is not None
        }
        measured = with_stored_energy(measured, stored, self._site)
        self.equipment_state = replace(
            update_equipment_state(self.equipment_state, measured, self._site), stored_energy=stored
        )
        self.measurements = self._with_state(measured, not_followed)
        return self.measurements

    def _stored_energy(self, battery: Battery, measured: Measurements, setpoint_kw: float | None) -> StoredEnergy | None:
        return update_stored_energy(self.equipment_state.stored_energy.get(battery.name), battery, measured, setpoint_kw)

    def aged(self, now_ms: int) -> Measurements:
        """The newest image at a later instant, for a cycle that cannot take one: its values age, its clock is in doubt."""
        return replace(self.measurements, now_ms=now_ms, clock_trusted=False)

    def _read(self, at: Instant) -> Measurements:
        """Newest values and limits in force, without the state of the equipment."""
        requested = self._upstream.requested_limits_kw([at.now_ms], at)
        own_import_kw, own_export_kw = self._site.narrowest_limits_kw()
        heard_ms = self._history.heard_ms
        load_kw = self._load_last_week_kw(at)
        measured = Measurements(
            now_ms=at.now_ms,
            clock_trusted=at.clock_trusted,
            stale_after_s=self._site.regulator.stale_after_s,
            feed_stale_after_s=self._stale_after_s,
            newest={
                signal: Measured(r.value, heard_ms.get(signal, r.at_ms), r.quality)
                for signal, r in self._history.newest.items()
            },
            import_limit_kw=own_import_kw,
            export_limit_kw=own_export_kw,
            requested_import_kw=requested.import_kw[0],
            requested_export_kw=requested.export_kw[0],
            load_least_kw=None if load_kw is None else load_kw.least,
            load_most_kw=None if load_kw is None else load_kw.most,
            ambient_degc=self._ambient_degc(at.now_ms),
        )
        limits = self._limits(measured, [at.now_ms], at)
        self.limits = self._record.limits(limits.sources, at.now_ms)
        self.limit_reasons = limit_reasons(limits.sources, self.limits)
        return replace(
            measured,
            import_limit_kw=limits.import_kw[0],
            export_limit_kw=limits.export_kw[0],
            controllable_import_kw=limits.controllable_import_kw[0],
            controllable_export_kw=limits.controllable_export_kw[0],
        )

    def _step_limits(self, measured: Measurements, starts_ms: Sequence[int]) -> LimitsInForce:
        """Limits of the steps of a plan: the narrowest within each, of the present step from now on."""
        parts = max(self._site.step_s // FINEST_STEP_S, 1)
        instants = [
            max(start_ms + 1000 * self._site.step_s * part // parts, self._at.now_ms)
            for start_ms in starts_ms
            for part in range(parts)
        ]
        return narrowest_of_parts(self._limits(measured, instants, self._at), parts)

    def _limits(self, measured: Measurements, starts_ms: Sequence[int], at: Instant) -> LimitsInForce:
        local = self._local_limits.sources(measured.fresh, len(starts_ms))
        return limits_in_force(self._site, self._upstream.envelopes, local, starts_ms, at)

    def _with_state(self, measured: Measurements, not_followed: Sequence[str]) -> Measurements:
        unresponsive_kw = {
            equipment.name: power_kw
            for equipment in self._site.powered
            if equipment.name in not_followed and (power_kw := measured.fresh(equipment.power_signal)) is not None
        }
        return replace(
            measured,
            runs=self.equipment_state.usage_at(self._site, measured.now_ms),
            thermal=self.equipment_state.thermal,
            operations_left=self.equipment_state.operations_left(self._site),
            unresponsive_kw=unresponsive_kw,
        )

    def snapshot(
        self, *, signals: Iterable[str], billing_peak_kw: Mapping[str, float], models: Mapping[str, str]
    ) -> Snapshot:
        """Inputs of a plan from the present step on."""
        site, measured, now_ms = self._site, self.measurements, self.measurements.now_ms
        start_ms = step_start_ms(now_ms, site.step_s)
        starts = step_starts_ms(start_ms, site.step_s, site.horizon_steps)
        limits = self._step_limits(measured, starts)
        requested = self._upstream.requested_limits_kw(starts, self._at)
        positions = {switched.name: measured.fresh(switched.position_signal) for switched in site.switched}
        return Snapshot(
            issued_at_ms=start_ms,
            step_s=site.step_s,
            history={signal: self._history.window(signal, site.history_steps, end_ms=start_ms) for signal in signals},
            known_future=self._upstream.known_future(start_ms=start_ms, step_s=site.step_s, steps=site.horizon_steps),
            import_limit_kw=limits.import_kw,
            export_limit_kw=limits.export_kw,
            controllable_import_kw=limits.controllable_import_kw,
            controllable_export_kw=limits.controllable_export_kw,
            requested_import_kw=requested.import_kw,
            requested_export_kw=requested.export_kw,
            breach_price_per_kwh=requested.breach_price_per_kwh,
            soc_kwh={battery.name: measured.fresh(battery.soc_signal) for battery in site.batteries},
            billing_peak_kw=dict(billing_peak_kw),
            runs=self.equipment_state.usage_at(site, start_ms),
            visits={
                station.name: charging_sessions.charging_sessions(
                    station,
                    measured,
                    site=site,
                    last_there_ms=self.equipment_state.last_there_ms.get(station.name),
                )
                for station in site.charging_stations
            },
            temperature_degc={load.name: measured.fresh(load.temperature_signal) for load in site.thermal_loads},
            thermal=self.equipment_state.thermal,
            positions={name: None if position is None else round(position) for name, position in positions.items()},
            operations_left=self.equipment_state.operations_left(site),
            voltage_pu=measured.fresh(VOLTAGE),
            pcc_kw=measured.fresh(PCC),
            pcc_kvar=measured.fresh(REACTIVE),
            unresponsive_kw=measured.unresponsive_kw,
            models=dict(models),
        )

    def _load_last_week_kw(self, at: Instant) -> Interval | None:
        """The load of the last week at this hour, in doubt of the clock at any; it changes with each step only."""
        start_ms = step_start_ms(at.now_ms, self._site.step_s)
        if self._load_kw is None or self._load_kw[:2] != (start_ms, at.clock_trusted):
            load_kw = load_last_week_kw(self._history, self._site, now_ms=at.now_ms, any_hour=not at.clock_trusted)
            self._load_kw = start_ms, at.clock_trusted, load_kw
        return self._load_kw[2]

    def _ambient_degc(self, now_ms: int) -> dict[str, float]:
        """Present ambient temperature of each transformer and thermal load."""
        start_ms = step_start_ms(now_ms, self._site.step_s)
        known = self._upstream.known_future(start_ms=start_ms, step_s=self._site.step_s, steps=1)
        return {equipment.name: plausible.ambient_at_degc(equipment, known, 0) for equipment in self._site.surrounded}
