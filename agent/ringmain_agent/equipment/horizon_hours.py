"""Steps of a horizon that lie in the hours of a load, or in the stay of a vehicle. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from ringmain_agent.site.hours import LocalHours, windows
from ringmain_agent.site.site import DAY_S, Site
from ringmain_agent.snapshot import ChargingSession

LONGEST_HOURS_S: Final = DAY_S + 7200
"""No hours are longer, also when the clock is set back."""


class HoursSteps(NamedTuple):
    """Steps of the horizon that lie in the same hours, and how many of those hours come after the horizon."""

    steps: list[int]
    beyond: int

    @property
    def share(self) -> float:
        """Share of the amount that is due within the horizon, in proportion to the steps that are left."""
        return len(self.steps) / (len(self.steps) + self.beyond)


def steps_of_hours(hours: LocalHours, issued_at_ms: int, site: Site) -> list[HoursSteps]:
    """The hours within the horizon, in order; only the first can have begun before it."""
    count = site.horizon_steps
    days = _days(hours, issued_at_ms, site.step_s, count + LONGEST_HOURS_S // site.step_s + 1, site.time_zone)
    steps: dict[int, list[int]] = {}
    for index, day in enumerate(days[:count]):
        if day is not None:
            steps.setdefault(day, []).append(index)
    beyond = sum(1 for day in days[count:] if day is not None and day == days[count - 1])
    last = days[count - 1]
    return [HoursSteps(inside, beyond if day == last else 0) for day, inside in steps.items()]


@lru_cache(maxsize=64)
def _days(hours: LocalHours, issued_at_ms: int, step_s: int, count: int, time_zone: str) -> tuple[int | None, ...]:
    """Day on which the hours of each step began; loads often share hours, and a problem is often solved twice."""
    return tuple(windows(hours, [issued_at_ms + 1000 * step_s * index for index in range(count)], time_zone))


def is_current(hours_steps: Sequence[HoursSteps]) -> bool:
    """True if the first hours run already."""
    return bool(hours_steps) and hours_steps[0].steps[0] == 0


def steps_of_visit(visit: ChargingSession, issued_at_ms: int, site: Site) -> HoursSteps:
    """Steps in which the vehicle is there from the first half on and to the end; of the first step any part will do."""
    step_ms, count = 1000 * site.step_s, site.horizon_steps
    arrives_ms, leaves_ms = visit.from_ms - issued_at_ms, visit.to_ms - issued_at_ms
    first = 0 if arrives_ms < step_ms else -((step_ms // 2 - arrives_ms) // step_ms)
    after = max(leaves_ms // step_ms, int(first == 0 and leaves_ms > 0))
    return HoursSteps(list(range(first, min(after, count))), max(after - max(count, first), 0))
