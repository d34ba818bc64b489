"""The four sites, sized from the data of a scenario alone.

| quantity | chosen as |
|---|---|
| PV rated power | half of the typical high load (95th percentile of its size in the history) |
| import limit | exceeded without control in `excess_steps` quarter-hours of the first `shown_days` of control |
| margin | largest error of a quarter-hour near the limit, because a regulator knows only the cycle before |
| battery power | `POWER_FACTOR` x the largest excess over limit - margin |
| battery energy | `ENERGY_FACTOR` x the energy over limit - margin of the worst day |

Net load is load and PV together. Without control the limit is exceeded, and a battery of this size can hold it in spite of
forecast errors. A real engineer would choose limits from years of records; the demo must show the effect in days.
"""

import math
from typing import Final

import numpy as np

from ringmain_simulation.battery import BatteryDesign
from ringmain_simulation.data import SITES, Excerpt, FloatArray
from ringmain_simulation.replay import MINUTES, Replay, replay
from ringmain_simulation.scenario import Scenario
from ringmain_simulation.site import SimulatedSite, SiteDesign

PV_SHARE: Final = 0.5
POWER_FACTOR: Final = 1.75
ENERGY_FACTOR: Final = 2.5
EXPORT_LIMIT_FACTOR: Final = 2.0
_STEPS_PER_DAY: Final = 96


def simulated_sites(scenario: Scenario, excerpt: Excerpt) -> dict[str, SimulatedSite]:
    """The four sites of a scenario at its first instant."""
    sites = {}
    for site in SITES:
        rated_kw = _pv_rated_power_kw(scenario, excerpt, site)
        record = _replay(scenario, excerpt, site, rated_kw)
        sites[site] = SimulatedSite(_design(scenario, site, rated_kw, record), record)
    return sites


def _pv_rated_power_kw(scenario: Scenario, excerpt: Excerpt, site: str) -> float:
    history_kw = excerpt.load_kw[site][excerpt.step_at(scenario.start_ms) : excerpt.step_at(scenario.control_ms)]
    return _up(PV_SHARE * float(np.nanpercentile(np.abs(history_kw), 95)), 100)


def _replay(scenario: Scenario, excerpt: Excerpt, site: str, pv_rated_power_kw: float) -> Replay:
    return replay(
        excerpt,
        site,
        pv_rated_power_kw=pv_rated_power_kw,
        since_ms=scenario.start_ms,
        until_ms=scenario.end_ms,
        seed=scenario.seed,
    )


def _design(scenario: Scenario, site: str, pv_rated_power_kw: float, record: Replay) -> SiteDesign:
    by_minute_kw = record.load_kw + record.pv_available_kw
    net_kw = by_minute_kw.reshape(-1, MINUTES).mean(axis=1)
    first = (scenario.control_ms - scenario.start_ms) // 900_000
    limit_kw = _limit_kw(net_kw[first : first + round(scenario.shown_days * _STEPS_PER_DAY)], scenario.excess_steps)
    margin_kw = _margin_kw(by_minute_kw[(first - 1) * MINUTES :], limit_kw, scenario.cycle_s // 60)
    excess_kw = np.maximum(net_kw[first:] - (limit_kw - margin_kw), 0.0)
    power_kw = _up(POWER_FACTOR * float(excess_kw.max()), 100)
    return SiteDesign(
        site=site,
        import_limit_kw=limit_kw,
        export_limit_kw=_up(EXPORT_LIMIT_FACTOR * float(np.abs(net_kw).max()), 100),
        margin_kw=margin_kw,
        pv_rated_power_kw=pv_rated_power_kw,
        battery=BatteryDesign(
            capacity_kwh=_up(ENERGY_FACTOR * _worst_day_kwh(excess_kw), 100),
            charge_max_kw=power_kw,
            discharge_max_kw=power_kw,
        ),
    )


def _limit_kw(shown_kw: FloatArray, excess_steps: int) -> float:
    """The largest whole 10 kW that at least `excess_steps` quarter-hours exceed."""
    return 10.0 * (math.ceil(float(np.sort(shown_kw)[-excess_steps]) / 10) - 1)


def _margin_kw(by_minute_kw: FloatArray, limit_kw: float, cycle_minutes: int) -> float:
    """Largest excess of a quarter-hour mean over the target of a regulator that knows only the cycle before.

    In each cycle its error is the rise since the cycle before. The mean of these errors over a quarter-hour telescopes to
    the rise from the last cycle of the quarter-hour before to the last of this one, over the number of cycles.
    """
    steps_kw = by_minute_kw.reshape(-1, MINUTES)
    last_kw = steps_kw[:, -cycle_minutes:].mean(axis=1)
    rises_kw = np.diff(last_kw) * cycle_minutes / MINUTES
    margin_kw = 0.0
    for _ in range(2):  # the margin decides which rises are near the limit
        near = steps_kw.mean(axis=1)[1:] > limit_kw - margin_kw
        margin_kw = _up(float(rises_kw[near].max()), 10)
    return margin_kw


def _worst_day_kwh(excess_kw: FloatArray) -> float:
    """The largest energy of any 24 hours."""
    energy_kwh = np.convolve(excess_kw / 4, np.ones(_STEPS_PER_DAY))
    return float(energy_kwh.max())


def _up(value: float, unit: int) -> float:
    return float(unit * math.ceil(value / unit))
