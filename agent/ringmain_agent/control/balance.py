"""The balance of the site: power at the pcc against load and equipment, which three kinds of meters show. Pure.

The pcc is the truth for the limits. What it shows beyond load and equipment is load that nothing measures: the regulator
narrows its limits by it, on the side where it is, and widens none. Meters are read at different instants, and equipment
whose setpoint changed counts as a range: a residual stays while that range does not exclude it. It grows after seconds.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.control.meter_faults import MeterFault, WrongMeter, update_fault, wrong_meters
from ringmain_agent.control.setpoint_ranges import Moves
from ringmain_agent.control.step_response import Powers, Responses, watch_responses
from ringmain_agent.control.uncontrolled_load import derived_load_kw
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.site.site import LOAD, PCC, Site
from ringmain_agent.snapshot import Measured, Measurements, Reason
from ringmain_protocol.messages import AtMs, Quality, ReasonCode

LATE_S: Final = 2.0
"""Time after which a residual grows: meters are read at different instants."""
BOUND_PU: Final = 0.03
"""Largest residual that the errors of the meters explain, as a share of the sum of their powers."""
BOUND_MIN_KW: Final = 1.0
NAMED_AFTER_S: Final = 10.0
"""A residual beyond its bound for this time is named."""
REPEATS_MIN: Final = 5
"""Identical values of a meter that count as frozen while the others contradict it."""
ALONE_REPEATS_MIN: Final = 30
ALONE_S: Final = 60.0
"""Without a load meter the pcc counts as frozen after this many identical values and this time."""
ALONE_MOVE_PU: Final = 0.1
"""... if the equipment moved by this share of the sum of all powers meanwhile."""


class Repeats(Struct, frozen=True, kw_only=True):
    """Identical values of a meter one after the other, and the range of what the other meters left for it meanwhile."""

    value: float
    since_ms: AtMs
    at_ms: AtMs
    count: int = 1
    least_kw: float
    most_kw: float
    frozen: bool = False
    """True once the others contradicted it, until the value changes."""


class Balance(Struct, frozen=True, kw_only=True):
    """The balance from one cycle to the next; it begins anew with each start.

    `residual_kw` is the power at the pcc beyond load and equipment, `None` unless pcc and load are measured.
    """

    at_ms: AtMs = 0
    residual_kw: float | None = None
    excluded_since_ms: AtMs | None = None
    bound_kw: float = BOUND_MIN_KW
    beyond_since_ms: AtMs | None = None
    repeats: dict[str, Repeats] = {}
    fault: MeterFault | None = None
    responses: Responses = Responses()

    @property
    def unmeasured_kw(self) -> float:
        """Load that no meter shows but the pcc; negative for generation."""
        return self.residual_kw or 0.0

    @property
    def stopped(self) -> frozenset[str]:
        """Batteries that do the opposite of their setpoints."""
        return self.responses.stopped

    @property
    def beyond_bound(self) -> bool:
        """True if the errors of the meters do not explain the residual."""
        return self.beyond_since_ms is not None and self.at_ms - self.beyond_since_ms >= 1000 * NAMED_AFTER_S


def update_balance(
    before: Balance, measurements: Measurements, *, moves: Moves, free_kw: Mapping[str, float], site: Site
) -> Balance:
    """The balance of this cycle.

    Args:
        before: The balance of the previous cycle.
        measurements: Newest value of each signal, as the meters deliver it.
        moves: Recent changes of setpoints.
        free_kw: Last power of each plant without curtailment.
        site: Names, nameplates, and the time until measurements show a setpoint.
    """
    now_ms = measurements.now_ms
    if not 0 <= now_ms - before.at_ms <= 1000 * measurements.stale_after_s:
        before = Balance(responses=Responses(opposed=before.responses.opposed))
    pcc_kw, load_kw = measurements.fresh(PCC), measurements.fresh(LOAD)
    powers_kw = {e.name: kw for e in site.powered if (kw := measurements.fresh(e.power_signal)) is not None}
    left_kw = derived_load_kw(measurements, moves=moves, free_kw=free_kw, site=site, lost_is_load=False)
    sizes_kw = (abs(kw) for kw in (pcc_kw or 0.0, load_kw or 0.0, *powers_kw.values()))
    bound_kw = max(BOUND_PU * math.fsum(sizes_kw), BOUND_MIN_KW)
    residual_kw, excluded_since_ms = _residual(before, left_kw, load_kw, now_ms)
    beyond = residual_kw is not None and abs(residual_kw) > bound_kw
    fault = _fault(before, measurements, bound_kw=bound_kw, site=site)
    powers = None
    curtails = any((sent := moves.get(plant.name)) and sent[-1].power_kw is not None for plant in site.generators)
    # A plant that is held back moves against the batteries: the pcc tells nothing about them.
    if pcc_kw is not None and not curtails and (fault is None or fault.signal != PCC):
        powers = Powers(
            at_ms=now_ms,
            pcc_at_ms=measurements.newest[PCC].at_ms,
            pcc_kw=pcc_kw,
            known_kw=(load_kw or 0.0) + math.fsum(powers_kw.values()),
            battery_kw={battery.name: powers_kw[battery.name] for battery in site.batteries if battery.name in powers_kw},
        )
    balance = Balance(
        at_ms=now_ms,
        residual_kw=residual_kw,
        excluded_since_ms=excluded_since_ms,
        bound_kw=bound_kw,
        beyond_since_ms=(now_ms if before.beyond_since_ms is None else before.beyond_since_ms) if beyond else None,
        repeats=_repeats(before.repeats, measurements, math.fsum(powers_kw.values()), settle_s=site.regulator.settle_s),
        fault=fault,
        responses=watch_responses(before.responses, powers, moves=moves, site=site),
    )
    repeats = {
        s: r
        if r.frozen or not _freezes(balance, s, r, held=_is_held(r.value, measurements, site))
        else replace(r, frozen=True)
        for s, r in balance.repeats.items()
    }
    return balance if repeats == balance.repeats else replace(balance, repeats=repeats)


def _residual(
    before: Balance, left_kw: Interval | None, load_kw: float | None, now_ms: int
) -> tuple[float | None, AtMs | None]:
    """The residual, and since when the meters exclude a smaller one.

    It stays while the range that pcc and equipment leave for the load does not exclude it, falls at once, and grows after
    `LATE_S` at once: a slow growth would hide the rest of it behind the setpoints that it changes.
    """
    if load_kw is None or left_kw is None:
        return None, None
    last_kw = before.residual_kw or 0.0
    next_kw = Interval(left_kw.least - load_kw, left_kw.most - load_kw).clamp(last_kw)
    if 0 <= next_kw <= last_kw or last_kw <= next_kw <= 0:
        return next_kw, None
    since_ms = now_ms if before.excluded_since_ms is None else before.excluded_since_ms
    if now_ms - since_ms < 1000 * LATE_S:
        next_kw = Interval(min(next_kw, 0.0), max(next_kw, 0.0)).clamp(last_kw)
    return next_kw, since_ms


def _parts_kw(measurements: Measurements, site: Site) -> dict[str, float] | None:
    """Equipment, load and the negative power at the pcc, by signal; `None` unless load and pcc are measured."""
    load_kw, pcc_kw = measurements.fresh(LOAD), measurements.fresh(PCC)
    if load_kw is None or pcc_kw is None:
        return None
    powers_kw = {e.power_signal: kw for e in site.powered if (kw := measurements.fresh(e.power_signal)) is not None}
    return powers_kw | {LOAD: load_kw, PCC: -pcc_kw}


def _fault(before: Balance, measurements: Measurements, *, bound_kw: float, site: Site) -> MeterFault | None:
    """The fault of the pcc's meter; none while another meter explains the residual as well."""
    parts_kw = _parts_kw(measurements, site)
    if parts_kw is None:
        return before.fault
    residual_kw = -math.fsum(parts_kw.values())
    wrong: list[WrongMeter] = []
    if abs(residual_kw) > bound_kw:
        wrong = list(wrong_meters(parts_kw, residual_kw, site))
    meters = [meter for meter in wrong if meter.signal == PCC]
    known = before.fault
    return update_fault(
        known,
        meters[0] if len(meters) == len(wrong) > 0 else None,
        now_ms=measurements.now_ms,
        tells=abs(residual_kw) <= bound_kw and known is not None and abs(parts_kw[known.signal]) > bound_kw,
    )


