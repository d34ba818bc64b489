"""Rolling-horizon dispatch of batteries and curtailable PV at one grid connection, as a linear program.

Physics and nameplate are hard, every wish is a priced slack: no measured state and no forecast makes it infeasible. Not
here: integers (the wear cost has a floor above which charging while discharging cannot pay), forecasts, re-simulation.

The margin against a wrong forecast is energy in reserve, not a lower limit all day: the schedule is optimal for the median;
beside it runs the same schedule with the load at its upper quantile, in which the battery gives what then exceeds the limit
(`need`), takes back what fits below it (`recover`), and must not run empty (`missing` is a priced shortage). Besides, a
share of the battery can be kept (`soc_reserve_pu`) for sites whose forecast errors outgrow any quantile. The export limit
needs no reserve: PV can always be curtailed.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ringmain_agent.errors import DispatchError
from ringmain_agent.dispatch.linear_program import INF, Indices, LinearProgram, Solution, Term
from ringmain_agent.nameplate import Battery
from ringmain_agent.site import Site

# Prices of wishes. An excess dominates every price of energy; the reserve is for a load that one day in ten brings.
EXCESS_PER_PRICE: Final = 200.0
EXCESS_MIN_PER_KWH: Final = 10.0
RESERVE_SHARE: Final = 0.1
CURTAILMENT_PER_KWH: Final = 0.001
OVERLAP_FACTOR: Final = 1.1
OVERLAP_KW: Final = 1e-3
TARGET_FACTOR: Final = 1.1
"""The energy wished at the end is worth more than the dearest that could be bought for it."""
TIE_PER_KWH_H: Final = 1e-6
"""Keeps reported reserves at what is needed where they cost nothing."""
TIME_LIMIT_S: Final = 3.0
LARGEST: Final = 1e9
"""Powers and prices beyond are no input but an error upstream."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DispatchProblem:
    """One horizon; all arrays have the shape `(horizon_steps,)` and are finite. NaN is refused.

    `available_kw` is the median forecast of each PV plant (negative), `net_high_kw` load and PV together at their upper
    quantile. The ceilings are the limits less the margin. `soc_kwh` is `None` for a battery that cannot be used.
    """

    load_kw: Array
    available_kw: dict[str, Array]
    net_high_kw: Array
    import_ceiling_kw: Array
    export_ceiling_kw: Array
    import_price_per_kwh: Array
    export_price_per_kwh: Array
    soc_kwh: dict[str, float | None]
    billing_peak_kw: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """The schedule; energies at the END of each step. `import_excess_kw` and `export_excess_kw` exceed the ceilings."""

    optimal: bool
    objective: float
    solve_ms: float
    battery_kw: dict[str, Array]
    soc_kwh: dict[str, Array]
    reserve_kwh: dict[str, Array]
    curtailed_kw: dict[str, Array]
    pcc_kw: Array
    import_excess_kw: Array
    export_excess_kw: Array


class _BatteryColumns(NamedTuple):
    """Columns and rows of one battery."""

    battery: Battery
    charge: Indices
    discharge: Indices
    energy: Indices
    below: Indices
    above: Indices
    need: Indices
    recover: Indices
    reserve: Indices
    missing: Indices
    kept: Indices
    weak: Indices
    short: Indices
    energy_rows: Indices


