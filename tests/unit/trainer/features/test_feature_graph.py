"""The feature graph against plain loops and against the zone rules."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from ringmain_model.session import open_session, run
from ringmain_trainer.calendar import zone_rules
from ringmain_trainer.features.examples import Window
from ringmain_trainer.features.feature_graph import FEATURES, FeatureSpec, columns_of, feature_model, value_info

QUARTERS = Window(900, 768, 96)


def spec(**changes: Any) -> FeatureSpec:
    fields: dict[str, Any] = {
        "signals": ("load_kw",),
        "series": (),
        "typical_signals": (0.0,),
        "typical_series": (),
        "time_zone": "UTC",
        "holidays": (),
        "years": (2020, 2030),
        "window": QUARTERS,
    }
    return FeatureSpec(**(fields | changes))


def inputs_at(issued_at_s: NDArray[np.int64], window: Window = QUARTERS) -> dict[str, Any]:
    n = len(issued_at_s)
    history = np.zeros((n, window.history_steps, 1), np.float32)
    return {
        "history": history,
        "known_future": np.zeros((n, window.horizon_steps, 0), np.float32),
        "issued_at_s": issued_at_s,
    }


@pytest.mark.parametrize("zone", ["Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
def test_the_calendar_is_that_of_the_zone_over_clock_changes_and_the_leap_day(zone: str) -> None:
    first = int(datetime(2023, 10, 20, tzinfo=UTC).timestamp())
    issued_at_s = first + 86400 * np.arange(170)
    holidays = ("2023-12-25", "2024-02-29")
    names = [
        value_info("slot", dtype=TensorProto.INT64),
        value_info("weekday", dtype=TensorProto.INT64),
        value_info("holiday"),
    ]
    session = open_session(feature_model(spec(time_zone=zone, holidays=holidays), *names))
    slot, weekday, holiday = (out.ravel().tolist() for out in session.run(None, inputs_at(issued_at_s)))
    quarters = (issued_at_s[:, None] + 900 * np.arange(96)).ravel()
    there = [datetime.fromtimestamp(at, zone_rules(zone)) for at in quarters.tolist()]
    assert slot == [t.hour * 4 + t.minute // 15 for t in there]
    assert weekday == [t.weekday() for t in there]
    assert holiday == [str(t.date()) in holidays for t in there]


def test_a_holiday_counts_as_a_sunday_as_well() -> None:
    christmas = np.array([int(datetime(2020, 12, 25, tzinfo=UTC).timestamp())])  # a Friday
    sunday = np.array([int(datetime(2020, 12, 27, tzinfo=UTC).timestamp())])
    with_holiday = open_session(feature_model(spec(holidays=("2020-12-25",))))
    without = open_session(feature_model(spec()))
    found, expected = run(with_holiday, inputs_at(christmas), FEATURES), run(without, inputs_at(sunday), FEATURES)
    differing = {int(column) for column in np.flatnonzero((found != expected).any(axis=(0, 1)))}
    assert len(differing) == 1  # the column that says holiday


@pytest.mark.parametrize("window", [Window(900, 768, 192), Window(300, 2016, 600), Window(3600, 200, 24)])
def test_gaps_lags_and_rolling_values_equal_plain_loops(window: Window) -> None:
    made = spec(
        signals=("load_kw", "temperature_degc"),
        series=("price",),
        typical_signals=(1.5, 2.5),
        typical_series=(3.5,),
        window=window,
    )
    rng, day, n = np.random.default_rng(1), 86400 // window.step_s, window.history_steps
    raw = rng.normal(size=(3, n, 2)).astype(np.float32)
    raw[rng.random(raw.shape) < 0.3], raw[1, n // 3 :], raw[2, :, 0] = np.nan, np.nan, np.nan
    future = np.full((3, window.horizon_steps, 1), np.nan, np.float32)
    inputs = {"history": raw, "known_future": future, "issued_at_s": np.arange(3) + 1_600_000_000}
    names = ["filled", "known", "now", "lag_1d", "lag_2d", "lag_7d"]
    outputs = open_session(feature_model(made, *map(value_info, names))).run(None, inputs)
    filled, known, now = outputs[:3]
    assert (known == 3.5).all()
    for b, s in np.ndindex(3, 2):
        expected = plainly_filled(raw[b, :, s], day, made.typical_signals[s])
        np.testing.assert_array_equal(filled[b, :, s], expected)
        for days, lag in zip((1, 2, 7), outputs[3:], strict=True):
            for lead in range(window.horizon_steps):
                back = next(d for d in range(days, 9) if lead - day * d < 0)
                assert lag[b, lead, s] == expected[max(0, n + lead - day * back)]
        tails = [expected[n - r * 3600 // window.step_s :].astype(np.float64) for r in (1, 24, 168)]
        rolling = [f(tail) for tail in tails for f in (np.mean, np.min, np.max, np.std)]
        assert s or np.allclose(now[b], [expected[-1], *rolling], atol=1e-5)


def plainly_filled(values: NDArray[np.float32], day: int, typical: float) -> NDArray[np.float32]:
    held = values.copy()
    for i in range(len(values)):
        held[i] = next((v for v in values[max(i - 3, 0) : i + 1][::-1] if np.isfinite(v)), np.nan)
    return np.array([next((v for v in held[i::-day] if np.isfinite(v)), typical) for i in range(len(values))], np.float32)


@pytest.mark.parametrize("absurd", [1000.0, -200.0, 3e38, np.inf, -np.inf])
def test_a_value_that_the_training_never_saw_the_like_of_is_a_gap(absurd: float) -> None:
    """One quarter-hour in W for kW would spoil minimum, maximum and mean of a whole week."""
    made = spec(
        signals=("load_kw", "temperature_degc"), typical_signals=(5.0, 1.0), range_signals=((-100.0, 200.0), (-30.0, 60.0))
    )
    rng = np.random.default_rng(1)
    raw = rng.uniform(0, 50, (4, QUARTERS.history_steps, 2)).astype(np.float32)
    places = rng.random(raw.shape) < 0.02
    session = open_session(feature_model(made))

    def features(value: float) -> NDArray[np.float32]:
        history = np.where(places, np.float32(value), raw).astype(np.float32)
        return run(session, inputs_at(1_600_000_200 + 900 * np.arange(4)) | {"history": history}, FEATURES)

    found = features(absurd)
    np.testing.assert_array_equal(found, features(np.nan))
    assert np.isfinite(found).all()


def test_values_at_the_ends_of_the_range_are_values() -> None:
    made = spec(range_signals=((-100.0, 200.0),))
    history = np.resize(np.array([-100, 200], np.float32), (1, QUARTERS.history_steps, 1))
    inputs = inputs_at(np.array([1_600_000_200])) | {"history": history}
    filled = open_session(feature_model(made, value_info("filled"))).run(None, inputs)[0]
    np.testing.assert_array_equal(filled, history)


def test_a_graph_without_ranges_is_that_of_earlier_releases() -> None:
    assert not {"Less", "Greater", "Or"} & {node.op_type for node in feature_model(spec()).graph.node}


def test_a_site_without_series_has_features() -> None:
    features = run(open_session(feature_model(spec())), inputs_at(np.array([1_600_000_200])), FEATURES)
    assert features.shape[:2] == (1, 96)
    assert np.isfinite(features).all()


def test_nothing_stands_in_the_graph_whose_last_bit_depends_on_the_batch() -> None:
    ops = {node.op_type for node in feature_model(spec(holidays=(str(date(2020, 12, 25)),))).graph.node}
    assert not ops & {"Sin", "Cos", "Exp", "Pow", "ReduceMean", "MatMul", "Gemm"}


@pytest.mark.parametrize("step_s", [60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800, 3600])
@pytest.mark.parametrize("n_signals", [1, 2])
def test_features_are_bit_equal_in_any_batch_at_every_step(step_s: int, n_signals: int) -> None:
    """With ReduceMean they were not at ten minutes: rows of six values begin at odd places in memory."""
    day = 86400 // step_s
    window = Window(step_s, 7 * day + 5, min(day, 37))
    names = ("load_kw", "temperature_degc")[:n_signals]
    series = ("windspeed_m_per_s", "price_eur_per_mwh")[: n_signals - 1]
    made = spec(
        signals=names,
        typical_signals=(0.0,) * n_signals,
        series=series,
        typical_series=(0.0,) * len(series),
        window=window,
        groups=("weekend_waves", "series_means", "wind_cubed"),
    )
    inputs = inputs_at(1_600_000_000 // step_s * step_s + 7 * step_s * np.arange(9, dtype=np.int64), window)
    rng = np.random.default_rng(0)
    inputs["history"] = rng.normal(30000, 3000, (9, window.history_steps, n_signals)).astype(np.float32)
    inputs["known_future"] = rng.normal(8, 3, (9, window.horizon_steps, len(series))).astype(np.float32)
    session = open_session(feature_model(made))
    whole = run(session, inputs, FEATURES)
    for size in (1, 2, 3, 5):
        blocks = [run(session, {k: v[i : i + size] for k, v in inputs.items()}, FEATURES) for i in range(0, 9, size)]
        np.testing.assert_array_equal(np.concatenate(blocks), whole)


@pytest.mark.parametrize("window", [QUARTERS, Window(3600, 200, 48), Window(300, 2016, 300)])
def test_groups_of_further_features_equal_plain_numbers_and_have_their_names(window: Window) -> None:
    series = ("winddeg", "windspeed_100m", "radiation")
    groups = ("weekend_waves", "series_means", "wind_cubed")
    made = spec(series=series, typical_series=(0.0, 0.0, 0.0), window=window, groups=groups, holidays=("2020-12-25",))
    plain = spec(series=series, typical_series=(0.0, 0.0, 0.0), window=window, holidays=("2020-12-25",))
    rng = np.random.default_rng(0)
    days = [int(datetime(2020, 12, day, tzinfo=UTC).timestamp()) for day in (24, 25, 26, 27)]  # Thursday to Sunday
    inputs = inputs_at(np.array(days), window)
    inputs["known_future"] = rng.normal(5, 2, (4, window.horizon_steps, 3)).astype(np.float32)
    session = open_session(feature_model(made))
    found, names = run(session, inputs, FEATURES), columns_of(made)
    without = run(open_session(feature_model(plain)), inputs, FEATURES)
    assert (found.shape[2], without.shape[2]) == (len(names), len(columns_of(plain)))
    assert np.array_equal(found[:, :, : without.shape[2]], without)
    columns = {name: found[:, :, i] for i, name in enumerate(names)}
    for code, day in ((5, "saturday"), (6, "sunday")):
        expected = np.where(columns["weekday"] == code, columns["sin_2"], 0)
        assert np.array_equal(columns[f"{day}*sin_2"], expected)
    assert (columns["weekday"][1, 0], columns["weekday"][2, 0]) == (6, 5)  # Christmas is a Sunday
    half = max(1, 5400 // window.step_s)
    for i, name in enumerate(series):
        for lead in (0, 1, half, window.horizon_steps - 1):
            part = inputs["known_future"][:, max(0, lead - half) : lead + half + 1, i]
            assert np.allclose(columns[f"{name}_mean_3h"][:, lead], part.mean(axis=1), atol=1e-5)
    assert np.allclose(columns["windspeed_100m_cubed"], columns["windspeed_100m"].astype(float) ** 3, rtol=1e-6)
    assert "winddeg_cubed" not in columns
    ones = [run(session, {key: value[i : i + 1] for key, value in inputs.items()}, FEATURES) for i in range(4)]
    assert np.array_equal(np.concatenate(ones), found)


def test_series_beyond_their_range_count_as_its_end_and_gaps_as_typical() -> None:
    made = spec(series=("clouds_pct",), typical_series=(50.0,), range_series=((-100.0, 200.0),))
    future = np.full((1, 96, 1), 20.0, np.float32)
    future[0, 10:14, 0] = [2562.0, -1e30, np.inf, 199.0]
    future[0, 60:, 0] = np.nan
    inputs = {"history": np.zeros((1, 768, 1), np.float32), "known_future": future, "issued_at_s": np.array([1_600_000_200])}
    (known,) = open_session(feature_model(made, value_info("clamped"))).run(None, inputs)
    assert known[0, 8:15, 0].tolist() == [20.0, 20.0, 200.0, -100.0, 200.0, 199.0, 20.0]
    assert (known[0, 64:, 0] == 50.0).all()
