"""Features are bit-equal, and quantiles within tolerance, between training and file: with gaps, at batch 1 and N."""

from typing import Any, get_args

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from ringmain_model.content import OPERATORS, check_content
from ringmain_model.session import QUANTILES, open_session, run, run_singly
from ringmain_trainer.config.estimators import (
    EstimatorName,
    EstimatorsConfig,
    ExtraTreesConfig,
    GradientBoostingConfig,
    HistGradientBoostingConfig,
    MlpConfig,
    RandomForestConfig,
    RidgeConfig,
)
from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import FeatureGroup, ModelConfig, TrainerConfig
from ringmain_trainer.errors import ExportError
from ringmain_trainer.export.onnx_file import TOLERANCE, damaged, forecast_model, prove
from ringmain_trainer.features.design_matrix import Design, as_rows
from ringmain_trainer.features.examples import Examples, Inputs, Window, examples, training_rows
from ringmain_trainer.features.feature_graph import FEATURES, FeatureSpec, columns_of, feature_model, value_info
from ringmain_trainer.history.site_reader import Issue, SeriesHistory, StepTable
from ringmain_trainer.models.fit import FittedModel, fit_model, predict

WINDOW = Window(900, 768, 96)
START_S = 1_601_683_200
SMALL = HistGradientBoostingConfig(max_iter=(10,), max_leaf_nodes=(7,))
FOREST = ExtraTreesConfig(n_estimators=5, max_leaf_nodes=40)
CONFIG = TrainerConfig(estimators=EstimatorsConfig(hist_gradient_boosting=SMALL, extra_trees=FOREST))


class Made:
    """A model trained once on a made-up month, with all that is needed to ask it again."""

    def __init__(
        self,
        n_series: int,
        estimators: tuple[EstimatorName, ...],
        *,
        groups: tuple[FeatureGroup, ...] = (),
        at_rest: bool = False,
        config: TrainerConfig = CONFIG,
    ) -> None:
        rng, hours = np.random.default_rng(5), np.arange(35 * 96) / 4
        weather = [
            10 + 8 * np.sin(hours / 24 * 2 * np.pi + k) + rng.normal(0, 1, len(hours)) for k in range(max(1, n_series))
        ]
        load = 5000 + 900 * np.sin(hours / 12 * np.pi) + 60 * weather[0] + rng.normal(0, 80, len(hours))
        if at_rest:
            load = np.where(hours % 24 < 8, 0, load)  # as PV at night
        values = np.stack([load, weather[0]], axis=1).astype(np.float32)
        values[rng.random(values.shape) < 0.03] = np.nan
        series = [SeriesHistory("", [Issue(0, START_S, 900, w.astype(np.float32))]) for w in weather[:n_series]]
        steps = StepTable(START_S, values)
        data = examples(steps, series, WINDOW, training_rows(steps, WINDOW, every=13, share_min=0.5))
        self.spec = FeatureSpec(
            signals=("load_kw", "temperature_degc"),
            series=tuple(f"wind_{k}" for k in range(n_series)),
            typical_signals=(5000.0, 10.0),
            typical_series=(10.0,) * n_series,
            time_zone="Europe/Amsterdam",
            holidays=("2020-10-12", "2020-12-25"),
            years=(2020, 2027),
            window=WINDOW,
            groups=groups,
            range_signals=((0.0, 10_000.0), (-30.0, 50.0)),
            range_series=((-30.0, 50.0),) * n_series,
        )
        self.data: Examples = data
        self.session = open_session(feature_model(self.spec))
        self.features = run(self.session, data.inputs, FEATURES)
        design = Design(self.features, columns_of(self.spec), data, WINDOW)
        model = ModelConfig(signal="load_kw", history=["load_kw"], estimators=estimators)
        self.fitted: FittedModel = fit_model(design, recipe_of(config, model))
        self.model: onnx.ModelProto = forecast_model(self.spec, self.fitted, self.features)
        self.spread = float(np.ptp(np.nanquantile(data.targets, [0.01, 0.99])))


BLEND: tuple[EstimatorName, ...] = ("hist_gradient_boosting", "ridge", "extra_trees")


@pytest.fixture(scope="module", params=[(0, ("ridge",)), (1, BLEND), (3, ("ridge",))], ids=["ridge-0", "blend-1", "ridge-3"])
def made(request: pytest.FixtureRequest) -> Made:
    return Made(*request.param)


