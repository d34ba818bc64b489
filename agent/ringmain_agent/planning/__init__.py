"""The planner: a `Snapshot` comes in, a `Plan` leaves.

`client` belongs to the main process. Everything else runs in the planner process, the only one with NumPy, ONNX Runtime and
HiGHS.
"""

__all__ = ["client", "costs", "dispatch", "forecast", "plan", "prices"]
