"""Possible setpoints of batteries and loads in the present cycle: by kind, with a pause after switching off. Pure.

The regulator chooses inside these ranges. `limits` checks the same limits with code of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, SentSetpoint

REST_S: Final = 60.0
"""Shortest time off of a load with a minimum power, which prevents fluttering at a limit."""

Moves = Mapping[str, Sequence[SentSetpoint]]
"""The last changes of setpoints by equipment, oldest first; the last one is in force."""


def setpoint_ranges(
    measurements: Measurements, sent: Mapping[str, SentSetpoint], moves: Moves, site: Site
) -> dict[str, SetpointRange | None]:
    """The range of each battery and load; `None` if too little is known."""
    ranges: dict[str, SetpointRange | None] = {}
    for equipment in (*site.batteries, *site.controllable_loads):
        name = equipment.name
        possible = kind_of(equipment).range_now(equipment, measurements, sent.get(name), site)
        ranges[name] = _pause_after_off(possible, moves.get(name, ()), measurements.now_ms)
    return ranges


def _pause_after_off(possible: SetpointRange | None, moves: Sequence[SentSetpoint], now_ms: int) -> SetpointRange | None:
    """The range, or only off during the pause after a load with a minimum power was switched off."""
    if possible is None or possible.power_min_kw <= 0 or len(moves) < 2 or possible.interval.least > 0:
        return possible
    just_off = moves[-1].power_kw == 0 and 0 <= now_ms - moves[-1].at_ms < 1000 * REST_S
    return OFF if just_off else possible
