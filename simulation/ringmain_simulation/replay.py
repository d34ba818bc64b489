"""Uncontrolled course of a site: load, available PV power and temperature, minute by minute.

The record has quarter-hours only. Within each, the load follows the slope of its neighbors with noise on top, both with a
mean of zero: **the mean of each quarter-hour equals the record, exactly**. PV follows the radiation of the weather series,
with clouds that no series contains: its forecast is imperfect, as at a real site. All random numbers come from the seed and
the name of the site: two runs are the same.
"""

from hashlib import sha256
from typing import Final, NamedTuple

import numpy as np

from ringmain_simulation.data import STEP_S, Excerpt, FloatArray

MINUTE_MS: Final = 60_000
MINUTES: Final = STEP_S // 60
NOISE_PU: Final = 0.01
"""Standard deviation of the load from one minute to the next, as a share of the typical size of the load."""

_RADIATION_RATED_W_PER_M2: Final = 1000.0
_PERFORMANCE_PU: Final = 0.9
_CLOUD_SPREAD: Final = 0.25
_CLOUD_MEMORY: Final = 0.97


class Replay(NamedTuple):
    """Arrays of shape `(n_minutes,)` from `start_ms` on; `load_known`, one a step, is False in gaps of the record."""

    start_ms: int
    load_kw: FloatArray
    pv_available_kw: FloatArray
    temperature_degc: FloatArray
    load_known: tuple[bool, ...]

    def span(self, since_ms: int, until_ms: int) -> slice:
        """The minutes between two instants."""
        return slice((since_ms - self.start_ms) // MINUTE_MS, (until_ms - self.start_ms) // MINUTE_MS)


def replay(  # noqa: PLR0913  keyword-only after two
    excerpt: Excerpt, site: str, *, pv_rated_power_kw: float, since_ms: int, until_ms: int, seed: int
) -> Replay:
    """Course of a site between two instants on whole quarter-hours.

    A gap in the recorded load is bridged in a straight line: the load was there, the reading was not.

    Raises:
        ValueError: If the excerpt does not cover the time.
    """
    first, last = excerpt.step_at(since_ms), excerpt.step_at(until_ms)
    recorded = excerpt.load_kw[site]
    if first < 0 or last > len(recorded) or not np.isfinite(recorded[first:last]).any():
        raise ValueError(f"site {site}: the excerpt does not cover the load of the whole time")
    random = np.random.default_rng([seed, *sha256(site.encode()).digest()[:4]])
    load_kw = bridged(recorded)[first:last]
    temperature_degc = bridged(excerpt.temperature_degc)
    return Replay(
        start_ms=excerpt.start_ms + first * 1000 * STEP_S,
        load_kw=_load_by_minute_kw(load_kw, random),
        pv_available_kw=_pv_by_minute_kw(np.nan_to_num(excerpt.radiation_w_per_m2[first:last]), pv_rated_power_kw, random),
        temperature_degc=np.interp(
            np.arange(first * MINUTES, last * MINUTES) / MINUTES, np.arange(len(temperature_degc)), temperature_degc
        ),
        load_known=tuple(bool(known) for known in np.isfinite(recorded[first:last])),
    )


def bridged(values: FloatArray) -> FloatArray:
    """The values with their gaps bridged in a straight line; the first and last known value hold outside."""
    steps, known = np.arange(len(values)), np.isfinite(values)
    return np.interp(steps, steps[known], values[known])


def _load_by_minute_kw(mean_kw: FloatArray, random: np.random.Generator) -> FloatArray:
    neighbors_kw = np.pad(mean_kw, 1, mode="edge")
    slope_kw = (neighbors_kw[2:] - neighbors_kw[:-2]) / 2
    ramp = (np.arange(MINUTES) - (MINUTES - 1) / 2) / MINUTES
    noise_kw = random.normal(0.0, NOISE_PU * float(np.mean(np.abs(mean_kw))), (len(mean_kw), MINUTES))
    noise_kw -= noise_kw.mean(axis=1, keepdims=True)
    return np.asarray((mean_kw[:, None] + slope_kw[:, None] * ramp + noise_kw).ravel())


def _pv_by_minute_kw(radiation_w_per_m2: FloatArray, rated_power_kw: float, random: np.random.Generator) -> FloatArray:
    minutes = len(radiation_w_per_m2) * MINUTES
    shock = random.normal(0.0, _CLOUD_SPREAD * np.sqrt(1 - _CLOUD_MEMORY**2), minutes)
    cloud = np.empty(minutes)
    state = 0.0
    for minute in range(minutes):
        state = _CLOUD_MEMORY * state + shock[minute]
        cloud[minute] = state
    middles = np.arange(len(radiation_w_per_m2)) * MINUTES + MINUTES / 2
    smooth = np.interp(np.arange(minutes), middles, radiation_w_per_m2) / _RADIATION_RATED_W_PER_M2
    power_pu = np.clip(_PERFORMANCE_PU * smooth * np.exp(cloud - _CLOUD_SPREAD**2 / 2), 0.0, 1.0)
    return np.asarray(-rated_power_kw * power_pu)