def _repeats(
    before: Mapping[str, Repeats], measurements: Measurements, equipment_kw: float, *, settle_s: float
) -> dict[str, Repeats]:
    """Identical values of the pcc and the load.

    A power held at its limit stands still as well, and the equipment shows later what has brought it there: without a load
    meter, equipment counts from `settle_s` on.
    """
    repeats = {}
    pcc_kw, load_kw = measurements.fresh(PCC), measurements.fresh(LOAD)
    for signal, value, left_kw in (
        (PCC, pcc_kw, (load_kw or 0.0) + equipment_kw),
        (LOAD, load_kw, None if pcc_kw is None else pcc_kw - equipment_kw),
    ):
        if value is None or left_kw is None:
            continue
        at_ms, known = measurements.newest[signal].at_ms, before.get(signal)
        if known is not None and known.value == value and load_kw is None and at_ms - known.since_ms < 1000 * settle_s:
            repeats[signal] = replace(
                known, at_ms=at_ms, count=known.count + (at_ms != known.at_ms), least_kw=left_kw, most_kw=left_kw
            )
        elif known is None or known.value != value:
            repeats[signal] = Repeats(value=value, since_ms=at_ms, at_ms=at_ms, least_kw=left_kw, most_kw=left_kw)
        else:
            repeats[signal] = replace(
                known,
                at_ms=at_ms,
                count=known.count + (at_ms != known.at_ms),
                least_kw=min(known.least_kw, left_kw),
                most_kw=max(known.most_kw, left_kw),
            )
    return repeats


