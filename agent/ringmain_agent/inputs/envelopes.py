"""Envelopes of the network operator: which issue counts, how long, and the limits that follow. Pure.

Ends and heartbeats count on the monotonic clock. While the wall clock is in doubt, or before it confirms a remembered
envelope, such an envelope narrows with its narrowest step and opens nothing.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.inputs.gradual_return import GradualReturn
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.limit_source import Limits, LimitSource, narrowed, narrowest
from ringmain_agent.snapshot import Reason
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import AtMs, Envelope, EnvelopeAnswer, ReasonCode, Scope, decode

MAX_ENVELOPES: Final = 16
MAX_NAMES: Final = 64
"""Names of which the newest issue is remembered, also after its end."""
MAX_ENVELOPE_BYTES: Final = 65_536
MAX_ENVELOPE_STEPS: Final = 4000
ISSUE_AHEAD_MAX_MS: Final = 3_600_000
"""An issue dated further ahead of a trusted clock is refused."""
SILENT_HEARTBEATS: Final = 2
ANY_NAME: Final = "*"
"""Stands for a lost envelope of unknown name."""

IMPORT: Final = "import"
EXPORT: Final = "export"
_Present = dict[str, float | None]
"""Present limit of an envelope by direction."""


class EarlierFailsafe(Struct, frozen=True, kw_only=True):
    """Fail-safe limits that hold on, until a monotonic instant, after the issue that ended the silence."""

    import_kw: float | None
    export_kw: float | None
    until_s: float


class KeptEnvelope(Struct, frozen=True, kw_only=True):
    """An envelope over a restart: when a trusted clock received it, and what then remained of its `valid_for_s`."""

    envelope: Envelope
    received_ms: AtMs | None = None
    remaining_s: float | None = None
    in_effect_ms: AtMs | None = None
    earlier_failsafe: EarlierFailsafe | None = None


class KeptEnvelopes(Struct, frozen=True, kw_only=True):
    """All that is kept of envelopes over a restart.

    `lost` names envelopes that a damaged file held: the fail-safe of the connection holds until their next issue.
    """

    envelopes: dict[str, KeptEnvelope] = {}
    newest_issue_ms: dict[str, AtMs] = {}
    returns: dict[str, dict[str, GradualReturn]] = {}
    lost: list[str] = []


class _Held(Struct, frozen=True, kw_only=True):
    """An envelope with its receipt; `valid_until_s` is monotonic, and after a restart the latest possible end."""

    envelope: Envelope
    received_s: float
    received_ms: int | None
    valid_until_s: float | None
    restored: bool = False
    in_effect_ms: int | None = None
    failsafe_since_s: float | None = None
    earlier_failsafe: EarlierFailsafe | None = None

    @property
    def is_binding(self) -> bool:
        return self.envelope.breach_price_per_kwh is None

    def end_ms(self, at: Instant) -> float:
        """The end by a trusted wall clock."""
        end_ms = float(self.envelope.expires_at_ms)
        if self.valid_until_s is not None:
            end_ms = min(end_ms, at.now_ms + 1000 * (self.valid_until_s - at.now_s))
        if self.restored and self.received_ms is not None and self.envelope.valid_for_s is not None:
            end_ms = min(end_ms, self.received_ms + 1000 * self.envelope.valid_for_s)
        return end_ms

    def has_ended(self, at: Instant) -> bool:
        """True if it has ended for certain; in doubt of the clock only `valid_for_s` ends a binding envelope."""
        if self.valid_until_s is not None and at.now_s >= self.valid_until_s:
            return True
        return (at.clock_trusted or not self.is_binding) and at.now_ms >= self.end_ms(at)

    def is_silent(self, at: Instant) -> bool:
        """True if its fail-safe limits hold: heartbeats are missing, or it has ended and has a heartbeat."""
        heartbeat_s = self.envelope.heartbeat_s
        if heartbeat_s is None or not self.is_binding:
            return False
        return self.restored or self.failsafe_since_s is not None or self.is_overdue(at) or self.has_ended(at)

    def is_overdue(self, at: Instant) -> bool:
        """True if the next issue has not come in time."""
        heartbeat_s = self.envelope.heartbeat_s
        return heartbeat_s is not None and at.now_s - self.received_s > SILENT_HEARTBEATS * heartbeat_s

    def failsafe_kw(self, direction: str) -> float | None:
        """The fail-safe limit: as issued, else the narrowest step."""
        envelope = self.envelope
        issued = envelope.failsafe_import_kw if direction == IMPORT else envelope.failsafe_export_kw
        return narrowest(_steps(envelope, direction)) if issued is None else issued


class Envelopes:
    """The envelopes in force by name, that of an envelope without a name is empty.

    * An issue older than the newest of its name is refused; a repetition renews nothing.
    * A binding envelope ends by its end or by a newer binding issue, and by nothing else.
    * Ended envelopes are deleted; one with a heartbeat stays, with its fail-safe limits.
    """

    def __init__(self, chance: random.Random | None = None) -> None:
        """No envelope; `chance` decides the delays of returns."""
        self._held: dict[str, _Held] = {}
        self._newest_issue_ms: dict[str, int] = {}
        self._returns: dict[str, dict[str, GradualReturn]] = {}
        self._present: dict[str, _Present] = {}
        self._lost: set[str] = set()
        self._chance = chance or random.Random()  # noqa: S311  a delay is no secret
        self.changes = 0
        """Grows with each change of what is to be kept."""

    # Issues

    def take(self, name: str, payload: bytes, at: Instant, *, retained: bool = False) -> EnvelopeAnswer:
        """Process an issue, or a withdrawal without payload; `retained`: the broker held it, so it may be an old one.

        Raises:
            MessageError: If it is refused; the envelope in force then stays.
        """
        self.advance(at)
        if not payload:
            return self._withdraw(name)
        envelope, held = _decoded(payload), self._held.get(name)
        self._require_order(name, envelope, at)
        if held is not None and held.envelope == envelope:
            return _accepted(held)
        new = _received(envelope, held, at)
        if new.has_ended(at):
            raise MessageError("ended", f"{_title(name)}: ended at {new.end_ms(at):.0f} ms, before its receipt")
        if held is not None and held.is_binding and not new.is_binding:
            text = f"{_title(name)}: is binding until it ends; a request with a breach price needs a name of its own"
            raise MessageError("binding", text)
        self._make_room(name, binding=new.is_binding)
        self._held[name] = new
        self._remember_issue(name, envelope.issued_at_ms)
        if new.is_binding and not retained:
            self._lost -= {name, ANY_NAME}
        self.advance(at)
        self.changes += 1
        return _accepted(self._held[name])

    def _withdraw(self, name: str) -> EnvelopeAnswer:
        held = self._held.get(name)
        if held is not None and held.is_binding:
            raise MessageError("binding", f"{_title(name)}: is binding until it ends; only a newer issue replaces it")
        if held is not None:
            self._delete(name)
        return EnvelopeAnswer(accepted=True)

    def _require_order(self, name: str, envelope: Envelope, at: Instant) -> None:
        issued_ms, newest_ms = envelope.issued_at_ms, self._newest_issue_ms.get(name)
        latest_ms = at.now_ms + ISSUE_AHEAD_MAX_MS
        if at.clock_trusted and issued_ms > latest_ms:
            text = f"{_title(name)}: issue time {issued_ms} ms is more than an hour after now, {at.now_ms} ms"
            raise MessageError("implausible_time", text)
        if newest_ms is None or (at.clock_trusted and newest_ms > latest_ms):
            return  # an issue taken in doubt of the clock does not outlast a correct one
        if issued_ms < newest_ms:
            text = f"{_title(name)}: issue time {issued_ms} ms is before that of the newest issue, {newest_ms} ms"
            raise MessageError("older_issue", text)
        if issued_ms == newest_ms and name not in self._held:
            raise MessageError("ended", f"{_title(name)}: issue {issued_ms} ms has ended; a repetition does not renew it")

    def _make_room(self, name: str, *, binding: bool) -> None:
        """Room for one more name; a binding envelope takes the place of the request of lowest priority.

        Raises:
            MessageError: If there is none.
        """
        if name in self._held or len(self._held) < MAX_ENVELOPES:
            return
        requests = [(held.envelope.priority, other) for other, held in self._held.items() if not held.is_binding]
        if not binding or not requests:
            raise MessageError("too_many_envelopes", f"{_title(name)}: {MAX_ENVELOPES} envelopes are already in force")
        self._delete(min(requests)[1])

    def _remember_issue(self, name: str, issued_at_ms: int) -> None:
        newest = self._newest_issue_ms
        newest[name] = issued_at_ms
        ended = [other for other in newest if other not in self._held]
        for other in sorted(ended, key=newest.__getitem__)[: max(len(newest) - MAX_NAMES, 0)]:
            del newest[other]

    def _delete(self, name: str) -> None:
        del self._held[name]
        self.changes += 1

    # Time

    def advance(self, at: Instant) -> None:
        """Delete ended envelopes, enter fail-safes, and begin the return of limits that end or rise."""
        for name, held in list(self._held.items()):
            if held.is_silent(at):
                if held.failsafe_since_s is None:
                    self._held[name] = replace(held, failsafe_since_s=at.now_s)
            elif held.has_ended(at):
                narrowest_kw = {direction: narrowest(_steps(held.envelope, direction)) for direction in (IMPORT, EXPORT)}
                before = self._present.pop(name, narrowest_kw)
                if held.is_binding:
                    self._begin_returns(name, held.envelope, dict.fromkeys((IMPORT, EXPORT)), before, at)
                self._delete(name)
        for name, held in self._held.items():
            if held.is_binding:
                present = {direction: _limits(held, direction, [at.now_ms], at)[0][0] for direction in (IMPORT, EXPORT)}
                self._begin_returns(name, held.envelope, present, self._present.get(name, {}), at)
                self._present[name] = present
        for name, returns in list(self._returns.items()):
            self._returns[name] = {way: one for way, one in returns.items() if not one.is_over(at.now_s)}
            if not self._returns[name]:
                del self._returns[name]
                self.changes += 1

    def _begin_returns(self, name: str, envelope: Envelope, present: _Present, before: _Present, at: Instant) -> None:
        if not (envelope.release_ramp_s or envelope.release_delay_max_s):
            return
        returns = self._returns.setdefault(name, {})
        for direction, limit_kw in present.items():
            before_kw, running = before.get(direction), returns.get(direction)
            if before_kw is None or (limit_kw is not None and limit_kw <= before_kw):
                continue
            from_kw = before_kw if running is None else running.limit_kw(before_kw, at.now_s)
            begins_s = at.now_s + self._chance.uniform(0.0, envelope.release_delay_max_s)
            returns[direction] = GradualReturn(
                from_kw=from_kw,
                begins_s=begins_s,
                ramp_s=envelope.release_ramp_s,
                of_controllable=envelope.scope is Scope.CONTROLLABLE,
            )
            self.changes += 1
        if not returns:
            del self._returns[name]

    # Limits

    def sources(
        self, own_kw: tuple[Sequence[float], Sequence[float]], starts_ms: Sequence[int], at: Instant
    ) -> Iterator[LimitSource]:
        """Limits of each binding envelope at some instants; `own_kw` are the connection's, to which limits return."""
        for name, held in self._held.items():
            if held.is_binding:
                yield from self._sources_of(name, held, starts_ms, at)
        seconds = [at.now_s + max(start_ms - at.now_ms, 0) / 1000 for start_ms in starts_ms]
        nothing: Limits = [None] * len(starts_ms)
        for name, returns in self._returns.items():
            for direction, one in returns.items():
                own = own_kw[0] if direction == IMPORT else own_kw[1]
                limits = [one.limit_kw(target_kw, now_s) for target_kw, now_s in zip(own, seconds, strict=True)]
                both = (limits, nothing) if direction == IMPORT else (nothing, limits)
                yield LimitSource(f"return of {_title(name)}", both[0], both[1], None, one.of_controllable)

    def _sources_of(self, name: str, held: _Held, starts_ms: Sequence[int], at: Instant) -> Iterator[LimitSource]:
        of_controllable = held.envelope.scope is Scope.CONTROLLABLE
        title, reason = _title(name), None
        if held.is_silent(at):
            title = f"fail-safe of {title}"
            reason = Reason(ReasonCode.OPERATOR_SILENT, _silence(name, held, at), name)
        imports, exports = (_limits(held, direction, starts_ms, at)[0] for direction in (IMPORT, EXPORT))
        yield LimitSource(title, imports, exports, reason, of_controllable)
        earlier = held.earlier_failsafe
        if earlier is not None and at.now_s < earlier.until_s:
            lasts = [at.now_s + (start_ms - at.now_ms) / 1000 < earlier.until_s for start_ms in starts_ms]
            earlier_import: Limits = [earlier.import_kw if lasting else None for lasting in lasts]
            earlier_export: Limits = [earlier.export_kw if lasting else None for lasting in lasts]
            text = f"{_title(name)}: its fail-safe holds for {earlier.until_s - at.now_s:.0f} s more"
            reason = Reason(ReasonCode.OPERATOR_SILENT, text, name)
            yield LimitSource(f"fail-safe of {_title(name)}", earlier_import, earlier_export, reason, of_controllable)

    def gives_value(self, names: Sequence[str], starts_ms: Sequence[int], at: Instant) -> tuple[list[bool], list[bool]]:
        """For import and export: True at an instant for which one of the names gives a binding limit for certain."""
        held = [self._held[name] for name in names if name in self._held and self._held[name].is_binding]
        both = []
        for direction in (IMPORT, EXPORT):
            given = [_limits(one, direction, starts_ms, at) for one in held]
            both.append(
                [any(certain and limits[index] is not None for limits, certain in given) for index in range(len(starts_ms))]
            )
        return both[0], both[1]

    def requests(self, at: Instant) -> list[Envelope]:
        """Envelopes in force that may be breached at a price."""
        return [held.envelope for held in self._held.values() if not held.is_binding and not held.has_ended(at)]

    @property
    def lost(self) -> list[str]:
        """Names of envelopes that a damaged or missing file held, and of which no issue has come since."""
        return sorted(self._lost)

    @property
    def binding_names(self) -> list[str]:
        """Names of the binding envelopes in force, and of lost ones."""
        return sorted({name for name, held in self._held.items() if held.is_binding} | self._lost)

    # Over a restart

    def kept(self, at: Instant) -> KeptEnvelopes:
        """All that is to be kept."""
        return KeptEnvelopes(
            envelopes={
                name: KeptEnvelope(
                    envelope=held.envelope,
                    received_ms=held.received_ms,
                    remaining_s=None if held.valid_until_s is None else max(held.valid_until_s - at.now_s, 0.0),
                    in_effect_ms=held.in_effect_ms,
                    earlier_failsafe=_shifted(held.earlier_failsafe, -at.now_s),
                )
                for name, held in self._held.items()
            },
            newest_issue_ms=dict(self._newest_issue_ms),
            returns={
                name: {way: replace(one, begins_s=max(one.begins_s - at.now_s, 0.0)) for way, one in returns.items()}
                for name, returns in self._returns.items()
            },
            lost=self.lost,
        )

    def restore(self, kept: KeptEnvelopes, now_s: float) -> None:
        """Take up what was kept; at most the bounded number."""
        names = sorted(kept.envelopes, key=lambda name: kept.envelopes[name].envelope.breach_price_per_kwh is not None)
        for name in names[:MAX_ENVELOPES]:
            one = kept.envelopes[name]
            self._held[name] = _Held(
                envelope=one.envelope,
                received_s=now_s,
                received_ms=one.received_ms,
                valid_until_s=None if one.remaining_s is None else now_s + one.remaining_s,
                restored=True,
                in_effect_ms=one.in_effect_ms,
                earlier_failsafe=_shifted(one.earlier_failsafe, now_s),
            )
        self._newest_issue_ms = dict(list(kept.newest_issue_ms.items())[:MAX_NAMES])
        self._newest_issue_ms |= {name: held.envelope.issued_at_ms for name, held in self._held.items()}
        self._returns = {
            name: {way: replace(one, begins_s=now_s + one.begins_s) for way, one in returns.items()}
            for name, returns in kept.returns.items()
        }
        self._lost = set(kept.lost)

    def lose(self, names: Sequence[str]) -> None:
        """Envelopes of these names were kept, and can no longer be read."""
        self._lost = set(names)
        self.changes += 1


