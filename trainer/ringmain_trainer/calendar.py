"""Days, and local clocks as tables of UTC offsets, from the pinned `tzdata` package and not from the machine."""

from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

DAY_S: Final = 86400
SATURDAY: Final = 5
SUNDAY: Final = 6
"""As `date.weekday` counts."""

_HALF_HOUR_S: Final = 1800


@lru_cache
def zone_rules(time_zone: str) -> ZoneInfo:
    """The zone as the pinned tzdata package has it.

    Raises:
        ValueError: If the package has no such zone.
    """
    file = resources.files("tzdata").joinpath("zoneinfo", *time_zone.split("/"))
    try:
        with file.open("rb") as stream:
            return ZoneInfo.from_file(stream, key=time_zone)
    except (OSError, ValueError) as error:
        raise ValueError(f"the package tzdata has no time zone {time_zone!r}") from error


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
