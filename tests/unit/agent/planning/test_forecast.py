"""A model runs only after it has proved itself, and is used only where it is valid; persistence stands in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from ringmain_agent.errors import ForecastError
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot
from ringmain_model.errors import ModelRejectedError

MakeModel = Callable[..., Path]
Packed = Callable[[Any], bytes]


def with_model(snapshot: Snapshot, path: Path, signal: str = "load_kw") -> Snapshot:
    return replace(snapshot, models={signal: str(path)})


def test_forecast_is_what_the_model_says(model_file: MakeModel, snapshot: Snapshot, site: Site) -> None:
    result = Forecaster(site).forecast(with_model(snapshot, model_file()), "load_kw")
    last_day = np.frombuffer(snapshot.history["load_kw"], "<f4")[-96:]
    assert result.release == 3
    assert result.quantiles == [0.1, 0.5, 0.9]
    np.testing.assert_allclose(np.array(result.values), last_day[:, None] + [-100, 0, 100], rtol=1e-6)


def test_missing_series_is_named_and_not_invented(model_file: MakeModel, snapshot: Snapshot, site: Site) -> None:
    assert Forecaster(site).forecast(with_model(snapshot, model_file()), "load_kw").reason == "without temperature_degc"


def test_short_history_is_missing_in_front(model_file: MakeModel, snapshot: Snapshot, site: Site) -> None:
    half = replace(snapshot, history={"load_kw": snapshot.history["load_kw"][-4 * 400 :]})
    assert Forecaster(site).forecast(with_model(half, model_file()), "load_kw").release == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"manifest": {"years": [2010, 2019]}}, "outside the model's years"),
        ({"manifest": {"years": [2021, 2030]}}, "outside the model's years"),
        ({"manifest": {"step_s": 300}}, "model has 96 steps of 300 s"),
        ({"manifest": {"history_share_min": 1.0}}, "history has a share of 0.99"),
        ({"falling": True}, "do not rise"),
        ({"shift": float("inf")}, "golden vectors are off"),
    ],
)
def test_model_is_not_used_where_it_is_not_valid(
    model_file: MakeModel, snapshot: Snapshot, site: Site, change: dict[str, Any], reason: str
) -> None:
    gap = replace(snapshot, history={"load_kw": snapshot.history["load_kw"][4 * 4 :]})
    with pytest.raises((ForecastError, ModelRejectedError), match=reason):
        Forecaster(site).forecast(with_model(gap, model_file(**change)), "load_kw")


def test_infinite_output_is_refused(model_file: MakeModel, snapshot: Snapshot, site: Site, packed: Packed) -> None:
    values = np.full(768, np.inf, np.float32)
    values[:600] = 1.0
    with pytest.raises(ForecastError, match="not finite"):
        Forecaster(site).forecast(
            with_model(replace(snapshot, history={"load_kw": packed(values)}), model_file()), "load_kw"
        )


def test_new_release_is_used_at_once(model_file: MakeModel, snapshot: Snapshot, site: Site) -> None:
    forecaster = Forecaster(site)
    first = forecaster.forecast(with_model(snapshot, model_file(name="3.onnx")), "load_kw")
    second = forecaster.forecast(
        with_model(snapshot, model_file(name="4.onnx", manifest={"release": 4}, shift=1.0)), "load_kw"
    )
    assert (first.release, second.release) == (3, 4)
    assert second.values[0][1] == pytest.approx(first.values[0][1] + 1.0)


def test_pv_forecast_stays_between_the_rating_and_nothing(
    model_file: MakeModel, snapshot: Snapshot, site: Site, packed: Packed
) -> None:
    """A model may say that the sun shines at night, or twice as much as the plant can give."""
    pv = {"signal": "pv_kw", "signals": {"pv_kw": "kW", "temperature_degc": "degC"}}
    history = np.where(np.arange(768) % 2, -5000.0, 50.0)
    dark = replace(snapshot, history={"pv_kw": packed(history)})
    result = Forecaster(site).forecast(with_model(dark, model_file(manifest=pv), "pv_kw"), "pv_kw")
    assert np.min(result.values) == -3000.0
    assert np.max(result.values) == 0.0


@pytest.mark.parametrize("shift_kw", [3e4, -3e4, 1e6, -1e6])
def test_forecast_that_the_load_never_came_near_is_not_used(
    model_file: MakeModel, snapshot: Snapshot, site: Site, shift_kw: float
) -> None:
    """The history is 3 to 5 MW: 30 MW more would close or open all exchange with the grid."""
    with pytest.raises(ForecastError, match="too far from the history of 3000 to 5000 kW"):
        Forecaster(site).forecast(with_model(snapshot, model_file(shift=shift_kw)), "load_kw")


@pytest.mark.parametrize("shift_kw", [9e3, -9e3])
def test_forecast_within_reach_of_the_history_is_used(
    model_file: MakeModel, snapshot: Snapshot, site: Site, shift_kw: float
) -> None:
    assert Forecaster(site).forecast(with_model(snapshot, model_file(shift=shift_kw)), "load_kw").release == 3


def test_plant_that_stood_still_may_be_forecast_up_to_its_rating(
    model_file: MakeModel, snapshot: Snapshot, site: Site, packed: Packed
) -> None:
    pv = {"signal": "pv_kw", "signals": {"pv_kw": "kW", "temperature_degc": "degC"}}
    snow = replace(snapshot, history={"pv_kw": packed(np.zeros(768))})
    result = Forecaster(site).forecast(with_model(snow, model_file(manifest=pv, shift=-2500.0), "pv_kw"), "pv_kw")
    assert np.min(result.values) == pytest.approx(-2600.0)


def test_absurd_reading_does_not_widen_the_reach(
    model_file: MakeModel, snapshot: Snapshot, site: Site, packed: Packed
) -> None:
    history = np.full(768, 4000.0)
    history[10] = 1e30
    absurd = replace(snapshot, history={"load_kw": packed(history)})
    with pytest.raises(ForecastError, match="too far"):
        Forecaster(site).forecast(with_model(absurd, model_file(shift=1e6)), "load_kw")
    assert np.max(Forecaster(site).persistence(absurd, "load_kw", "").values) == 4000.0


def test_persistence_repeats_a_pattern_of_days_exactly(snapshot: Snapshot, site: Site) -> None:
    result = Forecaster(site).persistence(snapshot, "load_kw", "no model yet")
    last_day = np.frombuffer(snapshot.history["load_kw"], "<f4")[-96:]
    assert (result.release, result.reason) == (0, "no model yet")
    np.testing.assert_allclose(np.array(result.values)[:, 1], last_day, rtol=1e-6)


def test_no_history_at_all_is_no_forecast(snapshot: Snapshot, site: Site) -> None:
    with pytest.raises(ForecastError, match="no history"):
        Forecaster(site).persistence(replace(snapshot, history={}), "load_kw", "")