class Dispatcher:
    """The linear program of one site, built once; each `dispatch` writes costs and bounds and solves warm."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._program = program = LinearProgram()
        count = site.horizon_steps
        self._import, self._export, self._import_excess, self._export_excess = (program.columns(count) for _ in range(4))
        self._import_worst, self._export_worst, self._peak = (program.columns(1) for _ in range(3))
        self._curtailed = {plant.name: program.columns(count) for plant in site.generators}
        self._batteries = [self._battery(battery) for battery in site.batteries]
        charge = [Term(b.charge, 1.0) for b in self._batteries]
        discharge = [Term(b.discharge, 1.0) for b in self._batteries]
        self._balance = program.rows(
            Term(self._import, 1.0),
            Term(self._import_excess, 1.0),
            Term(self._export, -1.0),
            Term(self._export_excess, -1.0),
            *(Term(columns, -1.0) for columns in self._curtailed.values()),
            *(Term(term.columns, -1.0) for term in charge),
            *discharge,
        )
        for excess, worst in ((self._import_excess, self._import_worst), (self._export_excess, self._export_worst)):
            # The sum alone would stack all excess up in one step.
            program.rows(Term(excess, -1.0), Term(np.repeat(worst, count), 1.0), lower=0.0)
        if site.tariff.demand_charge_per_kw > 0:
            peak = Term(np.repeat(self._peak, count), 1.0)
            program.rows(Term(self._import, -1.0), Term(self._import_excess, -1.0), peak, lower=0.0)
        if self._batteries:
            need = [Term(b.need, 1.0) for b in self._batteries] + [Term(b.recover, -1.0) for b in self._batteries]
            self._need_rows = program.rows(*need, *(Term(term.columns, -1.0) for term in charge), *discharge)
        program.build()

    def dispatch(self, problem: DispatchProblem, *, time_limit_s: float = TIME_LIMIT_S) -> Dispatch:
        """The cheapest schedule for the median forecast that keeps the reserve.

        Raises:
            DispatchError: With the termination condition; the fallback rule decides.
        """
        self._require_usable(problem)
        self._write_bounds(problem)
        self._write_costs(problem, excess_is_certain=False)
        solution = self._program.solve(time_limit_s=time_limit_s)
        if self._overlaps(solution):
            # Export beyond the limit that nothing can avoid: then even burning energy would pay.
            self._write_costs(problem, excess_is_certain=True)
            solution = self._program.solve(time_limit_s=time_limit_s)
        return self._read(solution, problem)

    def _overlaps(self, solution: Solution) -> bool:
        both = [np.minimum(solution.values[b.charge], solution.values[b.discharge]) for b in self._batteries]
        return any(float(overlap_kw.max()) > OVERLAP_KW for overlap_kw in both)

    def _battery(self, battery: Battery) -> _BatteryColumns:
        program, step_h, count = self._program, self._site.step_h, self._site.horizon_steps
        charge, discharge, below, above, need, recover, reserve, missing, weak = (program.columns(count) for _ in range(9))
        kept = program.columns(count)
        energy, short = program.columns(count), program.columns(1)
        into, out_of = battery.charge_efficiency * step_h, step_h / battery.discharge_efficiency
        energy_rows = program.rows(
            Term(energy, 1.0),
            Term(charge, -into),
            Term(discharge, out_of),
            before=[Term(energy, -1.0)],
            lower=0.0,
            upper=0.0,
        )
        floor, ceiling = battery.soc_min_kwh, battery.soc_max_kwh
        program.rows(Term(energy, 1.0), Term(below, 1.0), Term(above, -1.0), lower=floor, upper=ceiling)
        program.rows(Term(energy, 1.0), Term(kept, 1.0), lower=battery.soc_reserve_pu * battery.capacity_kwh)
        program.rows(Term(energy[-1:], 1.0), Term(short, 1.0), lower=battery.soc_target_pu * battery.capacity_kwh)
        flows = [Term(need, -out_of), Term(recover, into)]
        program.rows(Term(reserve, 1.0), *flows, before=[Term(reserve, -1.0)], lower=0.0, upper=0.0)
        program.rows(Term(energy, 1.0), Term(reserve, -1.0), Term(missing, 1.0), lower=floor)
        most, least = battery.charge_max_kw, battery.discharge_max_kw
        program.rows(Term(discharge, 1.0), Term(charge, -1.0), Term(need, 1.0), Term(weak, -1.0), upper=least)
        program.rows(Term(charge, 1.0), Term(discharge, -1.0), Term(recover, 1.0), upper=most)
        return _BatteryColumns(
            battery, charge, discharge, energy, below, above, need, recover, reserve, missing, kept, weak, short, energy_rows
        )

    def _require_usable(self, problem: DispatchProblem) -> None:
        count = self._site.horizon_steps
        arrays = {
            "load_kw": problem.load_kw,
            "net_high_kw": problem.net_high_kw,
            "import_ceiling_kw": problem.import_ceiling_kw,
            "export_ceiling_kw": problem.export_ceiling_kw,
            "import_price_per_kwh": problem.import_price_per_kwh,
            "export_price_per_kwh": problem.export_price_per_kwh,
            "billing_peak_kw": np.full(count, problem.billing_peak_kw),
        } | problem.available_kw
        for name, values in arrays.items():
            if values.shape != (count,) or not (np.abs(values) < LARGEST).all():
                raise DispatchError("input", f"{name} is not {count} finite numbers below {LARGEST:.0e}")

    def _write_costs(self, problem: DispatchProblem, *, excess_is_certain: bool) -> None:
        cost, step_h = self._program.cost, self._site.step_h
        price_in = problem.import_price_per_kwh
        price_out = np.minimum(problem.export_price_per_kwh, price_in)  # else import paid for by export has no end
        largest = float(max(np.abs(price_in).max(), np.abs(price_out).max()))
        excess = max(EXCESS_MIN_PER_KWH, EXCESS_PER_PRICE * largest)
        cost[self._import], cost[self._export] = price_in * step_h, -price_out * step_h
        cost[self._import_excess], cost[self._export_excess] = (price_in + excess) * step_h, (excess - price_out) * step_h
        cost[self._import_worst] = cost[self._export_worst] = excess
        cost[self._peak] = self._site.tariff.demand_charge_per_kw
        for columns in self._curtailed.values():
            cost[columns] = CURTAILMENT_PER_KWH * step_h
        destroyed = max(0.0, -float(price_in.min()), -float(price_out.min()), CURTAILMENT_PER_KWH)
        if excess_is_certain:
            destroyed += excess * (1 + 1 / step_h) + RESERVE_SHARE * excess * step_h * self._site.horizon_steps
        for b in self._batteries:
            round_trip = b.battery.charge_efficiency * b.battery.discharge_efficiency
            threshold = OVERLAP_FACTOR * destroyed * (1 - round_trip) / (1 + round_trip)
            wear = max(b.battery.wear_per_kwh, threshold)
            cost[b.charge] = cost[b.discharge] = wear * step_h
            cost[b.below] = cost[b.above] = cost[b.missing] = cost[b.weak] = RESERVE_SHARE * excess * step_h
            # Each step below the kept share costs more than any trade can bring, and a day of it less than an excess.
            cost[b.kept] = TARGET_FACTOR * (largest + wear) / b.battery.discharge_efficiency
            cost[b.reserve] = TIE_PER_KWH_H * step_h
            cost[b.short] = TARGET_FACTOR * (largest + wear) / b.battery.charge_efficiency

    def _write_bounds(self, problem: DispatchProblem) -> None:
        program = self._program
        program.upper[self._import] = problem.import_ceiling_kw
        program.upper[self._export] = problem.export_ceiling_kw
        program.lower[self._peak] = max(problem.billing_peak_kw, 0.0)
        net_kw = problem.load_kw.copy()
        for name, columns in self._curtailed.items():
            program.upper[columns] = -problem.available_kw[name]
            net_kw += problem.available_kw[name]
        program.row_lower[self._balance] = program.row_upper[self._balance] = net_kw
        for b in self._batteries:
            battery, soc_kwh = b.battery, _usable(problem.soc_kwh.get(b.battery.name), b.battery)
            program.upper[b.charge] = program.upper[b.recover] = battery.charge_max_kw if soc_kwh is not None else 0.0
            program.upper[b.discharge] = battery.discharge_max_kw if soc_kwh is not None else 0.0
            program.upper[b.need] = INF if soc_kwh is not None else 0.0
            held = soc_kwh if soc_kwh is not None else battery.soc_target_pu * battery.capacity_kwh
            # A measured energy outside its band may stay there, at a price, but not move further out.
            program.lower[b.energy] = min(battery.soc_min_kwh, held)
            program.upper[b.energy] = max(battery.soc_max_kwh, held)
            program.row_lower[b.energy_rows[0]] = program.row_upper[b.energy_rows[0]] = held
        if self._batteries:
            usable = any(_usable(problem.soc_kwh.get(b.battery.name), b.battery) is not None for b in self._batteries)
            floor = problem.net_high_kw - problem.import_ceiling_kw
            program.row_lower[self._need_rows] = floor if usable else -INF

    def _read(self, solution: Solution, problem: DispatchProblem) -> Dispatch:
        x = solution.values
        known = [b for b in self._batteries if _usable(problem.soc_kwh.get(b.battery.name), b.battery) is not None]
        excess_in, excess_out = x[self._import_excess], x[self._export_excess]
        return Dispatch(
            optimal=solution.optimal,
            objective=solution.objective,
            solve_ms=1000 * solution.solve_s,
            battery_kw={b.battery.name: x[b.charge] - x[b.discharge] for b in known},
            soc_kwh={b.battery.name: x[b.energy] for b in known},
            reserve_kwh={b.battery.name: x[b.reserve] for b in known},
            curtailed_kw={name: np.maximum(x[columns], 0.0) for name, columns in self._curtailed.items()},
            pcc_kw=x[self._import] + excess_in - x[self._export] - excess_out,
            import_excess_kw=excess_in,
            export_excess_kw=excess_out,
        )


def _usable(soc_kwh: float | None, battery: Battery) -> float | None:
    """The measured energy inside what the battery can hold; a measurement never makes the program infeasible."""
    if soc_kwh is None or not math.isfinite(soc_kwh):
        return None
    return min(max(soc_kwh, 0.0), battery.capacity_kwh)
