"""From payload to reading: the only conversion from a sender's unit and sign to the agent's.

Inside the agent power is in kW, positive when drawn from the network; energy in kWh, temperature in degC, shares per unit.
Positions of tap changers and capacitor banks are plain numbers.
"""

import math
from datetime import datetime
from typing import Any, Final

import msgspec

from ringmain_agent.config.feed import Feed, PayloadFormat, PositiveDirection, units_of
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Quality
from ringmain_protocol.steps import Reading

MAX_FEED_BYTES: Final = 65_536
VALUE_MAX: Final = 1e12
"""Highest plausible value of any quantity of a site; sums and products of smaller values stay finite."""

READING_AHEAD_MAX_S: Final = 300
READING_BEHIND_MAX_S: Final = 30 * 86_400

_IDENTITY: Final = (1.0, 0.0)


def read_feed(signal: str, feed: Feed, payload: bytes, *, received_ms: int) -> Reading:
    """The reading in a feed's payload, in our unit and sign.

    A reading with an implausible time keeps it, and has quality suspect.

    Raises:
        MessageError: If the payload is too large or undecodable, or its value missing, not finite or out of range.
    """
    if len(payload) > MAX_FEED_BYTES:
        raise MessageError("too_large", f"feed {signal}: {len(payload)} bytes exceed {MAX_FEED_BYTES}")
    raw: Any = None
    try:
        raw = msgspec.json.decode(payload) if feed.format is PayloadFormat.JSON else _plain(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MessageError("undecodable", f"feed {signal}: {error}") from error
    at_ms, quality = received_ms, Quality.GOOD
    if feed.format is PayloadFormat.JSON:
        if feed.time_path is not None:
            at_ms = _instant_ms(signal, _at_path(signal, raw, feed.time_path))
        raw = _at_path(signal, raw, feed.value_path)
    if raw is None:
        return Reading(signal, at_ms, None, Quality.MISSING)
    value = _value(signal, feed, raw)
    if not is_plausible(at_ms, received_ms):
        quality = Quality.SUSPECT
    return Reading(signal, at_ms, value, quality)


def is_plausible(at_ms: int, now_ms: int) -> bool:
    """True for a reading's time at most five minutes ahead of the clock and thirty days behind it."""
    return -1000 * READING_BEHIND_MAX_S <= at_ms - now_ms <= 1000 * READING_AHEAD_MAX_S


def _plain(payload: bytes) -> float:
    if b"_" in payload:
        raise ValueError("a number must not hold an underscore")  # float() would accept it
    return float(payload)


def _value(signal: str, feed: Feed, raw: object) -> float:
    """A sender's number in our unit and sign."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise MessageError("invalid", f"feed {signal}: {type(raw).__name__} is not a number")
    factor, offset = (units_of(signal) or {}).get(feed.unit, _IDENTITY)
    sign = -1.0 if feed.positive_direction is PositiveDirection.EXPORT else 1.0
    try:
        value = sign * (float(raw) * factor + offset) + 0.0
    except OverflowError as error:  # an integer of hundreds of digits
        raise MessageError("not_finite", f"feed {signal}: {error}") from error
    if not math.isfinite(value):
        raise MessageError("not_finite", f"feed {signal}: {value} is not a finite number")
    if abs(value) > VALUE_MAX:
        raise MessageError("out_of_range", f"feed {signal}: {value:g} is outside {-VALUE_MAX:g} to {VALUE_MAX:g}")
    if (feed.minimum is not None and value < feed.minimum) or (feed.maximum is not None and value > feed.maximum):
        raise MessageError("out_of_range", f"feed {signal}: {value:g} is outside {feed.minimum} to {feed.maximum}")
    return value


def _at_path(signal: str, document: object, path: str) -> Any:  # noqa: ANN401  any JSON value
    for key in path.split("."):
        if not isinstance(document, dict) or key not in document:
            raise MessageError("invalid", f"feed {signal}: payload has no {path!r}")
        document = document[key]
    return document


def _instant_ms(signal: str, value: object) -> int:
    if isinstance(value, str):
        try:
            instant = datetime.fromisoformat(value)
            if instant.tzinfo is None:
                raise ValueError("no UTC offset")  # noqa: TRY301
            return round(instant.timestamp() * 1000)
        except (ValueError, OverflowError) as error:
            raise MessageError("invalid", f"feed {signal}: time {value[:64]!r}: {error}") from error
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return round(value if abs(value) > 1e11 else 1000 * value)  # milliseconds, or seconds
    raise MessageError("invalid", f"feed {signal}: {type(value).__name__} is not a time")
