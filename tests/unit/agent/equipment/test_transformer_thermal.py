"""Temperatures and aging of a transformer: hand calculation, another program, and what physics demands."""

import csv
import gzip
import math
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import Cooling, Paper, Rating, Transformer, active_kw
from ringmain_agent.snapshot import ThermalState

YEAR = 35_040
loadings = st.floats(0.0, 2.0)
ambients = st.floats(-30.0, 45.0)
durations = st.floats(0.0, 600.0)
coolings = st.sampled_from(Cooling)
states = st.builds(ThermalState, st.floats(-20.0, 120.0), st.floats(0.0, 80.0), st.floats(0.0, 40.0))


def unit(cooling: Cooling = Cooling.DISTRIBUTION_ONAN, **change: Any) -> Transformer:
    return Transformer(name="t1", rated_power_kva=400.0, cooling=cooling, **change)


def test_a_distribution_unit_at_rated_loading_ends_at_its_rises() -> None:
    """20 + 60 K of oil + 1.2 * 23 K of winding, and 10 K more in a compact station."""
    assert thermal.hot_spot_degc(thermal.steady_state(1.0, 20.0, thermal.constants(unit()))) == pytest.approx(107.6)
    indoors = thermal.constants(unit(indoor_rise_k=10.0))
    assert thermal.hot_spot_degc(thermal.steady_state(1.0, 20.0, indoors)) == pytest.approx(117.6)


def test_the_nameplate_overrides_the_guide() -> None:
    told = thermal.constants(unit(loss_ratio=8.0, top_oil_rise_k=50.0, winding_gradient_k=20.0, hot_spot_factor=1.1))
    assert (told.loss_ratio, told.top_oil_rise_k) == (8.0, 50.0)
    assert told.hot_spot_rise_k == pytest.approx(22.0)


def test_oil_reaches_63_percent_of_its_rise_after_one_time_constant() -> None:
    constants = thermal.constants(unit())
    cold = ThermalState(20.0, 0.0, 0.0)
    end_k = thermal.steady_state(1.0, 20.0, constants).top_oil_degc - 20.0
    after = thermal.after(cold, 1.0, 20.0, constants.oil_time_constant_min, constants)
    assert after.top_oil_degc - 20.0 == pytest.approx((1 - math.exp(-1)) * end_k)


def test_the_hot_spot_of_a_power_transformer_overshoots() -> None:
    """The oil beside the winding lags behind it: the hot spot is hotter after an hour than the oil then explains."""
    constants = thermal.constants(unit(Cooling.ONAN))
    before = thermal.steady_state(0.5, 20.0, constants)
    after = thermal.after(before, 1.3, 20.0, 60.0, constants)
    lasting_k = constants.hot_spot_rise_k * constants.winding(1.3)
    assert thermal.hot_spot_degc(after) - after.top_oil_degc > lasting_k


def test_measured_top_oil_moves_the_hot_spot_with_it() -> None:
    corrected = thermal.correct_top_oil(ThermalState(60.0, 25.0, 5.0), 66.0)
    assert thermal.hot_spot_degc(corrected) == 86.0


def test_paper_ages_by_its_law() -> None:
    """Twice as fast every 6 K; upgraded paper is rated at 110 degC."""
    assert [thermal.aging_rate(degc, Paper.NORMAL) for degc in (98.0, 104.0, 110.0)] == [1.0, 2.0, 4.0]
    assert thermal.aging_rate(110.0, Paper.UPGRADED) == 1.0
    assert thermal.aging_rate(140.0, Paper.UPGRADED) == pytest.approx(17.2, abs=0.05)  # IEEE C57.91, table of F_AA


@pytest.mark.parametrize("paper", Paper)
@pytest.mark.parametrize("degc", [-1e6, -273.0, 1e6, math.inf])
def test_ageing_of_an_absurd_temperature_is_a_number(degc: float, paper: Paper) -> None:
    assert math.isfinite(thermal.aging_rate(degc, paper))


@pytest.mark.parametrize("absurd", [1.4e154, 1.7e308, math.inf])
def test_an_absurd_measurement_of_power_or_reactive_power_ends_in_no_overflow(absurd: float) -> None:
    constants = thermal.constants(unit())
    assert math.isfinite(thermal.steady_state(absurd, 20.0, constants).top_oil_degc)
    assert active_kw(1000.0, absurd) == active_kw(1000.0, -absurd) == 0.0
    assert active_kw(1000.0, 600.0) == pytest.approx(800.0)


