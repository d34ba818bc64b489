"""Other agents of the same site, heard by their births and wills; of two, the later start observes. Pure.

Both agents compare the same two starts, so that they agree and never take turns. A retained message is no evidence of a
running agent, and neither is a single will: the session of a predecessor may have kept it.
"""

import math
from collections.abc import Collection
from typing import Final

from ringmain_agent.snapshot import Reason
from ringmain_protocol.messages import Online, ReasonCode

HEARD_S: Final = 300.0
"""An agent counts as running for this time after its last message; an observing one repeats its birth more often."""
WAIT_S: Final = 5.0
"""Time for another agent to answer, if a retained birth says that one may be running."""
REPEAT_S: Final = 60.0
PLAUSIBLE_MS: Final = 1_577_836_800_000  # 2020
_KNOWN_MAX: Final = 100


class OtherAgents:
    """Evidence of other agents; times are monotonic seconds."""

    def __init__(self, own: Online, earlier: Collection[str]) -> None:
        """None heard; `earlier` are own earlier instances and streams."""
        self._own = own
        self._earlier = frozenset((*earlier, own.instance))
        self._messages: dict[str, int] = {}
        self._heard: Online | None = None
        self._heard_s = -math.inf
        self._hint_s = -math.inf
        self._must_answer = False
        self.started_later = False
        """True for the rest of this process once an earlier agent was heard: this one observes."""

    def take(self, online: Online, *, retained: bool, at_s: float) -> None:
        """Take a message on the topic of the own birth and will."""
        instance = online.instance
        if instance is None or instance in self._earlier:
            return
        if retained:
            self._hint_s = at_s if online.online and self._hint_s < 0 else self._hint_s
            return
        if instance in self._messages or len(self._messages) < _KNOWN_MAX:
            self._messages[instance] = self._messages.get(instance, 0) + 1
        if not online.online and self._messages.get(instance, 0) < 2:
            self._must_answer = True  # the retained message now says that the site is offline
            return
        self._heard, self._heard_s = online, at_s
        if _order(online) < _order(self._own):
            self.started_later = True
        else:
            self._must_answer = True

    def hinders(self, now_s: float) -> bool:
        """True if this agent may not control: an earlier one was heard, or may be about to answer."""
        return self.started_later or 0 <= now_s - self._hint_s < WAIT_S

    def answer_due(self) -> bool:
        """True once after another agent was heard that must know of this one."""
        due, self._must_answer = self._must_answer, False
        return due

    def reason(self, now_s: float) -> Reason | None:
        """The other agent, and what this one does."""
        if self._heard is None or not (self.started_later or now_s - self._heard_s < HEARD_S):
            return None
        other = f"another agent of this site runs (stream {self._heard.stream}, instance {self._heard.instance})"
        if self.started_later:
            text = f"{other} and started earlier: observe. Stop one of both, then restart this one"
        else:
            text = f"{other} and started later: it observes. Stop it"
        return Reason(ReasonCode.SECOND_AGENT, text)


def _order(online: Online) -> tuple[float, str]:
    """Order of starts; a start by a clock that was not set comes last."""
    started_ms = online.started_ms
    is_plausible = started_ms is not None and started_ms >= PLAUSIBLE_MS
    return (started_ms if is_plausible and started_ms is not None else math.inf), online.instance or ""
