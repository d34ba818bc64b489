"""The unit of a signal, from the ending of its name."""

from typing import Final

_UNITS: Final = (
    *(("_per_kwh", "1/kWh"), ("_per_mwh", "1/MWh"), ("_w_per_m2", "W/m2"), ("_m_per_s", "m/s"), ("_kvar", "kvar")),
    *(("_kva", "kVA"), ("_kwh", "kWh"), ("_kw", "kW"), ("_degc", "degC"), ("_pct", "%"), ("_pu", "pu")),
)


def unit_of(name: str) -> str:
    """The unit in the ending of a signal's name; empty if there is none."""
    return next((unit for suffix, unit in _UNITS if name.endswith(suffix)), "")
