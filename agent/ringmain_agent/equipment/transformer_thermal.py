"""Temperatures and aging of a transformer by its loading: the loading guide's equations in plain floats. Pure.

Symbols in formulas are those of the guide. Long steps need no sub-steps here: the factors are exponentials, so a state is
exact after any duration at constant loading and ambient, and one step of an hour equals four of a quarter of an hour.
Changes of the loading within a step are averaged out.

Source: IEC 60076-7:2018, difference equations of the thermal model.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, assert_never

from ringmain_agent.site.hours import holds
from ringmain_agent.site.nameplates import Cooling, Paper, Transformer
from ringmain_agent.snapshot import ThermalState

HOTTEST_DEGC: Final = 400.0
COLDEST_DEGC: Final = -100.0
"""The aging rate is clamped to these temperatures, which no transformer reaches."""

_LOADING_MOST_PU: Final = 1000.0
"""A higher measured loading is clamped to this one: a broken feed must not overflow."""


class Constants(NamedTuple):
    """Thermal constants of a transformer; `hot_spot_rise_k` is the rise over the top oil at rated loading (H times g_r)."""

    oil_exponent: float
    winding_exponent: float
    k11: float
    k21: float
    k22: float
    oil_time_constant_min: float
    winding_time_constant_min: float
    top_oil_rise_k: float
    hot_spot_rise_k: float
    loss_ratio: float
    indoor_rise_k: float = 0.0

    def oil(self, loading_pu: float) -> float:
        """Steady-state rise of the top oil, relative to the rise at rated loading."""
        return float(((1 + self.loss_ratio * loading_pu**2) / (1 + self.loss_ratio)) ** self.oil_exponent)

    def winding(self, loading_pu: float) -> float:
        """Steady-state rise of the hot spot over the top oil, relative to the rise at rated loading."""
        return float(loading_pu**self.winding_exponent)

    def kept(self, duration_min: float) -> tuple[float, float, float]:
        """Shares of the initial top-oil, winding and oil-lag terms that are left after a duration."""
        return (
            math.exp(-duration_min / (self.k11 * self.oil_time_constant_min)),
            math.exp(-duration_min / (self.k22 * self.winding_time_constant_min)),
            math.exp(-duration_min * self.k22 / self.oil_time_constant_min),
        )


class Guide(NamedTuple):
    """A line of the guide's tables: default constants for a kind of transformer."""

    oil_exponent: float
    winding_exponent: float
    k11: float
    k21: float
    k22: float
    oil_time_constant_min: float
    winding_time_constant_min: float
    top_oil_rise_k: float
    winding_gradient_k: float
    hot_spot_factor: float
    loss_ratio: float


# The first three as in transformer-thermal-model, of IEC 60076-7:2018; exponents and time constants of OF and OD, their
# rises at rated loading and the loss ratios are those of the guide's older editions.
GUIDE: Final = {
    Cooling.DISTRIBUTION_ONAN: Guide(0.8, 1.6, 1.0, 1.0, 2.0, 180.0, 4.0, 60.0, 23.0, 1.2, 5.0),
    Cooling.ONAN: Guide(0.8, 1.3, 0.5, 2.0, 2.0, 210.0, 10.0, 60.0, 17.0, 1.3, 6.0),
    Cooling.ONAF: Guide(0.8, 1.3, 0.5, 2.0, 2.0, 150.0, 7.0, 60.0, 17.0, 1.3, 6.0),
    Cooling.OF: Guide(1.0, 1.3, 1.0, 1.3, 1.0, 90.0, 7.0, 56.0, 17.0, 1.3, 6.0),
    Cooling.OD: Guide(1.0, 2.0, 1.0, 1.0, 1.0, 90.0, 7.0, 49.0, 22.3, 1.3, 6.0),
}


class ThermalLimits(NamedTuple):
    """Limits of a transformer in force at an instant."""

    loading_max_pu: float
    hot_spot_max_degc: float
    top_oil_max_degc: float


def constants(transformer: Transformer) -> Constants:
    """The thermal constants of the nameplate; the guide's replace missing ones."""
    guide = GUIDE[transformer.cooling]
    gradient_k = guide.winding_gradient_k if transformer.winding_gradient_k is None else transformer.winding_gradient_k
    factor = guide.hot_spot_factor if transformer.hot_spot_factor is None else transformer.hot_spot_factor
    return Constants(
        oil_exponent=guide.oil_exponent,
        winding_exponent=guide.winding_exponent,
        k11=guide.k11,
        k21=guide.k21,
        k22=guide.k22,
        oil_time_constant_min=guide.oil_time_constant_min,
        winding_time_constant_min=guide.winding_time_constant_min,
        top_oil_rise_k=guide.top_oil_rise_k if transformer.top_oil_rise_k is None else transformer.top_oil_rise_k,
        hot_spot_rise_k=factor * gradient_k,
        loss_ratio=guide.loss_ratio if transformer.loss_ratio is None else transformer.loss_ratio,
        indoor_rise_k=transformer.indoor_rise_k,
    )


