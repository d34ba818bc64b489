"""Days to replay: some weeks of history, then some days in control.

Both scenarios begin their control phase at 05:45 UTC: the scored forecast, of 06:00, is then the first of the control phase,
and N days of control plus a quarter-hour hold N scored forecasts with all their 96 leads.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from msgspec import Meta, Struct

SCORED_HOUR_UTC: Final = 6
"""Hour of the day of the scored forecast."""


class Scenario(Struct, frozen=True, kw_only=True):
    """A window of the excerpt, and its ticks.

    The limits of the sites come from the first `shown_days` of control, see `ringmain_simulation.sites`.
    """

    start_at: datetime
    control_at: datetime
    control_days: Annotated[float, Meta(gt=0)]
    shown_days: Annotated[float, Meta(gt=0)]
    excess_steps: Annotated[int, Meta(ge=1)]
    history_tick_s: Annotated[int, Meta(gt=0)] = 21600
    cycle_s: Annotated[int, Meta(gt=0, le=900)] = 180
    series_every_s: Annotated[int, Meta(gt=0)] = 21600
    series_ahead_s: Annotated[int, Meta(gt=0)] = 54 * 3600
    time_zone: str = "Europe/Amsterdam"
    seed: int = 1

    def __post_init__(self) -> None:
        if self.start_at >= self.control_at:
            raise ValueError("start_at must be before control_at")
        for name, period_s in (("cycle_s", 900 % self.cycle_s), ("history_tick_s", self.history_tick_s % 900)):
            if period_s:
                raise ValueError(f"{name} must divide into quarter-hours")
        if self.cycle_s % 60:
            raise ValueError("cycle_s must be whole minutes")

    @property
    def start_ms(self) -> int:
        """First instant of the history."""
        return _ms(self.start_at)

    @property
    def control_ms(self) -> int:
        """End of the history and begin of control."""
        return _ms(self.control_at)

    @property
    def end_ms(self) -> int:
        """End of control, on a whole step."""
        end_ms = _ms(self.control_at + timedelta(days=self.control_days))
        return end_ms - end_ms % 900_000


def _ms(at: datetime) -> int:
    return round(1000 * at.timestamp())


_QUARTER_HOUR_D: Final = 1 / 96

DEMO: Final = Scenario(
    start_at=datetime(2020, 10, 30, 5, 45, tzinfo=UTC),
    control_at=datetime(2020, 12, 4, 5, 45, tzinfo=UTC),
    control_days=4 + _QUARTER_HOUR_D,
    shown_days=2 + _QUARTER_HOUR_D,
    excess_steps=24,
)
"""35 days of history, two to four days of control."""

LONG: Final = Scenario(
    start_at=datetime(2020, 10, 2, 11, 45, tzinfo=UTC),
    control_at=datetime(2020, 12, 21, 5, 45, tzinfo=UTC),
    control_days=14 + _QUARTER_HOUR_D,
    shown_days=14 + _QUARTER_HOUR_D,
    excess_steps=100,
)
"""80 days of history, 14 days of control over Christmas and New Year."""
