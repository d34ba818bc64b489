"""Base of all nameplates: the name of an equipment, the signal of its power, and the ranges of fields."""

import math
from typing import Annotated

from msgspec import Meta, Struct

from ringmain_protocol.messages import Name

Positive = Annotated[float, Meta(gt=0, lt=1e9)]
NotNegative = Annotated[float, Meta(ge=0, lt=1e9)]
Power = Annotated[float, Meta(gt=-1e9, lt=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Efficiency = Annotated[float, Meta(gt=0, le=1)]
Temperature = Annotated[float, Meta(ge=-100, le=400)]


class Equipment(Struct, frozen=True, kw_only=True):
    """Equipment of the site, by name; the signal of its power is `<name>_kw`."""

    name: Name

    @property
    def power_signal(self) -> str:
        """Signal of its power."""
        return f"{self.name}_kw"


def active_kw(apparent_kva: float, reactive_kvar: float) -> float:
    """Highest active power at a given reactive power within an apparent power; 0 if there is none. Never raises."""
    return math.sqrt(max((apparent_kva - abs(reactive_kvar)) * (apparent_kva + abs(reactive_kvar)), 0.0))
