"""Patterns of a wrong meter in the balance: unit declared wrong by a factor of 1000, or a wrong sign. Pure.

The balance is load plus equipment less the power at the pcc: parts that add up to the negative residual.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from ringmain_agent.site.site import LOAD, PCC, Site
from ringmain_protocol.messages import AtMs

FIT_PU: Final = 0.2
"""Largest residual that an explanation may leave, as a share of the value that it assumes."""
LARGE_PU: Final = 3.0
"""A meter above this share of the connection's limits is too large rather than another one too small."""
THOUSAND: Final = 1000.0
FAULTY_AFTER_S: Final = 5.0
"""A meter that fits a pattern for this time is not used: the regulator would follow it past a limit."""
SOUND_AFTER_S: Final = 30.0
"""... until it agrees with the others for this time, at powers that would show its fault."""


class WrongMeter(NamedTuple):
    """A signal that fits a pattern, and the explanation."""

    signal: str
    text: str


class MeterFault(Struct, frozen=True, kw_only=True):
    """A wrong meter, from the first cycle of its pattern until it is sound again."""

    signal: str
    text: str
    since_ms: AtMs
    faulty: bool = False
    sound_since_ms: AtMs | None = None


def wrong_meters(parts_kw: Mapping[str, float], residual_kw: float, site: Site) -> Iterator[WrongMeter]:
    """Every meter whose other unit or sign ends the residual, the likeliest first.

    What the connection can carry tells too large from too small. An uncontrolled load below 0 is likelier to have the wrong
    sign than the pcc.

    Args:
        parts_kw: Load, equipment by signal, and the negative power at the pcc.
        residual_kw: Power at the pcc beyond load and equipment.
        site: The limits of its connection.
    """
    connection = site.grid_connection
    large_kw = LARGE_PU * max(connection.import_limit_kw, connection.export_limit_kw)
    for signal, part_kw in parts_kw.items():
        if abs(part_kw) > large_kw and _fits(part_kw, part_kw / THOUSAND, residual_kw):
            yield WrongMeter(signal, f"{signal} is 1000 times too large: W declared as kW?")
        if THOUSAND * abs(part_kw) <= large_kw and _fits(part_kw, part_kw * THOUSAND, residual_kw):
            yield WrongMeter(signal, f"{signal} is 1000 times too small: kW declared as W?")
    turned = [signal for signal, part_kw in parts_kw.items() if _fits(part_kw, -part_kw, residual_kw)]
    if {LOAD, PCC} <= {*turned}:
        turned.remove(PCC if parts_kw[LOAD] < 0 else LOAD)
    yield from (WrongMeter(signal, f"{signal} has the wrong sign: positive_direction?") for signal in turned)


def update_fault(before: MeterFault | None, wrong: WrongMeter | None, *, now_ms: int, tells: bool) -> MeterFault | None:
    """The fault after a cycle.

    Args:
        before: That of the previous cycle.
        wrong: The meter that fits a pattern now.
        now_ms: The present.
        tells: Both meters agree, at a power that would show the fault.
    """
    if wrong is not None:
        if before is None or (before.signal != wrong.signal and not before.faulty):
            return MeterFault(signal=wrong.signal, text=wrong.text, since_ms=now_ms)
        faulty = before.faulty or now_ms - before.since_ms >= 1000 * FAULTY_AFTER_S
        return MeterFault(signal=before.signal, text=before.text, since_ms=before.since_ms, faulty=faulty)
    if before is None or not before.faulty:
        return None
    since_ms = before.sound_since_ms if tells else None
    since_ms = now_ms if since_ms is None and tells else since_ms
    if since_ms is not None and now_ms - since_ms >= 1000 * SOUND_AFTER_S:
        return None
    return MeterFault(signal=before.signal, text=before.text, since_ms=before.since_ms, faulty=True, sound_since_ms=since_ms)


def _fits(part_kw: float, right_kw: float, residual_kw: float) -> bool:
    """True if another value of a part ends the residual; the parts are load, equipment and the negative pcc."""
    return abs(right_kw - part_kw - residual_kw) <= FIT_PU * abs(right_kw)