def _decoded(payload: bytes) -> Envelope:
    if len(payload) > MAX_ENVELOPE_BYTES:
        raise MessageError("too_large", f"envelope of {len(payload)} bytes exceeds the limit of {MAX_ENVELOPE_BYTES} bytes")
    envelope = decode(payload, Envelope)
    steps = max(len(envelope.import_limit_kw), len(envelope.export_limit_kw))
    if steps > MAX_ENVELOPE_STEPS:
        raise MessageError("too_large", f"envelope of {steps} steps exceeds the limit of {MAX_ENVELOPE_STEPS} steps")
    return envelope


def _accepted(held: _Held) -> EnvelopeAnswer:
    return EnvelopeAnswer(accepted=True, issued_at_ms=held.envelope.issued_at_ms, in_effect_at_ms=held.in_effect_ms)


def _received(envelope: Envelope, before: _Held | None, at: Instant) -> _Held:
    """The issue with its receipt, which a correction under the same issue time does not renew."""
    received_s, received_ms = at.now_s, at.now_ms if at.clock_trusted else None
    valid_until_s = None if envelope.valid_for_s is None else received_s + envelope.valid_for_s
    corrected = before if before is not None and before.envelope.issued_at_ms == envelope.issued_at_ms else None
    if corrected is not None:
        received_s, received_ms = corrected.received_s, corrected.received_ms
        ends_s = [] if envelope.valid_for_s is None else [received_s + envelope.valid_for_s]
        valid_until_s = min([*ends_s, *([] if corrected.valid_until_s is None else [corrected.valid_until_s])], default=None)
    return _Held(
        envelope=envelope,
        received_s=received_s,
        received_ms=received_ms,
        valid_until_s=valid_until_s,
        restored=corrected is not None and corrected.restored,
        in_effect_ms=_in_effect_ms(envelope, at),
        failsafe_since_s=None if corrected is None else corrected.failsafe_since_s,
        earlier_failsafe=_earlier_failsafe(before, at),
    )


