"""Behavior of each kind of equipment, plain floats and no I/O.

Nameplate and state come in, ranges, rule powers and next states leave.
"""

__all__ = [
    "charging_sessions",
    "interval",
    "load_usage",
    "plausible",
    "setpoint_range",
    "switching_operations",
    "transformer",
    "transformer_thermal",
]
