"""Nameplate of a load that is on or off."""

from typing import Annotated

from msgspec import Meta

from ringmain_agent.site.hours import ALWAYS, LocalHours
from ringmain_agent.site.nameplates.equipment import Equipment, NotNegative, Positive


class OnOffLoad(Equipment, frozen=True, kw_only=True):
    """A load that is on at `power_kw` or off, and must run `run_h` within each of its hours.

    Once on, it stays on for `run_min_h`. It starts at most `starts_max` times within its hours. The energy of missing run
    hours costs `missing_per_kwh`.
    """

    power_kw: Positive
    run_h: Annotated[float, Meta(ge=0, le=24)]
    run_min_h: Annotated[float, Meta(ge=0, le=24)] = 0.0
    starts_max: Annotated[int, Meta(ge=1, le=96)] | None = None
    hours: LocalHours = ALWAYS
    missing_per_kwh: NotNegative = 1.0
    failsafe_kw: NotNegative = 0.0

    def __post_init__(self) -> None:
        if self.failsafe_kw > self.power_kw:
            raise ValueError(f"failsafe_kw {self.failsafe_kw:g} is above power_kw {self.power_kw:g}")
