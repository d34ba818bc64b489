"""Trust in the wall clock: ages and ramps count on the monotonic clock, calendars and expiries need a trusted instant. Pure.

An instant is trusted when it lies past the last trusted one and a source has confirmed the clock: the kernel's
synchronization, or two feeds with a time of their own. From there it stays trusted by the monotonic clock. Instants in doubt
never become trusted. A step of less than a minute is no doubt, but not trusted either until it is undone or confirmed. A
site without any source so far takes its clock as it is, until it is set.
"""

from datetime import UTC, datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.snapshot import Reason
from ringmain_protocol.messages import AtMs, ReasonCode

JUMP_MAX_S: Final = 60.0
"""A clock that is further away from its monotonic course is in doubt."""
AGREEMENT_S: Final = 60.0
"""A feed confirms the clock if its sender's time is this close."""
FEEDS_MIN: Final = 2
PROBATION_S: Final = 3600.0
"""After a jump away from a confirmed time, the kernel's word alone counts only after this time: its source may be forged."""
CONFIRMATION_S: Final = 600.0
"""Time for a time server to answer after a start."""
DAY_S: Final = 86_400.0
"""After a start more than a day past the last trusted instant, only a confirmation or `PROBATION_S` ends the doubt."""
EARLIEST_MS: Final = 1_735_689_600_000
"""2025-01-01: a machine with an earlier clock has lost its time; this program is younger."""
SET_SHOWN_S: Final = 600.0
MOVE_MIN_MS: Final = 1000
"""A smaller step of the clock moves no instants; it adds to the next one."""

ADVICE: Final = (
    "the narrowest known limits hold; check the time source (NTP), the battery of the clock, and the power supply"
)


