"""Equipment without a measured power while the pcc is measured: held at its last setpoint, curtailed by the meter. Pure.

Its power is then part of the load that the pcc shows. It is never released where that could break a limit.
"""

from typing import Final, NamedTuple

from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.site.nameplates import Generator
from ringmain_agent.site.site import LOAD, PCC, PoweredEquipment, Site
from ringmain_agent.snapshot import Measurements, SentSetpoint

CURTAIL_S: Final = 5.0
"""An excess that stays curtails the whole nameplate within this time."""


class PccExcess(NamedTuple):
    """Power at the pcc that the other equipment leaves, and the range that the limits allow."""

    pcc_kw: float
    allowed: Interval


def lost_equipment(measurements: Measurements, site: Site) -> dict[str, PoweredEquipment]:
    """Equipment without a measured power, by name; unresponsive equipment is assumed to keep its last one."""
    return {
        equipment.name: equipment
        for equipment in site.powered
        if equipment.name not in measurements.unresponsive_kw and measurements.fresh(equipment.power_signal) is None
    }


def held_kw(equipment: PoweredEquipment, sent: SentSetpoint | None, measurements: Measurements, excess: PccExcess) -> float:
    """The setpoint of an equipment without a measured power.

    Args:
        equipment: Its nameplate.
        sent: Its setpoint in force, if any. Without one, a plant starts from its last measured power, or from a power that
            is safe even if it generates nothing now; other equipment from its `failsafe_kw`.
        measurements: The process image.
        excess: The pcc once the other equipment follows its setpoints.
    """
    nameplate = kind_of(equipment).powers_kw(equipment)
    start_kw, held_s = _start_kw(equipment, measurements, excess), 0.0
    if sent is not None and sent.power_kw is not None:
        start_kw, held_s = sent.power_kw, min(max(measurements.now_ms - sent.at_ms, 0) / 1000, CURTAIL_S)
    start_kw = nameplate.clamp(start_kw)
    over_kw, under_kw = excess.pcc_kw - excess.allowed.most, excess.allowed.least - excess.pcc_kw
    if start_kw > 0 and over_kw > 0:
        return max(start_kw - max(over_kw, nameplate.most * held_s / CURTAIL_S), 0.0)
    if start_kw < 0 and under_kw > 0:
        return min(start_kw + max(under_kw, -nameplate.least * held_s / CURTAIL_S), 0.0)
    return start_kw


def _start_kw(equipment: PoweredEquipment, measurements: Measurements, excess: PccExcess) -> float:
    if not isinstance(equipment, Generator):
        return equipment.failsafe_kw
    last = measurements.newest.get(equipment.power_signal)
    if last is not None and last.value is not None and kind_of(equipment).powers_kw(equipment).holds(last.value):
        return last.value
    return min(excess.allowed.least - excess.pcc_kw, 0.0)


def held_equipment(measurements: Measurements, site: Site) -> dict[str, PoweredEquipment]:
    """Lost equipment whose power is part of the load that the pcc shows: none if the load and all plants are measured."""
    lost = lost_equipment(measurements, site)
    if measurements.fresh(PCC) is None:
        return {}
    is_derived = measurements.fresh(LOAD) is None or any(plant.name in lost for plant in site.generators)
    return lost if is_derived else {}
