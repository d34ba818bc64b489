"""Capacitor banks and tap changers: positions that keep the busbar's voltage in its band, by linear sensitivities.

    v = v_measured + pu_per_kw * change of kW + pu_per_kvar * change of kvar + step_pu * change of position

Positions are integers. They may change by any number of positions, once an hour in the first hours and every three hours
later. Every step brings a new plan, and this needs only a fraction of the integers of a change in each step.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from ringmain_agent.planning.arrays import Array, Indices
from ringmain_agent.planning.dispatch.block import Parts, Prices
from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.site.hours import ALWAYS, windows
from ringmain_agent.site.nameplates import CapacitorBank, TapChanger
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot

HOLD_H: Final = 1.0
LATER_HOLD_H: Final = 3.0
NEXT_H: Final = 6.0
"""Positions stay for at least `HOLD_H` in the first `NEXT_H`, and for `LATER_HOLD_H` after that."""
PER_MILLE: Final = 1000.0
"""Voltages in the program are in thousandths, so that all its numbers have a similar magnitude."""
OPERATIONS_PER_PERCENT_H: Final = 5.0
VOLTAGE_PER_PRICE: Final = 10.0
"""An hour at one percent outside the band costs as much as five operations, and ten times the energy that would correct it.

An excess over a limit costs far more.
"""
VIOLATION_MAX_PER_PU_H: Final = 1e6
MEASURED_VOLTAGE_MAX_PU: Final = 2.0

Switched = CapacitorBank | TapChanger


class VoltageBlock:
    """Positions of all switched equipment, and the voltage as a function of them and of the power at the pcc.

    * A change costs one operation per position; no local day has more operations than are left or allowed.
    * An unknown or impossible position stays unchanged; without a measured voltage all positions do.
    * A voltage outside the band has a price.
    """

    def __init__(self, program: LinearProgram, site: Site, pcc: list[Term]) -> None:
        count = site.horizon_steps
        self._program, self._site = program, site
        self._block_of, self._block_starts = _blocks(site)
        self._positions = [_Positions(program, switched, len(self._block_starts)) for switched in site.switched]
        self.active: list[Term] = []
        self.reactive = [
            Term(positions.columns[self._block_of], -positions.switched.step_kvar)
            for positions in self._positions
            if isinstance(positions.switched, CapacitorBank)
        ]
        self._below = program.columns(count if site.busbar else 0)
        self._above = program.columns(count if site.busbar else 0)
        self._rows = np.zeros(0, np.int32)
        if site.busbar is not None:
            moved = [Term(term.columns, PER_MILLE * site.busbar.pu_per_kw * term.value) for term in pcc]
            moved += [
                Term(positions.columns[self._block_of], PER_MILLE * pu_per_position(positions.switched, site))
                for positions in self._positions
            ]
            slack = [Term(self._below, 1.0), Term(self._above, -1.0)]
            self._rows = program.rows(*slack, *(term for term in moved if term.value))

    def write(self, problem: DispatchProblem, prices: Prices) -> None:
        """Present positions, operations of each day, and the band."""
        program, site, snapshot = self._program, self._site, problem.snapshot
        base_pu = unmoved_voltage_pu(problem, site)
        starts_ms = [snapshot.issued_at_ms + 1000 * site.step_s * int(step) for step in self._block_starts]
        days = np.array(windows(ALWAYS, starts_ms, site.time_zone))
        for positions in self._positions:
            blind = site.busbar is not None and base_pu is None
            positions.write(snapshot, days, prices.tie_per_kwh, blind=blind)
        if site.busbar is None:
            return
        cost = violation_per_pu_h(site, prices) * site.step_h / PER_MILLE
        program.cost[self._below] = program.cost[self._above] = cost
        if base_pu is None:
            program.row_lower[self._rows], program.row_upper[self._rows] = -INF, INF
            return
        for positions in self._positions:
            position = known_position(snapshot, positions.switched)
            base_pu = base_pu - pu_per_position(positions.switched, site) * (
                positions.assumed if position is None else position
            )
        program.row_lower[self._rows] = PER_MILLE * (site.busbar.voltage_min_pu - base_pu)
        program.row_upper[self._rows] = PER_MILLE * (site.busbar.voltage_max_pu - base_pu)

    def read(self, values: Array, parts: Parts) -> None:
        """Positions in each step, for equipment with a known position."""
        for positions in self._positions:
            if positions.known:
                parts.positions[positions.switched.name] = np.rint(values[positions.columns])[self._block_of]


class _Positions:
    """Positions of one tap changer or capacitor bank in each block of steps, and its operations."""

    def __init__(self, program: LinearProgram, switched: Switched, blocks: int) -> None:
        self.switched, self.known, self._program = switched, False, program
        self.assumed = 0 if isinstance(switched, CapacitorBank) else switched.positions[0]
        """Assumed for an unknown position."""
        lowest, highest = switched.positions
        self.columns: Indices = program.columns(blocks, lower=lowest, upper=highest, integer=True)
        self._up, self._down, self._done = (program.columns(blocks) for _ in range(3))
        moves = [Term(self._up, -1.0), Term(self._down, -1.0)]
        self._first = program.rows(
            Term(self.columns, 1.0),
            Term(self._up, -1.0),
            Term(self._down, 1.0),
            before=[Term(self.columns, -1.0)],
            lower=0.0,
            upper=0.0,
        )[0]
        self._counting = program.rows(Term(self._done, 1.0), *moves, before=[Term(self._done, -1.0)], lower=0.0)
        program.rows(Term(self._done, 1.0), *moves, lower=0.0)

    def write(self, snapshot: Snapshot, days: npt.NDArray[np.int64], tie: float, *, blind: bool) -> None:
        """Bounds from its present position; `days` holds the local day of each block. The count restarts each day."""
        program, switched = self._program, self.switched
        position = known_position(snapshot, switched)
        self.known = position is not None
        left = max(snapshot.operations_left.get(switched.name, switched.operations_per_day), 0)
        allowed = np.where(days == days[0], min(left, switched.operations_per_day), switched.operations_per_day)
        program.upper[self._done] = 0.0 if blind or position is None else allowed
        program.row_lower[self._counting] = np.where(np.diff(days, prepend=days[0]) != 0, -INF, 0.0)
        program.row_lower[self._first] = program.row_upper[self._first] = self.assumed if position is None else position
        program.cost[self._up] = program.cost[self._down] = switched.operation_cost + tie


def _blocks(site: Site) -> tuple[Indices, Indices]:
    """Block of each step, and the first step of each block."""
    steps = np.arange(site.horizon_steps, dtype=np.int32)
    next_blocks, hold, later = round(NEXT_H / HOLD_H), max(round(HOLD_H / site.step_h), 1), round(LATER_HOLD_H / HOLD_H)
    hours = steps // hold
    blocks = np.where(hours < next_blocks, hours, next_blocks + (hours - next_blocks) // later)
    return blocks, np.flatnonzero(np.diff(blocks, prepend=-1)).astype(np.int32)


def known_position(snapshot: Snapshot, switched: Switched) -> int | None:
    """The present position; `None` if unknown or impossible."""
    position, (lowest, highest) = snapshot.positions.get(switched.name), switched.positions
    return position if position is not None and lowest <= position <= highest else None


def pu_per_position(switched: Switched, site: Site) -> float:
    """Change of the busbar's voltage by one position upwards."""
    if isinstance(switched, TapChanger):
        return switched.step_pu
    return 0.0 if site.busbar is None else -site.busbar.pu_per_kvar * switched.step_kvar


