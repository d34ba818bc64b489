"""Step responses of batteries: a change of the setpoint against the change that its own feed and the pcc show. Pure.

A battery that does the opposite of its setpoints is stopped, because each further setpoint would push it further. Where only
the pcc contradicts, the cause may be a load that jumped at the same time. The stop is then a test: if the pcc follows it,
the battery is in order and goes on after some seconds; if the pcc contradicts again, the battery stays stopped.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.control.setpoint_ranges import Moves
from ringmain_agent.site.nameplates import Battery
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import SentSetpoint
from ringmain_protocol.messages import AtMs

STEP_PU: Final = 0.05
"""Smallest step that is judged, as a share of the rating."""
STEP_MIN_KW: Final = 1.0
SHARE_MIN: Final = 0.5
SHARE_MAX: Final = 2.0
"""Range of the change at the pcc over the change of the own feed in which both show one step."""
LATE_S: Final = 5.0
"""Meters may be this much later than one another: what moved more than half of the step meanwhile proves nothing."""
READINGS: Final = 3
READINGS_S: Final = 2.0
"""Readings of the pcc, and time, that must contradict one after the other."""
JUDGED_S: Final = 15.0
STEP_MAX_S: Final = 120.0
"""Time for which a step is judged after its last setpoint, and at all: by then the load has changed as well."""
TRUSTED_S: Final = 900.0
"""Time for which a battery that passed its test counts as in order, and a second doubt after an unclear test decides."""


class Powers(Struct, frozen=True, kw_only=True):
    """Measured powers of one cycle: at the pcc, and of load and equipment together; each battery by its own feed."""

    at_ms: AtMs
    pcc_at_ms: AtMs
    pcc_kw: float
    known_kw: float
    battery_kw: dict[str, float]


class Step(Struct, frozen=True, kw_only=True):
    """A change of the setpoint under watch; `against` counts the readings that contradicted it one after the other."""

    begin: Powers
    sent_kw: float
    """The setpoint before it."""
    own_spread_kw: float
    other_spread_kw: float
    """Movement of the battery, and of everything else, shortly before."""
    against: int = 0
    against_since_ms: AtMs = 0
    read_ms: AtMs = 0


class Opposed(Struct, frozen=True, kw_only=True):
    """A battery that seems to do the opposite of its setpoints; not `stopped` after a test that did not confirm it."""

    since_ms: AtMs
    text: str
    stopped: bool = True
    confirmed: bool = False
    trusted: bool = False


class Responses(Struct, frozen=True, kw_only=True):
    """Powers of the last seconds, steps under watch, and opposed batteries."""

    powers: tuple[Powers, ...] = ()
    steps: dict[str, Step] = {}
    opposed: dict[str, Opposed] = {}

    @property
    def stopped(self) -> frozenset[str]:
        """Batteries that take the setpoint 0."""
        return frozenset(name for name, opposed in self.opposed.items() if opposed.stopped)


class _Verdict(StrEnum):
    FOLLOWS = "follows"
    BOTH = "pcc_kw moves against it: it does the opposite of its setpoints; positive_direction of its feed and output?"
    OUTPUT = "it does the opposite of its setpoints; positive_direction of its output?"
    FEED = "its feed shows the opposite of its power; positive_direction of its feed?"
    EITHER = "its feed shows the opposite of its setpoints; positive_direction of its feed or output?"


def watch_responses(before: Responses, powers: Powers | None, *, moves: Moves, site: Site) -> Responses:
    """The responses up to this cycle; without a measured pcc, open steps end.

    Args:
        before: The responses up to the previous cycle.
        powers: Measured powers of this cycle.
        moves: Recent changes of setpoints; a change of the previous cycle begins a step.
        site: Batteries, and the time until measurements show a setpoint.
    """
    if powers is None or not site.batteries:
        return Responses(opposed=before.opposed)
    steps, opposed = {}, dict(before.opposed)
    for battery in site.batteries:
        name, doubt = battery.name, _aged(before.opposed.get(battery.name), powers.at_ms, site.regulator.settle_s)
        step = before.steps.get(name) if doubt is None or doubt.stopped == before.opposed[name].stopped else None
        step = _under_watch(battery, step, before.powers, powers, moves.get(name, ()))
        if step is not None and (doubt is None or not doubt.confirmed):
            step, doubt = _judge(battery, step, before.powers, powers, moves[name][-1], doubt)
        if step is not None:
            steps[name] = step
        if doubt is not None:
            opposed[name] = doubt
        else:
            opposed.pop(name, None)
    kept = tuple(earlier for earlier in before.powers if 0 <= powers.at_ms - earlier.at_ms <= 1000 * LATE_S)
    return Responses(powers=(*kept, powers), steps=steps, opposed=opposed)


def _aged(doubt: Opposed | None, now_ms: int, settle_s: float) -> Opposed | None:
    """The doubt: a test without result ends after the settling time, and is forgotten in the end."""
    if doubt is None or doubt.confirmed:
        return doubt
    if doubt.stopped and now_ms - doubt.since_ms > 1000 * max(settle_s, 3 * LATE_S):
        return replace(doubt, stopped=False)
    return None if not doubt.stopped and now_ms - doubt.since_ms > 1000 * TRUSTED_S else doubt


def _threshold_kw(battery: Battery) -> float:
    return max(STEP_PU * max(battery.charge_max_kw, battery.discharge_max_kw), STEP_MIN_KW)


def _under_watch(
    battery: Battery, step: Step | None, lately: Sequence[Powers], powers: Powers, moves: Sequence[SentSetpoint]
) -> Step | None:
    """The step that goes on, or the one that the previous cycle began out of rest."""
    name = battery.name
    if name not in powers.battery_kw or not moves or moves[-1].power_kw is None:
        return None
    if step is not None and _goes_on(battery, step, lately, powers, moves):
        return step
    if not lately or moves[-1].at_ms != lately[-1].at_ms or name not in lately[-1].battery_kw:
        return None
    begin = lately[-1]
    sent_kw = moves[-2].power_kw if len(moves) > 1 else None
    sent_kw = begin.battery_kw[name] if sent_kw is None else sent_kw
    if abs(sent_kw - begin.battery_kw[name]) > _threshold_kw(battery):
        return None
    own_kw, other_kw = _spreads_kw(name, lately)
    return Step(begin=begin, sent_kw=sent_kw, own_spread_kw=own_kw, other_spread_kw=other_kw)


def _goes_on(battery: Battery, step: Step, lately: Sequence[Powers], powers: Powers, moves: Sequence[SentSetpoint]) -> bool:
    """True for a step whose setpoints all lie on one side of the one before it, while nothing else moves the pcc.

    It ends some time after its last setpoint, and at a jump of the pcc that is more than battery and setpoints can explain:
    the next setpoint, which answers that jump, begins another.
    """
    since = [sent for sent in moves if sent.at_ms >= step.begin.at_ms]
    changes_kw = [0.0 if sent.power_kw is None else sent.power_kw - step.sent_kw for sent in since]
    if not changes_kw or min(changes_kw) <= 0 <= max(changes_kw):
        return False
    threshold_kw = _threshold_kw(battery)
    moved_ms = max(
        (sent.at_ms for sent, kw in zip(since, changes_kw, strict=True) if abs(kw - changes_kw[-1]) > threshold_kw / 4),
        default=step.begin.at_ms,
    )
    if powers.at_ms - moved_ms > 1000 * JUDGED_S or powers.at_ms - step.begin.at_ms > 1000 * STEP_MAX_S:
        return False
    late = [sent for sent in since if powers.at_ms - sent.at_ms <= 1000 * LATE_S]
    sent_kw = [sent.power_kw for sent in late if sent.power_kw is not None]
    sent_kw = [*sent_kw, (since[-len(late) - 1].power_kw or 0.0) if len(late) < len(since) else step.sent_kw]
    own_kw, _ = _spreads_kw(battery.name, (*lately, powers))
    explained_kw = max(own_kw, max(sent_kw) - min(sent_kw))
    jump_kw = abs(_share_kw(battery.name, powers) - _share_kw(battery.name, lately[-1])) if lately else 0.0
    return jump_kw <= max(threshold_kw / 2, SHARE_MAX * explained_kw)


def _share_kw(name: str, powers: Powers) -> float:
    """Power that the pcc leaves for a battery."""
    return powers.pcc_kw - powers.known_kw + powers.battery_kw.get(name, 0.0)


def _judge(  # noqa: PLR0913, PLR0917  one step in its surroundings
    battery: Battery,
    step: Step,
    lately: Sequence[Powers],
    powers: Powers,
    sent: SentSetpoint,
    doubt: Opposed | None,
) -> tuple[Step | None, Opposed | None]:
    """The step and the doubt after the readings of this cycle."""
    if powers.pcc_at_ms in {step.read_ms, step.begin.pcc_at_ms}:
        return step, doubt
    step = replace(step, read_ms=powers.pcc_at_ms)
    verdict = _verdict(battery, step, (*lately, powers), sent)
    if verdict is _Verdict.FOLLOWS:
        passed = doubt is not None and doubt.stopped
        return None, replace(doubt, stopped=False, trusted=True) if doubt is not None and passed else doubt
    if verdict is None:
        return replace(step, against=0), doubt
    since_ms = step.against_since_ms if step.against else powers.at_ms
    step = replace(step, against=step.against + 1, against_since_ms=since_ms)
    trusted = doubt is not None and doubt.trusted
    if trusted or step.against < READINGS or powers.at_ms - since_ms < 1000 * READINGS_S:
        return step, doubt
    confirmed = doubt is not None or verdict is not _Verdict.BOTH
    return None, Opposed(since_ms=powers.at_ms, text=doubt.text if doubt else verdict, confirmed=confirmed)


def _verdict(battery: Battery, step: Step, lately: Sequence[Powers], sent: SentSetpoint) -> _Verdict | None:
    """How the battery responds to a step; `None` while the step does not show it."""
    name, begin, powers = battery.name, step.begin, lately[-1]
    own_now_kw, asked_kw = powers.battery_kw[name], (sent.power_kw or 0.0) - step.sent_kw
    own_kw = own_now_kw - begin.battery_kw[name]
    at_pcc_kw = _share_kw(name, powers) - _share_kw(name, begin)
    threshold_kw = _threshold_kw(battery)
    if abs(own_kw) < threshold_kw or step.own_spread_kw > abs(own_kw) / 4:
        return None
    share = at_pcc_kw / own_kw
    own_spread_kw, other_spread_kw = _spreads_kw(name, lately)
    moving = own_spread_kw > abs(own_kw) / 2
    at_rest = not moving and other_spread_kw + step.other_spread_kw <= abs(own_kw) / 4
    shown = SHARE_MIN <= abs(share) <= SHARE_MAX
    if own_kw * asked_kw > 0:
        follows, opposes = shown and share > 0, shown and share < 0 and at_rest
        return _Verdict.FOLLOWS if follows else _Verdict.BOTH if opposes else None
    asked_now_kw = sent.power_kw or 0.0
    if moving or own_now_kw * asked_now_kw >= 0 or abs(own_now_kw) < max(threshold_kw, SHARE_MIN * abs(asked_now_kw)):
        return None
    if not shown or not at_rest:
        return _Verdict.EITHER
    return _Verdict.OUTPUT if share > 0 else _Verdict.FEED


def _spreads_kw(name: str, lately: Sequence[Powers]) -> tuple[float, float]:
    """Movement of a battery, and of everything else, within the given time."""
    own_kw = [powers.battery_kw[name] for powers in lately if name in powers.battery_kw]
    other_kw = [powers.known_kw - powers.battery_kw[name] for powers in lately if name in powers.battery_kw]
    return max(own_kw) - min(own_kw), max(other_kw) - min(other_kw)