def _in_effect_ms(envelope: Envelope, at: Instant) -> int | None:
    """The first instant from now on at which it sets a limit; in doubt of the clock, now."""
    steps = [
        index
        for limits in (envelope.import_limit_kw, envelope.export_limit_kw)
        for index, limit_kw in enumerate(limits)
        if limit_kw is not None
    ]
    step_ms = 1000 * envelope.step_s
    if not at.clock_trusted:
        return at.now_ms if steps else None
    ahead = [index for index in steps if envelope.start_ms + (index + 1) * step_ms > at.now_ms]
    return max(envelope.start_ms + min(ahead) * step_ms, at.now_ms) if ahead else None


def _earlier_failsafe(before: _Held | None, at: Instant) -> EarlierFailsafe | None:
    """What holds on of the fail-safe of the issue before."""
    if before is None:
        return None
    if before.failsafe_since_s is None:
        earlier = before.earlier_failsafe
        return earlier if earlier is not None and at.now_s < earlier.until_s else None
    until_s = before.failsafe_since_s + before.envelope.failsafe_min_s
    if at.now_s >= until_s:
        return None
    return EarlierFailsafe(import_kw=before.failsafe_kw(IMPORT), export_kw=before.failsafe_kw(EXPORT), until_s=until_s)


def _shifted(failsafe: EarlierFailsafe | None, by_s: float) -> EarlierFailsafe | None:
    return None if failsafe is None else replace(failsafe, until_s=failsafe.until_s + by_s)