class TrustedTime(Struct, frozen=True, kw_only=True):
    """The clock up to the present cycle. An offset is the wall clock minus the monotonic clock.

    Invariants:
        * `last_trusted_ms` never falls, and never takes an instant in doubt;
        * a clock in doubt is not trusted.
    """

    last_trusted_ms: AtMs | None = None
    """The only part that is kept over a restart."""
    confirmed: bool = False
    """A source has confirmed the clock since the start."""
    doubt: str = ""
    doubt_since_s: float = 0.0
    """Monotonic begin of the doubt; later if the clock moved again, or the kernel lost its synchronization."""
    started_s: float = 0.0
    running_s: float = 0.0
    offset_ms: float | None = None
    course_ms: float = 0.0
    """Offset of the clock's undoubted course, taken anew once a day."""
    course_s: float = 0.0
    moved_ms: int = 0
    """Step of the wall clock against the monotonic one in this cycle; almost always 0."""
    stepped: bool = False
    """The clock was set by less than a doubt, is not back, and no source has confirmed it since."""
    last_moved_ms: int = 0
    last_moved_s: float | None = None

    @property
    def trusted(self) -> bool:
        """True if the present instant may widen a limit."""
        return not self.doubt and not self.stepped and (self.confirmed or self.last_trusted_ms is None)

    @property
    def stamps_steps(self) -> bool:
        """False while values of steps must wait: in doubt, and for some minutes after a start until a source answers."""
        is_expected = not self.confirmed and self.last_trusted_ms is not None
        return not self.doubt and not (is_expected and self.running_s < CONFIRMATION_S)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why the clock is not trusted, and what to do; also for a while that it was set."""
        reasons = []
        if not self.trusted:
            text = self.doubt or f"the clock is not confirmed since {'it was set' if self.stepped else 'the start'}"
            reasons.append(Reason(ReasonCode.CLOCK_DOUBT, f"{text}; {ADVICE}"))
        if self.last_moved_s is not None and self.started_s + self.running_s - self.last_moved_s < SET_SHOWN_S:
            direction = "forward" if self.last_moved_ms > 0 else "back"
            text = f"the clock was set {direction} by {duration(self.last_moved_ms / 1000)}"
            reasons.append(Reason(ReasonCode.CLOCK_SET, text))
        return tuple(reasons)


def next_time(  # noqa: PLR0913  keyword-only: two clocks and their sources
    before: TrustedTime,
    *,
    now_ms: int,
    now_s: float,
    synchronized: bool,
    agreeing_feeds: int = 0,
    earliest_ms: int = EARLIEST_MS,
) -> TrustedTime:
    """The clock in this cycle.

    Args:
        before: That of the previous cycle, or the kept last trusted instant alone.
        now_ms: Wall clock.
        now_s: Monotonic clock, read at the same moment.
        synchronized: The kernel says that its clock is synchronized.
        agreeing_feeds: Senders whose own time agrees with the wall clock.
        earliest_ms: No true instant is earlier.
    """
    offset_ms = now_ms - 1000 * now_s
    if before.offset_ms is None:
        before = replace(before, offset_ms=offset_ms, course_ms=offset_ms, course_s=now_s, started_s=now_s)
    reference_ms = offset_ms if before.offset_ms is None else before.offset_ms
    moved_ms = round(offset_ms - reference_ms) if abs(offset_ms - reference_ms) >= MOVE_MIN_MS else 0
    off_s, course_ms, course_s = (offset_ms - before.course_ms) / 1000, before.course_ms, before.course_s
    is_on_course = before.confirmed and abs(off_s) <= JUMP_MAX_S
    is_past = now_ms >= earliest_ms and (is_on_course or now_ms >= (before.last_trusted_ms or earliest_ms))
    is_fed = agreeing_feeds >= FEEDS_MIN
    running_s = now_s - before.started_s
    doubt = _doubt(before, now_ms=now_ms, off_s=off_s, running_s=running_s, earliest_ms=earliest_ms)
    if doubt and is_past and (is_fed or _ends(before, now_s=now_s, synchronized=synchronized, goes_on=not moved_ms)):
        doubt = ""
        course_ms, course_s = offset_ms, now_s
    stepped = not doubt and (before.stepped or moved_ms != 0) and not (is_fed or synchronized)
    if stepped and (abs(offset_ms - course_ms) < MOVE_MIN_MS or _is_forgotten(before, now_s, goes_on=not moved_ms)):
        stepped = False
    if not doubt and not stepped and now_s - course_s >= DAY_S:
        course_ms, course_s = offset_ms, now_s
    starts_anew = not before.doubt or moved_ms or (before.confirmed and not synchronized)
    confirmed = before.confirmed or (not doubt and is_past and (is_fed or synchronized))
    last_ms = before.last_trusted_ms
    if confirmed and not doubt and not stepped:
        last_ms = now_ms if last_ms is None else max(last_ms, now_ms)
    return TrustedTime(
        last_trusted_ms=last_ms,
        confirmed=confirmed,
        doubt=doubt,
        doubt_since_s=now_s if starts_anew else before.doubt_since_s,
        started_s=before.started_s,
        running_s=running_s,
        offset_ms=offset_ms if moved_ms else reference_ms,
        course_ms=course_ms,
        course_s=course_s,
        moved_ms=moved_ms,
        stepped=stepped,
        last_moved_ms=moved_ms or before.last_moved_ms,
        last_moved_s=now_s if moved_ms else before.last_moved_s,
    )


def _doubt(before: TrustedTime, *, now_ms: int, off_s: float, running_s: float, earliest_ms: int) -> str:
    """What contradicts the clock; empty if nothing does."""
    if now_ms < earliest_ms:
        return f"the clock shows {_date(now_ms)}, a time before this program was made"
    if abs(off_s) > JUMP_MAX_S:
        return f"the clock jumped {duration(off_s)} {'ahead of' if off_s > 0 else 'behind'} the monotonic clock"
    if before.confirmed or before.last_trusted_ms is None:
        return ""
    since_s = (now_ms - before.last_trusted_ms) / 1000
    if since_s < 0:
        return f"the clock is {duration(since_s)} behind the last trusted instant"
    if since_s > DAY_S and running_s < PROBATION_S:
        return f"the clock is {duration(since_s)} past the last trusted instant, and not confirmed since the start"
    return ""


def _ends(before: TrustedTime, *, now_s: float, synchronized: bool, goes_on: bool) -> bool:
    """True if a doubt ends by the word of the kernel, or where no source ever confirmed a clock, by waiting."""
    waited = bool(before.doubt) and goes_on and now_s - before.doubt_since_s >= PROBATION_S
    if before.confirmed:
        return synchronized and waited
    return synchronized or (before.last_trusted_ms is None and waited)


def _is_forgotten(before: TrustedTime, now_s: float, *, goes_on: bool) -> bool:
    """True if a step lies back for long, where no source ever confirmed a clock."""
    since_s = now_s if before.last_moved_s is None else before.last_moved_s
    return before.last_trusted_ms is None and goes_on and now_s - since_s >= PROBATION_S


def duration(length_s: float) -> str:
    """A length of time for people, without a sign."""
    length_s = abs(length_s)
    for unit, unit_s in (("days", DAY_S), ("h", 3600.0), ("min", 60.0)):
        if length_s >= 2 * unit_s:
            return f"{length_s / unit_s:.0f} {unit}"
    return f"{length_s:.0f} s"


def _date(at_ms: int) -> str:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
