"""Messages of the network operator: they reach the envelopes, are kept over a restart, and are answered."""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ringmain_agent.gateway.limits_file import LimitsFile
from ringmain_agent.gateway.state_file import StateFile
from ringmain_agent.inputs.envelopes import ANY_NAME, MAX_ENVELOPES, Envelopes, KeptEnvelope, KeptEnvelopes
from ringmain_agent.inputs.feed_messages import RejectedMessages
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.snapshot import Reason
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Envelope, EnvelopeAnswer, ReasonCode, decode

logger = logging.getLogger("ringmain_agent")

SECTION: Final = "envelopes"
KEPT_NAMES: Final = "limits_names"
"""Fact of the state file: names of the envelopes in the file of limits, so that its loss is noticed."""
MAX_ANSWERS: Final = 64
REASON_MAX: Final = 300


class OperatorLimits:
    """Keeps the envelopes over a restart and answers each message.

    An answer leaves after the write of its envelope, or after the write failed, which the status then says.
    """

    def __init__(self, envelopes: Envelopes, path: Path, state: StateFile, rejected: RejectedMessages) -> None:
        """Read the file; the first `advance` or `take` takes it up."""
        self._envelopes, self._state, self._rejected = envelopes, state, rejected
        self._file = LimitsFile(path)
        self._answers: dict[str, EnvelopeAnswer] = {}
        self._is_restored = False
        self._kept_changes = 0

    def advance(self, at: Instant) -> bool:
        """The course of time; True if an envelope has changed or ended since the last call."""
        self._restore(at)
        self._envelopes.advance(at)
        return self._keep(at)

    def take(self, name: str, payload: bytes, at: Instant, *, retained: bool) -> None:
        """Process one message; its answer waits in `answers`."""
        self._restore(at)
        try:
            answer = self._envelopes.take(name, payload, at, retained=retained)
        except MessageError as error:
            self._rejected.add(error.reason, f"{error}")
            answer = EnvelopeAnswer(accepted=False, reason=f"{error}"[:REASON_MAX], issued_at_ms=_issued_at_ms(payload))
        if name in self._answers or len(self._answers) < MAX_ANSWERS:
            self._answers[name] = answer

    def send_answers(self, publish: Callable[[str, EnvelopeAnswer], bool], now_s: float) -> None:
        """Write the envelopes, then publish the answers by name; those that cannot leave wait."""
        if not self._file.write(now_s) and not self._file.trouble:
            return
        for name, answer in list(self._answers.items()):
            if publish(name, answer):
                del self._answers[name]

    @property
    def reasons(self) -> Iterator[Reason]:
        """Problems of the file."""
        if self._file.trouble:
            text = f"limits are not kept over a restart: {self._file.trouble}"
            yield Reason(ReasonCode.STATE_NOT_WRITTEN, text, "limits")

    def _keep(self, at: Instant) -> bool:
        if self._kept_changes == self._envelopes.changes:
            return False
        self._kept_changes = self._envelopes.changes
        self._file.keep(SECTION, self._envelopes.kept(at))
        self._state.set_fact(KEPT_NAMES, json.dumps(self._envelopes.binding_names))
        return True

    def _restore(self, at: Instant) -> None:
        if self._is_restored:
            return
        self._is_restored = True
        kept = self._file.section(SECTION, KeptEnvelopes)
        if kept is not None:
            self._envelopes.restore(kept, at.now_s)
        try:
            names, earlier = _names(self._state.fact(KEPT_NAMES)), self._kept_by_earlier_version()
        except sqlite3.Error as error:
            logger.warning("the state file does not say which envelopes were kept: %s", error)
            names, earlier = [ANY_NAME], {}
        if kept is not None:
            pass
        elif names is None and not self._file.damage:
            self._envelopes.restore(KeptEnvelopes(envelopes=earlier), at.now_s)
        elif lost := [ANY_NAME] if names is None else names:
            logger.warning("remembered envelopes are lost: %s; the fail-safe limits hold until new issues", ", ".join(lost))
            self._envelopes.lose(lost)
        self._envelopes.changes += bool(earlier)

    def _kept_by_earlier_version(self) -> dict[str, KeptEnvelope]:
        """Envelopes in the state file, where earlier versions kept them; they are deleted there."""
        earlier = {}
        for topic, payload in self._state.retained():
            try:
                parsed = topics.parse(topic)
                if parsed.kind != topics.ENVELOPE:
                    continue
                self._state.forget_retained(topic)
                envelope = decode(payload, Envelope)
            except MessageError:
                continue
            earlier[parsed.name or ""] = KeptEnvelope(envelope=envelope, remaining_s=envelope.valid_for_s)
        latest = sorted(earlier, key=lambda name: -earlier[name].envelope.expires_at_ms)
        return {name: earlier[name] for name in latest[:MAX_ENVELOPES]}


def _names(fact: object) -> list[str] | None:
    """The names in the fact of the state file, `None` without one."""
    try:
        names = json.loads(fact) if isinstance(fact, str) else None
    except ValueError:
        return [ANY_NAME]
    return [str(name) for name in names] if isinstance(names, list) else None


def _issued_at_ms(payload: bytes) -> int | None:
    try:
        return decode(payload, Envelope).issued_at_ms
    except MessageError:
        return None
