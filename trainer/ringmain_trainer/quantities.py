"""Quantities as people read them: a name, a unit, and numbers without exponents. Pure."""

from typing import Final, NamedTuple

import numpy as np

_UNITS: Final = (
    *(("_per_kwh", "1/kWh"), ("_per_mwh", "1/MWh"), ("_w_per_m2", "W/m2"), ("_m_per_s", "m/s"), ("_kvar", "kvar")),
    *(("_kva", "kVA"), ("_kwh", "kWh"), ("_kw", "kW"), ("_degc", "degC"), ("_pct", "%"), ("_pu", "pu")),
)
_PRINTED: Final = {"degC": "°C", "W/m2": "W/m²"}


def unit_of(name: str) -> str:
    """The unit in the ending of a signal's name; empty if there is none."""
    return next((unit for suffix, unit in _UNITS if name.endswith(suffix)), "")


class Quantity(NamedTuple):
    """A signal's name and its unit."""

    name: str
    unit: str

    @property
    def shown_unit(self) -> str:
        """The unit as it is printed."""
        return _PRINTED.get(self.unit, self.unit)

    @property
    def label(self) -> str:
        """Name and unit, for an axis."""
        return f"{self.name}, {self.shown_unit}" if self.unit else self.name


def number(value: float) -> str:
    """Four significant digits; from 1,000 whole, with separators; `none` where there is no value."""
    if not np.isfinite(value):
        return "none"
    return f"{value:,.0f}" if abs(value) >= 999.95 else f"{value:.4g}"
