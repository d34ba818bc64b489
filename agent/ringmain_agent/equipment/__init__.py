"""Behavior of each kind of equipment, plain floats and no I/O.

Nameplate and state come in, ranges, rule powers and next states leave.
"""

__all__ = [
    "charging_sessions",
    "horizon_hours",
    "interval",
    "load_usage",
    "setpoint_range",
    "switching_operations",
    "transformer_thermal",
]
