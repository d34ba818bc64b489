"""ONNX files of the analysis models, proved to give the values of scikit-learn. Pure but for the sessions of the proof.

Inputs are named by their content, outputs as in scikit-learn: labels exact, scores and probabilities within a tolerance.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
import skl2onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper

from ringmain_model.session import open_session
from ringmain_trainer.errors import ExportError
from ringmain_trainer.export.skl2onnx_fix import install_converter_fix
from ringmain_trainer.export.supported_estimators import refuse_wrong_conversion
from ringmain_trainer.features.feature_graph import IR_VERSION, OPSETS, GraphWriter, value_info

TOLERANCE: Final = 1e-4
"""Largest allowed difference of a score or probability; float32 sums over a hundred trees."""

Expected = Mapping[str, NDArray[Any]]


def splice(g: GraphWriter, estimator: Any, rows: str, sample: NDArray[Any], prefix: str) -> list[str]:  # noqa: ANN401
    """Add the converted estimator to a graph; the names of its outputs.

    Args:
        g: The graph that is being written.
        estimator: A fitted estimator.
        rows: Name of its input in the graph.
        sample: Rows it was fitted on: NaN among them does not convert with every estimator.
        prefix: Put before all names of the part.

    Raises:
        ExportError: If the estimator is not known to convert rightly.
    """
    refuse_wrong_conversion(estimator, sample)
    install_converter_fix()
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    zero = np.zeros((1, sample.shape[1]), np.float32)
    converted = skl2onnx.to_onnx(estimator, zero, target_opset=OPSETS, options=options)
    part = compose.add_prefix(converted, prefix).graph
    for node in part.node:
        node.input[:] = [rows if name == part.input[0].name else name for name in node.input]
    g.nodes += part.node
    g.constants += part.initializer
    return [str(one.name) for one in part.output]


def finished(g: GraphWriter, inputs: Mapping[str, int], outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
    """The graph as a model of inputs `[n, columns]`."""
    entering = [value_info(name, "n", columns) for name, columns in inputs.items()]
    graph = helper.make_graph(g.nodes, "analysis", entering, outputs, g.constants)
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="ringmain")
    onnx.checker.check_model(model, full_check=True)
    return model


def prove_same(model: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]], expected: Expected) -> bytes:
    """The file, after a proof in one call and one by one: whole numbers are equal, others within `TOLERANCE`.

    Raises:
        ExportError: If it gives other values.
    """
    content = bytes(model.SerializeToString())
    session = open_session(content)
    for how, call in (("in one call", _at_once), ("one by one", _singly)):
        outputs = call(session, inputs, list(expected))
        for name, values in expected.items():
            _compare(name, outputs[name], values, how)
    return content


def labels_and_scores(g: GraphWriter, names: Sequence[str], label: str, score: str) -> list[onnx.ValueInfoProto]:
    """Name the two outputs of a converted detector or clustering: labels int64 `[n]`, scores `[n, columns]`."""
    g("Reshape", g("Cast", names[0], to=TensorProto.INT64), g.ints(-1), name=label)
    g("Identity", names[1], name=score)
    return [value_info(label, "n", dtype=TensorProto.INT64), value_info(score, "n", f"columns_of_{score}")]


def _compare(name: str, actual: NDArray[Any], expected: NDArray[Any], how: str) -> None:
    actual = actual.reshape(expected.shape)
    if np.issubdtype(expected.dtype, np.integer):
        off = actual != expected
    else:
        off = ~(np.abs(actual - expected) <= TOLERANCE * np.maximum(1.0, np.abs(expected)))
    if off.any():
        worst = float(np.abs(actual.astype(np.float64) - expected).max())
        raise ExportError(f"{int(off.sum())} of {off.size} values of {name} are off {how}, the worst by {worst:.3g}")


def _at_once(
    session: ort.InferenceSession, inputs: Mapping[str, NDArray[Any]], names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _singly(
    session: ort.InferenceSession, inputs: Mapping[str, NDArray[Any]], names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    count = len(next(iter(inputs.values())))
    parts = [session.run(names, {name: value[i : i + 1] for name, value in inputs.items()}) for i in range(count)]
    return {name: np.concatenate([np.atleast_1d(part[k]) for part in parts]) for k, name in enumerate(names)}
