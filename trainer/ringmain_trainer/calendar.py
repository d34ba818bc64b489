"""Days and time zones, from the pinned `tzdata` package and not from the machine."""

from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

DAY_S: Final = 86400
SATURDAY: Final = 5
SUNDAY: Final = 6
"""As `date.weekday` counts."""


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