def frozen(balance: Balance, signal: str) -> bool:
    """True for a meter that repeats one value while its sender is alive and the other meters moved away from it."""
    known = balance.repeats.get(signal)
    return known is not None and known.frozen


def _is_held(pcc_kw: float, measurements: Measurements, site: Site) -> bool:
    """True for a power at a limit, where the regulator holds it still."""
    limits_kw = (measurements.import_limit_kw, -measurements.export_limit_kw)
    margin_kw = site.grid_connection.margin_kw + BOUND_MIN_KW
    return any(abs(pcc_kw - limit_kw) <= margin_kw + BOUND_PU * abs(limit_kw) for limit_kw in limits_kw)


def _freezes(balance: Balance, signal: str, known: Repeats, *, held: bool) -> bool:
    moved_kw = known.most_kw - known.least_kw
    if balance.residual_kw is not None:
        return known.count >= REPEATS_MIN and balance.beyond_bound and moved_kw > balance.bound_kw
    alone = known.count >= ALONE_REPEATS_MIN and known.at_ms - known.since_ms >= 1000 * ALONE_S
    return signal == PCC and alone and not held and moved_kw > ALONE_MOVE_PU / BOUND_PU * balance.bound_kw


def without_faulty_pcc(measurements: Measurements, balance: Balance) -> Measurements:
    """The measurements without a pcc meter that is frozen or has the wrong unit or sign: it counts as lost."""
    fault = balance.fault
    faulty = fault.signal if fault is not None and fault.faulty else ""
    signal = PCC if frozen(balance, PCC) else faulty
    if signal not in measurements.newest:
        return measurements
    lost = Measured(None, measurements.newest[signal].at_ms, Quality.MISSING)
    return replace(measurements, newest=measurements.newest | {signal: lost})


def frozen_since(balance: Balance, signal: str) -> str:
    """Text for people of a frozen meter."""
    known = balance.repeats[signal]
    return f"{signal} frozen at {known.value:g} since {datetime.fromtimestamp(known.since_ms / 1000, UTC):%H:%M:%S} UTC"


def forget_responses(balance: Balance) -> Balance:
    """The balance in observe: no battery is stopped, and a return to control judges each anew."""
    return replace(balance, responses=Responses())


