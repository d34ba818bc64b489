"""The meaning of a file's columns: the mapping of a TOML file. Pure."""

import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from ringmain_protocol.messages import Name
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.trainer import is_time_zone

Text = Annotated[str, Meta(min_length=1, max_length=200)]

_ENERGY: Final = {
    f"{unit} per interval": factor for unit, factor in (("Wh", 1e-3), ("kWh", 1.0), ("MWh", 1e3), ("GWh", 1e6))
}
"""Energy of an interval, in kWh: the mean power follows from the length of the interval."""

UNITS: Final[Mapping[str, Mapping[str, tuple[float, float]]]] = MappingProxyType(
    {
        "_kw": {
            "kW": (1.0, 0.0),
            "W": (1e-3, 0.0),
            "MW": (1e3, 0.0),
            "GW": (1e6, 0.0),
            **{unit: (factor, 0.0) for unit, factor in _ENERGY.items()},
        },
        "_kvar": {"kvar": (1.0, 0.0), "var": (1e-3, 0.0), "Mvar": (1e3, 0.0), "kvarh per interval": (1.0, 0.0)},
        "_kva": {"kVA": (1.0, 0.0), "VA": (1e-3, 0.0), "MVA": (1e3, 0.0)},
        "_kwh": {"kWh": (1.0, 0.0), "Wh": (1e-3, 0.0), "MWh": (1e3, 0.0)},
        "_degc": {"degC": (1.0, 0.0), "K": (1.0, -273.15), "degF": (5 / 9, -160 / 9)},
        "_pu": {"pu": (1.0, 0.0), "percent": (0.01, 0.0)},
        "_v": {"V": (1.0, 0.0), "kV": (1e3, 0.0)},
        "_a": {"A": (1.0, 0.0), "kA": (1e3, 0.0)},
        "_hz": {"Hz": (1.0, 0.0)},
        "_pa": {"Pa": (1.0, 0.0), "hPa": (100.0, 0.0), "kPa": (1e3, 0.0)},
        "_mm": {"mm": (1.0, 0.0)},
        "_w_per_m2": {"W/m2": (1.0, 0.0), "kW/m2": (1e3, 0.0), "J/m2/h": (1 / 3600, 0.0), "kJ/m2/h": (1 / 3.6, 0.0)},
        "_m_per_s": {"m/s": (1.0, 0.0), "km/h": (1 / 3.6, 0.0), "mph": (0.44704, 0.0), "kn": (1852 / 3600, 0.0)},
        "_per_kwh": {"1/kWh": (1.0, 0.0), "1/MWh": (1e-3, 0.0)},
        "_per_mwh": {"1/MWh": (1.0, 0.0), "1/kWh": (1e3, 0.0)},
        "_deg": {"deg": (1.0, 0.0)},
    }
)
"""Ending of our name -> unit of the file -> (factor, offset); the first unit is ours."""


def units_of(signal: str) -> Mapping[str, tuple[float, float]]:
    """The units that a column for this signal may have; a name without such an ending takes numbers as they are."""
    endings = [ending for ending in UNITS if signal.endswith(ending)]
    return UNITS[max(endings, key=len)] if endings else {"1": (1.0, 0.0)}


class SignalMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column: the signal or series that it becomes, unit and sign; `where` picks rows by the text of other columns.

    `nominal_kv` of a current is the voltage between the lines, for a check of the power `x_kw` beside the current `x_a`.
    """

    column: Text
    signal: Name
    unit: Text
    positive: Literal["load", "generation"] = "load"
    to: Literal["steps", "series"] = "steps"
    where: dict[str, str] = {}
    nominal_kv: Annotated[float, Meta(gt=0, le=1500)] | None = None

    def __post_init__(self) -> None:
        units = units_of(self.signal)
        if self.unit not in units:
            raise ValueError(f"unit {self.unit!r} does not fit {self.signal!r}; valid are {', '.join(units)}")
        if self.nominal_kv is not None and not self.signal.endswith("_a"):
            raise ValueError(f"nominal_kv stands with a current, a signal that ends in _a, not with {self.signal!r}")

    @property
    def per_interval(self) -> bool:
        """Whether the numbers are energy of an interval and not power."""
        return self.unit.endswith(" per interval")


class FileMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Properties that all rows share.

    The rows of a site are in order of time, rising or falling: where time goes back, a clock or a date is not understood.
    Stamps with an offset of their own need no `time_zone`. A date and a time of day may be in two columns. Series that come
    without an instant of issue count as known so long before they hold.
    """

    time: Text
    time_of_day: Text | None = None
    format: Text | None = None
    day_first: bool | None = None
    time_zone: Text = "UTC"
    stamp: Literal["start", "end"] = "start"
    midnight: Literal["as_written", "next_day"] = "as_written"
    nonexistent: Literal["refuse", "skip"] = "refuse"
    order: Literal["time", "any"] = "time"
    duplicates: Literal["refuse", "first", "last", "mean"] = "refuse"
    step_s: Annotated[int, Meta(gt=0, le=DAY_S)] | None = None
    site: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,63}$")] | None = None
    site_column: Text | None = None
    sites: dict[str, Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,63}$")]] = {}
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] | None = None
    decimal: Literal[".", ","] = "."
    missing: tuple[str, ...] = ("", "NaN", "nan", "NA", "N/A", "n/a", "null", "NULL", "None", "-", "\\N")
    issued_at: Text | None = None
    known_ahead_h: Annotated[float, Meta(ge=0, le=240)] = 48.0

    def __post_init__(self) -> None:
        if fixed_offset_s(self.time_zone) is None and not is_time_zone(self.time_zone):
            raise ValueError(f"time_zone {self.time_zone!r} is neither in the IANA database nor an offset such as +01:00")
        if self.site is not None and self.site_column is not None:
            raise ValueError("site and site_column exclude each other")

    @property
    def time_columns(self) -> list[str]:
        """Columns that make up the stamp."""
        return [self.time] if self.time_of_day is None else [self.time, self.time_of_day]


class FileFormat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole mapping: `[file]` and one `[[signal]]` a column."""

    file: FileMapping
    signal: list[SignalMapping]

    def __post_init__(self) -> None:
        if not self.signal:
            raise ValueError("no [[signal]]: there is nothing to import")
        targets = Counter((one.to, one.signal) for one in self.signal if not one.where)
        if twice := [name for (_, name), count in targets.items() if count > 1]:
            raise ValueError(f"two columns become {', '.join(twice)}")


def fixed_offset_s(time_zone: str) -> int | None:
    """Seconds ahead of UTC of `UTC`, `Z` or `+01:00`; None for anything else."""
    if time_zone in {"UTC", "Z"}:
        return 0
    offset = re.fullmatch(r"([+-])(\d{2}):?(\d{2})", time_zone)
    if offset is None or int(offset[2]) > 14 or int(offset[3]) > 59:
        return None
    return (1 if offset[1] == "+" else -1) * (3600 * int(offset[2]) + 60 * int(offset[3]))


def zone_of(time_zone: str) -> ZoneInfo | None:
    """The zone of a local clock, None for a fixed offset."""
    return ZoneInfo(time_zone) if fixed_offset_s(time_zone) is None else None
