"""Dispatch of a site over the horizon: a linear program to which each equipment contributes a block."""

from ringmain_agent.planning.dispatch.dispatcher import Dispatcher
from ringmain_agent.planning.dispatch.problem import Dispatch, DispatchProblem

__all__ = ["Dispatch", "DispatchProblem", "Dispatcher", "battery", "demand_charges", "switched", "transformer_temperatures"]
