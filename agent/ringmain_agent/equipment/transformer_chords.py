"""Chords over the curves of the thermal model: its rises over the loading as straight segments, with a known error. Pure.

The curves are convex in the loading, so the chords lie above them. The real temperatures never exceed those of the chords,
and a limit kept with the chords is kept in reality.

Source: IEC 60076-7:2018, difference equations; `transformer_thermal` has the curves exactly.
"""

import math
from itertools import pairwise
from typing import Final, NamedTuple

from ringmain_agent.equipment.transformer_thermal import Constants

SEGMENT_PU: Final = 0.125
HALF_PU: Final = 0.5
"""Below this loading the error may be larger, up to 1.8 K with an oil lag; no limit binds there."""
BEYOND: Final = 2.0
"""The last chord ends at this multiple of the largest loading limit."""


class Errors(NamedTuple):
    """Largest distance of the chords above the curves, for top oil and hot spot."""

    top_oil_k: float
    hot_spot_k: float


class Segment(NamedTuple):
    """A segment of the loading with the slopes of both chords; the last segment has no end."""

    width_pu: float
    oil_per_pu: float
    winding_per_pu: float


def segments(constants: Constants, loading_max_pu: float) -> list[Segment]:
    """Chords of equal width up to a loading, and one beyond it; the first is wider where the oil lag would pay."""
    count = math.ceil(loading_max_pu / SEGMENT_PU - 1e-9)
    evenly = [loading_max_pu * index / count for index in range(1, count + 1)]
    candidates = _evenly_between(evenly[0], loading_max_pu, 200)
    first = next((end for end in candidates if not _lag_pays(constants, end)), loading_max_pu)
    rest = [end for end in evenly if end > first + SEGMENT_PU / 2]
    ends = [0.0, first, *rest, BEYOND * loading_max_pu]
    chords = [
        Segment(
            end - begin,
            (constants.oil(end) - constants.oil(begin)) / (end - begin),
            (constants.winding(end) - constants.winding(begin)) / (end - begin),
        )
        for begin, end in pairwise(ends)
    ]
    return [*chords[:-1], chords[-1]._replace(width_pu=math.inf)]


def _lag_pays(constants: Constants, end: float) -> bool:
    """True if a first chord up to this loading raises the oil lag more than the top oil."""
    oil_k = constants.top_oil_rise_k * (constants.oil(end) - constants.oil(0.0))
    return oil_k < (constants.k21 - 1) * constants.hot_spot_rise_k * constants.winding(end)


def chord_errors(constants: Constants, loading_max_pu: float) -> Errors:
    """Largest distances of the chords from the curves where a limit can bind, as steady-state temperatures."""
    chords = segments(constants, loading_max_pu)[:-1]
    oil_k, hot_k = [], []
    for loading_pu in _evenly_between(HALF_PU, loading_max_pu, 400):
        oil, winding, begin = constants.oil(0.0), constants.winding(0.0), 0.0
        for chord in chords:
            inside_pu = min(max(loading_pu - begin, 0.0), chord.width_pu)
            oil += chord.oil_per_pu * inside_pu
            winding += chord.winding_per_pu * inside_pu
            begin += chord.width_pu
        oil_k.append(constants.top_oil_rise_k * (oil - constants.oil(loading_pu)))
        winding_k = constants.hot_spot_rise_k * (winding - constants.winding(loading_pu))
        hot_k.append(oil_k[-1] + constants.k21 * winding_k)
    return Errors(max(oil_k), max(hot_k))


def _evenly_between(begin: float, end: float, count: int) -> list[float]:
    step = (end - begin) / (count - 1)
    return [*(begin + step * index for index in range(count - 1)), end]
