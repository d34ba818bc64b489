"""Local clocks as tables of UTC offsets: the feature graph needs them, no clock library is at the edge."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ringmain_trainer.calendar import DAY_S, zone_rules

_HALF_HOUR_S: Final = 1800


@lru_cache
def utc_offsets(time_zone: str, first_year: int, last_year: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Instants at which the UTC offset changes, and the n + 1 offsets before, between and after them, in seconds.

    Changes are looked for on half-hours, on days that end with another offset than they began with. Never empty: the
    begin of the first year counts as a change.
    """
    zone = zone_rules(time_zone)
    begin, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (first_year, last_year + 1))
    changes, offsets = [begin], [_offset_s(zone, begin), _offset_s(zone, begin)]
    for day in range(begin, end, DAY_S):
        if _offset_s(zone, day + DAY_S) == offsets[-1]:
            continue
        for at in range(day + _HALF_HOUR_S, day + DAY_S + 1, _HALF_HOUR_S):
            if _offset_s(zone, at) != offsets[-1]:
                changes.append(at)
                offsets.append(_offset_s(zone, at))
    return np.array(changes, np.int64), np.array(offsets, np.int64)


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())
