"""A closed loop in one process: recorded load and PV, the agent's own `plan`, `regulate` and limits, simulated batteries.

In lockstep and without a broker: a year passes in minutes. A cycle knows the measurements of the cycle before and none
newer, as at a real site. The record is constant within a step. Of the agent's hundreds of cycles in a step, only cycles
with something to decide run: the first, which knows the step before, the next one `CYCLE_S` later, and one every few
minutes. Not here: messages, delays of equipment, faults (see `site.py`).

Invariants:
- pcc = load + PV + batteries in every cycle; positive is drawn from the network.
- A battery stores its power times the efficiencies of its nameplate. It ignores its SoC band: the agent keeps to it.
"""

import itertools
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import RegulatorState, regulate, remember
from ringmain_agent.equipment.transformer_thermal import hot_spot_degc
from ringmain_agent.inputs.equipment_state import EquipmentState, update_equipment_state
from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.site.nameplates import Battery
from ringmain_agent.site.site import LOAD, PCC, REACTIVE, Site
from ringmain_agent.site.tariff import MONTHLY
from ringmain_agent.snapshot import ForecastResult, Measured, Measurements, Plan, Snapshot

DAY_S: Final = 86_400
CYCLE_S: Final = 5
"""Time until the agent knows of a new step."""
SETPOINT_S: Final = 300
"""Longest time between two cycles; a setpoint stays in force as long."""
START_SOC_PU: Final = 0.5
QUANTILES: Final = (0.1, 0.5, 0.9)

FloatArray = NDArray[np.float64]


class Control(StrEnum):
    """Source of decisions: a plan on a perfect forecast, a plan on the agent's own forecast, or the rule without a plan."""

    PERFECT = "perfect"
    OWN = "own"
    RULE = "rule"


@dataclass(frozen=True, kw_only=True)
class Record:
    """Uncontrolled course of a site, one mean a step from `start_ms` on; all of the shape `(n_steps,)`."""

    start_ms: int
    load_kw: FloatArray
    load_kvar: FloatArray
    available_kw: dict[str, FloatArray]
    """Available power of each PV plant, negative."""

    @property
    def net_kw(self) -> FloatArray:
        """Load and all PV together: the pcc without control."""
        return np.asarray(self.load_kw + sum(self.available_kw.values(), np.zeros(len(self.load_kw))))

    def first(self, steps: int) -> "Record":
        """The beginning of the record."""
        available_kw = {name: values[:steps] for name, values in self.available_kw.items()}
        return Record(
            start_ms=self.start_ms,
            load_kw=self.load_kw[:steps],
            load_kvar=self.load_kvar[:steps],
            available_kw=available_kw,
        )


@dataclass(kw_only=True)
class Trace:
    """Course of the closed loop, one value a step: means of powers, energies at the END of the step."""

    pcc_kw: FloatArray
    pv_kw: dict[str, FloatArray]
    battery_kw: dict[str, FloatArray]
    throughput_kwh: dict[str, float]
    soc_kwh: dict[str, FloatArray]
    soc_start_kwh: dict[str, float]
    hot_spot_degc: dict[str, FloatArray]
    levels: Counter[str] = field(default_factory=Counter)
    """Number of cycles, by fallback level."""
    solve_ms: list[float] = field(default_factory=list)
    plans: Counter[str] = field(default_factory=Counter)
    """Number of plans, by source: optimal, incumbent or rule."""


