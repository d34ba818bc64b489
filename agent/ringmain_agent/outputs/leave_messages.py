"""The last message to each equipment when control ends: its fail-safe power, or its release."""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from ringmain_agent.config.leaving import on_leave
from ringmain_agent.config.output import OnLeave, Output
from ringmain_agent.equipment.failsafe_power import failsafe_powers_kw
from ringmain_agent.outputs.setpoint_payload import setpoint_payload
from ringmain_agent.site.site import Site


class LeaveMessage(NamedTuple):
    """Topic and payload; at QoS 0 and never retained, as every setpoint."""

    topic: str
    payload: bytes


def leave_messages(
    outputs: Mapping[str, Output], site: Site, *, sequence: int, now_ms: int, reason: str
) -> dict[str, LeaveMessage]:
    """The message of each equipment with a power, by name.

    A fail-safe power carries the longest validity that the equipment takes. It expires as usual where the equipment could
    not bear it for so long: a battery that would be emptied or filled, a load that would leave its temperature band.
    """
    failsafe_kw = failsafe_powers_kw(site)
    brief = {battery.name for battery in site.batteries if failsafe_kw[battery.name]}
    brief |= {load.name for load in site.thermal_loads}
    messages = {}
    for name, order in on_leave(outputs, site).items():
        output = outputs[name]
        power_kw = failsafe_kw[name] if order is OnLeave.FAILSAFE else None
        payload = setpoint_payload(
            output if name in brief else replace(output, valid_for_s=output.valid_for_max_s),
            power_kw,
            sequence=sequence,
            now_ms=now_ms,
            fallback=order.value,
            reason=reason,
        )
        messages[name] = LeaveMessage(output.topic, payload)
    return messages
