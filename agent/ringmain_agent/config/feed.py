"""`[feeds.<signal>]`: source of a signal, and unit and sign of its sender."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final

from msgspec import Meta, Struct

UNITS: Final[Mapping[str, Mapping[str, tuple[float, float]]]] = MappingProxyType(
    {
        "_kw": {"W": (0.001, 0.0), "kW": (1.0, 0.0), "MW": (1000.0, 0.0)},
        "_kvar": {"var": (0.001, 0.0), "kvar": (1.0, 0.0), "Mvar": (1000.0, 0.0)},
        "_kwh": {"Wh": (0.001, 0.0), "kWh": (1.0, 0.0), "MWh": (1000.0, 0.0)},
        "_degc": {"degC": (1.0, 0.0), "K": (1.0, -273.15), "degF": (5 / 9, -160 / 9)},
        "_pu": {"pu": (1.0, 0.0), "percent": (0.01, 0.0)},
        "_v": {"V": (1.0, 0.0), "kV": (1000.0, 0.0)},
        "_a": {"A": (1.0, 0.0), "kA": (1000.0, 0.0)},
        "_hz": {"Hz": (1.0, 0.0)},
        "_w_per_m2": {"W/m2": (1.0, 0.0)},
        "_m_per_s": {"m/s": (1.0, 0.0), "km/h": (1 / 3.6, 0.0)},
        "_position": {"1": (1.0, 0.0)},
        "_s": {"s": (1.0, 0.0), "min": (60.0, 0.0), "h": (3600.0, 0.0)},
    }
)
"""Suffix of our signal -> unit of the sender -> (factor, offset)."""


class PayloadFormat(StrEnum):
    """Format of a sender's value: a bare number, or a number inside a JSON object."""

    PLAIN = "plain"
    JSON = "json"


class PositiveDirection(StrEnum):
    """Direction of a sender's positive numbers: power drawn from the network, or fed into it."""

    IMPORT = "import"
    EXPORT = "export"


class Feed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Topic of a signal, with payload, unit and sign of its sender.

    `value_path` and `time_path` are keys of a JSON payload, separated by dots. Without `time_path` a reading gets the time
    of its receipt. Values outside `minimum`..`maximum` (in our unit) are rejected. A reading holds for at most `hold_s` in a
    step value. As a present value it counts for `stale_after_s` from its receipt, by default `regulator.stale_after_s`; a
    sender that reports changes only, or every quarter of an hour, needs longer.
    """

    topic: Annotated[str, Meta(min_length=1, max_length=512)]
    unit: str
    format: PayloadFormat = PayloadFormat.PLAIN
    value_path: Annotated[str, Meta(min_length=1, max_length=256)] = "value"
    time_path: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    positive_direction: PositiveDirection = PositiveDirection.IMPORT
    hold_s: Annotated[float, Meta(gt=0, le=86_400)] = 900.0
    stale_after_s: Annotated[float, Meta(gt=0, le=604_800)] | None = None
    minimum: float | None = None
    maximum: float | None = None


def feed_problem(signal: str, feed: Feed) -> str | None:
    """Problem of a feed for this signal, or None."""
    units = units_of(signal)
    if units is None:
        return f"signal {signal!r} must end in one of the units {', '.join(UNITS)}"
    if feed.unit not in units:
        return f"unit {feed.unit!r} does not fit {signal!r}; valid are {', '.join(units)}"
    if feed.minimum is not None and feed.maximum is not None and feed.minimum >= feed.maximum:
        return f"minimum {feed.minimum:g} must be below maximum {feed.maximum:g}"
    if feed.positive_direction is PositiveDirection.EXPORT and not signal.endswith(("_kw", "_kvar")):
        return f"positive_direction is for power only; {signal!r} has no direction"
    return None


def units_of(signal: str) -> Mapping[str, tuple[float, float]] | None:
    """Units of a signal, each with factor and offset to our unit; `None` if its name has no known suffix."""
    suffix = max((s for s in UNITS if signal.endswith(s)), key=len, default=None)
    return None if suffix is None else UNITS[suffix]
