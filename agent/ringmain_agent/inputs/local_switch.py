"""The local switch: control only as long as it has been heard to say so. Pure; times are seconds of one clock."""

from ringmain_agent.config.agent import Switch
from ringmain_agent.snapshot import Reason
from ringmain_protocol.messages import ReasonCode


class LocalSwitch:
    """Position of the local switch since the start of the agent.

    Invariants:
        * it says observe until it is heard, also after a restart, and again once its last message is stale;
        * a retained message turns it to observe, and to control only if the configuration accepts that.
    """

    def __init__(self, switch: Switch) -> None:
        """Not heard yet."""
        self._switch = switch
        self._on = False
        self._heard_s: float | None = None
        self._ignored_retained = False

    def take(self, payload: bytes, *, retained: bool, at_s: float) -> None:
        """Take a message of the switch, received at `at_s`."""
        on = payload.strip() == self._switch.control_payload.encode()
        if retained and not self._switch.retained:
            self._on = self._on and on
            self._ignored_retained |= on
            return
        self._on, self._heard_s = on, at_s

    def is_on(self, now_s: float) -> bool:
        """True if the switch says control, and its last message is not stale."""
        return self._on and not self._is_stale(now_s)

    def reason(self, now_s: float) -> Reason | None:
        """Reason of observe, unless the switch itself says so."""
        topic = self._switch.topic
        if self._heard_s is None:
            text = f"observe: the switch on {topic} has not been heard since the start"
            if self._ignored_retained:
                text += "; its retained value does not count: send it again, or set switch.retained"
            return Reason(ReasonCode.SWITCH_UNKNOWN, text)
        if self._is_stale(now_s):
            after_s = self._switch.stale_after_s
            text = f"observe: the switch on {topic} was last heard more than stale_after_s {after_s:g} s ago"
            return Reason(ReasonCode.SWITCH_UNKNOWN, text)
        return None

    def _is_stale(self, now_s: float) -> bool:
        stale_after_s = self._switch.stale_after_s
        return stale_after_s is not None and (self._heard_s is None or now_s - self._heard_s > stale_after_s)
