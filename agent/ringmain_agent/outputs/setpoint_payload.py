"""From setpoint to payload, in the unit and sign of the equipment; and whether the equipment follows."""

import json
from collections.abc import Sequence
from string import Template
from typing import Final, NamedTuple

from ringmain_agent.config.feed import PositiveDirection
from ringmain_agent.config.output import FACTORS, PAYLOAD, POSITION_PAYLOAD, Output
from ringmain_agent.equipment.kind import ResponseTolerance
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
    """The setpoint of an equipment, and since when; `None` released it."""

    value: float | None
    since_ms: int


def is_following(
    written: Sequence[WrittenSetpoint], measured: Reading | None, output: Output, allowed: ResponseTolerance, *, now_ms: int
) -> bool:
    """Whether the equipment follows its setpoints, as far as one can know yet.

    The setpoints of the last `confirm_after_s` count, and the one in force before: the measurement must be near their range,
    also when every cycle sets another. Released equipment always counts as following. Measurements older than the setpoint
    are ignored.
    """
    since_ms = now_ms - 1000 * output.confirm_after_s
    first = max((i for i, one in enumerate(written) if one.since_ms <= since_ms), default=None)
    if first is None or measured is None or measured.value is None or measured.at_ms < written[first].since_ms:
        return True
    values = [one.value for one in written[first:] if one.value is not None]
    if len(values) < len(written) - first:
        return True
    tolerance = allowed.tolerance if output.confirm_tolerance_kw is None else output.confirm_tolerance_kw
    enough = allowed.less_is_fine or measured.value >= min(values) - tolerance
    return enough and (allowed.more_is_fine or measured.value <= max(values) + tolerance)