@st.composite
def windows(draw: st.DrawFn, count: int) -> dict[str, Any]:
    """How to damage and move the training inputs: gaps of any share, readings of any size, any instant of the years."""
    seed, share = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]))
    scale = draw(st.sampled_from([0.0, 1.0, 1.0, -1.0, 3.0]))
    first = int(np.datetime64("2020-01-02", "s").astype(np.int64))
    last = int(np.datetime64("2027-12-29", "s").astype(np.int64))
    at = draw(st.lists(st.integers(first // 900, last // 900), min_size=count, max_size=count))
    return {"seed": seed, "share": share, "scale": scale, "at": 900 * np.array(at, np.int64)}


def changed(inputs: Inputs, change: dict[str, Any]) -> Inputs:
    rng, at = np.random.default_rng(change["seed"]), change["at"]
    chosen = rng.integers(0, len(inputs["issued_at_s"]), len(at))

    def with_gaps(values: NDArray[Any]) -> NDArray[np.float32]:
        scaled = values[chosen] * np.float32(change["scale"])
        return np.where(rng.random(scaled.shape) < change["share"], np.float32(np.nan), scaled).astype(np.float32)

    return {"history": with_gaps(inputs["history"]), "known_future": with_gaps(inputs["known_future"]), "issued_at_s": at}


@settings(max_examples=40)
@given(change=windows(count=4))
def test_exported_model_equals_the_trained_model(made: Made, change: dict[str, Any]) -> None:
    inputs = changed(made.data.inputs, change)
    features = run(made.session, inputs, FEATURES)
    expected = predict(made.fitted, features)
    with_features = onnx.load_from_string(made.model.SerializeToString())
    with_features.graph.output.append(value_info(FEATURES))
    session = open_session(with_features)
    for call in (run, run_singly):
        np.testing.assert_array_equal(call(session, inputs, FEATURES), features)
        found = call(session, inputs, QUANTILES)
        assert np.abs(found - expected).max() <= TOLERANCE * made.spread
        assert (np.diff(found, axis=2) >= 0).all()
        assert made.fitted.limits.low <= found.min() <= found.max() <= made.fitted.limits.high


def test_the_design_matrix_and_the_finished_model_have_the_same_features(made: Made) -> None:
    probes = damaged(made.data.take(np.arange(20)).inputs, made.spec)
    prove(made.model, made.fitted, probes, run(made.session, probes, FEATURES), TOLERANCE * made.spread)
    prove(made.model, made.fitted, made.data.inputs, made.features, TOLERANCE * made.spread)


def test_a_model_that_converts_wrongly_fails_the_proof_even_past_the_guard(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard knows the poisson loss; here it is asked to look away, and the proof has to see the missing exponential."""
    known = np.isfinite(made.data.targets.ravel())
    rows, targets = as_rows(made.features)[known], made.data.targets.ravel()[known]
    poisson = HistGradientBoostingRegressor(loss="poisson", max_iter=5).fit(rows, targets)
    member = msgspec.structs.replace(made.fitted.members[0], pipelines=(poisson,), weight=1.0)
    wrong = msgspec.structs.replace(made.fitted, members=(member,))
    with pytest.raises(ExportError, match="exponential"):
        forecast_model(made.spec, wrong, made.features)
    monkeypatch.setattr("ringmain_trainer.export.onnx_file.refuse_wrong_conversion", lambda *_: None)
    model = forecast_model(made.spec, wrong, made.features)
    with pytest.raises(ExportError, match="values are off"):
        prove(model, wrong, made.data.inputs, made.features, TOLERANCE * made.spread)


SMALL_ONES: dict[EstimatorName, Any] = {
    "ridge": RidgeConfig(alpha=(30.0,)),
    "hist_gradient_boosting": HistGradientBoostingConfig(max_iter=(3,), max_features=0.5, seeds=2),
    "random_forest": RandomForestConfig(n_estimators=2, max_leaf_nodes=9),
    "extra_trees": ExtraTreesConfig(n_estimators=2, max_leaf_nodes=9),
    "gradient_boosting": GradientBoostingConfig(n_estimators=2),
    "mlp": MlpConfig(hidden_layer_sizes=((3,),), epochs=1),
}
"""Each estimator that there is."""


def test_operators_of_all_exports_are_those_that_a_file_may_have() -> None:
    """Estimators, feature groups, a target at rest: no export is refused, and no operator is allowed that none needs."""
    config = TrainerConfig(estimators=EstimatorsConfig(**SMALL_ONES))
    assert set(SMALL_ONES) == set(get_args(EstimatorName))
    everything: tuple[EstimatorName, ...] = tuple(SMALL_ONES)
    kinds = [
        *(Made(0, (name,), config=config) for name in everything),
        Made(2, everything, groups=get_args(FeatureGroup), at_rest=True, config=config),
    ]
    for one in kinds:
        check_content(one.model.SerializeToString())
    assert {(node.domain, node.op_type) for one in kinds for node in one.model.graph.node} == OPERATORS


def test_absurd_readings_are_among_the_probes_and_the_file_is_proved_on_them(made: Made) -> None:
    history = damaged(made.data.take(np.arange(6)).inputs, made.spec)["history"]
    low, high = made.spec.range_signals[0]
    assert ((history[:, :, 0] < low) | (history[:, :, 0] > high)).any()
