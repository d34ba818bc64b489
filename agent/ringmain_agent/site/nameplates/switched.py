"""Base of equipment with positions."""

from typing import Annotated

from msgspec import Meta

from ringmain_agent.site.nameplates.equipment import Equipment, NotNegative


class Switched(Equipment, frozen=True, kw_only=True):
    """Equipment with positions, which wears with each operation; the signal of its position is `<name>_position`."""

    operations_per_day: Annotated[int, Meta(ge=1, le=1000)] = 10
    operation_cost: NotNegative = 0.1

    @property
    def position_signal(self) -> str:
        """Signal of its position."""
        return f"{self.name}_position"
