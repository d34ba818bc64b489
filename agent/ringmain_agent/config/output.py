"""`[<kind>.<name>.output]`: topic, payload, unit and sign of the setpoints that an equipment takes."""

from collections.abc import Mapping
from enum import StrEnum
from string import Template
from types import MappingProxyType
from typing import Annotated, Final

from msgspec import Meta, Struct

from ringmain_agent.config.feed import PositiveDirection

FACTORS: Final[Mapping[str, float]] = MappingProxyType({"W": 1000.0, "kW": 1.0, "MW": 0.001})
_FIELDS: Final = ("power", "on", "position", "sequence", "issued_at_ms", "valid_for_s", "fallback", "reason")
_COMMON: Final = '"sequence": $sequence, "issued_at_ms": $issued_at_ms'
_REASON: Final = '"valid_for_s": $valid_for_s, "fallback": "$fallback", "reason": "$reason"'
PAYLOAD: Final = f'{{"power_kw": $power, {_COMMON}, {_REASON}}}'
POSITION_PAYLOAD: Final = f'{{"position": $position, {_COMMON}, {_REASON}}}'
RELEASE_PAYLOAD: Final = f'{{"release": true, {_COMMON}}}'


class WhenSilent(StrEnum):
    """Behavior of equipment once its setpoints have expired."""

    RELEASE = "release"
    HOLD = "hold"


class OnLeave(StrEnum):
    """Order to an equipment when control ends."""

    FAILSAFE = "failsafe"
    RELEASE = "release"


class Output(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Topic of an equipment's setpoint, with its payload, unit and sign.

    `payload` and `release_payload` may hold `$power`, `$on` (true or false), `$position`, `$sequence`, `$issued_at_ms`,
    `$valid_for_s`, `$fallback` and `$reason` (safe inside the quotes of JSON). The equipment counts
    `valid_for_s` from receipt on its own clock, and then ends the setpoint by itself. An unchanged setpoint is sent again
    after `repeat_s`. `confirmed_by` names the signal that shows the effect (default: the power of the equipment). When it
    stays further than `confirm_tolerance_kw` from the setpoint for `confirm_after_s`, the status names the equipment.

    `when_silent` is the behavior of the equipment by itself once its setpoints have expired: released, holding the last one,
    or a power in kW. `on_leave` is sent once when control ends (observe, stop, and as the will of a connection of its own):
    the `failsafe_kw` of the equipment, or its release; by default `failsafe` where the equipment takes part in a limit that
    could be broken without control. It is valid for `valid_for_max_s`, the longest validity that the equipment takes.
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
    when_silent: WhenSilent | Annotated[float, Meta(gt=-1e9, lt=1e9)] = WhenSilent.RELEASE
    on_leave: OnLeave | None = None
    valid_for_max_s: Annotated[float, Meta(gt=0, le=86_400)] = 86_400.0


def _validity_problem(output: Output) -> str | None:
    if output.repeat_s >= output.valid_for_s:
        return f"repeat_s {output.repeat_s:g} must be below valid_for_s {output.valid_for_s:g}, or control lapses in between"
    if output.valid_for_max_s < output.valid_for_s:
        return f"valid_for_max_s {output.valid_for_max_s:g} must not be below valid_for_s {output.valid_for_s:g}"
    return None


def output_problem(output: Output) -> str | None:
    """Problem of an output, or None."""
    if output.unit not in FACTORS:
        return f"unit {output.unit!r} is not one of {', '.join(FACTORS)}"
    if set("#+") & set(output.topic):
        return f"topic {output.topic!r} must not hold a wildcard (# or +)"
    if problem := _validity_problem(output):
        return problem
    for text in (output.payload, output.release_payload):
        template = Template(text)
        if not template.is_valid():
            return f"template {text!r} is not valid; write $$ for a dollar sign"
        unknown = sorted(set(template.get_identifiers()) - set(_FIELDS))
        if unknown:
            return f"template {text!r} holds ${unknown[0]}; valid are {', '.join('$' + f for f in _FIELDS)}"
    return None
