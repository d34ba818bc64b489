"""The optimizer's program of a site with one load and nothing else."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringmain_agent.planning.dispatch.block import Block, Parts, Prices
from ringmain_agent.planning.dispatch.blocks import load_blocks
from ringmain_agent.planning.dispatch.linear_program import LinearProgram
from ringmain_agent.planning.dispatch.problem import DispatchProblem
from ringmain_agent.site.nameplates import ChargingStation, FlexibleLoad, OnOffLoad
from ringmain_agent.site.site import Site
from support.sites import boiler, problem_of, station

Array = npt.NDArray[np.float64]

MIDNIGHT_MS: Final = 1_604_188_800_000  # 2020-11-01T00:00:00Z
HOUR_MS: Final = 3_600_000
TIE: Final = 1e-6
"""Decides between plans of equal cost; not part of the costs that are compared."""


def at_ms(clock: str, day: int = 1) -> int:
    """An instant of November 2020."""
    hour, minute = clock.split(":")
    return round(datetime(2020, 11, day, int(hour), int(minute), tzinfo=UTC).timestamp() * 1000)


def make_problem(
    site: Site, issued_at_ms: int, ambient_degc: Mapping[str, Array] | None = None, **known: Any
) -> DispatchProblem:
    """A problem of what is measured of the load."""
    return problem_of(site, issued_at_ms=issued_at_ms, ambient_degc=ambient_degc or {}, **known)


class OneLoad:
    """The program of a site with one load and nothing else; kept over several problems."""

    def __init__(self, site: Site) -> None:
        self.site, self.program = site, LinearProgram()
        self.block: Block
        (self.block,) = load_blocks(self.program, site)
        (self.equipment,) = site.controllable_loads
        self.program.build()

    def solve(self, problem: DispatchProblem, price_per_kwh: Sequence[float] | Array) -> tuple[Array, float]:
        """Power in each step, and the cost of its energy and of what is missing."""
        self.program.cost[:] = 0.0
        self.block.write(problem, Prices(1000.0, 1.0, 0.0, TIE))
        ties = np.concatenate([term.columns for term in self.block.active])
        tie_cost = self.program.cost[ties].copy()
        for term in self.block.active:
            self.program.cost[term.columns] += np.array(price_per_kwh) * self.site.step_h * term.value
        solution = self.program.solve(time_limit_s=20.0)
        assert solution.optimal
        parts = Parts()
        self.block.read(solution.values, parts)
        self.temperature_degc = parts.temperature_degc.get(self.equipment.name)
        return parts.power_kw[self.equipment.name], solution.objective - float(tie_cost @ solution.values[ties])


def flexible(steps: int, *, step_s: int = 3600, **fields: Any) -> OneLoad:
    """A washing machine of 4 kW that wants 6 kWh a day."""
    usual = {"power_max_kw": 4.0, "energy_kwh": 6.0}
    return _one_load(steps, step_s, flexible_loads=(FlexibleLoad(name="washing", **usual | fields),))


def on_off(steps: int, *, step_s: int = 3600, **fields: Any) -> OneLoad:
    """A pump of 3 kW that runs two hours a day."""
    usual = {"power_kw": 3.0, "run_h": 2.0}
    return _one_load(steps, step_s, on_off_loads=(OnOffLoad(name="pump", **usual | fields),))


def charger(steps: int, *, step_s: int = 3600, **fields: Any) -> OneLoad:
    """A charging station of 10 kW of which a vehicle gets 80 %."""
    usual = {"power_max_kw": 10.0, "efficiency": 0.8}
    return _one_load(steps, step_s, charging_stations=(ChargingStation(name="charger", **usual | fields),))


def room(steps: int, *, step_s: int = 3600, **fields: Any) -> OneLoad:
    """A room between 19 and 22 degC with a heat pump of 5 kW."""
    usual = {"power_max_kw": 5.0, "capacity_kwh_per_k": 2.0, "loss_kw_per_k": 0.1, "performance": 3.0}
    band = {"temperature_min_degc": 19.0, "temperature_max_degc": 22.0}
    return _one_load(steps, step_s, thermal_loads=(boiler("room", **usual | band | fields),))


def _one_load(steps: int, step_s: int, **equipment: Any) -> OneLoad:
    return OneLoad(station(import_limit_kw=100.0, export_limit_kw=100.0, step_s=step_s, horizon_steps=steps, **equipment))
