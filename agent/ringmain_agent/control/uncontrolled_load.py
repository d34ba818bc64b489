"""Uncontrolled load and available generation: measured, or derived from the pcc. Pure.

The pcc and the equipment are measured at different instants. While a setpoint takes effect, their difference would show the
setpoint again as load, and the regulator would oscillate. We therefore treat equipment power as a range and keep the
previous load estimate unless that range excludes it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from ringmain_agent.control.planned_step import PlannedStep
from ringmain_agent.control.setpoint_ranges import Moves
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.site.site import LOAD, PCC, Site
from ringmain_agent.snapshot import Measurements, SentSetpoint

AT_BOUND_PU: Final = 0.02
"""A plant this close to its bound is curtailed by it: its available power is not measured."""


def uncontrolled_load_kw(
    measurements: Measurements,
    *,
    moves: Moves,
    free_kw: Mapping[str, float],
    before_kw: float | None,
    site: Site,
) -> float | None:
    """The load now: its own feed with all plants known, else the pcc less all measured equipment.

    `balance` corrects its own feed.

    Args:
        measurements: Newest value of each signal.
        moves: Recent changes of setpoints.
        free_kw: Last power of each plant without curtailment, to which it returns after release.
        before_kw: Previous estimate of the load.
        site: Names, and the time until measurements show a setpoint.
    """
    if load_is_measured(measurements, site):
        return measurements.fresh(LOAD)
    left_kw = derived_load_kw(measurements, moves=moves, free_kw=free_kw, site=site)
    if left_kw is None:
        return None
    return left_kw.clamp((left_kw.least + left_kw.most) / 2 if before_kw is None else before_kw)


def load_is_measured(measurements: Measurements, site: Site) -> bool:
    """True if the load's own feed is used: it and the power of each plant are known."""
    signals = (LOAD, *(plant.power_signal for plant in site.generators))
    return all(measurements.fresh(signal) is not None for signal in signals)


def derived_load_kw(
    measurements: Measurements,
    *,
    moves: Moves,
    free_kw: Mapping[str, float],
    site: Site,
    lost_is_load: bool = True,
) -> Interval | None:
    """Range of the load that the pcc leaves for any equipment power that its measurements may still show.

    Args:
        measurements: Newest value of each signal.
        moves: Recent changes of setpoints.
        free_kw: Last power of each plant without curtailment.
        site: Names, and the time until measurements show a setpoint.
        lost_is_load: Unmeasured equipment, which is held, is load. Otherwise it draws nothing up to its last setpoint.
    """
    pcc_kw = measurements.fresh(PCC)
    if pcc_kw is None:
        return None
    least_kw, most_kw = [0.0], [0.0]
    for equipment in site.powered:
        measured_kw = measurements.fresh(equipment.power_signal)
        power_kw = measurements.unresponsive_kw.get(equipment.name, measured_kw)
        moved = moves.get(equipment.name, ())
        if power_kw is None and lost_is_load:
            continue
        if power_kw is None:
            drawn_kw = [0.0, *(sent.power_kw for sent in moved[-1:] if sent.power_kw is not None)]
        else:
            drawn_kw = [power_kw]
        drawn_kw += _lately_kw(moved, free_kw.get(equipment.name), site, measurements.now_ms)
        least_kw.append(min(drawn_kw))
        most_kw.append(max(drawn_kw))
    lowest_kw, highest_kw = pcc_kw - math.fsum(most_kw), pcc_kw - math.fsum(least_kw)
    if not (math.isfinite(lowest_kw) and math.isfinite(highest_kw)):
        return None
    return Interval(lowest_kw, highest_kw)


def _lately_kw(moves: Sequence[SentSetpoint], free_kw: float | None, site: Site, now_ms: int) -> list[float]:
    """Setpoints that measurements may still show; none if the last change is older than `settle_s`."""
    since_ms = now_ms - 1000 * site.regulator.settle_s
    if not moves or not since_ms < moves[-1].at_ms <= now_ms:
        return []
    first = max((i for i, sent in enumerate(moves) if sent.at_ms <= since_ms), default=0)
    shown_kw = [free_kw if sent.power_kw is None else sent.power_kw for sent in moves[first:]]
    return [power_kw for power_kw in shown_kw if power_kw is not None]


def available_kw(  # noqa: PLR0913  measured, planned, sent and kept values
    measurements: Measurements,
    *,
    step: PlannedStep | None,
    sent: Mapping[str, SentSetpoint],
    moves: Moves,
    free_kw: Mapping[str, float],
    site: Site,
) -> tuple[dict[str, float], dict[str, float]]:
    """Available power of each plant now, and its last measured power without curtailment.

    A plant at its bound shows the bound instead of its available power; the plan's forecast then replaces the measurement.
    """
    available: dict[str, float] = {}
    free = dict(free_kw)
    for plant in site.generators:
        power_kw = measurements.fresh(plant.power_signal)
        if power_kw is None:
            available[plant.name] = 0.0
            continue
        power_kw = min(power_kw, 0.0)
        bounds_kw = [
            *_in_force_kw(sent.get(plant.name), site, measurements.now_ms),
            *_lately_kw(moves.get(plant.name, ()), None, site, measurements.now_ms),
        ]
        if any(power_kw <= bound_kw + AT_BOUND_PU * plant.rated_power_kw for bound_kw in bounds_kw):
            could_kw = step.available_kw.get(plant.name, power_kw) if step else free.get(plant.name, power_kw)
            available[plant.name] = min(power_kw, max(could_kw, -plant.rated_power_kw))
        else:
            available[plant.name] = free[plant.name] = power_kw
    return available, free


def _in_force_kw(sent: SentSetpoint | None, site: Site, now_ms: int) -> list[float]:
    if sent is None or sent.power_kw is None or now_ms - sent.at_ms > 1000 * site.regulator.valid_for_s:
        return []
    return [sent.power_kw]
