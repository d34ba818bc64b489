"""From setpoint to payload, in the unit and sign of the equipment; and whether the equipment follows."""

from collections.abc import Mapping
from string import Template
from types import MappingProxyType
from typing import Annotated, Final

from msgspec import Meta, Struct

from ringmain_agent.feeds import PositiveDirection
from ringmain_protocol.steps import Reading

_FACTORS: Final[Mapping[str, float]] = MappingProxyType({"W": 1000.0, "kW": 1.0, "MW": 0.001})
_FIELDS: Final = ("power", "sequence", "issued_at_ms", "valid_for_s")
PAYLOAD: Final = '{"power_kw": $power, "sequence": $sequence, "issued_at_ms": $issued_at_ms, "valid_for_s": $valid_for_s}'
RELEASE_PAYLOAD: Final = '{"release": true, "sequence": $sequence, "issued_at_ms": $issued_at_ms}'


class Output(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an equipment takes its setpoint and how it wants it written.

    `payload` and `release_payload` may hold `$power`, `$sequence`, `$issued_at_ms` and `$valid_for_s`. The equipment counts
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


def setpoint_payload(output: Output, power_kw: float | None, *, sequence: int, now_ms: int) -> bytes:
    """The payload for a setpoint, or for the release of control (`None`)."""
    sign = -1.0 if output.positive_direction is PositiveDirection.EXPORT else 1.0
    power = "" if power_kw is None else repr(round(sign * power_kw * _FACTORS[output.unit], 6) + 0.0)
    text = output.release_payload if power_kw is None else output.payload
    values = (power, sequence, now_ms, f"{output.valid_for_s:g}")
    return Template(text).substitute(dict(zip(_FIELDS, values, strict=True))).encode()


class Sent(Struct, frozen=True, kw_only=True):
    """A setpoint that an equipment should be following: its value and since when."""

    power_kw: float | None
    since_ms: int
    sent_ms: int


def follows(sent: Sent, measured: Reading | None, output: Output, *, rated_kw: float, now_ms: int) -> bool:
    """Whether the equipment does as it was told, as far as one can know yet.

    A released equipment follows always. The measurement must be younger than the setpoint, and `confirm_after_s` over.
    """
    if sent.power_kw is None or measured is None or measured.value is None:
        return True
    if now_ms - sent.since_ms < 1000 * output.confirm_after_s or measured.at_ms < sent.since_ms:
        return True
    tolerance_kw = output.confirm_tolerance_kw if output.confirm_tolerance_kw is not None else 0.05 * rated_kw
    return abs(measured.value - sent.power_kw) <= tolerance_kw
