"""Behavior of each kind of equipment, plain floats and no I/O.

Nameplate and state come in; ranges, rule powers, next states, costs and limits leave. `kind` is the interface, `registry`
lists the kinds, and each kind has a module of its own.
"""

__all__ = [
    "battery",
    "binding_limit",
    "charging_sessions",
    "cost",
    "failsafe_power",
    "horizon_hours",
    "interval",
    "kind",
    "load_usage",
    "period",
    "plausible_values",
    "registry",
    "setpoint_range",
    "stored_energy",
    "switching_operations",
    "transformer",
    "transformer_chords",
    "transformer_thermal",
]
