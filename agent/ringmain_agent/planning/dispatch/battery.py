"""Block of a battery: charge, discharge, energy and its band, the reserved share, and the value of energy at the end.

Charging while discharging pays only if destroying energy pays. A binary then forbids it, or a higher price of throughput
makes it unprofitable (destroying a kWh takes `(1 + both efficiencies) / (1 - both efficiencies)` kWh of throughput).
"""

from typing import Final

import numpy as np

from ringmain_agent.equipment import plausible_values as plausible
from ringmain_agent.equipment.battery import TARGET_FACTOR, follow, within_nameplate_kw
from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.site.nameplates import Battery
from ringmain_agent.site.site import Site

OVERLAP_FACTOR: Final = 1.1
BAND_SHARE: Final = 0.1
"""Price of energy outside the band, as a share of the price of exceeding a limit."""


class BatteryBlock:
    """One battery; with `soc_outside_band` its energy is outside the band, or leaves it by self-discharge.

    * Energy outside the band has a price, and never moves further out than at rest.
    * A battery of unknown energy is idle; an unresponsive one keeps its power as long as its energy allows.
    * With `exclusive_charging` a binary selects charging or discharging.
    """

    def __init__(
        self, program: LinearProgram, battery: Battery, site: Site, *, soc_outside_band: bool, exclusive_charging: bool
    ) -> None:
        count = site.horizon_steps
        self.battery, self._program, self._step_h = battery, program, site.step_h
        self.charge, self.discharge, self.energy = (program.columns(count) for _ in range(3))
        self.active = [Term(self.charge, 1.0), Term(self.discharge, -1.0)]
        self.reactive: list[Term] = []
        self._kept_pu = battery.kept_pu(site.step_h)
        self._rows = program.rows(
            Term(self.energy, 1.0),
            Term(self.charge, -battery.charge_efficiency * site.step_h),
            Term(self.discharge, site.step_h / battery.discharge_efficiency),
            before=[Term(self.energy, -self._kept_pu)],
            lower=0.0,
            upper=0.0,
        )
        self._outside = program.columns(2 * count if soc_outside_band else 0)
        if soc_outside_band:
            below, above = Term(self._outside[:count], 1.0), Term(self._outside[count:], -1.0)
            floor, ceiling = battery.soc_min_kwh, battery.soc_max_kwh
            program.rows(Term(self.energy, 1.0), below, above, lower=floor, upper=ceiling)
        self._below_reserve = program.columns(count if battery.soc_reserve_pu > battery.soc_min_pu else 0)
        if len(self._below_reserve):
            reserve_kwh = battery.soc_reserve_pu * battery.capacity_kwh
            program.rows(Term(self.energy, 1.0), Term(self._below_reserve, 1.0), lower=reserve_kwh)
        self._short = program.columns(1 if battery.end_value_per_kwh is None else 0)
        self._over = program.columns(1 if battery.target_miss_per_kwh is not None else 0)
        if len(self._short):
            target_kwh = battery.soc_target_pu * battery.capacity_kwh
            over = [Term(self._over, -1.0)] if len(self._over) else []
            highest = target_kwh if over else INF
            program.rows(Term(self.energy[-1:], 1.0), Term(self._short, 1.0), *over, lower=target_kwh, upper=highest)
        self.known = False
        if exclusive_charging:
            charging, most_kw = program.columns(count, upper=1.0, integer=True), battery.discharge_max_kw
            program.rows(Term(self.charge, 1.0), Term(charging, -battery.charge_max_kw), upper=0.0)
            program.rows(Term(self.discharge, 1.0), Term(charging, most_kw), upper=most_kw)

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Bounds and costs for one problem."""
        self._write_bounds(problem)
        program, battery, step_h = self._program, self.battery, self._step_h
        wear = throughput_per_kwh(battery, prices)
        program.cost[self.charge] = program.cost[self.discharge] = wear * step_h
        program.cost[self._outside] = BAND_SHARE * prices.excess_per_kwh * step_h
        # Each step below the reserve costs more than any trade earns, and a day of it less than an excess over a limit.
        highest_price = TARGET_FACTOR * (prices.largest_per_kwh + wear)
        program.cost[self._below_reserve] = highest_price / battery.discharge_efficiency
        miss = battery.target_miss_per_kwh
        program.cost[self._short] = highest_price / battery.charge_efficiency if miss is None else miss
        program.cost[self._over] = miss or 0.0
        program.cost[self.energy[-1]] = -(battery.end_value_per_kwh or 0.0)

    def _write_bounds(self, problem: DispatchProblem) -> None:
        program, battery = self._program, self.battery
        unresponsive_kw, soc_kwh = problem.snapshot.unresponsive_kw.get(battery.name), usable_kwh(problem, battery)
        self.known = soc_kwh is not None
        program.lower[self.charge] = program.lower[self.discharge] = 0.0
        program.upper[self.charge], program.upper[self.discharge] = battery.charge_max_kw, battery.discharge_max_kw
        program.row_lower[self._rows[0]] = program.row_upper[self._rows[0]] = self._kept_pu * (soc_kwh or 0.0)
        if soc_kwh is None:
            fixed_kw = np.full(len(self.charge), within_nameplate_kw(battery, unresponsive_kw or 0.0))
            program.lower[self.energy], program.upper[self.energy] = -INF, INF
        else:
            fixed_kw, unchanged_kwh = course_at_constant_power(
                battery, soc_kwh, unresponsive_kw, self._step_h, len(self.charge)
            )
            program.lower[self.energy] = np.minimum(battery.soc_min_kwh, unchanged_kwh)
            program.upper[self.energy] = np.maximum(battery.soc_max_kwh, unchanged_kwh)
        if soc_kwh is None or unresponsive_kw is not None:
            program.lower[self.charge] = program.upper[self.charge] = np.maximum(fixed_kw, 0.0)
            program.lower[self.discharge] = program.upper[self.discharge] = np.maximum(-fixed_kw, 0.0)

    def read(self, values: Array, parts: Parts) -> None:
        """Its power, and its energy if known."""
        parts.power_kw[self.battery.name] = values[self.charge] - values[self.discharge]
        if self.known:
            parts.soc_kwh[self.battery.name] = values[self.energy]
            parts.reserve_kwh[self.battery.name] = np.zeros(len(self.energy))

    def overlap_kw(self, values: Array) -> Array:
        """Power that it charges and discharges at the same time."""
        return np.minimum(values[self.charge], values[self.discharge])


def throughput_per_kwh(battery: Battery, prices: Prices) -> float:
    """Wear, or the higher price that makes charging while discharging unprofitable at `destroyed_per_kwh`."""
    round_trip = battery.charge_efficiency * battery.discharge_efficiency
    threshold = OVERLAP_FACTOR * prices.destroyed_per_kwh * (1 - round_trip) / (1 + round_trip)
    return max(battery.wear_per_kwh, threshold) + prices.tie_per_kwh


def usable_kwh(problem: DispatchProblem, battery: Battery) -> float | None:
    """The measured energy, clamped to the capacity; no measurement makes the program infeasible."""
    return plausible.soc_kwh(battery, problem.snapshot.soc_kwh.get(battery.name))


def is_outside(problem: DispatchProblem, battery: Battery, step_h: float) -> bool:
    """True if its energy is outside the band, or leaves it without a setpoint."""
    soc_kwh = usable_kwh(problem, battery)
    if soc_kwh is None:
        return False
    unresponsive_kw = problem.snapshot.unresponsive_kw.get(battery.name)
    _, unchanged_kwh = course_at_constant_power(battery, soc_kwh, unresponsive_kw, step_h, len(problem.load_kw))
    return bool(unchanged_kwh.min() < battery.soc_min_kwh or unchanged_kwh.max() > battery.soc_max_kwh)


def course_at_constant_power(
    battery: Battery, soc_kwh: float, unresponsive_kw: float | None, step_h: float, count: int
) -> tuple[Array, Array]:
    """Power, and energy at the END of each step, at rest or at `unresponsive_kw` as long as the energy allows."""
    if not unresponsive_kw and not battery.self_discharge_per_h:
        return np.zeros(count), np.full(count, soc_kwh)
    power_kw, energy_kwh = follow(
        battery, [unresponsive_kw or 0.0] * count, soc_kwh, step_h, whole=unresponsive_kw is not None
    )
    return np.array(power_kw), np.array(energy_kwh)
