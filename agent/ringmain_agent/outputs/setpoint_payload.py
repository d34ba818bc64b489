"""From setpoint to payload, in the unit and sign of the equipment; and whether the equipment follows."""

import json
from collections.abc import Mapping, Sequence
from string import Template
from types import MappingProxyType
from typing import Annotated, Final, NamedTuple

from msgspec import Meta, Struct

from ringmain_agent.inputs.feeds import PositiveDirection
from ringmain_protocol.steps import Reading

_FACTORS: Final[Mapping[str, float]] = MappingProxyType({"W": 1000.0, "kW": 1.0, "MW": 0.001})
_FIELDS: Final = ("power", "on", "position", "sequence", "issued_at_ms", "valid_for_s", "fallback", "reason")
_COMMON: Final = '"sequence": $sequence, "issued_at_ms": $issued_at_ms'
_WHY: Final = '"valid_for_s": $valid_for_s, "fallback": "$fallback", "reason": "$reason"'
PAYLOAD: Final = f'{{"power_kw": $power, {_COMMON}, {_WHY}}}'
POSITION_PAYLOAD: Final = f'{{"position": $position, {_COMMON}, {_WHY}}}'
RELEASE_PAYLOAD: Final = f'{{"release": true, {_COMMON}}}'
REASON_MAX: Final = 200


class Output(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an equipment takes its setpoint and how it wants it written.

    `payload` and `release_payload` may hold `$power`, `$on` (true or false), `$position`, `$sequence`, `$issued_at_ms`,
    `$valid_for_s`, `$fallback` and `$reason` (safe inside the quotes of JSON). The equipment counts
    `valid_for_s` from receipt on its own clock and lets go by itself; an unchanged setpoint is sent again after `repeat_s`.
    `confirmed_by` names the signal that shows the effect (default: the power of the equipment); when it stays further than
    `confirm_tolerance_kw` from the setpoint for `confirm_after_s`, the status names the equipment.
    """

    topic: Annotated[str, Meta(min_length=1, max_length=512)]
    unit: str = "kW"
    positive_direction: PositiveDirection = PositiveDirection.IMPORT
    payload: str = PAYLOAD
    release_payload: str = RELEASE_PAYLOAD
    valid_for_s: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    repeat_s: Annotated[float, Meta(gt=0, le=86_400)] = 15.0
    confirmed_by: str | None = None
    confirm_after_s: Annotated[float, Meta(gt=0, le=86_400)] = 30.0
    confirm_tolerance_kw: Annotated[float, Meta(gt=0)] | None = None


def output_problem(output: Output) -> str | None:
    """What is wrong with an output, or None."""
    if output.unit not in _FACTORS:
        return f"unit {output.unit!r} is not one of {', '.join(_FACTORS)}"
    if set("#+") & set(output.topic):
        return f"topic {output.topic!r} must not hold a wildcard"
    if output.repeat_s >= output.valid_for_s:
        return f"repeat_s {output.repeat_s:g} must be below valid_for_s {output.valid_for_s:g}, or control lapses in between"
    for text in (output.payload, output.release_payload):
        template = Template(text)
        if not template.is_valid():
            return f"template {text!r} is not valid; write $$ for a dollar sign"
        unknown = sorted(set(template.get_identifiers()) - set(_FIELDS))
        if unknown:
            return f"template {text!r} holds ${unknown[0]}; valid are {', '.join('$' + f for f in _FIELDS)}"
    return None


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
        "power": "" if power_kw is None else repr(round(sign * power_kw * _FACTORS[output.unit], 6) + 0.0),
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
