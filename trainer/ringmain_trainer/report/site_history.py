"""Everything that was measured at a site, as the report reads it. Pure."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from ringmain_trainer.config.trainer import SignalKind, TrainerConfig
from ringmain_trainer.quality.marks import Marks, kind_of, mask_bits
from ringmain_trainer.quality.site_quality import SiteQuality
from ringmain_trainer.quantities import Quantity, unit_of
from ringmain_trainer.report.figures import LocalDays, Values, local_days

POWER_KINDS: Final = frozenset((SignalKind.LOAD, SignalKind.PV, SignalKind.WIND))
_MACHINE: Final = frozenset(("oil", "transformer", "winding", "hot", "spot", "battery"))
"""Words in the names of temperatures that are not the weather's."""


class SiteHistory(NamedTuple):
    """Measurements on one grid; `values` and `marks` are `(n_steps, n_signals)`.

    `weather` holds series as they were forecast last before each step, `(n_steps,)`, by name.
    """

    site: str
    time_zone: str
    start_s: int
    step_s: int
    signals: list[str]
    values: Values
    marks: Marks
    quality: SiteQuality
    weather: Mapping[str, Values]


class Weather(NamedTuple):
    """One quantity of the weather on the grid of the history, and where it comes from."""

    source: str
    values: Values


def good_values(config: TrainerConfig, history: SiteHistory, name: str) -> Values:
    """The values of a signal without those that the rules took out."""
    column = history.signals.index(name)
    bad = (history.marks[:, column] & mask_bits(config.quality)) != 0
    return np.where(bad, np.nan, history.values[:, column])


def days_of(config: TrainerConfig, history: SiteHistory, values: Values) -> LocalDays:
    """Values on the grid of the history by day and time of the site's clock."""
    return local_days(values, history.start_s, history.step_s, history.time_zone, config.holidays)


def weather_of(config: TrainerConfig, history: SiteHistory, kind: SignalKind, target: str) -> Weather | None:
    """The site's own measurement if there is one, else the newest forecasts."""
    for name in history.signals:
        if name != target and kind_of(name, config.quality) is kind and not _MACHINE & set(name.split("_")):
            return Weather(f"measured ({name})", good_values(config, history, name))
    for name, values in history.weather.items():
        if kind_of(name, config.quality) is kind:
            return Weather(f"as forecast last before each step ({name})", values)
    return None


def is_power(config: TrainerConfig, name: str) -> bool:
    """Whether a signal has energy."""
    return kind_of(name, config.quality) in POWER_KINDS


def quantity_of(name: str) -> Quantity:
    """A signal with the unit that its name ends in."""
    return Quantity(name, unit_of(name))
