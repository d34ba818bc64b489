"""The file as a whole: sealed, checked, released; a changed one is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from ringmain_model.errors import ModelRejectedError
from ringmain_model.session import open_session, run
from ringmain_model.verify import check_model
from ringmain_protocol.manifest import MANIFEST_KEY, ModelManifest, decode_document
from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.errors import ExportError
from ringmain_trainer.export.onnx_file import (
    check_file,
    damaged,
    forecast_model,
    prove,
    seal,
    special_instants,
    with_release,
)
from ringmain_trainer.features.design_matrix import Design
from ringmain_trainer.features.examples import Examples, examples, training_rows, window_of
from ringmain_trainer.features.feature_graph import FEATURES, FeatureSpec, columns_of, feature_model
from ringmain_trainer.history.site_reader import StepTable
from ringmain_trainer.models.fit import FittedModel, fit_model
from support.hostile_models import endless_loop, external_data
from support.models import write_model


class Made:
    """A trained and sealed model."""

    def __init__(self, config: TrainerConfig, values: dict[str, Any], start_s: int) -> None:
        window = window_of(config.training)
        steps = StepTable(start_s, values["load_kw"][:, None])
        self.data: Examples = examples(steps, [], window, training_rows(steps, window, every=13, share_min=0.5))
        self.spec = FeatureSpec(
            signals=("load_kw",),
            series=(),
            typical_signals=(1000.0,),
            typical_series=(),
            time_zone="Europe/Amsterdam",
            holidays=("2020-10-12",),
            years=(2020, 2026),
            window=window,
        )
        self.features = run(open_session(feature_model(self.spec)), self.data.inputs, FEATURES)
        self.fitted: FittedModel = fit_model(
            Design(self.features, columns_of(self.spec), self.data, window), recipe_of(config, config.model[0])
        )
        self.model = forecast_model(self.spec, self.fitted, self.features)
        self.manifest = ModelManifest(
            format=1,
            site="liander-287",
            signal="load_kw",
            release=1,
            created_at_ms=0,
            signals={"load_kw": "kW"},
            series={},
            step_s=900,
            history_steps=768,
            horizon_steps=96,
            quantiles=[0.1, 0.5, 0.9],
            time_zone="Europe/Amsterdam",
            holidays=["2020-10-12"],
            years=(2020, 2026),
            history_share_min=0.5,
            tolerance=0.02,
            trained_from_ms=0,
            trained_to_ms=1,
            trained_forecasts=1,
            trained_sha256="",
        )
        seal(self.model, self.manifest, self.data.take(np.array([0, 5])).inputs)
        self.content: bytes = self.model.SerializeToString()


@pytest.fixture
def made(trainer_config: TrainerConfig, site_values: Any, start_s: int) -> Made:
    return Made(trainer_config, site_values(25), start_s)


def changed(model: onnx.ModelProto, name: str, amount: float) -> onnx.ModelProto:
    """The model with one float constant moved."""
    copy = onnx.load_from_string(model.SerializeToString())
    for node in copy.graph.node:
        for attribute in node.attribute:
            if attribute.name == name:
                attribute.floats[0] += amount
    return copy


def test_a_file_says_what_it_is(made: Made) -> None:
    assert check_file(made.content) == made.manifest


def test_a_release_changes_the_release_and_nothing_else(made: Made) -> None:
    released = with_release(made.content, 7)
    assert check_file(released) == msgspec.structs.replace(made.manifest, release=7)
    one, other = onnx.load_from_string(made.content), onnx.load_from_string(released)
    assert one.graph == other.graph
    texts = [{e.key: e.value for e in m.metadata_props if e.key != MANIFEST_KEY} for m in (one, other)]
    assert texts[0] == texts[1]
    assert decode_document({e.key: e.value for e in other.metadata_props}[MANIFEST_KEY], ModelManifest).release == 7


@pytest.mark.parametrize("attribute", ["coefficients", "intercepts"])
def test_a_changed_model_is_refused(made: Made, attribute: str) -> None:
    with pytest.raises(ExportError, match="golden vectors are off"):
        check_file(changed(made.model, attribute, 5.0).SerializeToString())
    with pytest.raises(ExportError, match="values are off in one call"):
        prove(changed(made.model, attribute, 5.0), made.fitted, made.data.inputs, made.features, 0.02)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"falling": True}, "do not rise"), ({"manifest": {"history_steps": 700}}, "inputs are")],
)
def test_a_file_that_agents_reject_cannot_be_published(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    """A release that every site refuses would be found on the sites, one by one."""
    content = write_model(tmp_path / "1.onnx", **change).read_bytes()
    with pytest.raises(ExportError, match=reason):
        check_file(content)
    with pytest.raises(ModelRejectedError, match=reason):
        check_model(content)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08", b"\0" * 20_000_001])
def test_what_is_no_model_file_is_refused(content: bytes) -> None:
    with pytest.raises(ExportError):
        check_file(content)


def test_a_model_without_manifest_is_refused(made: Made) -> None:
    del made.model.metadata_props[:]
    with pytest.raises(ExportError, match="manifest"):
        check_file(made.model.SerializeToString())


def test_probes_hold_every_kind_of_damage(made: Made) -> None:
    inputs = made.data.take(np.arange(5)).inputs
    probes = damaged(inputs, made.spec)
    history = probes["history"]
    assert (np.isnan(history).all(axis=(1, 2))).any()
    assert (history == 42).all(axis=(1, 2)).any()
    assert np.isnan(history[:, -1, 0]).any()
    assert {value.dtype for value in probes.values()} == {np.dtype(np.float32), np.dtype(np.int64)}
    assert len({len(value) for value in probes.values()}) == 1
    for at in special_instants(made.spec):
        assert at in probes["issued_at_s"]
    assert len(special_instants(made.spec)) >= 4


@pytest.mark.parametrize("break_out", [external_data, endless_loop], ids=["external data", "loop"])
def test_file_that_no_export_made_is_not_published(tmp_path: Path, break_out: Callable[[bytes], bytes]) -> None:
    """Whatever lies among the candidates: it is refused before a library opens it beside the keys."""
    content = write_model(tmp_path / "1.onnx").read_bytes()
    assert check_file(content).site == "site-1"
    with pytest.raises(ExportError, match="not a model that our export makes"):
        check_file(break_out(content))