def steady_state(loading_pu: float, ambient_degc: float, constants: Constants) -> ThermalState:
    """Temperatures after a long time at constant loading and ambient; also the assumption for an unknown state."""
    loading_pu = min(loading_pu, _LOADING_MOST_PU)
    winding_k = constants.hot_spot_rise_k * constants.winding(loading_pu)
    return ThermalState(
        top_oil_degc=ambient_degc + constants.indoor_rise_k + constants.top_oil_rise_k * constants.oil(loading_pu),
        winding_k=constants.k21 * winding_k,
        oil_lag_k=(constants.k21 - 1) * winding_k,
    )


def after(
    state: ThermalState, loading_pu: float, ambient_degc: float, duration_min: float, constants: Constants
) -> ThermalState:
    """Temperatures after a duration at constant loading and ambient, exact for any duration.

    Args:
        state: Temperatures before.
        loading_pu: Apparent power over rated power, not negative.
        ambient_degc: Outside air; the constants contain the rise within a compact station.
        duration_min: Not negative.
        constants: Thermal constants of the transformer.

    Returns:
        The state; NaN inputs give NaN.
    """
    end = steady_state(loading_pu, ambient_degc, constants)
    oil, winding, lag = constants.kept(duration_min)
    return ThermalState(
        top_oil_degc=oil * state.top_oil_degc + (1 - oil) * end.top_oil_degc,
        winding_k=winding * state.winding_k + (1 - winding) * end.winding_k,
        oil_lag_k=lag * state.oil_lag_k + (1 - lag) * end.oil_lag_k,
    )


def worse(one: ThermalState, other: ThermalState) -> ThermalState:
    """A state at least as hot as both, in the oil and from the oil to the hot spot."""
    hotter = one if one.winding_k - one.oil_lag_k >= other.winding_k - other.oil_lag_k else other
    return ThermalState(max(one.top_oil_degc, other.top_oil_degc), hotter.winding_k, hotter.oil_lag_k)


def hot_spot_degc(state: ThermalState) -> float:
    """Temperature of the winding's hottest spot."""
    return state.top_oil_degc + state.winding_k - state.oil_lag_k


def correct_top_oil(state: ThermalState, measured_top_oil_degc: float) -> ThermalState:
    """The state with a measured top-oil temperature; the hot spot moves with it."""
    return ThermalState(measured_top_oil_degc, state.winding_k, state.oil_lag_k)


def aging_rate(hot_spot_degc: float, paper: Paper) -> float:
    """Relative aging rate: hours of rated life used in an hour; 1 at 98 degC for normal, at 110 degC for upgraded paper.

    Source: IEC 60076-7:2018, relative aging rate.
    """
    degc = min(max(hot_spot_degc, COLDEST_DEGC), HOTTEST_DEGC)
    match paper:
        case Paper.NORMAL:
            return float(2 ** ((degc - 98) / 6))
        case Paper.UPGRADED:
            return math.exp(15_000 / (110 + 273) - 15_000 / (degc + 273))
        case _:
            assert_never(paper)


def narrowest_limits(transformer: Transformer) -> ThermalLimits:
    """The lowest limits of all hours: what holds while the clock is in doubt."""

    def lowest(plain: float, rated: list[float | None]) -> float:
        return min([plain, *(value for value in rated if value is not None)])

    return ThermalLimits(
        lowest(transformer.loading_max_pu, [rating.loading_max_pu for rating in transformer.rating]),
        lowest(transformer.hot_spot_max_degc, [rating.hot_spot_max_degc for rating in transformer.rating]),
        lowest(transformer.top_oil_max_degc, [rating.top_oil_max_degc for rating in transformer.rating]),
    )


def limits_at(transformer: Transformer, starts_ms: Sequence[int], time_zone: str) -> list[ThermalLimits]:
    """Limits in force at each instant; of several ratings in force, the last one with a limit sets it."""
    plain = ThermalLimits(transformer.loading_max_pu, transformer.hot_spot_max_degc, transformer.top_oil_max_degc)
    limits = [plain] * len(starts_ms)
    for rating in transformer.rating:
        rated = {
            "loading_max_pu": rating.loading_max_pu,
            "hot_spot_max_degc": rating.hot_spot_max_degc,
            "top_oil_max_degc": rating.top_oil_max_degc,
        }
        other = {name: value for name, value in rated.items() if value is not None}
        in_force = holds(rating.hours, starts_ms, time_zone)
        limits = [limit._replace(**other) if now else limit for limit, now in zip(limits, in_force, strict=True)]
    return limits