def test_not_a_number_is_not_hidden() -> None:
    state = thermal.after(ThermalState(60.0, 20.0, 0.0), math.nan, 20.0, 15.0, thermal.constants(unit()))
    assert math.isnan(thermal.hot_spot_degc(state))


def test_the_last_rating_that_holds_counts_for_each_limit() -> None:
    night = Rating(hours=LocalHours(begin="22:00", end="06:00"), loading_max_pu=1.8, hot_spot_max_degc=140.0)
    winter = Rating(hours=LocalHours(months=(12, 1, 2)), hot_spot_max_degc=130.0)
    transformer = unit(rating=(night, winter))
    hours = ["2026-07-01T12:00+02:00", "2026-07-01T23:00+02:00", "2026-12-01T23:00+01:00"]
    starts_ms = [int(1000 * datetime.fromisoformat(text).timestamp()) for text in hours]
    expected = [(1.5, 120.0, 105.0), (1.8, 140.0, 105.0), (1.8, 130.0, 105.0)]
    assert expected == thermal.limits_at(transformer, starts_ms, "Europe/Amsterdam")


@given(
    cooling=coolings,
    state=states,
    loading=loadings,
    ambient=ambients,
    count=st.integers(1, 20),
    step_min=st.floats(0.1, 60.0),
)
def test_one_long_step_is_as_exact_as_many_short_ones(
    *, cooling: Cooling, state: ThermalState, loading: float, ambient: float, count: int, step_min: float
) -> None:
    constants, short = thermal.constants(unit(cooling)), state
    for _ in range(count):
        short = thermal.after(short, loading, ambient, step_min, constants)
    long = thermal.after(state, loading, ambient, count * step_min, constants)
    assert thermal.hot_spot_degc(short) == pytest.approx(thermal.hot_spot_degc(long), abs=1e-8)


@given(cooling=coolings, state=states, one=loadings, other=loadings, ambient=ambients, duration_min=durations)
def test_more_load_is_never_cooler_for_oil_and_winding(
    *, cooling: Cooling, state: ThermalState, one: float, other: float, ambient: float, duration_min: float
) -> None:
    constants, (low, high) = thermal.constants(unit(cooling)), sorted((one, other))
    cooler = thermal.after(state, low, ambient, duration_min, constants)
    hotter = thermal.after(state, high, ambient, duration_min, constants)
    assert cooler.top_oil_degc <= hotter.top_oil_degc
    assert cooler.winding_k <= hotter.winding_k
    from_rest = [thermal.steady_state(loading, ambient, constants) for loading in (low, high)]
    assert thermal.hot_spot_degc(from_rest[0]) <= thermal.hot_spot_degc(from_rest[1])


@given(
    cooling=coolings, state=states, loading=loadings, ambient=ambients, warmer_k=st.floats(0.0, 30.0), duration_min=durations
)
def test_warmer_air_is_never_cooler(
    *, cooling: Cooling, state: ThermalState, loading: float, ambient: float, warmer_k: float, duration_min: float
) -> None:
    constants = thermal.constants(unit(cooling))
    cooler = thermal.after(state, loading, ambient, duration_min, constants)
    hotter = thermal.after(state, loading, ambient + warmer_k, duration_min, constants)
    assert thermal.hot_spot_degc(cooler) <= thermal.hot_spot_degc(hotter) + 1e-9


@given(coolings, states, loadings, ambients)
def test_every_state_ends_in_the_steady_one(cooling: Cooling, state: ThermalState, loading: float, ambient: float) -> None:
    constants = thermal.constants(unit(cooling))
    end = thermal.after(state, loading, ambient, 30 * 1440.0, constants)
    lasting = thermal.steady_state(loading, ambient, constants)
    assert thermal.hot_spot_degc(end) == pytest.approx(thermal.hot_spot_degc(lasting), abs=1e-6)


@given(st.sampled_from(Paper), st.floats(-20.0, 300.0), st.floats(0.0, 50.0))
def test_a_hotter_spot_never_ages_slower(paper: Paper, degc: float, hotter_k: float) -> None:
    assert thermal.aging_rate(degc, paper) <= thermal.aging_rate(degc + hotter_k, paper)


