"""Dispatch: a `DispatchProblem` comes in, the cheapest schedule (`Dispatch`) leaves.

A linear program over the horizon, built for each plan; each kind of equipment adds its block.
"""

from ringmain_agent.planning.dispatch.dispatcher import Dispatcher
from ringmain_agent.planning.dispatch.problem import Dispatch, DispatchProblem

__all__ = ["Dispatch", "DispatchProblem", "Dispatcher", "battery", "demand_charges", "switched", "transformer_temperatures"]
