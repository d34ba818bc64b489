"""The specification of a feature graph: typical values, ranges and years come from the examples and the clock."""

from datetime import UTC, datetime

import numpy as np
import pytest

from ringmain_trainer.arrays import FLOAT32_MAX
from ringmain_trainer.config.recipe import Recipe
from ringmain_trainer.config.trainer import ModelConfig, TrainingConfig
from ringmain_trainer.features.examples import Examples
from ringmain_trainer.features.feature_graph import FeatureSpec
from ringmain_trainer.features.feature_spec import YEARS_AHEAD, feature_spec

RECIPE = Recipe(
    model=ModelConfig(signal="load_kw", history=["load_kw", "soc_pu"], series=["temperature_degc"]),
    training=TrainingConfig(step_s=3600, history_steps=192, horizon_steps=24, lag_days=(1, 7)),
    holidays=("2021-01-01",),
)
ISSUED_AT = [datetime(2021, 1, 3, tzinfo=UTC), datetime(2023, 12, 31, 12, tzinfo=UTC)]


def spec(temperature: list[float], *, year: int = 2024) -> FeatureSpec:
    """Of two examples with a load of 10 and 30 kW, no value of the state of charge, and this temperature."""
    history = np.full((2, 192, 2), np.nan, np.float32)
    history[:, :, 0] = [[10], [30]]
    ahead = np.resize(np.array(temperature, np.float32), (2, 24, 1))
    issued_at_s = np.array([int(at.timestamp()) for at in ISSUED_AT])
    inputs = {"history": history, "known_future": ahead, "issued_at_s": issued_at_s}
    data = Examples(inputs, np.zeros((2, 24), np.float32))
    return feature_spec(RECIPE, data, time_zone="Europe/Amsterdam", now=datetime(year, 6, 1, tzinfo=UTC))


def test_typical_values_are_medians_and_an_input_without_a_value_is_zero() -> None:
    assert spec([1, 2, 6]).typical_signals == (20.0, 0.0)
    assert spec([1, 2, 6]).typical_series == (2.0,)


def test_the_range_of_a_series_is_widened_on_both_sides_by_itself() -> None:
    assert spec([-5, 15]).range_series == ((-25.0, 35.0),)
    assert spec([np.nan]).range_series == ((0.0, 0.0),)
    assert spec([-3e38, 3e38]).range_series == ((-FLOAT32_MAX, FLOAT32_MAX),)


def test_the_range_of_a_signal_is_that_of_the_training_and_as_much_again() -> None:
    assert spec([1]).range_signals == ((-10.0, 50.0), (0.0, 0.0))


@pytest.mark.parametrize(("year", "last"), [(2022, 2024), (2030, 2030)])
def test_clock_tables_reach_some_years_beyond_the_training_and_its_newest_data(year: int, last: int) -> None:
    """The first example looks back into 2020, and the last one forecasts the first of 2024."""
    assert spec([1], year=year).years == (2020, last + YEARS_AHEAD)


def test_signals_lags_and_holidays_come_from_the_recipe() -> None:
    one = spec([1])
    assert (one.signals, one.series) == (("load_kw", "soc_pu"), ("temperature_degc",))
    assert (one.lag_days, one.holidays, one.time_zone) == ((1, 7), ("2021-01-01",), "Europe/Amsterdam")
