"""Which value holds where one that was measured or announced cannot be true: plan and regulator ask here. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from ringmain_agent.nameplate import ThermalLoad, Transformer

AMBIENT_DEGC: Final = (-80.0, 80.0)
"""Air around equipment is not believed beyond these."""


def ambient_degc(equipment: Transformer | ThermalLoad, announced_degc: float | None) -> float:
    """Air around a transformer or thermal load: as announced if that is plausible, else as configured."""
    return equipment.ambient_degc if (degc := within(announced_degc, *AMBIENT_DEGC)) is None else degc


def ambient_at_degc(
    equipment: Transformer | ThermalLoad, known_future: Mapping[str, Sequence[float | None]], step: int
) -> float:
    """The same in a step of a horizon, as the series of the equipment announces it."""
    series = known_future.get(equipment.ambient_series or "", ())
    return ambient_degc(equipment, series[step] if step < len(series) else None)


def within(value: float | None, lowest: float, highest: float) -> float | None:
    """The value if it lies between two others, which NaN never does."""
    return value if value is not None and lowest <= value <= highest else None