def _steps(envelope: Envelope, direction: str) -> Sequence[float | None]:
    return envelope.import_limit_kw if direction == IMPORT else envelope.export_limit_kw


def _limits(held: _Held, direction: str, starts_ms: Sequence[int], at: Instant) -> tuple[list[float | None], bool]:
    """Limits of an envelope in one direction; and True if they certainly hold, so that they may replace others."""
    envelope, steps = held.envelope, _steps(held.envelope, direction)
    if held.is_silent(at):
        failsafe: list[float | None] = [held.failsafe_kw(direction)] * len(starts_ms)
        if held.restored and not held.is_overdue(at):  # the issue before the restart may still count
            failsafe = narrowed(failsafe, _issued(held, steps, starts_ms, at))
        issued_kw = envelope.failsafe_import_kw if direction == IMPORT else envelope.failsafe_export_kw
        return failsafe, issued_kw is not None
    if not at.clock_trusted:
        runs_for_certain = held.valid_until_s is not None and not held.restored
        return _issued(held, steps, starts_ms, at), runs_for_certain and None not in steps
    is_certain = not held.restored or envelope.valid_for_s is None or held.received_ms is not None
    return _issued(held, steps, starts_ms, at), is_certain


def _issued(held: _Held, steps: Limits, starts_ms: Sequence[int], at: Instant) -> list[float | None]:
    """The limits of the steps until the end of the envelope, in doubt of the clock that of the narrowest."""
    if held.has_ended(at):
        return [None] * len(starts_ms)
    if not at.clock_trusted:
        return [narrowest(steps)] * len(starts_ms)
    envelope, end_ms = held.envelope, held.end_ms(at)
    indices = [(start_ms - envelope.start_ms) // (1000 * envelope.step_s) for start_ms in starts_ms]
    return [
        steps[index] if 0 <= index < len(steps) and start_ms < end_ms else None
        for index, start_ms in zip(indices, starts_ms, strict=True)
    ]


def _silence(name: str, held: _Held, at: Instant) -> str:
    cause = "has ended"
    if held.restored:
        cause = "has had no new issue since the start"
    elif not held.has_ended(at):
        cause = f"has had no new issue for {at.now_s - held.received_s:.0f} s, twice its heartbeat"
    limits = {direction: held.failsafe_kw(direction) for direction in (IMPORT, EXPORT)}
    shown = " and ".join(f"{direction} {kw:g} kW" for direction, kw in limits.items() if kw is not None)
    return f"{_title(name)} {cause}; its fail-safe holds until the next issue: {shown or 'no limit'}"


def _title(name: str) -> str:
    return f"envelope {name}" if name else "envelope"