class ClosedLoop:
    """One site and its agent, from the first step of a record to the last."""

    def __init__(self, site: Site, record: Record, control: Control, *, plan_every_steps: int = 1) -> None:
        """Batteries start at half of their energy, and without a measurement."""
        # A measurement is as old as the longest cycle.
        lost_after_s = max(site.grid_connection.meter_lost_after_s, 2.0 * site.step_s)
        site = replace(site, grid_connection=replace(site.grid_connection, meter_lost_after_s=lost_after_s))
        self._site, self._record, self._control, self._every = site, record, control, plan_every_steps
        self._steps = len(record.load_kw)
        starts_s = [0, CYCLE_S, *range(SETPOINT_S, site.step_s, SETPOINT_S)]
        self._cycles = [(start, end - start) for start, end in itertools.pairwise([*starts_s, site.step_s])]
        self._forecaster, self._optimizer = Forecaster(site), Dispatcher(site)
        self._ahead = {LOAD: record.load_kw} | {p.power_signal: record.available_kw[p.name] for p in site.generators}
        last_day = DAY_S // site.step_s
        self._ahead = {  # beyond its end the record repeats its last day
            signal: np.concatenate([values, np.resize(values[-last_day:], site.horizon_steps)])
            for signal, values in self._ahead.items()
        }
        self._history = {signal: np.full(self._steps, np.nan, "<f4") for signal in site.forecast_signals}
        self._soc_kwh = {b.name: START_SOC_PU * b.capacity_kwh for b in site.batteries}
        self._regulator, self._tracked = RegulatorState(), EquipmentState()
        self._plan: Plan | None = None
        self._newest: dict[str, Measured] = {}
        self._trace = self._empty_trace()

    def run(self) -> Trace:
        """Run the whole record."""
        for step in range(self._steps):
            start_ms = self._record.start_ms + 1000 * self._site.step_s * step
            if self._control is not Control.RULE and step % self._every == 0:
                self._make_plan(step, start_ms)
            for since_s, lasts_s in self._cycles:
                self._pass_cycle(step, start_ms + 1000 * since_s, lasts_s / 3600)
            self._close(step)
        return self._trace

    def _make_plan(self, step: int, start_ms: int) -> None:
        measurements = self._measurements(start_ms)
        self._tracked = update_equipment_state(self._tracked, measurements, self._site)
        steps, connection = self._site.horizon_steps, self._site.grid_connection
        kvar = self._newest.get(REACTIVE)
        snapshot = Snapshot(
            issued_at_ms=start_ms,
            step_s=self._site.step_s,
            history={s: v[max(step - self._site.history_steps, 0) : step].tobytes() for s, v in self._history.items()},
            known_future={},
            import_limit_kw=[connection.import_limit_kw] * steps,
            export_limit_kw=[connection.export_limit_kw] * steps,
            soc_kwh=dict(self._soc_kwh),
            billing_peak_kw={MONTHLY: self._regulator.billing_peak_kw},
            thermal=self._tracked.thermal,
            pcc_kvar=kvar.value if kvar else None,
            forecasts=self._true_forecasts(step) if self._control is Control.PERFECT else [],
        )
        self._plan = plan(snapshot, self._site, self._forecaster, self._optimizer)
        self._trace.plans[self._plan.fallback] += 1
        self._trace.solve_ms.append(self._plan.solve_ms)

    def _true_forecasts(self, step: int) -> list[ForecastResult]:
        until = step + self._site.horizon_steps
        return [
            ForecastResult(
                signal=signal,
                quantiles=list(QUANTILES),
                values=np.repeat(values[step:until, None], len(QUANTILES), axis=1).tolist(),
                release=1,
            )
            for signal, values in self._ahead.items()
        ]

    def _pass_cycle(self, step: int, now_ms: int, duration_h: float) -> None:
        """Setpoints from the measurements before now, and their effect until the next cycle."""
        site = self._site
        self._tracked = update_equipment_state(self._tracked, self._measurements(now_ms), site)
        measurements = self._measurements(now_ms)
        regulation, self._regulator = regulate(measurements, self._plan, self._regulator, site)
        limited = limit_setpoints(
            regulation.setpoints,
            positions=regulation.positions,
            site=site,
            measurements=measurements,
            previous=self._regulator.sent,
        )
        self._regulator = remember(self._regulator, limited.power_kw, now_ms)
        self._trace.levels[regulation.fallback] += 1
        powers_kw = {b.name: self._deliver(b, limited.power_kw.get(b.name) or 0.0, duration_h) for b in site.batteries}
        for plant in site.generators:
            available_kw = float(self._record.available_kw[plant.name][step])
            bound_kw = limited.power_kw.get(plant.name)
            powers_kw[plant.name] = available_kw if bound_kw is None else max(available_kw, min(bound_kw, 0.0))
        self._measure(step, now_ms, powers_kw, duration_h / site.step_h)

    def _deliver(self, battery: Battery, setpoint_kw: float, duration_h: float) -> float:
        """The battery's power: the setpoint, as far as the energy in its cells allows."""
        soc_kwh = self._soc_kwh[battery.name]
        most_kw = (battery.capacity_kwh - soc_kwh) / battery.charge_efficiency / duration_h
        least_kw = -soc_kwh * battery.discharge_efficiency / duration_h
        power_kw = min(max(setpoint_kw, least_kw), most_kw)
        self._soc_kwh[battery.name] = battery.soc_after_kwh(soc_kwh, power_kw, duration_h)
        self._trace.throughput_kwh[battery.name] += abs(power_kw) * duration_h
        return power_kw

    def _measure(self, step: int, now_ms: int, powers_kw: dict[str, float], share: float) -> None:
        """Means over the cycle, stamped with its start; energies at its end."""
        load_kw = float(self._record.load_kw[step])
        pcc_kw = load_kw + sum(powers_kw.values())
        values = {LOAD: load_kw, PCC: pcc_kw, REACTIVE: float(self._record.load_kvar[step])}
        values |= {f"{name}_kw": power_kw for name, power_kw in powers_kw.items()}
        values |= {battery.soc_signal: self._soc_kwh[battery.name] for battery in self._site.batteries}
        self._newest = {signal: Measured(value, now_ms) for signal, value in values.items()}
        self._trace.pcc_kw[step] += share * pcc_kw
        for name, power_kw in powers_kw.items():
            of_kind = self._trace.battery_kw if name in self._trace.battery_kw else self._trace.pv_kw
            of_kind[name][step] += share * power_kw

    def _close(self, step: int) -> None:
        self._history[LOAD][step] = self._record.load_kw[step]
        for plant in self._site.generators:
            self._history[plant.power_signal][step] = self._trace.pv_kw[plant.name][step]
        for name, soc_kwh in self._soc_kwh.items():
            self._trace.soc_kwh[name][step] = soc_kwh
        for name, state in self._tracked.thermal.items():
            self._trace.hot_spot_degc[name][step] = hot_spot_degc(state)

    def _measurements(self, now_ms: int) -> Measurements:
        connection = self._site.grid_connection
        return Measurements(
            now_ms=now_ms,
            stale_after_s=self._site.regulator.stale_after_s,
            newest=self._newest,
            import_limit_kw=connection.import_limit_kw,
            export_limit_kw=connection.export_limit_kw,
            thermal=self._tracked.thermal,
        )

    def _empty_trace(self) -> Trace:
        def zeros() -> FloatArray:
            return np.zeros(self._steps)

        return Trace(
            pcc_kw=zeros(),
            pv_kw={plant.name: zeros() for plant in self._site.generators},
            battery_kw={battery.name: zeros() for battery in self._site.batteries},
            throughput_kwh={battery.name: 0.0 for battery in self._site.batteries},
            soc_kwh={battery.name: zeros() for battery in self._site.batteries},
            soc_start_kwh=dict(self._soc_kwh),
            hot_spot_degc={transformer.name: zeros() for transformer in self._site.transformers},
        )
