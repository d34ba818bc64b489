"""From setpoint to payload, in the unit and sign of the equipment; and the check of its response."""

import json
from collections.abc import Sequence
from string import Template
from typing import Final, NamedTuple

from ringmain_agent.config.feed import PositiveDirection
from ringmain_agent.config.output import FACTORS, PAYLOAD, POSITION_PAYLOAD, Output
from ringmain_agent.equipment.kind import ResponseTolerance
from ringmain_agent.snapshot import Measured

PAYLOAD_REASON_MAX: Final = 200
"""Characters of the reason in a payload; the memory of equipment may be small."""


def setpoint_payload(  # noqa: PLR0913  keyword-only: the fields of a payload
    output: Output,
    power_kw: float | None,
    *,
    sequence: int,
    now_ms: int,
    position: int | None = None,
    fallback: str = "",
    reason: str = "",
) -> bytes:
    """The payload of a setpoint, or of the release without a power and a position."""
    if power_kw is None and position is None:
        text = output.release_payload
    else:
        text = POSITION_PAYLOAD if position is not None and output.payload == PAYLOAD else output.payload
    fields = {
        "power": "" if power_kw is None else repr(written_power(output, power_kw)),
        "on": "true" if power_kw else "false",
        "position": "" if position is None else position,
        "sequence": sequence,
        "issued_at_ms": now_ms,
        "valid_for_s": f"{output.valid_for_s:g}",
        "fallback": fallback,
        "reason": json.dumps(reason[:PAYLOAD_REASON_MAX])[1:-1],
    }
    return Template(text).substitute(fields).encode()


def written_power(output: Output, power_kw: float) -> float:
    """The power as a payload has it: in the unit and sign of the equipment, rounded."""
    sign = -1.0 if output.positive_direction is PositiveDirection.EXPORT else 1.0
    return round(sign * power_kw * FACTORS[output.unit], 6) + 0.0


class WrittenSetpoint(NamedTuple):
    """A sent setpoint or position, in force since `since_ms`; `None` released the equipment."""

    value: float | None
    since_ms: int


def is_following(
    sent: Sequence[WrittenSetpoint], measured: Measured | None, output: Output, allowed: ResponseTolerance, *, now_ms: int
) -> bool:
    """False if the measurement shows that the equipment does not follow its setpoints.

    The measurement must be near the range of the setpoints of the last `confirm_after_s`, including the one in force before
    them. The check thus works even if every cycle sends a new setpoint. Released equipment always counts as following.
    Measurements older than the setpoint are ignored.
    """
    since_ms = now_ms - 1000 * output.confirm_after_s
    first = max((i for i, setpoint in enumerate(sent) if setpoint.since_ms <= since_ms), default=None)
    if first is None or measured is None or measured.value is None or measured.at_ms < sent[first].since_ms:
        return True
    values = [setpoint.value for setpoint in sent[first:] if setpoint.value is not None]
    if len(values) < len(sent) - first:
        return True
    tolerance = allowed.tolerance if output.confirm_tolerance_kw is None else output.confirm_tolerance_kw
    enough = allowed.less_is_fine or measured.value >= min(values) - tolerance
    return enough and (allowed.more_is_fine or measured.value <= max(values) + tolerance)
