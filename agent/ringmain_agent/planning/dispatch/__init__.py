"""The dispatch of everything at a site over the horizon, as a linear program that each equipment adds its block to."""

from ringmain_agent.planning.dispatch.dispatcher import Dispatcher
from ringmain_agent.planning.dispatch.problem import Dispatch, DispatchProblem

__all__ = ["Dispatch", "DispatchProblem", "Dispatcher", "battery", "demand_charges", "switched", "transformer_temperatures"]
