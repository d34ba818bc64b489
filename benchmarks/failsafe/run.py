"""One site run: its faults one after the other, each begun, watched, ended and recovered from."""

import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from msgspec import Struct

from benchmarks.failsafe.draw import Draw
from benchmarks.failsafe.evidence import facts, said
from benchmarks.failsafe.faults import Fault
from benchmarks.failsafe.referee import Referee, Tally
from benchmarks.failsafe.rig import ControlLostError, Rig, rig_in
from benchmarks.failsafe.site import EQUIPMENT, SiteDesign, windows
from ringmain_simulation.data import Excerpt

RECOVERY_S: Final = 240
"""Within so many seconds after the end of a fault, the agent must be in control again and out of fail-safe."""
REST_S: Final = 15
SILENCE: Final = "^silence"
"""While the upstream broker is down, the bridge's last-seen time is all that the center has of a site."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What one draw amounted to."""

    site: str
    kinds: tuple[str, ...]
    subjects: tuple[str, ...]
    tally: Tally
    unsafe: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()
    control_lost: str = ""


def run_site(folder: Path, design: SiteDesign, drawn: Sequence[Draw], excerpt: Excerpt, seed: int) -> list[Outcome]:
    """The outcomes of one site's draws; a site that lost control is started anew for the next draw."""
    random = Random(seed)  # noqa: S311  chance, not secrets
    left, outcomes = list(drawn), list[Outcome]()
    while left:
        window = random.choice(windows(design, excerpt))
        with rig_in(folder / f"{design.site}-{len(left)}", design, excerpt, window, random) as rig:
            while left:
                outcomes.append(_draw(rig, left.pop(0)))
                if outcomes[-1].control_lost or rig.now_ms > rig.end_ms - 900_000:
                    break
    return outcomes


def _draw(rig: Rig, draw: Draw) -> Outcome:
    """Begin, watch, end, recover."""
    before = facts(rig.status)
    heard_from = len(rig.heard)
    rig.unsafe.clear()
    rig.betrayed.clear()
    connection_kw = max(rig.design.limits.import_kw, rig.design.limits.export_kw)
    powers = tuple(f"{name}_kw" for name in EQUIPMENT)
    rig.referee = Referee(connection_kw=connection_kw, powers=powers, why=" + ".join(fault.kind for fault in draw))
    lost = ""
    try:
        _suffer(rig, draw)
        _recover(rig)
    except ControlLostError as error:
        lost = str(error)
    except (OSError, ValueError, TimeoutError):
        lost = traceback.format_exc()
    tally = rig.referee.close()
    rig.referee = None
    heard = [fact for message in rig.heard[heard_from:] for fact in _heard(message.topic, message.payload)]
    unsaid = [fault for fault in draw if not lost and said((*fault.says, SILENCE), before, heard) is None]
    for fault in unsaid:
        if _is_silent_lie(fault, rig):
            tally.undetectable[f"{fault.kind}: nothing contradicts it"] += 1
    return Outcome(
        site=rig.design.site,
        kinds=tuple(fault.kind for fault in draw),
        subjects=tuple(fault.subject for fault in draw),
        tally=tally,
        unsafe=tuple(rig.unsafe),
        unsaid=tuple(fault.kind for fault in unsaid if not _is_silent_lie(fault, rig)),
        control_lost=lost,
    )


def _is_silent_lie(fault: Fault, rig: Rig) -> bool:
    """A sensor or an equipment that was wrong, but so little or so lonely that nothing could show it."""
    if fault.subject in EQUIPMENT:
        return fault.subject not in rig.betrayed and f"{fault.subject}_kw" not in rig.betrayed
    return fault.subject in rig.design.signals and fault.subject not in rig.betrayed and "ripple" not in fault.subject


def _suffer(rig: Rig, draw: Draw) -> None:
    """The faults of one draw at the same time, or one after the other where they share a subject."""
    if len({fault.subject for fault in draw}) < len(draw):
        for fault in draw:
            _suffer(rig, (fault,))
        return
    for fault in draw:
        fault.begin(rig)
        if fault is not draw[-1]:
            for _ in range(rig.random.randint(1, 8)):
                rig.second()
            rig.note_status()
    low, high = (max(bound) for bound in zip(*(fault.seconds for fault in draw), strict=True))
    for _ in range(rig.random.randint(low, high)):
        rig.second()
    rig.note_status()
    for fault in draw:
        fault.end(rig)


def _recover(rig: Rig) -> None:
    """Seconds until the agent is in control and out of fail-safe."""
    for _ in range(REST_S):
        rig.second()
    for second in range(RECOVERY_S):
        rig.second()
        if second % 20 == 0 and _is_well(rig.fresh_status()):
            return
    raise ControlLostError(f"not back after {RECOVERY_S} s: {sorted(facts(rig.status))}")


def _is_well(status: dict[str, Any]) -> bool:
    return (
        status.get("mode") == "control"
        and not status.get("failsafe")
        and status.get("fallback") not in ("failsafe", "release")
    )


def _heard(topic: str, payload: dict[str, Any]) -> Iterator[str]:
    kind = topic.split("/", 4)[-1]
    if kind == "status":
        yield from facts(payload)
    elif kind.startswith("answer/") or kind in ("online", "limit", "silence"):
        yield f"{kind} " + str(payload).replace("'", '"').replace("False", "false").replace("True", "true")
