"""Known-future series: weather and day-ahead price, as a weather service and an exchange would publish them.

The weather of the record is itself the newest forecast run, in other words the best forecast of its time. The price of a
day is known from noon UTC of the day before on.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from ringmain_protocol.messages import Series
from ringmain_simulation.data import STEP_S, Excerpt, FloatArray
from ringmain_simulation.replay import bridged

PRICE: Final = "price_eur_per_mwh"
_AUCTION_HOUR_UTC: Final = 12
_STEP_MS: Final = 1000 * STEP_S


class KnownAhead:
    """The series of a region at any issue time, from the record. They are the same for all sites."""

    def __init__(self, excerpt: Excerpt, *, time_zone: str, ahead_s: int) -> None:
        at_end = np.roll(bridged(excerpt.temperature_degc), -1)  # a temperature is the value at the END of its step
        self._columns: dict[str, tuple[str, FloatArray]] = {
            "temperature_degc": ("degC", at_end),
            "radiation_w_per_m2": ("W/m2", excerpt.radiation_w_per_m2),
            "windspeed_m_per_s": ("m/s", excerpt.windspeed_m_per_s),
            "cloud_pct": ("percent", excerpt.cloud_pct),
            PRICE: ("EUR/MWh", excerpt.price_per_mwh),
        }
        self._start_ms = excerpt.start_ms
        self._zone = ZoneInfo(time_zone)
        self._steps = ahead_s // STEP_S

    def issued(self, now_ms: int) -> Iterator[tuple[str, Series]]:
        """Every series by name, as known now, from the present step on."""
        first = (now_ms - self._start_ms) // _STEP_MS
        price_steps = (_price_known_until_ms(now_ms, self._zone) - now_ms) // _STEP_MS
        for name, (unit, column) in self._columns.items():
            known = self._steps if name != PRICE else min(self._steps, price_steps)
            values = column[first : first + known]
            yield (
                name,
                Series(
                    issued_at_ms=now_ms,
                    start_ms=self._start_ms + first * _STEP_MS,
                    step_s=STEP_S,
                    unit=unit,
                    values=[round(float(v), 2) if np.isfinite(v) else None for v in values],
                ),
            )


def _price_known_until_ms(now_ms: int, zone: ZoneInfo) -> int:
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    days = 2 if now.hour >= _AUCTION_HOUR_UTC else 1
    midnight = datetime.combine(now.astimezone(zone).date() + timedelta(days=days), time(), tzinfo=zone)
    return round(1000 * midnight.timestamp())
