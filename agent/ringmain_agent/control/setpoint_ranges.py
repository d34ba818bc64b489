"""Range of every battery and load in the present cycle: that of its kind, and a rest after it was switched off. Pure.

The regulator chooses inside it. `limits` guards the same things with code of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, SentSetpoint

REST_S: Final = 60.0
"""A load that was switched off is not switched on again before this time has passed: it would flutter at a limit."""

Moves = Mapping[str, Sequence[SentSetpoint]]
"""The last setpoints that differed, by equipment, oldest first; the last one is in force."""


def setpoint_ranges(
    measurements: Measurements, sent: Mapping[str, SentSetpoint], moves: Moves, site: Site
) -> dict[str, SetpointRange | None]:
    """The range of every battery and load; `None` where too little is known to set it."""
    ranges: dict[str, SetpointRange | None] = {}
    for equipment in (*site.batteries, *site.controllable_loads):
        name = equipment.name
        possible = kind_of(equipment).range_now(equipment, measurements, sent.get(name), site)
        ranges[name] = _rested(possible, moves.get(name, ()), measurements.now_ms)
    return ranges


def _rested(possible: SetpointRange | None, moves: Sequence[SentSetpoint], now_ms: int) -> SetpointRange | None:
    """The range of a load with a least power; it stays off for a while once it was switched off."""
    if possible is None or possible.power_min_kw <= 0 or len(moves) < 2 or possible.interval.least > 0:
        return possible
    just_off = moves[-1].power_kw == 0 and 0 <= now_ms - moves[-1].at_ms < 1000 * REST_S
    return OFF if just_off else possible
