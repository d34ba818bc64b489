"""The end of control at a site: the order that each equipment then gets, and sites that would break a limit without control.

Judged from nameplates: the sum of all equipment, each at its worst in one direction. The uncontrolled load has no nameplate
and does not count.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from ringmain_agent.config.output import OnLeave, Output, WhenSilent
from ringmain_agent.equipment.failsafe_power import failsafe_powers_kw, narrowest_limits_kw
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.site.site import Site

ROUNDING_KW: Final = 1e-6
Excess = tuple[str, Callable[[Interval], bool]]
"""An exceeded limit in words, and the test for equipment that contributes to it."""


def on_leave(outputs: Mapping[str, Output], site: Site) -> dict[str, OnLeave]:
    """The order to each equipment with a power setpoint when control ends; switched equipment keeps its position."""
    released = _nameplates(site)
    broken = list(_excesses(released, site))
    return {
        name: output.on_leave or _default(released[name], broken) for name, output in outputs.items() if name in released
    }


def leaving_problems(outputs: Mapping[str, Output], site: Site) -> Iterator[str]:
    """Outputs that could break a limit after `on_leave`, or once the equipment hears nothing any more."""
    nameplates = _nameplates(site)
    failsafe_kw = failsafe_powers_kw(site)
    orders = on_leave(outputs, site)
    left = {
        name: powers if orders.get(name, OnLeave.RELEASE) is OnLeave.RELEASE else _point(failsafe_kw[name])
        for name, powers in nameplates.items()
    }
    silent = left | {
        name: nameplates[name] if output.when_silent is WhenSilent.RELEASE else _point(float(output.when_silent))
        for name, output in outputs.items()
        if name in nameplates and output.when_silent is not WhenSilent.HOLD
    }
    for excess, contributes in _excesses(left, site):
        for name, output in outputs.items():
            if output.on_leave is OnLeave.RELEASE and name in left and contributes(left[name]):
                yield f'{name}.output.on_leave: after it {excess}; choose "failsafe", or a safe failsafe_kw for the others'
    for excess, contributes in _excesses(silent, site):
        for name, output in outputs.items():
            if output.when_silent is not WhenSilent.HOLD and name in silent and contributes(silent[name]):
                remedy = 'state "hold" or a safe power in kW, as the equipment is set, or choose mode = "observe"'
                yield f"{name}.output.when_silent: when setpoints stop, {excess}; {remedy}"


def _default(released: Interval, broken: Iterable[Excess]) -> OnLeave:
    """Fail-safe where the equipment takes part in a limit that could be broken without control."""
    return OnLeave.FAILSAFE if any(contributes(released) for _, contributes in broken) else OnLeave.RELEASE


def _nameplates(site: Site) -> dict[str, Interval]:
    return {equipment.name: kind_of(equipment).powers_kw(equipment) for equipment in site.powered}


def _point(power_kw: float) -> Interval:
    return Interval(power_kw, power_kw)


def _excesses(powers: Mapping[str, Interval], site: Site) -> Iterator[Excess]:
    """Each direction in which the powers could exceed a limit."""
    limits = narrowest_limits_kw(site)
    drawn_kw = math.fsum(max(power.most, 0.0) for power in powers.values())
    given_kw = math.fsum(max(-power.least, 0.0) for power in powers.values())
    if drawn_kw > limits.import_kw + ROUNDING_KW:
        text = f"the equipment could import {drawn_kw:g} kW, above the limit of {limits.import_kw:g} kW"
        yield text, lambda power: power.most > 0
    if given_kw > limits.export_kw + ROUNDING_KW:
        text = f"the equipment could export {given_kw:g} kW, above the limit of {limits.export_kw:g} kW"
        yield text, lambda power: power.least < 0