def move_balance(balance: Balance, moved_ms: int) -> Balance:
    """The balance after the wall clock was set by `moved_ms`: the residual and stopped batteries stay, steps end."""
    moved = {
        name: replace(opposed, since_ms=opposed.since_ms + moved_ms) for name, opposed in balance.responses.opposed.items()
    }
    fault = balance.fault
    return Balance(
        at_ms=balance.at_ms + moved_ms,
        residual_kw=balance.residual_kw,
        bound_kw=balance.bound_kw,
        excluded_since_ms=_moved(balance.excluded_since_ms, moved_ms),
        beyond_since_ms=_moved(balance.beyond_since_ms, moved_ms),
        repeats={
            signal: replace(known, since_ms=known.since_ms + moved_ms, at_ms=known.at_ms + moved_ms)
            for signal, known in balance.repeats.items()
        },
        fault=None if fault is None else replace(fault, since_ms=fault.since_ms + moved_ms, sound_since_ms=None),
        responses=Responses(opposed=moved),
    )


def _moved(at_ms: AtMs | None, moved_ms: int) -> AtMs | None:
    return None if at_ms is None else at_ms + moved_ms


def feed_reasons(balance: Balance) -> dict[str, str]:
    """Meters that are frozen, or have the wrong unit or sign, by signal."""
    frozen_meters = {signal: frozen_since(balance, signal) for signal in (PCC, LOAD) if frozen(balance, signal)}
    fault = balance.fault
    return frozen_meters | ({fault.signal: fault.text} if fault is not None and fault.faulty else {})


def balance_reasons(balance: Balance, measurements: Measurements, site: Site) -> Iterator[Reason]:
    """The residual beyond its bound with its explanation, a frozen pcc, and batteries that do the opposite."""
    residual_kw = balance.residual_kw
    fault = balance.fault if balance.fault is not None and balance.fault.faulty else None
    if residual_kw is not None and (balance.beyond_bound or (fault is not None and abs(residual_kw) > balance.bound_kw)):
        where = "above" if residual_kw > 0 else "below"
        text = (
            f"{PCC} is {abs(residual_kw):.0f} kW {where} load_kw and equipment: {explanation(balance, measurements, site)}"
        )
        yield Reason(ReasonCode.BALANCE_RESIDUAL, text)
    elif fault is not None:
        yield Reason(ReasonCode.BALANCE_RESIDUAL, f"{fault.text} Its value is not used", fault.signal)
    elif frozen(balance, PCC):
        yield Reason(ReasonCode.BALANCE_RESIDUAL, f"{frozen_since(balance, PCC)}, while the equipment moved", PCC)
    for name, opposed in balance.responses.opposed.items():
        if opposed.stopped:
            yield Reason(ReasonCode.OPPOSED, f"{name} stopped: {opposed.text}", name)


def explanation(balance: Balance, measurements: Measurements, site: Site) -> str:
    """The first pattern of a wrong meter that fits the residual: factor 1000, opposed, frozen, wrong sign, share."""
    pcc_kw, load_kw = measurements.fresh(PCC), measurements.fresh(LOAD)
    parts_kw = _parts_kw(measurements, site)
    if pcc_kw is None or load_kw is None or parts_kw is None or balance.residual_kw is None:
        return next(iter(feed_reasons(balance).values()), "a meter is missing")
    if balance.fault is not None and balance.fault.faulty:
        return f"{balance.fault.text} Its value is not used"
    wrong = list(wrong_meters(parts_kw, balance.residual_kw, site))
    patterns = (
        *(meter.text for meter in wrong if "1000" in meter.text),
        *(f"{name} does the opposite of its setpoints: positive_direction?" for name in balance.stopped),
        *(frozen_since(balance, signal) for signal in (PCC, LOAD) if frozen(balance, signal)),
        *(meter.text for meter in wrong),
        *_share(load_kw, load_kw - math.fsum(parts_kw.values())),
        f"unmeasured {'load' if balance.residual_kw > 0 else 'generation'} is assumed",
    )
    return patterns[0]


def _share(load_kw: float, left_kw: float) -> Iterator[str]:
    if load_kw > 0 and left_kw > 0:
        share = f"{LOAD} shows {100 * load_kw / left_kw:.0f} % of what {PCC} and the equipment leave"
        yield f"{share}; unmeasured {'load' if left_kw > load_kw else 'generation'} is assumed"
