"""The planner.

A `Snapshot` comes in, a `Plan` leaves. All but `client` runs in a process of its own, the only one with NumPy, ONNX Runtime
and HiGHS.
"""

__all__ = ["client", "costs", "dispatch", "forecast", "plan", "prices"]
