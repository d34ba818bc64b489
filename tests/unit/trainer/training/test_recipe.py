"""The recipe: each step gives what the next one takes, and refuses by name what no model can be made of."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from ringmain_model.session import forecast, open_session
from ringmain_model.verify import check_model
from ringmain_trainer.config.recipe import Recipe
from ringmain_trainer.config.trainer import ModelConfig, TrainingConfig
from ringmain_trainer.errors import ExportError, TooLittleDataError
from ringmain_trainer.features.design_matrix import held_out
from ringmain_trainer.features.examples import examples, window_of
from ringmain_trainer.features.site_data import SiteData
from ringmain_trainer.history.site_reader import StepTable
from ringmain_trainer.models.fit import fit_model
from ringmain_trainer.training.recipe import (
    fit_and_prove,
    fit_site,
    issued_every,
    missing_inputs,
    proved_file,
    rows_of,
    training_design,
    training_examples,
)

START_S = 1_601_683_200  # 2020-10-03T00:00:00Z
NOW = datetime(2026, 11, 24, tzinfo=UTC)
RECIPE = Recipe(
    model=ModelConfig(signal="load_kw", history=["load_kw", "temperature_degc"]),
    training=TrainingConfig(step_s=3600, history_steps=192, horizon_steps=24, forecasts_min=20, issue_every_steps=7),
    holidays=("2020-10-12",),
)


def site(days: int = 28) -> SiteData:
    """Hourly load that follows the time of day and the temperature."""
    rng, hours = np.random.default_rng(0), np.arange(days * 24)
    temperature = 8 + 3 * np.sin(hours / 24 * 2 * np.pi) + rng.normal(0, 0.3, len(hours))
    load = 1000 + 250 * np.sin(hours / 12 * np.pi - 1) - 20 * temperature + rng.normal(0, 15, len(hours))
    return SiteData(
        "liander-287", "Europe/Amsterdam", StepTable(START_S, np.stack([load, temperature], 1, dtype=np.float32)), {}
    )


def changed(data: SiteData, column: int, rows: Any, value: float) -> SiteData:
    values = data.steps.values.copy()
    values[rows, column] = value
    return data._replace(steps=StepTable(START_S, values))


def rows(data: SiteData) -> list[int]:
    return rows_of(RECIPE.training, data)


def test_leads_before_the_first_one_that_is_asked_for_are_gaps() -> None:
    training = msgspec.structs.replace(RECIPE.training, first_lead_steps=6)
    samples = training_examples(msgspec.structs.replace(RECIPE, training=training), site(), rows(site()))
    assert np.isnan(samples.data.targets[:, :6]).all()
    assert np.isfinite(samples.data.targets[:, 6:]).all()


def test_the_late_examples_are_the_held_out_ones_and_the_tolerance_grows_with_the_target() -> None:
    samples = training_examples(RECIPE, site(), rows(site()))
    np.testing.assert_array_equal(samples.late, held_out(samples.data, window_of(RECIPE.training), RECIPE.training)[1])
    larger = site()._replace(steps=StepTable(START_S, 10 * site().steps.values))
    assert training_examples(RECIPE, larger, rows(site())).tolerance == pytest.approx(10 * samples.tolerance)


def test_a_target_that_never_changes_is_refused_by_name() -> None:
    constant = changed(site(), 0, slice(None), 7.0)
    with pytest.raises(TooLittleDataError, match="load_kw never changes"):
        training_examples(RECIPE, constant, rows(constant))


def test_days_that_are_all_held_out_are_too_few() -> None:
    with pytest.raises(TooLittleDataError, match="nothing is left before the held-out days"):
        training_examples(RECIPE, site(), rows(site())[:1])


def test_values_too_large_to_compute_with_are_refused_by_name() -> None:
    """The history of the target goes into rolling statistics, and the square of 1e30 is no float32."""
    wild = changed(site(), 0, 300, 1e30)
    samples = training_examples(RECIPE, wild, rows(wild))
    with pytest.raises(TooLittleDataError, match=r"values too large to compute with: load_kw 1e\+30"):
        training_design(RECIPE, samples, time_zone=wild.time_zone, now=NOW)


def test_held_out_days_without_a_value_are_refused_by_name() -> None:
    silent = changed(site(), 0, slice(-9 * 24, None), np.nan)
    with pytest.raises(TooLittleDataError, match="held-out days have no value"):
        fit_site(RECIPE, silent, rows(site()), now=NOW)


def test_a_proved_file_forecasts_as_the_sealed_one() -> None:
    """A score is that of the file that would have been released."""
    data = site()
    proved = open_session(fit_and_prove(RECIPE, data, rows(data), now=NOW).content)
    sealed = open_session(fit_site(RECIPE, data, rows(data), now=NOW).content)
    inputs = examples(data.steps, [], window_of(RECIPE.training), rows(data)[-5:]).inputs
    np.testing.assert_array_equal(forecast(proved, inputs), forecast(sealed, inputs))


def test_the_limit_of_size_concerns_a_candidate_and_not_a_score() -> None:
    """A score must not depend on the gateway, nor on the speed of this machine."""
    tight = msgspec.structs.replace(RECIPE.training, model_bytes_max=10_000, latency_ms_max=1e-6)
    recipe, data = msgspec.structs.replace(RECIPE, training=tight), site()
    assert len(fit_and_prove(recipe, data, rows(data), now=NOW).content) > 10_000
    with pytest.raises(ExportError, match=r"training\.model_bytes_max is 10000"):
        fit_site(recipe, data, rows(data), now=NOW)


def test_the_probes_are_the_newest_held_out_inputs_and_damaged_ones() -> None:
    data = site()
    samples = training_examples(RECIPE, data, rows(data))
    design = training_design(RECIPE, samples, time_zone=data.time_zone, now=NOW)
    proved = proved_file(samples, design, fit_model(design.design, RECIPE))
    newest = samples.data.issued_at_s[-6:]
    np.testing.assert_array_equal(proved.newest["issued_at_s"], newest)
    np.testing.assert_array_equal(proved.probes["issued_at_s"][:6], newest)
    assert np.isnan(proved.probes["history"]).any()


def test_a_sealed_file_names_its_site_its_data_and_its_recipe() -> None:
    data = site()
    trained = fit_site(RECIPE, data, rows(data), now=NOW)
    manifest = check_model(trained.content, site="liander-287", signal="load_kw").manifest
    assert manifest == trained.manifest
    assert (manifest.step_s, manifest.history_steps, manifest.horizon_steps) == (3600, 192, 24)
    assert (manifest.signals, manifest.holidays) == ({"load_kw": "kW", "temperature_degc": "degC"}, ["2020-10-12"])
    assert manifest.trained_forecasts == len(rows(data))


def test_inputs_that_were_missing_in_training_are_named() -> None:
    data = changed(site(), 1, slice(0, 500), np.nan)
    samples = training_examples(RECIPE, data, rows(data))
    spec = training_design(RECIPE, samples, time_zone=data.time_zone, now=NOW).spec
    (note,) = missing_inputs(spec, samples.data)
    assert note.startswith("only ")
    assert note.endswith("of temperature_degc (history) is there")


def test_too_few_forecasts_are_a_reason_with_the_numbers() -> None:
    silent = changed(site(), 0, slice(None), np.nan)
    with pytest.raises(TooLittleDataError, match=r"0 forecasts to train on in 28\.0 days, 20 are needed"):
        rows(silent)
    with pytest.raises(TooLittleDataError, match=r"too little data: 0 forecasts to train on in 3\.0 days"):
        rows(site(3))
    with pytest.raises(TooLittleDataError, match="load_kw never changes: a dead channel"):
        rows(silent._replace(masked={"load_kw.dead": 672}))
    with pytest.raises(TooLittleDataError, match=r"values that cannot be true were taken out: 9 load_kw\.spike"):
        rows(silent._replace(masked={"load_kw.spike": 9}))


def test_long_histories_are_thinned_through_all_times_of_day() -> None:
    training = TrainingConfig(rows_max=100_000)
    assert issued_every(training, 365 * 96) == 35
    assert issued_every(training, 20 * 96) == training.issue_every_steps
    for days in (100, 200, 400, 1000):
        every = issued_every(training, days * 96)
        assert days * 96 // every * 96 <= 100_000
        assert np.gcd(every, 96) == 1