def violation_per_pu_h(site: Site, prices: Prices) -> float:
    """Price per hour and per unit outside the band: above the price of operations and of energy that would correct it."""
    if site.busbar is None:
        return 0.0
    highest_cost = max((switched.operation_cost for switched in site.switched), default=0.0) + prices.tie_per_kwh
    per_pu_h = 100 * OPERATIONS_PER_PERCENT_H * highest_cost
    if site.busbar.pu_per_kw:
        per_pu_h = max(per_pu_h, VOLTAGE_PER_PRICE * prices.largest_per_kwh / abs(site.busbar.pu_per_kw))
    return min(per_pu_h, VIOLATION_MAX_PER_PU_H)


def unmoved_voltage_pu(problem: DispatchProblem, site: Site) -> Array | None:
    """The voltage of each step at 0 kW at the pcc, with all positions unchanged; `None` if unknown."""
    snapshot, busbar = problem.snapshot, site.busbar
    measured_pu, pcc_kw, pcc_kvar = snapshot.voltage_pu, snapshot.pcc_kw, snapshot.pcc_kvar
    if busbar is None or measured_pu is None or not 0 < measured_pu < MEASURED_VOLTAGE_MAX_PU:
        return None
    base_pu = np.full(site.horizon_steps, measured_pu)
    if busbar.pu_per_kw:
        if pcc_kw is None or not math.isfinite(pcc_kw):
            return None
        base_pu -= busbar.pu_per_kw * pcc_kw
    if pcc_kvar is not None and math.isfinite(pcc_kvar):
        supplied_kvar = sum(bank.step_kvar * (snapshot.positions.get(bank.name) or 0) for bank in site.capacitor_banks)
        base_pu += busbar.pu_per_kvar * (problem.load_kvar - supplied_kvar - pcc_kvar)
    return base_pu


def voltage_pu(pcc_kw: Array, positions: dict[str, Array], problem: DispatchProblem, site: Site) -> Array | None:
    """The voltage of each step with these powers and positions; `None` if unknown."""
    voltage = unmoved_voltage_pu(problem, site)
    if voltage is None or site.busbar is None:
        return None
    voltage += site.busbar.pu_per_kw * pcc_kw
    for switched in site.switched:
        position = known_position(problem.snapshot, switched)
        if position is not None and switched.name in positions:
            voltage += pu_per_position(switched, site) * (positions[switched.name] - position)
    return voltage


def unchanged_positions(problem: DispatchProblem, site: Site) -> dict[str, Array]:
    """Positions of a schedule without switching."""
    present = {switched.name: known_position(problem.snapshot, switched) for switched in site.switched}
    return {name: np.full(site.horizon_steps, float(position)) for name, position in present.items() if position is not None}


def voltage_matters(pcc_kw: Array, problem: DispatchProblem, site: Site) -> bool:
    """True if the voltage leaves its band without switching."""
    voltage = voltage_pu(pcc_kw, {}, problem, site)
    if voltage is None or site.busbar is None:
        return False
    return bool(voltage.min() < site.busbar.voltage_min_pu or voltage.max() > site.busbar.voltage_max_pu)
