"""Nameplate of an on-load tap changer."""

from typing import Annotated

from msgspec import Meta

from ringmain_agent.site.nameplates.switched import Switched


class TapChanger(Switched, frozen=True, kw_only=True):
    """An on-load tap changer: each position upwards raises the busbar's voltage by `step_pu` (negative if it lowers it)."""

    position_min: Annotated[int, Meta(ge=-100, le=100)]
    position_max: Annotated[int, Meta(ge=-100, le=100)]
    step_pu: Annotated[float, Meta(gt=-0.1, lt=0.1)] = 0.0125

    def __post_init__(self) -> None:
        if not self.position_min < self.position_max:
            raise ValueError(f"position_min {self.position_min} must be below position_max {self.position_max}")
        if self.step_pu == 0:
            raise ValueError("step_pu is 0; it must be the change of voltage by one position")

    @property
    def positions(self) -> tuple[int, int]:
        """Lowest and highest position."""
        return self.position_min, self.position_max
