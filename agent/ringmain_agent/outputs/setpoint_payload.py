"""From setpoint to payload, in the unit and sign of the equipment; and whether the equipment follows."""

import json
from collections.abc import Sequence
from string import Template
from typing import Final, NamedTuple

from ringmain_agent.config.feed import PositiveDirection
from ringmain_agent.config.output import FACTORS, PAYLOAD, POSITION_PAYLOAD, Output
from ringmain_protocol.steps import Reading

REASON_MAX: Final = 200


def setpoint_payload(  # noqa: PLR0913  keyword-only: what a payload may hold
    output: Output,
    power_kw: float | None,
    *,
    sequence: int,
    now_ms: int,
    position: int | None = None,
    fallback: str = "",
    reason: str = "",
) -> bytes:
    """The payload for a setpoint, or for the release of control (neither a power nor a position)."""
    sign = -1.0 if output.positive_direction is PositiveDirection.EXPORT else 1.0
    if power_kw is None and position is None:
        text = output.release_payload
    else:
        text = POSITION_PAYLOAD if position is not None and output.payload == PAYLOAD else output.payload
    fields = {
        "power": "" if power_kw is None else repr(round(sign * power_kw * FACTORS[output.unit], 6) + 0.0),
        "on": "true" if power_kw else "false",
        "position": "" if position is None else position,
        "sequence": sequence,
        "issued_at_ms": now_ms,
        "valid_for_s": f"{output.valid_for_s:g}",
        "fallback": fallback,
        "reason": json.dumps(reason[:REASON_MAX])[1:-1],
    }
    return Template(text).substitute(fields).encode()


class WrittenSetpoint(NamedTuple):
    """What an equipment was told, and since when; `None` released it."""

    value: float | None
    since_ms: int


class ResponseTolerance(NamedTuple):
    """How far off is not following: `tolerance` either way, unless less or more than it was told is its right."""

    tolerance: float
    less_is_fine: bool = False
    more_is_fine: bool = False


def is_following(
    told: Sequence[WrittenSetpoint], measured: Reading | None, output: Output, obedience: ResponseTolerance, *, now_ms: int
) -> bool:
    """Whether the equipment does as it was told, as far as one can know yet.

    What it was told in the last `confirm_after_s` counts, and what was in force before: it must be near that range, also
    when every cycle tells it something else. A released equipment follows always; a measurement from before says nothing.
    """
    since_ms = now_ms - 1000 * output.confirm_after_s
    first = max((i for i, one in enumerate(told) if one.since_ms <= since_ms), default=None)
    if first is None or measured is None or measured.value is None or measured.at_ms < told[first].since_ms:
        return True
    values = [one.value for one in told[first:] if one.value is not None]
    if len(values) < len(told) - first:
        return True
    tolerance = obedience.tolerance if output.confirm_tolerance_kw is None else output.confirm_tolerance_kw
    enough = obedience.less_is_fine or measured.value >= min(values) - tolerance
    return enough and (obedience.more_is_fine or measured.value <= max(values) + tolerance)
