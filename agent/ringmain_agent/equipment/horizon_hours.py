"""Steps of a horizon within the hours of a load, or within a charging session. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from ringmain_agent.site.hours import LocalHours, step_starts_ms, windows
from ringmain_agent.site.site import DAY_S, Site
from ringmain_agent.snapshot import ChargingSession

LONGEST_HOURS_S: Final = DAY_S + 7200
"""Longest possible hours, with the extra hour of autumn."""


class HoursSteps(NamedTuple):
    """Steps of the horizon within the same hours, and the number of steps of these hours after the horizon."""

    steps: list[int]
    beyond: int

    @property
    def share(self) -> float:
        """Share of the amount that is due within the horizon, in proportion to the remaining steps."""
        return len(self.steps) / (len(self.steps) + self.beyond)


def steps_of_hours(hours: LocalHours, issued_at_ms: int, site: Site) -> list[HoursSteps]:
    """Time windows of the hours within the horizon, in order; only the first can have begun before the horizon."""
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
    """Day on which the hours of each step began; cached, as loads share hours and a plan asks several times."""
    return tuple(windows(hours, step_starts_ms(issued_at_ms, step_s, count), time_zone))


def is_current(hours_steps: Sequence[HoursSteps]) -> bool:
    """True if the first window has already begun."""
    return bool(hours_steps) and hours_steps[0].steps[0] == 0


def steps_of_session(session: ChargingSession, issued_at_ms: int, site: Site) -> HoursSteps:
    """Steps that the session covers from their middle or earlier to their END; of the first step any part counts."""
    step_ms, count = 1000 * site.step_s, site.horizon_steps
    arrives_ms, leaves_ms = session.from_ms - issued_at_ms, session.to_ms - issued_at_ms
    first = 0 if arrives_ms < step_ms else -((step_ms // 2 - arrives_ms) // step_ms)
    after = max(leaves_ms // step_ms, int(first == 0 and leaves_ms > 0))
    return HoursSteps(list(range(first, min(after, count))), max(after - max(count, first), 0))
