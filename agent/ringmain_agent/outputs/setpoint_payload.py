"""From setpoint to payload, in the unit and sign of the equipment; and the check that the equipment follows."""

import json
from collections.abc import Sequence
from string import Template
from typing import Final, NamedTuple

from ringmain_agent.config.feed import PositiveDirection
from ringmain_agent.config.output import FACTORS, PAYLOAD, POSITION_PAYLOAD, Output
from ringmain_agent.equipment.kind import ResponseTolerance
from ringmain_protocol.steps import Reading

PAYLOAD_REASON_MAX: Final = 200
"""Characters of the reason in a payload: equipment may have little memory."""


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
        "reason": json.dumps(reason[:PAYLOAD_REASON_MAX])[1:-1],
    }
    return Template(text).substitute(fields).encode()


class WrittenSetpoint(NamedTuple):
    """A setpoint or position that was sent, and since when it is in force; `None` released the equipment."""

    value: float | None
    since_ms: int


def is_following(
    sent: Sequence[WrittenSetpoint], measured: Reading | None, output: Output, allowed: ResponseTolerance, *, now_ms: int
) -> bool:
    """True unless the equipment visibly does not follow its setpoints.

    Setpoints of the last `confirm_after_s` count, and the one in force before them: the measurement must be near their
    range, also when every cycle sends another one. Released equipment always counts as following. Measurements older than
    the setpoint are ignored.
    """
    since_ms = now_ms - 1000 * output.confirm_after_s
    first = max((i for i, one in enumerate(sent) if one.since_ms <= since_ms), default=None)
    if first is None or measured is None or measured.value is None or measured.at_ms < sent[first].since_ms:
        return True
    values = [one.value for one in sent[first:] if one.value is not None]
    if len(values) < len(sent) - first:
        return True
    tolerance = allowed.tolerance if output.confirm_tolerance_kw is None else output.confirm_tolerance_kw
    enough = allowed.less_is_fine or measured.value >= min(values) - tolerance
    return enough and (allowed.more_is_fine or measured.value <= max(values) + tolerance)