def synthetic_year() -> tuple[list[float], list[float]]:
    """Days, weeks and seasons with noise; loadings between 0 and 1.7."""
    rng, quarter = np.random.default_rng(7), np.arange(YEAR)
    day, season = 2 * np.pi * quarter / 96, 2 * np.pi * quarter / YEAR
    weekend = np.where(quarter // 96 % 7 >= 5, 0.7, 1.0)
    loading = weekend * (0.8 - 0.35 * np.cos(day) + 0.15 * np.cos(season)) + 0.1 * rng.standard_normal(YEAR)
    ambient_degc = 11 - 9 * np.cos(season) - 5 * np.cos(day) + rng.standard_normal(YEAR)
    return np.clip(loading, 0.0, 1.7).tolist(), ambient_degc.tolist()


def steel_year() -> tuple[list[float], list[float]]:
    """A steel works' year of quarter hours on a transformer that its peak overloads by half; the air is the synthetic."""
    folder = os.environ.get("RINGMAIN_DATA")
    if not folder:
        pytest.skip("RINGMAIN_DATA does not name the folder of the real data")
    with gzip.open(Path(folder) / "steel_industry_15min.csv.gz", "rt", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    energy_kwh = [math.hypot(float(row["Usage_kWh"]), float(row["Lagging_Current_Reactive_Power_kVarh"])) for row in rows]
    assert len(energy_kwh) == YEAR
    peak_kwh = max(energy_kwh)
    return [1.5 * value / peak_kwh for value in energy_kwh], synthetic_year()[1]


@pytest.mark.parametrize("year", [synthetic_year, steel_year])
@pytest.mark.parametrize("cooling", [Cooling.DISTRIBUTION_ONAN, Cooling.ONAN, Cooling.ONAF])
def test_a_year_equals_allianders_model(cooling: Cooling, year: Callable[[], tuple[list[float], list[float]]]) -> None:
    """transformer-thermal-model 0.6 is the oracle: top oil, hot spot and aging of every quarter hour."""
    loading, ambient_degc = year()
    top_oil_degc, hot_spot_degc, aging = allianders(cooling, loading, ambient_degc)
    constants = thermal.constants(unit(cooling, loss_ratio=5.0))
    state, ours = ThermalState(ambient_degc[0], 0.0, 0.0), []
    for load, ambient in zip(loading[1:], ambient_degc[1:], strict=True):
        state = thermal.after(state, load, ambient, 15.0, constants)
        ours.append((state.top_oil_degc, thermal.hot_spot_degc(state)))
    top, hot = np.array(ours).T
    np.testing.assert_allclose(top, top_oil_degc[1:], rtol=0, atol=1e-9)
    np.testing.assert_allclose(hot, hot_spot_degc[1:], rtol=0, atol=1e-9)
    np.testing.assert_allclose([thermal.aging_rate(degc, Paper.NORMAL) for degc in hot.tolist()], aging[1:], rtol=1e-9)


def allianders(cooling: Cooling, loading: list[float], ambient_degc: list[float]) -> tuple[Any, Any, Any]:
    """The same year by transformer-thermal-model, from a cold start."""
    from transformer_thermal_model.aging import aging_rate_profile  # noqa: PLC0415  # a developer's tool, 0.5 s to import
    from transformer_thermal_model.cooler import CoolerType  # noqa: PLC0415
    from transformer_thermal_model.model import Model  # noqa: PLC0415
    from transformer_thermal_model.schemas import InputProfile, UserTransformerSpecifications  # noqa: PLC0415
    from transformer_thermal_model.transformer import (  # noqa: PLC0415
        DistributionTransformer,
        PaperInsulationType,
        PowerTransformer,
    )

    specs = UserTransformerSpecifications(
        load_loss=5000.0, no_load_loss=1000.0, nom_load_sec_side=1.0, amb_temp_surcharge=0.0
    )
    transformer = (
        DistributionTransformer(user_specs=specs)
        if cooling is Cooling.DISTRIBUTION_ONAN
        else PowerTransformer(user_specs=specs, cooling_type=CoolerType[cooling.name])
    )
    begin = datetime(2025, 1, 1)  # noqa: DTZ001  # its profiles have no time zone
    profile = InputProfile.create(
        datetime_index=[begin + timedelta(minutes=15 * index) for index in range(len(loading))],
        load_profile=loading,
        ambient_temperature_profile=ambient_degc,
    )
    result = Model(temperature_profile=profile, transformer=transformer).run()
    aging = aging_rate_profile(result.hot_spot_temp_profile, PaperInsulationType.NORMAL)
    return result.top_oil_temp_profile.to_numpy(), result.hot_spot_temp_profile.to_numpy(), aging.to_numpy()
