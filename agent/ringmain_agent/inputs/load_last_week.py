"""The uncontrolled load of the last seven days at the present hour: its lowest and highest step value. Pure."""

import math
from typing import Final

from ringmain_agent.equipment.interval import Interval
from ringmain_agent.inputs.step_history import StepHistory
from ringmain_agent.site.site import DAY_S, LOAD, PCC, Site
from ringmain_protocol.steps import step_start_ms

DAYS: Final = 7
NEAR_S: Final = 3600
"""Steps up to this time before and after the present time of day count."""


def load_last_week_kw(history: StepHistory, site: Site, *, now_ms: int, any_hour: bool = False) -> Interval | None:
    """Range of the load, or of the pcc less all equipment where the load has no feed; `None` if nothing is known."""
    start_ms, near = step_start_ms(now_ms, site.step_s), (DAY_S // 2 if any_hour else NEAR_S) // site.step_s
    loads_kw = [
        load_kw
        for day in range(DAYS + 1)
        for step in range(-near, near + 1)
        if (load_kw := _load_kw(history, site, start_ms - 1000 * (day * DAY_S + step * site.step_s))) is not None
    ]
    return Interval(min(loads_kw), max(loads_kw)) if loads_kw else None


def _load_kw(history: StepHistory, site: Site, start_ms: int) -> float | None:
    """The load of one step; a step with a missing part is left out."""
    if (load_kw := history.closed_value(LOAD, start_ms)) is not None:
        return load_kw if math.isfinite(load_kw) else None
    parts_kw = [history.closed_value(PCC, start_ms)]
    parts_kw += [history.closed_value(equipment.power_signal, start_ms) for equipment in site.powered]
    pcc_kw, *equipment_kw = [part for part in parts_kw if part is not None] or [math.nan]
    load_kw = pcc_kw - math.fsum(equipment_kw)
    return load_kw if len(equipment_kw) == len(site.powered) and math.isfinite(load_kw) else None
